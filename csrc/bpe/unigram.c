/*
 * Encoding a text with a unigram model (Kudo 2018, arXiv:1804.10959), as SentencePiece does: of all
 * the ways to cut it into pieces, the one of the greatest sum of scores. A character that is no
 * piece may be cut out as unknown, for less than any piece costs.
 *
 * Viterbi's algorithm over the places between bytes; pieces are found in a trie, whose edges lie in
 * a hash table. A text of n bytes takes O(n L) steps, L being the length of the longest piece.
 */
#include <math.h>
#include <stdlib.h>

#include "spm_output.h"
#include "utf8.h"

#define UNKNOWN_PENALTY 10.0f /* below the lowest score; SentencePiece's kUnkPenalty */
#define NOWHERE UINT32_MAX

struct edge {
    uint64_t key; /* (node + 1) << 8 | byte; 0: free */
    uint32_t child;
    uint32_t id; /* of the piece that ends at the child, or LK_NO_ID */
};

struct lk_unigram {
    const lk_spm *spm;
    float *scores;
    float unknown_score;
    struct edge *edges;
    size_t mask;
    uint32_t n_nodes; /* the root is node 0 */
};

/* ---- the trie ------------------------------------------------------------------------------- */

/* The edge from a node: its own slot, or the free one where it belongs. */
static struct edge *find_edge(const struct lk_unigram *u, uint64_t key) {
    size_t i = (size_t)lk_hash_pair(u->spm->tokens.seed, key) & u->mask;
    while (u->edges[i].key && u->edges[i].key != key)
        i = (i + 1) & u->mask;
    return &u->edges[i];
}

static uint64_t edge_key(uint32_t node, uint8_t byte) {
    return ((uint64_t)node + 1) << 8 | byte;
}

/* Room for one more edge, the table staying at most two thirds full. */
static int grow(struct lk_unigram *u) {
    size_t size = u->edges ? u->mask + 1 : 0;
    if ((size_t)u->n_nodes + u->n_nodes / 2 + 2 < size)
        return LK_OK;
    struct edge *old = u->edges;
    size_t larger = size ? 2 * size : lk_table_size(u->spm->tokens.count);
    u->edges = calloc(larger, sizeof *u->edges);
    if (!u->edges) {
        u->edges = old;
        return LK_ERR_MEMORY;
    }
    u->mask = larger - 1;
    for (size_t i = 0; i < size; i++)
        if (old[i].key)
            *find_edge(u, old[i].key) = old[i];
    free(old);
    return LK_OK;
}

static int insert(struct lk_unigram *u, uint32_t id, const uint8_t *text, size_t n) {
    struct edge *edge = NULL;
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        int status = grow(u); /* which moves the edges */
        if (status)
            return status;
        uint64_t key = edge_key(node, text[i]);
        edge = find_edge(u, key);
        if (!edge->key)
            *edge = (struct edge){key, u->n_nodes++, LK_NO_ID};
        node = edge->child;
    }
    edge->id = id;
    return LK_OK;
}

/* User-defined pieces are cut out of the text before, unused ones are never made. */
static int add_pieces(struct lk_unigram *u) {
    const struct lk_tokens *tokens = &u->spm->tokens;
    int status = grow(u);
    for (uint32_t id = 0; id < tokens->count && !status; id++) {
        const uint8_t *text = tokens->bytes + tokens->offsets[id];
        size_t n = tokens->offsets[id + 1] - tokens->offsets[id];
        if (u->spm->types[id] == SPM_NORMAL && n && lk_token_of(tokens, text, n) == id)
            status = insert(u, id, text, n);
    }
    return status;
}

void lk_unigram_free(lk_unigram *unigram) {
    if (unigram) {
        free(unigram->scores);
        free(unigram->edges);
        free(unigram);
    }
}

int lk_unigram_new(const lk_spm *pieces, const float *scores, lk_unigram **out) {
    uint32_t n = pieces->tokens.count;
    float lowest = INFINITY;
    *out = NULL;
    lk_unigram *u = calloc(1, sizeof *u);
    if (!u)
        return LK_ERR_MEMORY;
    u->spm = pieces;
    u->n_nodes = 1;
    u->scores = malloc(((size_t)n + 1) * sizeof *u->scores);
    int status = u->scores ? add_pieces(u) : LK_ERR_MEMORY;
    if (status) {
        lk_unigram_free(u);
        return status;
    }
    for (uint32_t id = 0; id < n; id++) {
        u->scores[id] = scores[id];
        if (pieces->types[id] == SPM_NORMAL && scores[id] < lowest)
            lowest = scores[id];
    }
    u->unknown_score = (lowest < INFINITY ? lowest : 0.0f) - UNKNOWN_PENALTY;
    *out = u;
    return LK_OK;
}

/* ---- encoding ------------------------------------------------------------------------------- */

/* The best way to cut the text up to a place. */
struct place {
    float score;
    uint32_t start; /* of the last piece; NOWHERE: no way leads here */
    uint32_t id;    /* of it; LK_NO_ID: a character that is no piece */
    uint32_t next;  /* end of the piece that starts here */
};

static void offer(struct place *place, uint32_t start, uint32_t id, float score) {
    if (place->start == NOWHERE || score > place->score)
        *place = (struct place){score, start, id, 0};
}

/* All pieces that start at a character, which ends at `end`. */
static void extend(const struct lk_unigram *u, struct place *places, const uint8_t *text, size_t n,
                   size_t start, size_t end) {
    float score = places[start].score;
    uint32_t node = 0;
    int is_piece = 0;
    for (size_t pos = start; pos < n;) {
        const struct edge *edge = find_edge(u, edge_key(node, text[pos++]));
        if (!edge->key)
            break;
        node = edge->child;
        if (edge->id == LK_NO_ID)
            continue;
        offer(&places[pos], (uint32_t)start, edge->id, score + u->scores[edge->id]);
        is_piece |= pos == end;
    }
    if (!is_piece)
        offer(&places[end], (uint32_t)start, LK_NO_ID, score + u->unknown_score);
}

int lk_unigram_encode(const lk_unigram *unigram, int32_t unk_id, const uint8_t *text, size_t n,
                      int32_t *ids, size_t capacity, size_t *n_ids) {
    struct lk_spm_output out = {
        unigram->spm, unk_id < 0 ? LK_NO_ID : (uint32_t)unk_id, ids, 0, capacity, 0};
    *n_ids = 0;
    if (n >= UINT32_MAX)
        return LK_ERR_ARGUMENT;
    struct place *places = malloc((n + 1) * sizeof *places);
    if (!places)
        return LK_ERR_MEMORY;
    for (size_t i = 0; i <= n; i++)
        places[i].start = NOWHERE;
    places[0].score = 0;
    for (size_t pos = 0, next; pos < n; pos = next) {
        next = pos + 1;
        if (text[pos] >= 0x80)
            lk_decode_long(text, pos, n, &next);
        extend(unigram, places, text, n, pos, next);
    }
    for (size_t pos = n; pos > 0; pos = places[pos].start)
        places[places[pos].start].next = (uint32_t)pos;
    int status = LK_OK;
    for (size_t pos = 0, next; pos < n && !status; pos = next) {
        next = places[pos].next;
        uint32_t id = places[next].id;
        status = id == LK_NO_ID ? lk_spm_emit_unknown(&out, text + pos, next - pos)
                                : lk_spm_emit_token(&out, id);
    }
    free(places);
    *n_ids = out.count;
    return status;
}
