/*
 * Stepping over the strings of a GGUF metadata array.
 *
 * A string is a length (u32 in GGUF v1, u64 since; little-endian) and that many bytes. Nothing
 * states how many bytes the whole array takes, so its strings are walked one by one to reach what
 * follows: a quarter of a million for a large vocabulary. Lengths are read bytewise (they are not
 * aligned) and compared with the bytes left by subtraction, so no sum can overflow.
 */
#include <string.h>

#include "lk.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "model files are little-endian and used in place: a little-endian machine is required"
#endif

/* Position after the string at `pos`, or 0 when it does not lie wholly within `n_bytes`. */
static size_t string_end(const uint8_t *bytes, size_t n_bytes, size_t pos, int len_width) {
    uint64_t length = 0;
    size_t width = (size_t)len_width;

    if (n_bytes - pos < width)
        return 0;
    if (len_width == 8) {
        memcpy(&length, bytes + pos, 8);
    } else {
        uint32_t length_u32;
        memcpy(&length_u32, bytes + pos, 4);
        length = length_u32;
    }
    if (length > n_bytes - pos - width)
        return 0;
    return pos + width + (size_t)length;
}

int lk_gguf_walk_strings(const uint8_t *bytes, size_t n_bytes, size_t pos, size_t count,
                         int len_width, size_t *n_walked, size_t *end_pos) {
    if (!bytes || !n_walked || !end_pos || pos > n_bytes || (len_width != 4 && len_width != 8))
        return LK_ERR_ARGUMENT;

    size_t walked = 0;
    while (walked < count) {
        size_t end = string_end(bytes, n_bytes, pos, len_width);
        if (end == 0)
            break;
        pos = end;
        walked++;
    }
    *n_walked = walked;
    *end_pos = pos;
    return walked == count ? LK_OK : LK_ERR_TRUNCATED;
}

int lk_gguf_string_offsets(const uint8_t *bytes, size_t n_bytes, size_t count, int len_width,
                           uint64_t *offsets) {
    if (!bytes || !offsets || (len_width != 4 && len_width != 8))
        return LK_ERR_ARGUMENT;

    size_t pos = 0;
    offsets[0] = 0;
    for (size_t i = 0; i < count; i++) {
        size_t end = string_end(bytes, n_bytes, pos, len_width);
        if (end == 0)
            return LK_ERR_TRUNCATED;
        pos = end;
        offsets[i + 1] = pos;
    }
    return LK_OK;
}
