/*
 * The walk over streams, rows and columns that the dot kernels share (lk_dot in kernels.h).
 * Include it inside the target region: all of it is inlined into the kernels.
 */
#ifndef LK_DOT_WALK_H
#define LK_DOT_WALK_H

#include "kernels.h"

/*
 * rows (1 or 2) by cols (1, 2, 4 or 8) values, both constants after inlining: row i at w[i], its
 * value of column j goes to y[i][j * d->y_stride]. Columns are d->x_stride bytes apart from x on.
 */
typedef void (*lk_dot_tile)(const void *context, const lk_dot *d, const uint8_t *const w[2],
                            float *const y[2], const char *x, int rows, int cols);

/* All rows of both streams with cols columns, which stay in cache while the rows go by. Rows of the
 * two streams go together where `pair` says so, or there is one column. */
LK_INLINE void lk_dot_columns(lk_dot_tile tile, const void *context, const lk_dot *d, int column,
                              const int cols, const int pair) {
    const char *x = (const char *)d->x + column * d->x_stride;
    const uint8_t *w[2] = {d->w[0], d->w[1]};
    float *y[2] = {d->y[0] + column * d->y_stride, d->w[1] ? d->y[1] + column * d->y_stride : NULL};
    for (int r = 0; r < d->rows; r++) {
        if (d->w[1] && (pair || cols == 1)) {
            tile(context, d, w, y, x, 2, cols);
        } else {
            tile(context, d, w, y, x, 1, cols);
            if (d->w[1])
                tile(context, d, w + 1, y + 1, x, 1, cols);
        }
        for (int s = 0; s < (d->w[1] ? 2 : 1); s++) {
            w[s] += d->w_stride;
            y[s]++;
        }
    }
}

LK_INLINE void lk_dot_walk(lk_dot_tile tile, const void *context, const lk_dot *d,
                           const int max_cols, const int pair) {
    int c = 0;
    for (; max_cols >= 8 && d->cols - c >= 8; c += 8)
        lk_dot_columns(tile, context, d, c, 8, pair);
    for (; max_cols >= 4 && d->cols - c >= 4; c += 4)
        lk_dot_columns(tile, context, d, c, 4, pair);
    for (; d->cols - c >= 2; c += 2)
        lk_dot_columns(tile, context, d, c, 2, pair);
    if (c < d->cols)
        lk_dot_columns(tile, context, d, c, 1, pair);
}

#endif
