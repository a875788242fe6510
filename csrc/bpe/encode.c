/*
 * Encoding a text: each word's bytes become tokens, and adjacent tokens are merged, the pair of
 * lowest rank first and of equal ranks the leftmost, until no pair has a merge (Sennrich et al.
 * 2016, as GPT-2 applies it).
 *
 * Most words are one token. Whether the merges lead from a token's bytes to itself is remembered
 * per token, so that such a word costs one look-up. Other short words scan for the lowest rank;
 * long ones keep the pairs in a heap, which bounds a word of n bytes by O(n log n).
 */
#include "bpe.h"
#include "heap.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT_WORD = 40 };

struct node {
    uint32_t id;     /* LK_NO_ID: a byte without a token */
    uint32_t rank;   /* of the pair with the next node; NO_RANK if they do not merge */
    uint32_t result; /* what that pair becomes */
    uint32_t prev, next;
};

#define NO_RANK UINT32_MAX
#define NO_NODE UINT32_MAX

struct scratch {
    struct node *nodes;
    struct lk_heap heap;
    size_t capacity; /* bytes of the longest word that fits */
};

struct output {
    int32_t *ids;
    size_t count, capacity;
    uint32_t unk_id;
};

/* A byte without a token becomes the unknown token; LK_ERR_UNSUPPORTED if there is none. */
static int emit(struct output *out, uint32_t id) {
    id = id == LK_NO_ID ? out->unk_id : id;
    if (id == LK_NO_ID) {
        return LK_ERR_UNSUPPORTED;
    }
    if (out->count == out->capacity) {
        return LK_ERR_ARGUMENT;
    }
    out->ids[out->count++] = (int32_t)id;
    return LK_OK;
}

static inline uint32_t rank_of(const struct lk_bpe *bpe, uint32_t left, uint32_t right,
                               uint32_t *result) {
    const struct lk_pair_slot *slot =
        left == LK_NO_ID || right == LK_NO_ID ? NULL : lk_bpe_pair(bpe, left, right);
    *result = slot ? slot->result : LK_NO_ID;
    return slot ? slot->rank : NO_RANK;
}

/* Token that merges begin with at *pos: of a byte, or of a character that is a token. */
static inline uint32_t first_token(const struct lk_bpe *bpe, const uint8_t *word, size_t n,
                                   size_t *pos) {
    uint8_t lead = word[*pos];
    if (bpe->characters && (lead & 0xC0) != 0x80) {
        size_t left = n - *pos, length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        length = length < left ? length : left;
        uint32_t id = lk_token_of(&bpe->tokens, word + *pos, length);
        if (id != LK_NO_ID) {
            *pos += length;
            return id;
        }
    }
    return bpe->byte_id[word[(*pos)++]];
}

/* n <= SHORT_WORD bytes: the tokens lie side by side, and the lowest rank is searched for. */
static int merge_short(const struct lk_bpe *bpe, const uint8_t *word, size_t n,
                       struct output *out) {
    uint32_t ids[SHORT_WORD], ranks[SHORT_WORD], results[SHORT_WORD];
    size_t pos = 0, count = 0;
    while (pos < n) {
        ids[count++] = first_token(bpe, word, n, &pos);
    }
    n = count;
    for (size_t i = 0; i + 1 < n; i++) {
        ranks[i] = rank_of(bpe, ids[i], ids[i + 1], &results[i]);
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            best = ranks[i] < ranks[best] ? i : best;
        }
        if (ranks[best] == NO_RANK) {
            break;
        }
        ids[best] = results[best];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            ranks[i - 1] = ranks[i];
            results[i - 1] = results[i];
        }
        if (best > 0) {
            ranks[best - 1] = rank_of(bpe, ids[best - 1], ids[best], &results[best - 1]);
        }
        if (best + 1 < n) {
            ranks[best] = rank_of(bpe, ids[best], ids[best + 1], &results[best]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        int status = emit(out, ids[i]);
        if (status) {
            return status;
        }
    }
    return LK_OK;
}

static void rank_node(const struct lk_bpe *bpe, struct node *nodes, uint32_t i) {
    uint32_t next = nodes[i].next;
    nodes[i].rank = NO_RANK;
    if (next != NO_NODE) {
        nodes[i].rank = rank_of(bpe, nodes[i].id, nodes[next].id, &nodes[i].result);
    }
}

static inline uint64_t heap_item(const struct node *nodes, uint32_t i) {
    return (uint64_t)nodes[i].rank << 32 | i;
}

static void push_ranked(const struct lk_bpe *bpe, struct scratch *scratch, uint32_t i) {
    rank_node(bpe, scratch->nodes, i);
    if (scratch->nodes[i].rank != NO_RANK) {
        lk_heap_push(&scratch->heap, heap_item(scratch->nodes, i));
    }
}

/* Room for a word of n bytes: n nodes, and 2n pairs, as n - 1 are there at first and each merge
   takes one away and adds at most two. */
static int reserve(struct scratch *scratch, size_t n) {
    if (n <= scratch->capacity) {
        return LK_OK;
    }
    if (n >= UINT32_MAX / 2) {
        return LK_ERR_UNSUPPORTED;
    }
    free(scratch->nodes);
    free(scratch->heap.items);
    scratch->capacity = n + n / 2;
    scratch->nodes = malloc(scratch->capacity * sizeof *scratch->nodes);
    scratch->heap.items = malloc(2 * scratch->capacity * sizeof *scratch->heap.items);
    if (!scratch->nodes || !scratch->heap.items) {
        scratch->capacity = 0;
        return LK_ERR_MEMORY;
    }
    return LK_OK;
}

static int merge_long(const struct lk_bpe *bpe, const uint8_t *word, size_t n,
                      struct scratch *scratch, struct output *out) {
    int status = reserve(scratch, n);
    if (status) {
        return status;
    }
    struct node *nodes = scratch->nodes;
    struct lk_heap *heap = &scratch->heap;
    heap->count = 0;
    uint32_t count = 0;
    for (size_t pos = 0; pos < n; count++) {
        nodes[count].id = first_token(bpe, word, n, &pos);
        nodes[count].prev = count - 1; /* NO_NODE before the first */
        nodes[count].next = pos < n ? count + 1 : NO_NODE;
    }
    for (uint32_t i = 0; i + 1 < count; i++) {
        rank_node(bpe, nodes, i);
        if (nodes[i].rank != NO_RANK) {
            heap->items[heap->count++] = heap_item(nodes, i);
        }
    }
    for (size_t i = heap->count / 2; i-- > 0;) {
        lk_heap_sift(heap, i);
    }
    while (heap->count) {
        uint64_t item = lk_heap_pop(heap);
        uint32_t i = (uint32_t)item;
        if (nodes[i].rank != (uint32_t)(item >> 32)) {
            continue; /* the pair has changed since it was pushed */
        }
        uint32_t gone = nodes[i].next, next = nodes[gone].next;
        nodes[i].id = nodes[i].result;
        nodes[i].next = next;
        nodes[gone].rank = NO_RANK;
        if (next != NO_NODE) {
            nodes[next].prev = i;
        }
        push_ranked(bpe, scratch, i);
        if (nodes[i].prev != NO_NODE) {
            push_ranked(bpe, scratch, nodes[i].prev);
        }
    }
    for (uint32_t i = 0; i != NO_NODE && !status; i = nodes[i].next) {
        status = emit(out, nodes[i].id);
    }
    return status;
}

static int encode_word(const struct lk_bpe *bpe, const uint8_t *word, size_t n,
                       struct scratch *scratch, struct output *out) {
    if (n == 1) {
        size_t pos = 0;
        return emit(out, first_token(bpe, word, 1, &pos));
    }
    uint32_t id = lk_token_of(&bpe->tokens, word, n);
    unsigned char whole = LK_WHOLE_NO;
    if (id != LK_NO_ID) {
        whole = atomic_load_explicit(&bpe->whole[id], memory_order_relaxed);
    }
    if (whole == LK_WHOLE_YES) {
        return emit(out, id);
    }
    size_t before = out->count;
    int status =
        n <= SHORT_WORD ? merge_short(bpe, word, n, out) : merge_long(bpe, word, n, scratch, out);
    if (whole == LK_WHOLE_UNKNOWN && !status) {
        int same = out->count == before + 1 && (uint32_t)out->ids[before] == id;
        atomic_store_explicit(&bpe->whole[id], same ? LK_WHOLE_YES : LK_WHOLE_NO,
                              memory_order_relaxed);
    }
    return status;
}

int lk_bpe_encode(const lk_bpe *bpe, const uint8_t *text, size_t n, int32_t *ids, size_t capacity,
                  size_t *n_ids) {
    struct scratch scratch = {0};
    struct output out = {ids, 0, capacity, bpe->unk_id};
    struct lk_splitter split;
    int status = LK_OK;
    lk_split_start(&split, bpe->pretok, text, n);
    for (size_t pos = 0; pos < n && !status;) {
        size_t end = lk_split_next(&split, pos);
        status = encode_word(bpe, text + pos, end - pos, &scratch, &out);
        pos = end;
    }
    free(scratch.nodes);
    free(scratch.heap.items);
    *n_ids = out.count;
    return status;
}

int lk_bpe_split(int pretok, const uint8_t *text, size_t n, size_t *ends, size_t capacity,
                 size_t *n_words) {
    struct lk_splitter split;
    *n_words = 0;
    if (pretok < 0 || pretok >= LK_N_PRETOKS) {
        return LK_ERR_ARGUMENT;
    }
    lk_split_start(&split, pretok, text, n);
    for (size_t pos = 0; pos < n;) {
        if (*n_words == capacity) {
            return LK_ERR_ARGUMENT;
        }
        ends[(*n_words)++] = pos = lk_split_next(&split, pos);
    }
    return LK_OK;
}
