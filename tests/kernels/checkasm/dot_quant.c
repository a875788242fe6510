/*
 * dot_TYPE on blocks. Exact scales: the value is an integer below 2^24, so it must be equal bit for
 * bit. Other scales: within the bound of check.h, with the magnitudes read from the scalar unpack.
 * At all times a value must be the one that one stream, one row and one column give.
 */
#include "weights.h"

#define LONGEST 4096

typedef struct {
    const check_weight *type;
    int k, rows, cols, offset; /* offset < 0: weights end at the guard */
    size_t row_gap;            /* bytes between rows */
    check_scale scale;
    bool extreme;
} shape;

static int unpack_slot_of(const check_weight *type) {
    for (int slot = 0; slot < LK_N_SLOTS; slot++) {
        const char *name = lk_kernel_name(slot);
        if (strncmp(name, "unpack_", 7) == 0 && strcmp(name + 7, type->name) == 0)
            return slot;
    }
    check_fail("no unpack slot for %s", type->name);
}

/* sum |term| of row . x, the zero point and the minimum being terms of their own. */
static double magnitude(const check_weight *type, const void *row, const lk_act_block *x, int k) {
    static int8_t q[LK_TILE_ROWS * LONGEST];
    static int32_t start[LK_TILE_ROWS * LONGEST / 16];
    static float scale[LK_TILE_ROWS * LONGEST / 16], min[LK_TILE_ROWS * LONGEST / 16];
    lk_fn unpack = lk_kernel_at(unpack_slot_of(type), LK_LEVEL_SCALAR);
    if (!unpack)
        check_fail("unpack_%s has no scalar version, which this check needs", type->name);
    ((lk_unpack_fn)unpack)(&(lk_tile){q, start, scale, min, 0}, row, 0, k, 1);
    double sum = 0.0;
    for (int i = 0; i < k; i++) {
        int g = i / type->group, code = q[i / 4 * 4 * LK_TILE_ROWS + i % 4] + type->zero;
        const lk_act_block *block = &x[i / 256];
        double a =
            fabs((double)block->d[i % 256 / 32] * block->q[lk_act_place(type->order, i % 256)]);
        double w = fabs((double)scale[g * LK_TILE_ROWS]) * (code + type->zero);
        sum += a * (w + (type->min_max ? fabs((double)min[g * LK_TILE_ROWS]) : 0.0));
    }
    return sum;
}

static void compare(const shape *s, const uint8_t *w, size_t w_stride, const char *x,
                    size_t x_stride, const float *got, const float *want) {
    /* two terms a group, four roundings in a term, one for the sum over lanes */
    double terms = 2.0 * s->k / s->type->group + 5.0;
    for (int c = 0; c < s->cols; c++) {
        for (int r = 0; r < s->rows; r++) {
            int i = c * s->rows + r;
            if (s->scale == SCALE_EXACT) {
                check_equal("y", &got[i], &want[i], 1);
                continue;
            }
            double m = magnitude(s->type, w + (size_t)r * w_stride,
                                 (const lk_act_block *)(x + (size_t)c * x_stride), s->k);
            check_near("y", i, (double)got[i], (double)want[i], terms * CHECK_EPS * m);
        }
    }
}

void check_run_streams(lk_dot_fn fn, lk_dot d, float *y) {
    int rows = d.rows;
    d.y[0] = y;
    if (rows > 1 && check_below(2)) {
        d.rows = rows / 2;
        d.w[1] = (const char *)d.w[0] + (size_t)d.rows * d.w_stride;
        d.y[1] = y + d.rows;
        fn(&d);
        d.w[0] = (const char *)d.w[1] + (size_t)d.rows * d.w_stride;
        d.y[0] = d.y[1] + d.rows;
        d.w[1] = d.y[1] = NULL;
        d.rows = rows % 2;
    }
    if (d.rows)
        fn(&d);
}

static void fill_x(const shape *s, void *x) {
    int amplitude = 127, active = s->k;
    if (s->scale == SCALE_EXACT) {
        amplitude = check_below(2) ? 127 : 1 + check_below(3);
        active = check_exact_elements(s->type, s->k, amplitude);
    }
    check_fill_act(x, s->k, s->type->order, s->scale, amplitude, s->extreme, active);
}

static void run(const check_kernel *kernel, const shape *s) {
    int rows = s->rows, cols = s->cols, k = s->k;
    check_case("k = %d, rows = %d, cols = %d, %s scales, %s bytes, weights %s %d, row gap %zu", k,
               rows, cols, check_scale_names[s->scale], s->extreme ? "extreme" : "random",
               s->offset < 0 ? "at the end" : "from byte", s->offset, s->row_gap);
    int blocks = k / s->type->length;
    size_t w_bytes = (size_t)(blocks * s->type->bytes), w_stride = w_bytes + s->row_gap;
    size_t x_stride = lk_act_bytes(k) + 4 * (size_t)check_below(3);
    uint8_t *w = check_at("weights", w_stride * (size_t)(rows - 1) + w_bytes, s->offset);
    char *x = check_at_end("x", x_stride * (size_t)(cols - 1) + lk_act_bytes(k));
    for (int r = 0; r < rows; r++)
        check_fill_blocks(s->type, w + (size_t)r * w_stride, blocks, s->scale, s->extreme);
    for (int c = 0; c < cols; c++)
        fill_x(s, x + (size_t)c * x_stride);

    int gap = check_below(3), y_stride = rows + gap;
    float *y = check_output("y", (size_t)(y_stride * (cols - 1) + rows));
    float *got = check_output("values", (size_t)(rows * cols));
    float *want = check_output("scalar values", (size_t)(rows * cols));
    lk_dot_fn scalar = (lk_dot_fn)kernel->scalar, fn = (lk_dot_fn)kernel->fn;
    scalar(&(lk_dot){{w}, {want}, x, w_stride, x_stride, rows, k, rows, cols});
    check_run_streams(fn, (lk_dot){{w}, {y}, x, w_stride, x_stride, y_stride, k, rows, cols}, y);
    check_canaries();
    for (int c = 0; c < cols; c++) {
        for (int r = 0; r < y_stride && c * y_stride + r < y_stride * (cols - 1) + rows; r++) {
            float value = y[c * y_stride + r];
            if (r < rows)
                got[c * rows + r] = value;
            else if (!check_is_canary(value))
                check_fail("wrote y[%d] of column %d, there are %d rows", r, c, rows);
        }
    }
    compare(s, w, w_stride, x, x_stride, got, want);
    for (int i = 0; i < rows * cols; i++) {
        float *one = check_output("one value", 1);
        size_t r = (size_t)(i % rows), c = (size_t)(i / rows);
        fn(&(lk_dot){{w + r * w_stride}, {one}, x + c * x_stride, w_stride, x_stride, 1, k, 1, 1});
        check_equal("value as a batch of one, y", &got[i], one, 1);
        check_drop_buffer();
    }
}

void check_lk_dot_fn(const check_kernel *kernel) {
    static const int blocks[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17},
                     edges[] = {1, 2, 3, 4, 5, 11, 12, 13, 15, 16, 17};
    const check_weight *type = check_weight_of(kernel->name);
    if (!type) {
        check_dot_float(kernel);
        return;
    }
    int n_blocks = type->length == 32 ? CHECK_COUNT(blocks) : 5;
    for (int i = 0; i < n_blocks * N_SCALES * 2; i++) { /* every length with every content */
        int rows = edges[check_below(CHECK_COUNT(edges))], cols = 1 + check_below(9);
        run(kernel, &(shape){type, type->length * blocks[i % n_blocks], rows, cols, -1, 0,
                             i / n_blocks % N_SCALES, i / n_blocks >= N_SCALES});
    }
    for (int i = 0; i < CHECK_COUNT(edges) * 9; i++) /* every number of rows and columns */
        run(kernel, &(shape){type, type->length * (1 + check_below(3)), edges[i / 9], 1 + i % 9, -1,
                             0, i % 2 ? SCALE_EXACT : SCALE_RANDOM, false});
    for (int i = 0; i < N_SCALES * 2; i++) /* long rows: what an accumulator must hold */
        run(kernel, &(shape){type, LONGEST - 256 * check_below(2), 1 + check_below(3),
                             1 + check_below(2), -1, 0, i / 2, i % 2});
    for (int offset = 0; offset <= 30; offset += 2) /* every start in the file */
        run(kernel, &(shape){type, type->length * (1 + check_below(9)), 1 + check_below(5),
                             1 + check_below(3), offset, (size_t)(2 * check_below(3)), SCALE_RANDOM,
                             check_below(2)});
}

void bench_streams(lk_dot_fn fn, lk_dot d, bool is_int8) {
    d.rows /= 2;
    const size_t stream = (size_t)d.rows * d.w_stride; /* bytes */
    const size_t half = BENCH_MEMORY_BYTES / 2 / stream * stream;
    const double bytes = 2.0 * (double)stream, operations = 4.0 * d.k * d.rows;
    const char *w = d.w[0];
    d.w[1] = w + stream;
    d.y[1] = d.y[0] + d.rows;
    check_case("k = %d, rows = 2 x %d, in L2", d.k, d.rows);
    BENCH(fn(&d), bytes, operations, is_int8 ? "L2,int8" : "L2");

    check_case("k = %d, rows = 2 x %d, in memory", d.k, d.rows);
    const uint8_t *memory = bench_memory(w, 2 * stream);
    size_t at = 0;
    BENCH((d.w[0] = memory + at, d.w[1] = memory + half + at, at = (at + stream) % half, fn(&d)),
          bytes, operations, is_int8 ? "memory,int8" : "memory");
}

/* One token. */
void bench_lk_dot_fn(const check_kernel *kernel) {
    const check_weight *type = check_weight_of(kernel->name);
    if (!type) {
        bench_dot_float(kernel);
        return;
    }
    const int k = 4096, row_bytes = k / type->length * type->bytes;
    const int rows = BENCH_L2_BYTES / row_bytes;
    check_case("k = %d, rows = %d", k, rows);
    uint8_t *w = check_at_start("weights", BENCH_L2_BYTES, 0);
    void *x = check_at_start("x", lk_act_bytes(k), 0);
    float *y = check_output("y", (size_t)rows);
    check_fill_blocks(type, w, BENCH_L2_BYTES / type->bytes, SCALE_RANDOM, false);
    check_fill_act(x, k, type->order, SCALE_RANDOM, 127, false, k);
    bench_streams((lk_dot_fn)kernel->fn,
                  (lk_dot){{w}, {y}, x, (size_t)row_bytes, 0, rows, k, rows, 1}, true);
}
