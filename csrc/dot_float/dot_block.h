/*
 * The walk of the float dots over streams, blocks of columns and rows (lk_dot in kernels.h).
 * Include it inside the target region: all of it is inlined into the kernels.
 */
#ifndef LK_DOT_BLOCK_H
#define LK_DOT_BLOCK_H

#include "../kernels.h"

/*
 * rows (1, 2 or 4) by cols (1, 2, 4 or 6) values, both constants after inlining: row i at w[i], its
 * value of column j goes to y[i][j * d->y_stride]. Columns are d->x_stride bytes apart from x on.
 */
typedef void (*lk_dot_block)(const lk_dot *d, const char *const w[4], float *const y[4],
                             const char *x, int rows, int cols);

/* All rows of one stream with cols columns. */
LK_INLINE void lk_dot_stream(lk_dot_block block, const lk_dot *d, const char *w, float *y,
                             const char *x, const int max_rows, const int cols) {
    int left = d->rows;
#define ROWS(n)                                                                                    \
    block(d, (const char *const[4]){w, w + d->w_stride, w + 2 * d->w_stride, w + 3 * d->w_stride}, \
          (float *const[4]){y, y + 1, y + 2, y + 3}, x, n, cols);                                  \
    w += (n) * d->w_stride;                                                                        \
    y += (n);                                                                                      \
    left -= (n)
    if (max_rows >= 4)
        while (left >= 4) {
            ROWS(4);
        }
    while (left >= 2) {
        ROWS(2);
    }
    if (left) {
        ROWS(1);
    }
#undef ROWS
}

LK_INLINE void lk_dot_blocks(lk_dot_block block, const lk_dot *d, const int max_rows,
                             const int max_cols) {
    const int n_streams = d->w[1] ? 2 : 1;
    if (n_streams == 2 && d->cols == 1) {
        const char *w0 = d->w[0], *w1 = d->w[1];
        for (int r = 0; r < d->rows; r++, w0 += d->w_stride, w1 += d->w_stride)
            block(d, (const char *const[4]){w0, w1, w0, w1},
                  (float *const[4]){d->y[0] + r, d->y[1] + r, NULL, NULL}, d->x, 2, 1);
        return;
    }
    for (int s = 0; s < n_streams; s++) {
        const char *x = d->x;
        float *y = d->y[s];
        int left = d->cols;
#define COLUMNS(n)                                                                                 \
    lk_dot_stream(block, d, d->w[s], y, x, max_rows, n);                                           \
    y += (n) * d->y_stride;                                                                        \
    x += (n) * d->x_stride;                                                                        \
    left -= (n)
        if (max_cols >= 6)
            while (left >= 6) {
                COLUMNS(6);
            }
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
}

#endif
