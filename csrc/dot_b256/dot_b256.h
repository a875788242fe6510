/*
 * The walk over rows and columns that the vector versions of this unit share. Included inside a
 * target region, after what it is built from:
 *     k_block, k_sum                 an unpacked super-block; the running sums of one result
 *     load_TYPE(&b, super_block)     unpacks; a k_load_fn
 *     zero_sum()                     the sums of nothing
 *     add_block(&sum, &b, x, k, i)   adds the super-block of elements i .. i + 255 of row x
 *     total(&sum)                    the result
 *     LK_DOT_ROW                     how dot_row is declared: inlined into each type or not
 */
#ifndef LK_DOT_B256_H
#define LK_DOT_B256_H

/* n_rows (to 2) by n_cols (to 4) results, n_rows and n_cols constants. */
LK_INLINE void dot_tile(k_load_fn load, size_t bytes, int n_rows, int n_cols, float *y,
                        ptrdiff_t y_row, ptrdiff_t y_col, const uint8_t *w, size_t w_row,
                        const char *x, size_t x_stride, int k) {
    k_sum sum[8];
#pragma GCC unroll 8
    for (int j = 0; j < n_rows * n_cols; j++)
        sum[j] = zero_sum();
    for (int i = 0; i < k; i += LK_QK256, w += bytes) {
#pragma GCC unroll 2
        for (int r = 0; r < n_rows; r++) {
            k_block b;
            load(&b, w + (size_t)r * w_row);
#pragma GCC unroll 4
            for (int c = 0; c < n_cols; c++)
                add_block(&sum[r * n_cols + c], &b, x + (size_t)c * x_stride, k, i);
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < n_rows * n_cols; j++)
        y[j / n_cols * y_row + j % n_cols * y_col] = total(&sum[j]);
}

/* One row and all columns, a super-block unpacked once for four. */
LK_DOT_ROW void dot_row(k_load_fn load, size_t bytes, float *y, ptrdiff_t y_stride,
                        const uint8_t *w, const char *x, size_t x_stride, int k, int cols) {
    for (; cols >= 4; cols -= 4, y += 4 * y_stride, x += 4 * x_stride)
        dot_tile(load, bytes, 1, 4, y, 0, y_stride, w, 0, x, x_stride, k);
    if (cols == 3)
        dot_tile(load, bytes, 1, 3, y, 0, y_stride, w, 0, x, x_stride, k);
    else if (cols == 2)
        dot_tile(load, bytes, 1, 2, y, 0, y_stride, w, 0, x, x_stride, k);
    else if (cols == 1)
        dot_tile(load, bytes, 1, 1, y, 0, y_stride, w, 0, x, x_stride, k);
}

/* With one column, two far row streams: the prefetcher follows both, and they share activations. */
LK_INLINE void dot_all(k_load_fn load, size_t bytes, float *y, ptrdiff_t y_stride, const void *w,
                       size_t w_stride, const void *x, size_t x_stride, int k, int rows, int cols) {
    const int pairs = cols == 1 ? rows / 2 : 0, far = rows - pairs;
    for (int r = 0; r < far; r++) {
        const uint8_t *row = (const uint8_t *)w + (size_t)r * w_stride;
        if (r < pairs)
            dot_tile(load, bytes, 2, 1, y + r, far, 0, row, (size_t)far * w_stride, x, 0, k);
        else
            dot_row(load, bytes, y + r, y_stride, row, x, x_stride, k, cols);
    }
}

#define LK_DOT_B256(name, level)                                                                   \
    void dot_##name##_##level(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,        \
                              const void *x, size_t x_stride, int k, int rows, int cols) {         \
        dot_all(load_##name, sizeof(block_##name), y, y_stride, w, w_stride, x, x_stride, k, rows, \
                cols);                                                                             \
    }

#endif
