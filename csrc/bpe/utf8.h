/* Characters of UTF-8, strictly: none overlong, no surrogates, none beyond U+10FFFF. */
#ifndef LK_BPE_UTF8_H
#define LK_BPE_UTF8_H

#include <stddef.h>
#include <stdint.h>

static inline int lk_is_trail(uint8_t byte) {
    return (byte & 0xC0) == 0x80;
}

/* Code point of 2 to 4 bytes at `pos`, its end in *next; UINT32_MAX if they are no UTF-8. */
static inline uint32_t lk_decode_long(const uint8_t *text, size_t pos, size_t end, size_t *next) {
    const uint8_t *p = text + pos;
    size_t have = end - pos;
    uint32_t code = UINT32_MAX;
    size_t length = 1;
    if (p[0] >= 0xC2 && p[0] < 0xE0 && have >= 2 && lk_is_trail(p[1])) {
        code = (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
        length = 2;
    } else if (p[0] >= 0xE0 && p[0] < 0xF0 && have >= 3 && lk_is_trail(p[1]) && lk_is_trail(p[2])) {
        code = (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
        length = 3;
        if (code < 0x800 || (code >= 0xD800 && code < 0xE000)) {
            code = UINT32_MAX;
        }
    } else if (p[0] >= 0xF0 && p[0] < 0xF5 && have >= 4 && lk_is_trail(p[1]) && lk_is_trail(p[2]) &&
               lk_is_trail(p[3])) {
        code = (p[0] & 7u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
        length = 4;
        if (code < 0x10000 || code > 0x10FFFF) {
            code = UINT32_MAX;
        }
    }
    *next = pos + (code == UINT32_MAX ? 1 : length);
    return code;
}

#endif
