/*
 * Encoding a text as SentencePiece's BPE does (Kudo and Richardson 2018, arXiv:1808.06226): its
 * characters are the first symbols; of all adjacent symbols that together spell a piece, those of
 * the best score become one, the leftmost of equals, until no two do. A symbol that is no piece
 * becomes its bytes, or the unknown token. Pieces marked unused may be made on the way; what is
 * left of them in the end is taken apart again.
 *
 * Where no piece goes on after a word, each word is encoded by itself: the same tokens, in memory
 * that stays in the cache. A heap bounds a word of n bytes by O(n log n).
 */
#include <string.h>

#include "heap.h"
#include "spm_output.h"
#include "utf8.h"

#define NO_RANK UINT32_MAX
#define NO_NODE UINT32_MAX
#define FOREIGN (LK_NO_ID - 1) /* a byte that is no UTF-8, and merges with nothing */

/* A symbol, at the place of its first character. */
struct node {
    uint32_t start; /* its first byte */
    uint32_t id;    /* its token, or LK_NO_ID */
    uint32_t rank;  /* of the pair with the next; NO_RANK if they are no piece */
    uint32_t result;
    uint32_t prev, next;
    uint32_t order; /* in which it became the right part of a pair, counted from 1 */
};

struct encoder {
    const struct lk_spm *spm;
    struct lk_spm_output out;
    const uint8_t *word;
    size_t n;
    struct node *nodes;
    uint32_t n_nodes;
    struct lk_heap heap;
    size_t capacity; /* bytes of the longest word that fits */
};

static uint32_t token_of(const struct encoder *e, size_t start, size_t end) {
    uint32_t id = lk_token_of(&e->spm->tokens, e->word + start, end - start);
    return id == e->out.unk_id ? LK_NO_ID : id;
}

static size_t end_of(const struct encoder *e, uint32_t node) {
    return node < e->n_nodes ? e->nodes[node].start : e->n;
}

/* ---- output --------------------------------------------------------------------------------- */

/* The symbol of the characters first .. last, `id` its token. */
static int emit_symbol(struct encoder *e, uint32_t first, uint32_t last, uint32_t id) {
    size_t start = e->nodes[first].start;
    if (id == FOREIGN) {
        e->out.after_unknown = 0;
        return lk_spm_emit_byte(&e->out, e->word[start]);
    }
    int is_unused = id != LK_NO_ID && e->spm->types[id] == SPM_UNUSED;
    if (id == LK_NO_ID || (is_unused && first == last))
        return lk_spm_emit_unknown(&e->out, e->word + start, end_of(e, last + 1) - start);
    if (!is_unused)
        return lk_spm_emit_token(&e->out, id);
    uint32_t right = first + 1; /* the part that came last */
    for (uint32_t i = right; i <= last; i++)
        right = e->nodes[i].order > e->nodes[right].order ? i : right;
    size_t middle = e->nodes[right].start;
    int status = emit_symbol(e, first, right - 1, token_of(e, start, middle));
    if (status)
        return status;
    return emit_symbol(e, right, last, token_of(e, middle, end_of(e, last + 1)));
}

/* ---- merging -------------------------------------------------------------------------------- */

static void push_pair(struct encoder *e, uint32_t i) {
    struct node *node = &e->nodes[i];
    uint32_t next = node->next;
    node->rank = NO_RANK;
    if (next == NO_NODE || node->id == FOREIGN || e->nodes[next].id == FOREIGN)
        return;
    uint32_t after = e->nodes[next].next;
    uint32_t id = token_of(e, node->start, after == NO_NODE ? e->n : e->nodes[after].start);
    if (id == LK_NO_ID)
        return;
    node->result = id;
    node->rank = e->spm->ranks[id];
    lk_heap_push(&e->heap, (uint64_t)node->rank << 32 | i);
}

static void merge(struct encoder *e) {
    struct node *nodes = e->nodes;
    for (uint32_t order = 1; e->heap.count;) {
        uint64_t item = lk_heap_pop(&e->heap);
        uint32_t i = (uint32_t)item;
        if (nodes[i].rank != (uint32_t)(item >> 32))
            continue; /* the pair has changed since it was pushed */
        uint32_t gone = nodes[i].next, next = nodes[gone].next;
        nodes[i].id = nodes[i].result;
        nodes[i].next = next;
        nodes[gone].rank = NO_RANK;
        nodes[gone].order = order++;
        if (next != NO_NODE)
            nodes[next].prev = i;
        push_pair(e, i);
        if (nodes[i].prev != NO_NODE)
            push_pair(e, nodes[i].prev);
    }
}

/* Room for a word of n bytes; of its pairs, each merge takes one away and adds two at most. */
static int reserve(struct encoder *e, size_t n) {
    if (n <= e->capacity)
        return LK_OK;
    if (n >= UINT32_MAX / 2)
        return LK_ERR_UNSUPPORTED;
    free(e->nodes);
    free(e->heap.items);
    e->capacity = n + n / 2;
    e->nodes = malloc(e->capacity * sizeof *e->nodes);
    e->heap.items = malloc(2 * e->capacity * sizeof *e->heap.items);
    if (e->nodes && e->heap.items)
        return LK_OK;
    e->capacity = 0;
    return LK_ERR_MEMORY;
}

static int encode_word(struct encoder *e, const uint8_t *word, size_t n) {
    int status = reserve(e, n);
    e->word = word;
    e->n = n;
    e->n_nodes = 0;
    e->heap.count = 0;
    for (size_t pos = 0, next; pos < n && !status; pos = next) {
        int is_foreign = 0;
        next = pos + 1;
        if (word[pos] >= 0x80)
            is_foreign = lk_decode_long(word, pos, n, &next) == UINT32_MAX;
        uint32_t i = e->n_nodes++;
        e->nodes[i] = (struct node){
            .start = (uint32_t)pos,
            .id = is_foreign ? FOREIGN : token_of(e, pos, next),
            .prev = i - 1, /* NO_NODE before the first */
            .next = next < n ? i + 1 : NO_NODE,
        };
    }
    if (status)
        return status;
    for (uint32_t i = 0; i < e->n_nodes; i++)
        push_pair(e, i);
    merge(e);
    for (uint32_t i = 0, next; i != NO_NODE && !status; i = next) {
        next = e->nodes[i].next;
        uint32_t last = (next == NO_NODE ? e->n_nodes : next) - 1;
        status = emit_symbol(e, i, last, e->nodes[i].id);
    }
    return status;
}

/* End of the word at `pos`: spaces, then what is none. */
static size_t word_end(const struct lk_spm *spm, const uint8_t *text, size_t pos, size_t n) {
    if (spm->crosses_spaces)
        return n;
    for (pos++; pos < n && (text[pos] != ' ' || text[pos - 1] == ' ');)
        pos++;
    return pos;
}

int lk_spm_encode(const lk_spm *spm, int32_t unk_id, const uint8_t *text, size_t n, int32_t *ids,
                  size_t capacity, size_t *n_ids) {
    struct encoder e = {
        .spm = spm,
        .out = {spm, unk_id < 0 ? LK_NO_ID : (uint32_t)unk_id, ids, 0, capacity, 0},
    };
    int status = LK_OK;
    for (size_t pos = 0, end; pos < n && !status; pos = end) {
        end = word_end(spm, text, pos, n);
        status = encode_word(&e, text + pos, end - pos);
    }
    free(e.nodes);
    free(e.heap.items);
    *n_ids = e.out.count;
    return status;
}
