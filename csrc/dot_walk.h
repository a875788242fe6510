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

/* All columns of one row, the row unpacked once for up to max_cols of them. */
LK_INLINE void lk_dot_row(lk_dot_tile tile, const void *context, const lk_dot *d, const uint8_t *w,
                          float *y, const int max_cols) {
    const uint8_t *const row[2] = {w, w};
    const char *x = d->x;
    int left = d->cols;
#define COLUMNS(n)                                                                                 \
    tile(context, d, row, (float *const[2]){y, y}, x, 1, n);                                       \
    y += (n) * d->y_stride;                                                                        \
    x += (n) * d->x_stride;                                                                        \
    left -= (n)
    if (max_cols >= 8)
        while (left >= 8) {
            COLUMNS(8);
        }
    if (max_cols >= 4)
        while (left >= 4) {
            COLUMNS(4);
        }
    while (left >= 2) {
        COLUMNS(2);
    }
    if (left) {
        COLUMNS(1);
    }
#undef COLUMNS
}

LK_INLINE void lk_dot_walk(lk_dot_tile tile, const void *context, const lk_dot *d,
                           const int max_cols) {
    const uint8_t *w[2] = {d->w[0], d->w[1]};
    float *y[2] = {d->y[0], d->y[1]};
    for (int r = 0; r < d->rows; r++) {
        if (w[1] && d->cols == 1) {
            tile(context, d, w, y, d->x, 2, 1);
        } else {
            lk_dot_row(tile, context, d, w[0], y[0], max_cols);
            if (w[1])
                lk_dot_row(tile, context, d, w[1], y[1], max_cols);
        }
        w[0] += d->w_stride;
        y[0]++;
        if (w[1]) {
            w[1] += d->w_stride;
            y[1]++;
        }
    }
}

#endif
