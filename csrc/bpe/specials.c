/*
 * Finding special tokens in a text: the leftmost occurrence of any, and of those the longest.
 *
 * The texts are sorted, so those that begin with the bytes seen so far are neighbours; each
 * further byte narrows the range by binary search.
 */
#include "lk.h"

#include <stdlib.h>
#include <string.h>

struct lk_specials {
    uint8_t *texts;
    size_t *ends; /* n + 1, the first is 0: text i is texts[ends[i] .. ends[i + 1]) */
    int32_t *ids;
    uint32_t first[257]; /* texts from first[b] to first[b + 1] begin with byte b */
};

void lk_specials_free(lk_specials *specials) {
    if (specials) {
        free(specials->texts);
        free(specials->ends);
        free(specials->ids);
        free(specials);
    }
}

/* Whether text i is not empty and not less than the one before it. */
static int in_order(const uint8_t *texts, const size_t *ends, size_t i) {
    size_t length = ends[i + 1] - ends[i];
    if (ends[i + 1] <= ends[i]) {
        return 0;
    }
    if (i == 0) {
        return 1;
    }
    size_t before = ends[i] - ends[i - 1];
    int order = memcmp(texts + ends[i - 1], texts + ends[i], before < length ? before : length);
    return order < 0 || (order == 0 && before <= length);
}

int lk_specials_new(const uint8_t *texts, const size_t *ends, const int32_t *ids, size_t n,
                    lk_specials **out) {
    *out = NULL;
    if (n >= INT32_MAX || ends[0] != 0) {
        return LK_ERR_ARGUMENT;
    }
    for (size_t i = 0; i < n; i++) {
        if (!in_order(texts, ends, i)) {
            return LK_ERR_ARGUMENT;
        }
    }
    lk_specials *specials = calloc(1, sizeof *specials);
    if (!specials) {
        return LK_ERR_MEMORY;
    }
    specials->texts = malloc(ends[n] + 1);
    specials->ends = malloc((n + 1) * sizeof *ends);
    specials->ids = malloc((n + 1) * sizeof *ids);
    if (!specials->texts || !specials->ends || !specials->ids) {
        lk_specials_free(specials);
        return LK_ERR_MEMORY;
    }
    memcpy(specials->texts, texts, ends[n]);
    memcpy(specials->ends, ends, (n + 1) * sizeof *ends);
    memcpy(specials->ids, ids, n * sizeof *ids);
    for (size_t i = 0; i < n; i++) {
        specials->first[texts[ends[i]] + 1]++;
    }
    for (int b = 0; b < 256; b++) {
        specials->first[b + 1] += specials->first[b];
    }
    *out = specials;
    return LK_OK;
}

/* First of the texts low..high, all longer than `depth`, whose byte there is at least `byte`. */
static uint32_t first_from(const lk_specials *s, uint32_t low, uint32_t high, size_t depth,
                           unsigned byte) {
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (s->texts[s->ends[middle] + depth] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Length of the longest special token that `text` starts with, or 0; which one in *found. */
static size_t match(const lk_specials *s, const uint8_t *text, size_t n, uint32_t *found) {
    uint32_t low = s->first[text[0]], high = s->first[text[0] + 1];
    size_t length = 0;
    for (size_t depth = 1; low < high; depth++) {
        for (; low < high && s->ends[low + 1] - s->ends[low] == depth; low++) {
            *found = low;
            length = depth;
        }
        if (depth == n) {
            break;
        }
        low = first_from(s, low, high, depth, text[depth]);
        high = first_from(s, low, high, depth, text[depth] + 1u);
    }
    return length;
}

int32_t lk_specials_find(const lk_specials *specials, const uint8_t *text, size_t n, size_t from,
                         size_t *start, size_t *end) {
    for (size_t pos = from; pos < n; pos++) {
        uint32_t found = 0;
        size_t length = match(specials, text + pos, n - pos, &found);
        if (length) {
            *start = pos;
            *end = pos + length;
            return specials->ids[found];
        }
    }
    return -1;
}
