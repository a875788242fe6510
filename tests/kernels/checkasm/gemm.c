/*
 * skinny_TYPE: what unpack_TYPE and gemm_gG[_min] make of the same rows, within the bound of the
 * latter. gemm_gG[_min]: one or two tiles as the unpack slots make them (signs and largest codes of
 * the real types) on panels with unused columns at zero. Exact scales: bit for bit; others: the
 * bound of check.h, terms being one (two with minima) per group and the value accumulated onto.
 */
#include "weights.h"

typedef struct {
    int q_min, q_max;
} codes;

typedef struct {
    int group, has_min, k, rows, cols, accumulate;
    bool exact, extreme;
    codes q;
} shape;

/* Rows that a matrix lacks are zero. */
static void fill_tile(const shape *s, const lk_tile *t, int rows) {
    for (int i = 0; i < s->k * LK_TILE_ROWS; i++) {
        const int span = s->q.q_max - s->q.q_min;
        const int code = s->q.q_min + (s->extreme ? span * check_below(2) : check_below(span + 1));
        t->q[i] = (int8_t)(i / 4 % LK_TILE_ROWS < rows ? code : 0);
    }
    for (int i = 0; i < s->k / s->group * LK_TILE_ROWS; i++) {
        const int g = i / LK_TILE_ROWS, r = i % LK_TILE_ROWS;
        t->scale[i] = s->exact ? (check_below(2) ? 1.0f : -1.0f) : check_wide(-20, 10);
        t->start[i] = 0;
        for (int e = g * s->group; e < (g + 1) * s->group; e++)
            t->start[i] -= 128 * t->q[(e / 4 * LK_TILE_ROWS + r) * 4 + e % 4];
        if (t->min)
            t->min[i] = s->exact ? (float)(check_below(5) - 2) : check_wide(-20, 10);
        if (r >= rows) {
            t->scale[i] = 0.0f;
            if (t->min)
                t->min[i] = 0.0f;
        }
    }
}

static void fill_panel(const shape *s, lk_panel_block *panel) {
    memset(panel, 0, sizeof *panel * (size_t)(s->k / 32));
    for (lk_panel_block *b = panel; b < panel + s->k / 32; b++) {
        for (int c = 0; c < s->cols; c++) {
            int sum[2] = {0, 0};
            b->d[c] = s->exact ? 1.0f : fabsf(check_wide(-10, 5));
            for (int i = 0; i < 32; i++) {
                int q = s->extreme ? (check_below(8) ? 127 : -127) : check_below(255) - 127;
                b->q[c][i] = (uint8_t)(q + 128);
                sum[i / 16] += q;
            }
            b->s16[0][c] = b->d[c] * (float)sum[0];
            b->s16[1][c] = b->d[c] * (float)sum[1];
            b->s32[c] = b->d[c] * (float)(sum[0] + sum[1]);
        }
    }
}

static double magnitude(const shape *s, const lk_tile *tiles, const lk_panel_block *panel, int row,
                        int c) {
    const lk_tile *t = &tiles[row / LK_TILE_ROWS];
    const int r = row % LK_TILE_ROWS;
    double sum = 0.0;
    for (int i = 0; i < s->k; i++) {
        int g = i / s->group * LK_TILE_ROWS + r;
        double a = fabs((double)panel[i / 32].d[c] * (panel[i / 32].q[c][i % 32] - 128));
        double w = fabs((double)t->scale[g] * t->q[(i / 4 * LK_TILE_ROWS + r) * 4 + i % 4]);
        sum += a * (w + (t->min ? fabs((double)t->min[g]) : 0.0));
    }
    return sum;
}

static lk_tile new_tile(const shape *s, int offset) {
    size_t n_scales = (size_t)(s->k / s->group) * LK_TILE_ROWS;
    int floats = offset < 0 ? -1 : offset * 4;
    return (lk_tile){
        .q = check_at("q", (size_t)s->k * LK_TILE_ROWS, offset),
        .start = check_at("start", n_scales * 4, floats),
        .scale = check_at("scale", n_scales * 4, floats),
        .min = s->has_min ? check_at("min", n_scales * 4, floats) : NULL,
        .q_max = s->q.q_max > -s->q.q_min ? s->q.q_max : -s->q.q_min,
    };
}

/* Rows that exist are near those wanted, the others as they were. */
static void check_rows(const shape *s, const lk_tile *tiles, const lk_panel_block *panel,
                       int y_stride, const float *got, const float *want, const float *start) {
    const double terms = (1.0 + s->has_min) * s->k / s->group + 6.0;
    for (int i = 0; i < y_stride * (s->cols - 1) + s->rows; i++) {
        const int r = i % y_stride, c = i / y_stride;
        if (r >= s->rows) {
            if (!check_is_canary(got[i]))
                check_fail("wrote row %d of column %d", r, c);
            continue;
        }
        if (s->exact)
            check_equal("y", &got[i], &want[i], 1);
        double m = magnitude(s, tiles, panel, r, c);
        m += s->accumulate ? fabs((double)start[i]) : 0.0;
        check_near("y", i, (double)got[i], (double)want[i], terms * CHECK_EPS * m);
    }
}

static void run(const check_kernel *kernel, const shape *s, int offset) {
    check_case("k = %d, rows = %d, cols = %d, accumulate = %d, codes %d to %d, %s scales, "
               "%s codes, tiles %s %d",
               s->k, s->rows, s->cols, s->accumulate, s->q.q_min, s->q.q_max,
               s->exact ? "exact" : "random", s->extreme ? "extreme" : "random",
               offset < 0 ? "at the end" : "from byte", offset);
    size_t panel_bytes = sizeof(lk_panel_block) * (size_t)(s->k / 32);
    lk_panel_block *panel = check_at("panel", panel_bytes, offset < 0 ? -1 : offset * 4);
    lk_tile tiles[2];
    for (int t = 0; t < 2 && s->rows > LK_TILE_ROWS * t; t++) {
        tiles[t] = new_tile(s, offset);
        fill_tile(s, &tiles[t], s->rows - LK_TILE_ROWS * t);
    }
    fill_panel(s, panel);

    int y_stride = s->rows + check_below(3), n = y_stride * (s->cols - 1) + s->rows;
    float *want = check_output("scalar y", (size_t)n), *got = check_output("y", (size_t)n);
    float start[LK_PANEL_COLS * (2 * LK_TILE_ROWS + 2)];
    for (int i = 0; i < n; i++) {
        start[i] = s->exact ? (float)check_below(100) : check_wide(-5, 5);
        if (s->accumulate && i % y_stride < s->rows)
            got[i] = want[i] = start[i];
    }
    ((lk_gemm_fn)kernel->scalar)(want, y_stride, tiles, panel, s->k, s->rows, s->cols,
                                 s->accumulate);
    ((lk_gemm_fn)kernel->fn)(got, y_stride, tiles, panel, s->k, s->rows, s->cols, s->accumulate);
    check_canaries();
    check_rows(s, tiles, panel, y_stride, got, want, start);
}

/* The codes of the types that meet in a slot; how many types. */
static int codes_of(const shape *s, const codes **types) {
    static const codes g32[] = {{-8, 7}, {-16, 15}, {-128, 127}, {-12, 12}},
                       g32_min[] = {{0, 15}, {0, 31}}, g16[] = {{-4, 3}, {-32, 31}},
                       g16_min[] = {{0, 3}};
    *types = s->group == 32 ? (s->has_min ? g32_min : g32) : (s->has_min ? g16_min : g16);
    return s->group == 32 ? (s->has_min ? 2 : 4) : (s->has_min ? 1 : 2);
}

static shape shape_of(const check_kernel *kernel) {
    return (shape){.group = strstr(kernel->name, "g16") ? 16 : 32,
                   .has_min = strstr(kernel->name, "min") != NULL};
}

void check_lk_gemm_fn(const check_kernel *kernel) {
    shape s = shape_of(kernel);
    const codes *types;
    const int n_types = codes_of(&s, &types);
    static const int blocks[] = {1, 2, 3, 4, 5, 7, 8, 9};
    for (int t = 0; t < n_types; t++) {
        s.q = types[t];
        for (int i = 0; i < 2 * LK_TILE_ROWS * LK_PANEL_COLS; i++) {
            s.rows = 1 + i % (2 * LK_TILE_ROWS);
            s.cols = 1 + i / (2 * LK_TILE_ROWS);
            s.k = 32 * blocks[check_below(CHECK_COUNT(blocks))];
            s.accumulate = check_below(2);
            s.extreme = check_below(2);
            s.exact = check_below(2);
            if (s.exact) /* below 2^24 in total */
                s.k = s.q.q_max > 31 ? 32 : 128;
            run(kernel, &s, i % 3 ? -1 : 4 * check_below(16));
        }
        s = (shape){s.group, s.has_min, 4096, 32, 12, 1, false, true, s.q};
        run(kernel, &s, -1);
    }
}

/* What one call of a prompt gets: two tiles and a panel. */
void bench_lk_gemm_fn(const check_kernel *kernel) {
    shape s = shape_of(kernel);
    s.k = 2048, s.rows = 2 * LK_TILE_ROWS, s.cols = LK_PANEL_COLS;
    const codes *types;
    const int n_types = codes_of(&s, &types);
    const size_t n_scales = (size_t)(s.k / s.group * s.rows);
    const size_t panel_bytes = sizeof(lk_panel_block) * (size_t)(s.k / 32);
    for (int t = 0; t < n_types; t++) {
        s.q = types[t];
        check_case("k = %d, rows = %d, cols = %d, codes %d to %d", s.k, s.rows, s.cols, s.q.q_min,
                   s.q.q_max);
        const lk_tile tiles[2] = {new_tile(&s, 0), new_tile(&s, 0)};
        lk_panel_block *panel = check_at_start("panel", panel_bytes, 0);
        float *y = check_output("y", (size_t)(s.rows * s.cols));
        fill_tile(&s, &tiles[0], LK_TILE_ROWS);
        fill_tile(&s, &tiles[1], LK_TILE_ROWS);
        fill_panel(&s, panel);
        BENCH(((lk_gemm_fn)kernel->fn)(y, s.rows, tiles, panel, s.k, s.rows, s.cols, 0),
              .bytes = (double)(s.k * s.rows) + 4.0 * (2 + s.has_min) * (double)n_scales +
                       (double)panel_bytes,
              .operations = 2.0 * s.k * s.rows * s.cols, .limits = "L2,int8");
    }
}

static lk_unpack_fn scalar_unpack(const char *type) {
    for (int slot = 0; slot < lk_n_kernels(); slot++) {
        const char *name = lk_kernel_name(slot);
        if (strncmp(name, "unpack_", 7) == 0 && strcmp(name + 7, type) == 0)
            return (lk_unpack_fn)lk_kernel_at(slot, LK_LEVEL_SCALAR);
    }
    check_fail("no unpack_%s", type);
}

static void run_skinny(const check_kernel *kernel, const check_weight *type, int n_blocks, int rows,
                       int cols, bool extreme, int offset) {
    const int accumulate = check_below(2);
    const shape s = {.group = type->group,
                     .has_min = type->min_max != 0,
                     .k = n_blocks * type->length,
                     .rows = rows,
                     .cols = cols,
                     .accumulate = accumulate,
                     .extreme = extreme};
    check_case("%d blocks, rows = %d, cols = %d, accumulate = %d, %s codes, weights %s %d",
               n_blocks, rows, cols, accumulate, extreme ? "extreme" : "random",
               offset < 0 ? "at the end" : "from byte", offset);
    const size_t w_bytes = (size_t)(n_blocks * type->bytes);
    const size_t w_stride = w_bytes + 2 * (size_t)check_below(3);
    uint8_t *w = check_at("weights", w_stride * (size_t)(rows - 1) + w_bytes, offset);
    for (int r = 0; r < rows; r++)
        check_fill_blocks(type, w + (size_t)r * w_stride, n_blocks, SCALE_RANDOM, extreme);
    lk_panel_block *panel = check_at_end("panel", sizeof *panel * (size_t)(s.k / 32));
    fill_panel(&s, panel);
    const lk_tile tile = new_tile(&s, -1);
    scalar_unpack(strchr(kernel->name, '_') + 1)(&tile, w, w_stride, s.k, rows);

    const int y_stride = rows + check_below(3), n = y_stride * (cols - 1) + rows;
    float *want = check_output("scalar y", (size_t)n), *got = check_output("y", (size_t)n);
    float start[LK_SKINNY_COLS * (LK_TILE_ROWS + 2)];
    for (int i = 0; i < n; i++) {
        start[i] = check_wide(-5, 5);
        if (accumulate && i % y_stride < rows)
            got[i] = want[i] = start[i];
    }
    ((lk_skinny_fn)kernel->scalar)(want, y_stride, w, w_stride, panel, s.k, rows, cols, accumulate);
    ((lk_skinny_fn)kernel->fn)(got, y_stride, w, w_stride, panel, s.k, rows, cols, accumulate);
    check_canaries();
    check_rows(&s, &tile, panel, y_stride, got, want, start);
}

void check_lk_skinny_fn(const check_kernel *kernel) {
    const check_weight *type = check_weight_of(kernel->name);
    const int most = type->length == 32 ? 9 : 3;
    for (int i = 0; i < LK_TILE_ROWS * LK_SKINNY_COLS; i++)
        run_skinny(kernel, type, 1 + check_below(most), 1 + i % LK_TILE_ROWS, 1 + i / LK_TILE_ROWS,
                   i % 3 == 0, i % 2 ? -1 : 2 * check_below(16));
    for (int n_blocks = 1; n_blocks <= most; n_blocks++)
        run_skinny(kernel, type, n_blocks, LK_TILE_ROWS, LK_SKINNY_COLS, true, -1);
}

/* The rows of a tile and eight tokens. */
void bench_lk_skinny_fn(const check_kernel *kernel) {
    const check_weight *type = check_weight_of(kernel->name);
    const shape s = {.k = 2048, .rows = LK_TILE_ROWS, .cols = LK_SKINNY_COLS};
    const size_t row_bytes = (size_t)(s.k / type->length * type->bytes);
    check_case("k = %d, rows = %d, cols = %d", s.k, s.rows, s.cols);
    uint8_t *w = check_at_start("weights", row_bytes * LK_TILE_ROWS, 0);
    lk_panel_block *panel = check_at_start("panel", sizeof *panel * (size_t)(s.k / 32), 0);
    float *y = check_output("y", (size_t)(s.rows * s.cols));
    check_fill_blocks(type, w, s.k / type->length * s.rows, SCALE_RANDOM, false);
    fill_panel(&s, panel);
    BENCH(((lk_skinny_fn)kernel->fn)(y, s.rows, w, row_bytes, panel, s.k, s.rows, s.cols, 0),
          .bytes = (double)row_bytes * s.rows, .operations = 2.0 * s.k * s.rows * s.cols,
          .limits = "L1,int8");
}
