/* Writing tiles (lk_tile in kernels.h), the same at every level. */
#ifndef LK_TILE_H
#define LK_TILE_H

#include "kernels.h"

/*
 * The rows of a tile; those that the matrix does not have are row 0 again. Sixteen rows side by
 * side are too many streams for the hardware prefetcher, and those of the next tile lie behind
 * them, one after the other: so they are fetched while these are unpacked. Prefetches never fault:
 * it does not matter where the matrix ends.
 */
typedef struct {
    const uint8_t *row[LK_TILE_ROWS];
    const char *next, *next_end; /* of the row that is being fetched */
    size_t stride, bytes;        /* of a row */
} lk_weight_rows;

LK_INLINE lk_weight_rows lk_rows_of(const void *w, size_t w_stride, int rows, size_t bytes) {
    lk_weight_rows at;
    for (int r = 0; r < LK_TILE_ROWS; r++)
        at.row[r] = (const uint8_t *)w + (r < rows ? r * w_stride : 0);
    at.next = (const char *)w + LK_TILE_ROWS * w_stride;
    at.next_end = at.next + bytes;
    at.stride = w_stride;
    at.bytes = bytes;
    return at;
}

/* Fetch as much of the next rows as `bytes` of each of these. */
LK_INLINE void lk_prefetch_next(lk_weight_rows *rows, const int bytes) {
    for (int i = 0; i < LK_TILE_ROWS * bytes; i += 64) {
        __builtin_prefetch(rows->next, 0, 2);
        rows->next += 64;
        if (rows->next >= rows->next_end) {
            rows->next_end += rows->stride;
            rows->next = rows->next_end - rows->bytes;
        }
    }
}

/* The part of a tile that starts with element i; group: elements that share a scale. */
LK_INLINE lk_tile lk_tile_from(const lk_tile *t, int i, int group) {
    const ptrdiff_t g = (ptrdiff_t)(i / group) * LK_TILE_ROWS;
    return (lk_tile){t->q + (ptrdiff_t)i * LK_TILE_ROWS, t->start + g, t->scale + g,
                     t->min ? t->min + g : NULL, t->q_max};
}

/* The same tile from row r on. */
LK_INLINE lk_tile lk_tile_rows(const lk_tile *t, int r) {
    return (lk_tile){t->q + 4 * r, t->start + r, t->scale + r, t->min ? t->min + r : NULL,
                     t->q_max};
}

#endif
