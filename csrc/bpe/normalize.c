/*
 * SentencePiece's normalisation (Kudo and Richardson 2018, arXiv:1808.06226) by the rules that a
 * file carries: at each place the longest text that has a rule becomes what the rule says; spaces
 * may be put before the text, and those that follow others be left out.
 *
 * The rules are SentencePiece's "precompiled charsmap": a u32 with the bytes of a trie, the trie,
 * and texts that end in NUL, all little-endian. The trie is a double array (Aoe 1989; the layout is
 * that of Darts-clone) of u32 units. Bits of a unit: 0-7 and 31 the label, 8 whether a key ends
 * here, 9 whether the offset counts in 256s, 10-30 the offset. A node's child for a byte is at
 * node ^ offset ^ byte, and its value, an index into the texts, at node ^ offset in bits 0-30.
 *
 * Every index is checked: the file may say anything.
 */
#include <string.h>

#include "lk.h"
#include "utf8.h"

#define MAX_KEY 256     /* bytes; longer keys are no rules of any model, and cost time */
#define MAX_VALUE 1024u /* bytes that one rule may write */

struct rules {
    const uint8_t *trie;
    size_t n_units;
    const char *texts;
    size_t n_texts;
};

static uint32_t read_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int read_rules(const struct lk_normalizer *normalizer, struct rules *rules) {
    const uint8_t *map = normalizer->charsmap;
    size_t n = normalizer->n_charsmap;
    *rules = (struct rules){0};
    if (n == 0)
        return LK_OK;
    if (n < 4)
        return LK_ERR_ARGUMENT;
    size_t n_trie = read_u32(map);
    if (n_trie % 4 || n_trie > n - 4)
        return LK_ERR_ARGUMENT;
    *rules = (struct rules){map + 4, n_trie / 4, (const char *)map + 4 + n_trie, n - 4 - n_trie};
    return rules->n_texts && rules->texts[rules->n_texts - 1] ? LK_ERR_ARGUMENT : LK_OK;
}

int lk_normalizer_check(const struct lk_normalizer *normalizer) {
    struct rules rules;
    int status = read_rules(normalizer, &rules);
    for (size_t pos = 0; pos < rules.n_texts && !status;) {
        size_t length = strlen(rules.texts + pos);
        status = length > MAX_VALUE ? LK_ERR_ARGUMENT : LK_OK;
        pos += length + 1;
    }
    return status;
}

/* Length of the longest key that `text` starts with, its value in *value; 0: none. */
static size_t match(const struct rules *rules, const uint8_t *text, size_t n, const char **value) {
    size_t longest = 0;
    if (!rules->n_units)
        return 0;
    uint32_t unit = read_u32(rules->trie), node = 0;
    for (size_t i = 0; i < n && i < MAX_KEY; i++) {
        node ^= unit >> 10 << (unit >> 6 & 8) ^ text[i];
        if (node >= rules->n_units)
            break;
        unit = read_u32(rules->trie + 4 * (size_t)node);
        if ((unit & 0x800000FFu) != text[i])
            break;
        uint32_t leaf = node ^ unit >> 10 << (unit >> 6 & 8);
        if (!(unit >> 8 & 1) || leaf >= rules->n_units)
            continue;
        uint32_t index = read_u32(rules->trie + 4 * (size_t)leaf) & 0x7FFFFFFFu;
        if (index < rules->n_texts) {
            *value = rules->texts + index;
            longest = i + 1;
        }
    }
    return longest;
}

/* What there is no room for is counted all the same. */
struct output {
    uint8_t *bytes;
    size_t capacity, count, last_text; /* last_text: end of what is not space */
};

static void put(struct output *out, const uint8_t *text, size_t n) {
    for (size_t i = 0; i < n; i++, out->count++) {
        if (out->count < out->capacity)
            out->bytes[out->count] = text[i];
    }
}

/* As put, noting where the text ends if nothing but spaces follow. */
static void put_text(struct output *out, const uint8_t *text, size_t n) {
    static const uint8_t mark[] = {0xE2, 0x96, 0x81}; /* U+2581, a space that was written out */
    size_t end = n;
    for (;;) {
        if (end && text[end - 1] == ' ')
            end--;
        else if (end >= sizeof mark && !memcmp(text + end - sizeof mark, mark, sizeof mark))
            end -= sizeof mark;
        else
            break;
    }
    if (end)
        out->last_text = out->count + end;
    put(out, text, n);
}

int lk_normalize(const struct lk_normalizer *normalizer, const uint8_t *text, size_t n,
                 uint8_t *bytes, size_t capacity, size_t *n_bytes) {
    struct rules rules;
    struct output out = {bytes, capacity, 0, 0};
    int status = read_rules(normalizer, &rules);
    if (status || n > SIZE_MAX / (2 * MAX_VALUE))
        return LK_ERR_ARGUMENT;
    if (normalizer->add_space_prefix)
        put(&out, (const uint8_t *)" ", 1);
    int after_space = normalizer->remove_extra_spaces;
    for (size_t pos = 0; pos < n;) {
        const char *value = NULL;
        const uint8_t *piece = text + pos;
        size_t length = 1, used = match(&rules, piece, n - pos, &value);
        if (used) {
            piece = (const uint8_t *)value;
            length = strnlen(value, MAX_VALUE);
        } else {
            size_t next = pos + 1;
            if (*piece >= 0x80)
                lk_decode_long(text, pos, n, &next);
            length = used = next - pos;
        }
        pos += used;
        for (; after_space && length && *piece == ' '; length--)
            piece++;
        put_text(&out, piece, length);
        if (length)
            after_space = normalizer->remove_extra_spaces && piece[length - 1] == ' ';
    }
    *n_bytes = normalizer->remove_extra_spaces ? out.last_text : out.count;
    return LK_OK;
}
