/*
 * The walk over rows and columns that the vector versions of this unit share. Included inside a
 * target region, after what it is built from:
 *     k_block, k_sum                 an unpacked super-block; the running sums of one result
 *     load_TYPE(&b, super_block)     unpacks; a k_load_fn
 *     zero_sum()                     the sums of nothing
 *     add_block(&sum, &b, x, k, i)   adds the super-block of elements i .. i + 255 of row x
 *     total(&sum)                    the result
 */
#ifndef LK_DOT_B256_H
#define LK_DOT_B256_H

/* n_rows (to 2) by n_cols (to 4) results; both are constants where this is inlined. */
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

/*
 * One column: two far row streams, which the prefetcher follows and which share activations. More:
 * a row at a time, its super-blocks unpacked once per four columns.
 */
LK_INLINE void dot_all(k_load_fn load, size_t bytes, float *y, ptrdiff_t y_stride, const void *w,
                       size_t w_stride, const void *x, size_t x_stride, int k, int rows, int cols) {
    const int far = cols == 1 ? rows / 2 : 0;
    for (int r = 0; r < rows - far; r++) {
        const uint8_t *row = (const uint8_t *)w + (size_t)r * w_stride;
        if (r < far) {
            dot_tile(load, bytes, 2, 1, y + r, rows - far, 0, row, (size_t)(rows - far) * w_stride,
                     x, 0, k);
            continue;
        }
        for (int c = 0; c < cols; c += 4) {
            float *out = y + c * y_stride + r;
            const char *x_c = (const char *)x + (size_t)c * x_stride;
            switch (cols - c) {
            case 1:
                dot_tile(load, bytes, 1, 1, out, 0, y_stride, row, 0, x_c, x_stride, k);
                break;
            case 2:
                dot_tile(load, bytes, 1, 2, out, 0, y_stride, row, 0, x_c, x_stride, k);
                break;
            case 3:
                dot_tile(load, bytes, 1, 3, out, 0, y_stride, row, 0, x_c, x_stride, k);
                break;
            default:
                dot_tile(load, bytes, 1, 4, out, 0, y_stride, row, 0, x_c, x_stride, k);
            }
        }
    }
}

#define LK_DOT_B256(name, level)                                                                   \
    void dot_##name##_##level(float *y, ptrdiff_t y_stride, const void *w, size_t w_stride,        \
                              const void *x, size_t x_stride, int k, int rows, int cols) {         \
        dot_all(load_##name, sizeof(block_##name), y, y_stride, w, w_stride, x, x_stride, k, rows, \
                cols);                                                                             \
    }

#endif
