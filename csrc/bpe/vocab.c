/*
 * Building the tables of a byte-level BPE vocabulary straight from the strings of a file's header.
 *
 * Ready time is what matters here: 128k tokens and 280k merges in a few tens of milliseconds. The
 * strings are walked once to check their lengths; tokens and merges go into the tables in batches,
 * so that the cache misses of their look-ups overlap.
 */
#include "bpe.h"

#include <stdlib.h>

#include "hash.h"
#include "strings.h"

/* token types of tokenizer.ggml.token_type */
enum { TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_BYTE = 6 };

/* GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes are U+0100 upward.
   Returns the byte that its character `code` >= 0x80 stands for, or -1. */
static inline int alphabet_byte(uint32_t code) {
    if (code < 256) {
        return code > 160 && code != 173 ? (int)code : -1;
    }
    code -= 256;
    return code <= 32 ? (int)code : code <= 66 ? (int)code + 94 : code == 67 ? 173 : -1;
}

/* Bytes that a string in GPT-2's alphabet spells, into `out`; returns their number. Stops at a
   character outside the alphabet, such as a space; *used: bytes of the string read. */
static size_t spell_bytes(const uint8_t *text, size_t n, uint8_t *out, size_t *used) {
    size_t length = 0, i = 0;
    for (; i < n; i++) {
        uint32_t code = text[i];
        if (code > 32 && code < 127) {
            out[length++] = (uint8_t)code;
            continue;
        }
        if (code < 0xC2 || code > 0xDF || i + 1 == n || (text[i + 1] & 0xC0) != 0x80) {
            break;
        }
        int byte = alphabet_byte((code & 0x1F) << 6 | (text[i + 1] & 0x3F));
        if (byte < 0) {
            break;
        }
        out[length++] = (uint8_t)byte;
        i++;
    }
    *used = i;
    return length;
}

static struct lk_pair_slot *pair_slot(const struct lk_bpe *bpe, uint64_t key) {
    size_t i = (size_t)lk_hash_pair(bpe->tokens.seed, key) & bpe->pair_mask;
    while (bpe->pairs[i].key && bpe->pairs[i].key != key) {
        i = (i + 1) & bpe->pair_mask;
    }
    return &bpe->pairs[i];
}

static inline uint64_t pair_key(uint32_t left, uint32_t right) {
    return ((uint64_t)left + 1) << 32 | right;
}

const struct lk_pair_slot *lk_bpe_pair(const struct lk_bpe *bpe, uint32_t left, uint32_t right) {
    const struct lk_pair_slot *slot = pair_slot(bpe, pair_key(left, right));
    return slot->key ? slot : NULL;
}

enum { BATCH = 32 };

/* A token on its way into the table. */
struct entry {
    uint64_t hash;
    uint32_t id;
};

static void insert_tokens(struct lk_bpe *bpe, const struct entry *batch, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t id = batch[i].id;
        const uint8_t *bytes = bpe->tokens.bytes + bpe->tokens.offsets[id];
        size_t n = bpe->tokens.offsets[id + 1] - bpe->tokens.offsets[id];
        struct lk_token_slot *slot = lk_token_slot(&bpe->tokens, batch[i].hash, bytes, n);
        if (slot->id1) { /* of equal tokens the last counts */
            bpe->whole[slot->id1 - 1] = LK_WHOLE_NO;
        }
        *slot = (struct lk_token_slot){(uint32_t)(batch[i].hash >> 32), id + 1};
        if (n == 1) {
            bpe->byte_id[bytes[0]] = id;
        }
        bpe->tokens.max_length = bpe->tokens.max_length < n ? n : bpe->tokens.max_length;
    }
}

/* The same where tokens are spelled as they are: bytes as <0xNN>. */
static int copy_token(struct lk_bpe *bpe, uint32_t id, const uint8_t *text, size_t n, int type) {
    uint8_t *bytes = bpe->tokens.bytes + bpe->tokens.offsets[id];
    int byte = type == TYPE_BYTE ? lk_byte_token(text, n) : -1;
    if (byte >= 0) {
        bytes[0] = (uint8_t)byte;
        bpe->byte_id[byte] = id;
        n = 1;
    } else {
        memcpy(bytes, text, n);
    }
    bpe->tokens.offsets[id + 1] = bpe->tokens.offsets[id] + (uint32_t)n;
    return n > 0 && type != TYPE_BYTE && type != TYPE_UNKNOWN && type != TYPE_CONTROL;
}

/* Writes a token's bytes at offsets[id]; 1 if plain text may become it. */
static int spell_token(struct lk_bpe *bpe, uint32_t id, const uint8_t *text, size_t n, int type) {
    uint8_t *bytes = bpe->tokens.bytes + bpe->tokens.offsets[id];
    if (bpe->characters) {
        return copy_token(bpe, id, text, n, type);
    }
    size_t used;
    size_t length = spell_bytes(text, n, bytes, &used);
    int plain = used == n && n > 0;
    if (!plain || (type >= TYPE_UNKNOWN && type <= TYPE_USER_DEFINED)) {
        /* Text as it stands. It may come of merges only if it is spelled the same. */
        plain = plain && type == TYPE_USER_DEFINED && length == n;
        memcpy(bytes, text, n);
        length = n;
    }
    bpe->tokens.offsets[id + 1] = bpe->tokens.offsets[id] + (uint32_t)length;
    return plain;
}

static void add_tokens(struct lk_bpe *bpe, const struct lk_strings *tokens, const uint8_t *types) {
    struct lk_string_reader reader = {tokens->data, 0, tokens->length_width};
    struct entry batch[BATCH];
    size_t count = 0;
    for (uint32_t id = 0; id < bpe->tokens.count; id++) {
        size_t n;
        const uint8_t *text = lk_next_string(&reader, &n);
        if (!spell_token(bpe, id, text, n, types[id])) {
            bpe->whole[id] = LK_WHOLE_NO;
            continue;
        }
        const uint8_t *bytes = bpe->tokens.bytes + bpe->tokens.offsets[id];
        uint64_t hash = lk_hash_bytes(bpe->tokens.seed, bytes,
                                      bpe->tokens.offsets[id + 1] - bpe->tokens.offsets[id]);
        __builtin_prefetch(&bpe->tokens.slots[(size_t)hash & bpe->tokens.mask], 1);
        batch[count++] = (struct entry){hash, id};
        if (count == BATCH) {
            insert_tokens(bpe, batch, count);
            count = 0;
        }
    }
    insert_tokens(bpe, batch, count);
}

/* One merge on its way through the tables. */
struct merge {
    uint8_t *bytes; /* left, then right */
    size_t left, both;
    uint64_t hash[2]; /* of left and right */
    uint64_t key;     /* of the pair */
    uint32_t result;
};

/* One side of a merge, up to a space. */
static size_t spell_part(const struct lk_bpe *bpe, const uint8_t *text, size_t n, uint8_t *out,
                         size_t *used) {
    if (!bpe->characters) {
        return spell_bytes(text, n, out, used);
    }
    const uint8_t *space = memchr(text, ' ', n);
    *used = space ? (size_t)(space - text) : n;
    memcpy(out, text, *used);
    return *used;
}

/* Reads "LEFT RIGHT", and asks for the places where the two should be. */
static int spell_merge(const struct lk_bpe *bpe, const uint8_t *text, size_t n,
                       struct merge *merge) {
    size_t space, used;
    size_t left = spell_part(bpe, text, n, merge->bytes, &space);
    if (left == 0 || space == n || text[space] != ' ') {
        return LK_ERR_ARGUMENT;
    }
    size_t right = spell_part(bpe, text + space + 1, n - space - 1, merge->bytes + left, &used);
    if (right == 0 || used != n - space - 1) {
        return LK_ERR_ARGUMENT;
    }
    merge->left = left;
    merge->both = left + right;
    merge->hash[0] = lk_hash_bytes(bpe->tokens.seed, merge->bytes, left);
    merge->hash[1] = lk_hash_bytes(bpe->tokens.seed, merge->bytes + left, right);
    for (int i = 0; i < 2; i++) {
        __builtin_prefetch(&bpe->tokens.slots[(size_t)merge->hash[i] & bpe->tokens.mask]);
    }
    return LK_OK;
}

/* Token that a merge makes. Files list merges in the order of what they make, so that it is most
   often what the merge before made, or the token after that. */
static uint32_t find_result(const struct lk_bpe *bpe, const struct merge *m, uint32_t before) {
    for (uint32_t id = before; id < bpe->tokens.count && id < before + 2; id++) {
        if (bpe->whole[id] != LK_WHOLE_NO && lk_token_is(&bpe->tokens, id, m->bytes, m->both)) {
            return id;
        }
    }
    return lk_token_of(&bpe->tokens, m->bytes, m->both);
}

/* Finds the three tokens, and asks for the place of the pair. */
static int resolve_merge(const struct lk_bpe *bpe, struct merge *m, uint32_t before) {
    uint32_t left = lk_token_hashed(&bpe->tokens, m->hash[0], m->bytes, m->left);
    uint32_t right =
        lk_token_hashed(&bpe->tokens, m->hash[1], m->bytes + m->left, m->both - m->left);
    m->result = find_result(bpe, m, before);
    if (left == LK_NO_ID || right == LK_NO_ID || m->result == LK_NO_ID) {
        return LK_ERR_ARGUMENT;
    }
    m->key = pair_key(left, right);
    __builtin_prefetch(&bpe->pairs[(size_t)lk_hash_pair(bpe->tokens.seed, m->key) & bpe->pair_mask],
                       1);
    return LK_OK;
}

/* Adds up to BATCH merges, of ranks from `rank`. *done: how many were sound. */
static int add_batch(struct lk_bpe *bpe, struct lk_string_reader *reader, struct merge *batch,
                     size_t count, uint32_t rank, size_t *done) {
    int status = LK_OK;
    for (*done = 0; *done < count; ++*done) {
        size_t n;
        const uint8_t *text = lk_next_string(reader, &n);
        status = spell_merge(bpe, text, n, &batch[*done]);
        if (status) {
            count = *done;
            break;
        }
    }
    for (*done = 0; *done < count; ++*done) {
        uint32_t before = batch[*done ? *done - 1 : BATCH - 1].result;
        if (resolve_merge(bpe, &batch[*done], before)) {
            return LK_ERR_ARGUMENT;
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct lk_pair_slot *slot = pair_slot(bpe, batch[i].key);
        if (!slot->key) { /* the first of equal merges counts */
            *slot = (struct lk_pair_slot){batch[i].key, rank + (uint32_t)i, batch[i].result};
        }
    }
    return status;
}

static int add_merges(struct lk_bpe *bpe, const struct lk_strings *merges, size_t longest,
                      size_t *bad_merge) {
    struct lk_string_reader reader = {merges->data, 0, merges->length_width};
    struct merge batch[BATCH];
    uint8_t *bytes = calloc(BATCH, longest + 1);
    int status = bytes ? LK_OK : LK_ERR_MEMORY;
    for (size_t i = 0; i < BATCH && !status; i++) {
        batch[i] = (struct merge){.bytes = bytes + i * (longest + 1)};
    }
    for (size_t i = 0, done = 0; i < merges->count && !status; i += done) {
        size_t left = merges->count - i;
        status = add_batch(bpe, &reader, batch, left < BATCH ? left : BATCH, (uint32_t)i, &done);
        *bad_merge = status ? i + done : *bad_merge;
    }
    free(bytes);
    return status;
}

static int allocate(struct lk_bpe *bpe, size_t n_tokens, size_t n_bytes, size_t n_merges) {
    size_t n_pairs = lk_table_size(n_merges);
    bpe->pair_mask = n_pairs - 1;
    bpe->pairs = calloc(n_pairs, sizeof *bpe->pairs);
    bpe->whole = calloc(n_tokens + 1, sizeof *bpe->whole);
    memset(bpe->byte_id, 0xFF, sizeof bpe->byte_id);
    int status = lk_tokens_allocate(&bpe->tokens, n_tokens, n_bytes);
    return bpe->pairs && bpe->whole ? status : LK_ERR_MEMORY;
}

void lk_bpe_free(lk_bpe *bpe) {
    if (bpe) {
        lk_tokens_free(&bpe->tokens);
        free(bpe->pairs);
        free((void *)bpe->whole);
        free(bpe);
    }
}

static int is_line_feeds(const struct lk_bpe *bpe, uint32_t id) {
    uint32_t i = bpe->tokens.offsets[id], end = bpe->tokens.offsets[id + 1];
    while (i < end && bpe->tokens.bytes[i] == '\n') {
        i++;
    }
    return i == end;
}

int lk_bpe_new(const struct lk_strings *tokens, const uint8_t *types,
               const struct lk_strings *merges, const struct lk_bpe_options *options, lk_bpe **out,
               size_t *bad_merge) {
    size_t n_bytes, longest_token, merge_bytes, longest_merge;
    *out = NULL;
    *bad_merge = SIZE_MAX;
    if (options->pretok < 0 || options->pretok >= LK_N_PRETOKS || tokens->count >= INT32_MAX ||
        merges->count >= INT32_MAX) {
        return LK_ERR_ARGUMENT;
    }
    int status = lk_measure_strings(tokens, &n_bytes, &longest_token);
    if (!status) {
        status = lk_measure_strings(merges, &merge_bytes, &longest_merge);
    }
    if (status) {
        return status;
    }
    /* Offsets are 32 bits, and the merges' scratch grows with the longest. */
    if (n_bytes >= UINT32_MAX || longest_merge > UINT32_MAX / BATCH) {
        return LK_ERR_UNSUPPORTED;
    }
    lk_bpe *bpe = calloc(1, sizeof *bpe);
    if (!bpe) {
        return LK_ERR_MEMORY;
    }
    bpe->tokens.seed = options->seed;
    bpe->pretok = options->pretok;
    bpe->characters = options->characters;
    bpe->unk_id = options->unk_id < 0 ? LK_NO_ID : (uint32_t)options->unk_id;
    status = allocate(bpe, tokens->count, n_bytes, merges->count);
    if (!status) {
        add_tokens(bpe, tokens, types);
        status = add_merges(bpe, merges, longest_merge, bad_merge);
    }
    if (status) {
        lk_bpe_free(bpe);
        return status;
    }
    for (uint32_t id = 0; id < bpe->tokens.count; id++) {
        if (options->ignore_merges || (options->whole_lines && is_line_feeds(bpe, id))) {
            bpe->whole[id] = LK_WHOLE_YES;
        }
    }
    *out = bpe;
    return LK_OK;
}

const uint32_t *lk_bpe_offsets(const lk_bpe *bpe) {
    return bpe->tokens.offsets;
}

const uint8_t *lk_bpe_bytes(const lk_bpe *bpe) {
    return bpe->tokens.bytes;
}
