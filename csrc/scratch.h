/* Carving one scratch buffer into cache-line aligned parts. */
#ifndef LK_SCRATCH_H
#define LK_SCRATCH_H

#include <stddef.h>

#include "target.h"

/* The offset of a part of `bytes` bytes; moves *at behind it. */
LK_INLINE size_t lk_reserve(size_t *at, size_t bytes) {
    size_t offset = *at;
    *at += (bytes + 63) / 64 * 64;
    return offset;
}

#endif
