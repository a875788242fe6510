/* The tokens of a text, as both of SentencePiece's encoders write them. */
#ifndef LK_BPE_SPM_OUTPUT_H
#define LK_BPE_SPM_OUTPUT_H

#include "spm.h"

struct lk_spm_output {
    const struct lk_spm *spm;
    uint32_t unk_id; /* LK_NO_ID where there is none */
    int32_t *ids;
    size_t count, room;
    int after_unknown; /* the last token stands for characters without one */
};

static inline int lk_spm_emit(struct lk_spm_output *out, uint32_t id) {
    if (id == LK_NO_ID)
        return LK_ERR_UNSUPPORTED;
    if (out->count == out->room)
        return LK_ERR_ARGUMENT;
    out->ids[out->count++] = (int32_t)id;
    return LK_OK;
}

static inline int lk_spm_emit_token(struct lk_spm_output *out, uint32_t id) {
    out->after_unknown = 0;
    return lk_spm_emit(out, id);
}

static inline int lk_spm_emit_byte(struct lk_spm_output *out, uint8_t byte) {
    uint32_t id = out->spm->byte_id[byte];
    return lk_spm_emit(out, id == LK_NO_ID ? out->unk_id : id);
}

/* A character without a token. Several in a row are one unknown token. */
static inline int lk_spm_emit_unknown(struct lk_spm_output *out, const uint8_t *text, size_t n) {
    int status = LK_OK;
    if (!out->spm->has_bytes) {
        status = out->after_unknown ? LK_OK : lk_spm_emit(out, out->unk_id);
        out->after_unknown = 1;
        return status;
    }
    for (size_t i = 0; i < n && !status; i++)
        status = lk_spm_emit_byte(out, text[i]);
    return status;
}

#endif
