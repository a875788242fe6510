/*
 * Building the tables of a SentencePiece vocabulary straight from a file's header. Pieces are kept
 * as the text that they stand for: a space where they are spelled with U+2581.
 */
#include <math.h>
#include <string.h>

#include "spm.h"
#include "strings.h"

enum { BATCH = 32 };

/* Copies a piece, spaces as spaces; returns its length. */
static size_t spell(const uint8_t *text, size_t n, uint8_t *out) {
    size_t length = 0;
    for (size_t i = 0; i < n; i++) {
        int is_space = n - i >= 3 && text[i] == 0xE2 && text[i + 1] == 0x96 && text[i + 2] == 0x81;
        out[length++] = is_space ? ' ' : text[i];
        i += is_space ? 2 : 0;
    }
    return length;
}

/* Order of merging: by falling score. Scores that are equal have equal ranks. */
static uint32_t rank_of(float score) {
    uint32_t bits;
    score += 0.0f; /* -0 is 0 */
    memcpy(&bits, &score, sizeof bits);
    return ~(bits ^ (bits >> 31 ? UINT32_MAX : 0x80000000u));
}

static int follows_a_word(const uint8_t *bytes, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (bytes[i] == ' ' && bytes[i - 1] != ' ')
            return 1;
    return 0;
}

struct entry {
    uint64_t hash;
    uint32_t id;
};

static void insert(struct lk_spm *spm, const struct entry *batch, size_t count) {
    struct lk_tokens *tokens = &spm->tokens;
    for (size_t i = 0; i < count; i++) {
        uint32_t id = batch[i].id;
        const uint8_t *bytes = tokens->bytes + tokens->offsets[id];
        size_t n = tokens->offsets[id + 1] - tokens->offsets[id];
        /* Of equal pieces the last counts. */
        *lk_token_slot(tokens, batch[i].hash, bytes, n) =
            (struct lk_token_slot){(uint32_t)(batch[i].hash >> 32), id + 1};
        tokens->max_length = tokens->max_length < n ? n : tokens->max_length;
        spm->crosses_spaces |= follows_a_word(bytes, n);
    }
}

/* The text of a token, and whether plain text may become it. */
static int add_text(struct lk_spm *spm, uint32_t id, const uint8_t *text, size_t n, int *is_plain) {
    struct lk_tokens *tokens = &spm->tokens;
    uint8_t *out = tokens->bytes + tokens->offsets[id];
    size_t length = n;
    int type = spm->types[id];
    *is_plain = type == SPM_NORMAL || type == SPM_USER_DEFINED || type == SPM_UNUSED;
    if (type == SPM_BYTE) {
        int byte = lk_byte_token(text, n);
        if (byte < 0)
            return LK_ERR_ARGUMENT;
        spm->byte_id[byte] = id;
        out[0] = (uint8_t)byte;
        length = 1;
    } else if (*is_plain) {
        length = spell(text, n, out);
        /* No text becomes a piece with a space of its own: all of the text's are U+2581. */
        *is_plain = length > 0 && !memchr(text, ' ', n);
    } else {
        memcpy(out, text, n);
    }
    tokens->offsets[id + 1] = tokens->offsets[id] + (uint32_t)length;
    return LK_OK;
}

static int add_tokens(struct lk_spm *spm, const struct lk_strings *strings, const float *scores,
                      size_t *bad_token) {
    struct lk_string_reader reader = {strings->data, 0, strings->length_width};
    struct lk_tokens *tokens = &spm->tokens;
    struct entry batch[BATCH] = {{0, 0}};
    size_t count = 0;
    for (uint32_t id = 0; id < tokens->count; id++) {
        size_t n;
        const uint8_t *text = lk_next_string(&reader, &n);
        int is_plain;
        if (isnan(scores[id]) || add_text(spm, id, text, n, &is_plain)) {
            *bad_token = id;
            return LK_ERR_ARGUMENT;
        }
        spm->ranks[id] = rank_of(scores[id]);
        if (!is_plain)
            continue;
        const uint8_t *bytes = tokens->bytes + tokens->offsets[id];
        size_t length = tokens->offsets[id + 1] - tokens->offsets[id];
        uint64_t hash = lk_hash_bytes(tokens->seed, bytes, length);
        __builtin_prefetch(&tokens->slots[(size_t)hash & tokens->mask], 1);
        batch[count++] = (struct entry){hash, id};
        if (count == BATCH) {
            insert(spm, batch, count);
            count = 0;
        }
    }
    insert(spm, batch, count);
    return LK_OK;
}

void lk_spm_free(lk_spm *spm) {
    if (spm) {
        lk_tokens_free(&spm->tokens);
        free(spm->ranks);
        free(spm->types);
        free(spm);
    }
}

int lk_spm_new(const struct lk_strings *tokens, const uint8_t *types, const float *scores,
               uint64_t seed, lk_spm **out, size_t *bad_token) {
    size_t n_bytes, longest, n = tokens->count;
    *out = NULL;
    *bad_token = SIZE_MAX;
    int status = lk_measure_strings(tokens, &n_bytes, &longest);
    if (status)
        return status;
    if (n_bytes >= UINT32_MAX || n >= INT32_MAX) /* offsets and ids are 32 bits */
        return LK_ERR_UNSUPPORTED;
    lk_spm *spm = calloc(1, sizeof *spm);
    if (!spm)
        return LK_ERR_MEMORY;
    spm->ranks = malloc((n + 1) * sizeof *spm->ranks);
    spm->types = malloc(n + 1);
    status = lk_tokens_allocate(&spm->tokens, n, n_bytes);
    if (!spm->ranks || !spm->types)
        status = LK_ERR_MEMORY;
    if (!status) {
        spm->tokens.seed = seed;
        memcpy(spm->types, types, n);
        memset(spm->byte_id, 0xFF, sizeof spm->byte_id);
        status = add_tokens(spm, tokens, scores, bad_token);
    }
    if (status) {
        lk_spm_free(spm);
        return status;
    }
    spm->has_bytes = 1;
    for (int i = 0; i < 256; i++)
        spm->has_bytes &= spm->byte_id[i] != LK_NO_ID;
    *out = spm;
    return LK_OK;
}

const uint32_t *lk_spm_offsets(const lk_spm *spm) {
    return spm->tokens.offsets;
}

const uint8_t *lk_spm_bytes(const lk_spm *spm) {
    return spm->tokens.bytes;
}

int32_t lk_spm_byte_id(const lk_spm *spm, int byte) {
    return byte < 0 || byte > 255 ? -1 : (int32_t)spm->byte_id[byte];
}
