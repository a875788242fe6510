/* SentencePiece's BPE: what its files share. */
#ifndef LK_BPE_SPM_H
#define LK_BPE_SPM_H

#include "lk.h"
#include "tokens.h"

/* token types of tokenizer.ggml.token_type */
enum { SPM_NORMAL = 1, SPM_USER_DEFINED = 4, SPM_UNUSED = 5, SPM_BYTE = 6 };

struct lk_spm {
    struct lk_tokens tokens; /* a space is a space, a byte token its byte */
    uint32_t *ranks;         /* of each token: the lower, the earlier it is made */
    uint8_t *types;
    uint32_t byte_id[256];
    int has_bytes;      /* all 256 of them */
    int crosses_spaces; /* a token has a space after something else */
};

#endif
