/* The strings of a vocabulary's tokens, and the table that leads from a string to its token. */
#ifndef LK_BPE_TOKENS_H
#define LK_BPE_TOKENS_H

#include <stdlib.h>

#include "hash.h"
#include "lk.h"

#define LK_NO_ID UINT32_MAX

struct lk_token_slot {
    uint32_t tag; /* high half of the hash */
    uint32_t id1; /* token id + 1; 0: free */
};

struct lk_tokens {
    uint64_t seed;
    uint32_t count;
    uint32_t *offsets; /* count + 1: token i is bytes[offsets[i] .. offsets[i + 1]) */
    uint8_t *bytes;
    struct lk_token_slot *slots; /* of the tokens that plain text may become */
    size_t mask;                 /* of a slot's number */
    size_t max_length;           /* bytes of the longest of them */
};

/* Slots for n entries, at most two thirds full. */
static inline size_t lk_table_size(size_t n) {
    size_t size = 16;
    while (size < n + n / 2 + 1) {
        size *= 2;
    }
    return size;
}

/* n tokens of so many bytes together; offsets and slots are zero. */
static inline int lk_tokens_allocate(struct lk_tokens *tokens, size_t n, size_t n_bytes) {
    size_t n_slots = lk_table_size(n);
    tokens->count = (uint32_t)n;
    tokens->mask = n_slots - 1;
    tokens->offsets = calloc(n + 1, sizeof *tokens->offsets);
    tokens->bytes = malloc(n_bytes + 1);
    tokens->slots = calloc(n_slots, sizeof *tokens->slots);
    return tokens->offsets && tokens->bytes && tokens->slots ? LK_OK : LK_ERR_MEMORY;
}

static inline void lk_tokens_free(struct lk_tokens *tokens) {
    free(tokens->offsets);
    free(tokens->bytes);
    free(tokens->slots);
}

static inline int lk_token_is(const struct lk_tokens *tokens, uint32_t id, const uint8_t *text,
                              size_t n) {
    uint32_t start = tokens->offsets[id], end = tokens->offsets[id + 1];
    return end - start == n && lk_same_bytes(tokens->bytes + start, text, n);
}

/* Slot of a text: its own, or the free one where it belongs. */
static inline struct lk_token_slot *lk_token_slot(const struct lk_tokens *tokens, uint64_t hash,
                                                  const uint8_t *text, size_t n) {
    uint32_t tag = (uint32_t)(hash >> 32);
    for (size_t i = (size_t)hash & tokens->mask;; i = (i + 1) & tokens->mask) {
        struct lk_token_slot *slot = &tokens->slots[i];
        if (!slot->id1 || (slot->tag == tag && lk_token_is(tokens, slot->id1 - 1, text, n)))
            return slot;
    }
}

static inline uint32_t lk_token_hashed(const struct lk_tokens *tokens, uint64_t hash,
                                       const uint8_t *text, size_t n) {
    return lk_token_slot(tokens, hash, text, n)->id1 - 1; /* free: 0 - 1 == LK_NO_ID */
}

/* Token of a string of bytes that plain text may become, or LK_NO_ID. */
static inline uint32_t lk_token_of(const struct lk_tokens *tokens, const uint8_t *text, size_t n) {
    if (n > tokens->max_length)
        return LK_NO_ID;
    return lk_token_hashed(tokens, lk_hash_bytes(tokens->seed, text, n), text, n);
}

#endif
