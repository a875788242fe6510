/* Walking an array of strings in a header's bytes. */
#ifndef LK_BPE_STRINGS_H
#define LK_BPE_STRINGS_H

#include "lk.h"

/* Only after lk_measure_strings has found the lengths sound. */
struct lk_string_reader {
    const uint8_t *data;
    size_t pos;
    int length_width;
};

static inline const uint8_t *lk_next_string(struct lk_string_reader *reader, size_t *n) {
    const uint8_t *p = reader->data + reader->pos;
    uint64_t length = 0;
    for (int i = reader->length_width - 1; i >= 0; i--) {
        length = length << 8 | p[i];
    }
    *n = (size_t)length;
    reader->pos += (size_t)reader->length_width + (size_t)length;
    return p + reader->length_width;
}

/* Walks an array of strings: total and greatest length, or LK_ERR_TRUNCATED. */
static inline int lk_measure_strings(const struct lk_strings *strings, size_t *total,
                                     size_t *longest) {
    size_t width = (size_t)strings->length_width, pos = 0;
    if (width != 4 && width != 8) {
        return LK_ERR_ARGUMENT;
    }
    *total = *longest = 0;
    for (size_t i = 0; i < strings->count; i++) {
        if (strings->nbytes - pos < width) {
            return LK_ERR_TRUNCATED;
        }
        uint64_t length = 0;
        for (size_t b = width; b-- > 0;) {
            length = length << 8 | strings->data[pos + b];
        }
        pos += width;
        if (length > strings->nbytes - pos) {
            return LK_ERR_TRUNCATED;
        }
        pos += (size_t)length;
        *total += (size_t)length;
        *longest = *longest < length ? (size_t)length : *longest;
    }
    return LK_OK;
}

/* What "<0xNN>" stands for, or -1. */
static inline int lk_byte_token(const uint8_t *text, size_t n) {
    int byte = 0;
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        int digit = text[i] >= '0' && text[i] <= '9'   ? text[i] - '0'
                    : text[i] >= 'A' && text[i] <= 'F' ? text[i] - 'A' + 10
                                                       : -1;
        if (digit < 0)
            return -1;
        byte = byte * 16 + digit;
    }
    return byte;
}

#endif
