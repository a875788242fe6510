/*
 * Byte-level BPE: what its files share.
 *
 * A token is a string of bytes; files spell it in GPT-2's printable alphabet, one character a byte.
 * All tables are keyed by the bytes themselves. Hashes are seeded, so that no file can be made
 * whose strings all fall into one place.
 */
#ifndef LK_BPE_H
#define LK_BPE_H

#include "lk.h"
#include "tokens.h"

struct lk_pair_slot {
    uint64_t key; /* (left id + 1) << 32 | right id; 0: free */
    uint32_t rank;
    uint32_t result;
};

/* Whether the merges lead from a token's bytes to that one token; found out when first asked.
   No from the start for tokens that plain text never becomes. */
enum lk_whole { LK_WHOLE_UNKNOWN = 0, LK_WHOLE_YES = 1, LK_WHOLE_NO = 2 };

struct lk_bpe {
    struct lk_tokens tokens;
    uint32_t unk_id; /* LK_NO_ID where there is none */
    int pretok;      /* enum lk_pretok */
    int characters;  /* merges begin with characters; bytes stand for those without a token */
    struct lk_pair_slot *pairs;
    size_t pair_mask;
    _Atomic unsigned char *whole; /* enum lk_whole of each token */
    uint32_t byte_id[256];        /* the token of each single byte, or LK_NO_ID */
};

/* Place of a pair of adjacent tokens in the table of merges, or NULL. */
const struct lk_pair_slot *lk_bpe_pair(const struct lk_bpe *bpe, uint32_t left, uint32_t right);

/* Cuts a text into the words that merges never cross, by the stages of a pre-tokenizer. */
struct lk_piece {
    const uint8_t *text;
    size_t end; /* of the piece that a stage cuts; nothing is looked at beyond */
};

/* What a matcher has learnt of a long run, so as not to walk it again for each part. */
struct lk_memo {
    size_t start, end, mark;
};

typedef size_t lk_matcher(const void *rule, const struct lk_piece *in, size_t pos,
                          struct lk_memo *memo);

struct lk_split_stage {
    lk_matcher *match; /* NULL after the last stage */
    const void *rule;
    int starts; /* a piece starts with a match, and lasts until the next one starts */
};

#define LK_MAX_STAGES 6

struct lk_splitter {
    const uint8_t *text;
    const struct lk_split_stage *stages;
    size_t limit[LK_MAX_STAGES + 1]; /* [0]: end of the text; [k]: end of stage k's piece */
    struct lk_memo memo[LK_MAX_STAGES];
};

void lk_split_start(struct lk_splitter *split, int pretok, const uint8_t *text, size_t n);

/* End of the word that starts at `pos`, the end of the word before it (0 at first). */
size_t lk_split_next(struct lk_splitter *split, size_t pos);

#endif
