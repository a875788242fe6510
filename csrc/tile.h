/* Writing tiles (lk_tile in kernels.h), the same at every level. */
#ifndef LK_TILE_H
#define LK_TILE_H

#include "kernels.h"

/*
 * Sixteen rows side by side are too many streams for the hardware prefetcher, and those of the next
 * tile lie behind them, one after the other: so they are fetched while these are unpacked.
 * Prefetches never fault, so it does not matter where the matrix ends.
 */
typedef struct {
    const char *row;
    size_t stride;
    int line, lines; /* of 64 bytes, in a row */
} lk_next_rows;

/* The next tile of rows of `bytes` bytes that lie w_stride bytes apart from w on. */
LK_INLINE lk_next_rows lk_rows_after(const void *w, size_t w_stride, size_t bytes) {
    const char *next = (const char *)w + LK_TILE_ROWS * w_stride;
    return (lk_next_rows){next, w_stride, 0, (int)(bytes / 64) + 1};
}

/* Fetch n of its lines, there being LK_TILE_ROWS * lines in all. */
LK_INLINE void lk_prefetch_lines(lk_next_rows *next, int n) {
    for (int i = 0; i < n; i++) {
        __builtin_prefetch(next->row + 64 * next->line, 0, 2);
        if (++next->line == next->lines) {
            next->line = 0;
            next->row += next->stride;
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
