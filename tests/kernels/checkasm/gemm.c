/*
 * gemm_gG[_min]: tiles as the unpack slots make them (zero points and largest codes of the real
 * types) on panels with unused columns at zero. Exact scales: bit for bit; others: the bound of
 * check.h, terms being one (two with minima) per group and the value accumulated onto.
 */
#include "check.h"

typedef struct {
    int zero, q_max;
} codes;

typedef struct {
    int group, has_min, k, rows, cols, accumulate;
    bool exact, extreme;
    codes q;
} shape;

static void fill_tile(const shape *s, uint8_t *q, float *scale, float *min) {
    for (int i = 0; i < s->k * LK_TILE_ROWS; i++)
        q[i] = (uint8_t)(s->extreme ? s->q.q_max * check_below(2) : check_below(s->q.q_max + 1));
    for (int i = 0; i < s->k / s->group * LK_TILE_ROWS; i++) {
        scale[i] = s->exact ? (check_below(2) ? 1.0f : -1.0f) : check_wide(-20, 10);
        min[i] = s->exact ? (float)(check_below(5) - 2) : check_wide(-20, 10);
    }
    for (int i = 0; i < s->k * LK_TILE_ROWS; i++) /* rows that a matrix lacks are zero */
        if (i / 4 % LK_TILE_ROWS >= s->rows)
            q[i] = 0;
    for (int i = 0; i < s->k / s->group * LK_TILE_ROWS; i++)
        if (i % LK_TILE_ROWS >= s->rows)
            scale[i] = min[i] = 0.0f;
}

static void fill_panel(const shape *s, lk_panel_block *panel) {
    memset(panel, 0, sizeof *panel * (size_t)(s->k / 32));
    for (lk_panel_block *b = panel; b < panel + s->k / 32; b++) {
        for (int c = 0; c < s->cols; c++) {
            b->d[c] = s->exact ? 1.0f : fabsf(check_wide(-10, 5));
            for (int i = 0; i < 32; i++) {
                int q = s->extreme ? (check_below(8) ? 127 : -127) : check_below(255) - 127;
                b->q[c][i] = (int8_t)q;
                *(i < 16 ? &b->sum_lo[c] : &b->sum_hi[c]) += q;
            }
            b->sum[c] = b->sum_lo[c] + b->sum_hi[c];
        }
    }
}

static double magnitude(const shape *s, const lk_tile *tile, const lk_panel_block *panel, int r,
                        int c) {
    double sum = 0.0;
    for (int i = 0; i < s->k; i++) {
        int g = i / s->group * LK_TILE_ROWS + r;
        double a = fabs((double)panel[i / 32].d[c] * panel[i / 32].q[c][i % 32]);
        double w = fabs((double)tile->scale[g]) *
                   (tile->q[(i / 4 * LK_TILE_ROWS + r) * 4 + i % 4] + tile->zero);
        sum += a * (w + (s->has_min ? fabs((double)tile->min[g]) : 0.0));
    }
    return sum;
}

static void run(const check_kernel *kernel, const shape *s, int offset) {
    check_case("k = %d, rows = %d, cols = %d, accumulate = %d, zero = %d, codes to %d, %s scales, "
               "%s codes, tile %s %d",
               s->k, s->rows, s->cols, s->accumulate, s->q.zero, s->q.q_max,
               s->exact ? "exact" : "random", s->extreme ? "extreme" : "random",
               offset < 0 ? "at the end" : "from byte", offset);
    size_t n_scales = (size_t)(s->k / s->group) * LK_TILE_ROWS;
    uint8_t *q = check_at("q", (size_t)s->k * LK_TILE_ROWS, offset);
    float *scale = check_at("scale", n_scales * 4, offset < 0 ? -1 : offset * 4);
    float *min = check_at("min", n_scales * 4, offset < 0 ? -1 : offset * 4);
    size_t panel_bytes = sizeof(lk_panel_block) * (size_t)(s->k / 32);
    lk_panel_block *panel = check_at("panel", panel_bytes, offset < 0 ? -1 : offset * 4);
    fill_tile(s, q, scale, min);
    fill_panel(s, panel);
    lk_tile tile = {q, scale, s->has_min ? min : NULL, s->q.zero};

    int y_stride = s->rows + check_below(3), n = y_stride * (s->cols - 1) + s->rows;
    float *want = check_output("scalar y", (size_t)n), *got = check_output("y", (size_t)n);
    float start[LK_PANEL_COLS * (LK_TILE_ROWS + 2)];
    for (int i = 0; i < n; i++) {
        start[i] = s->exact ? (float)check_below(100) : check_wide(-5, 5);
        if (s->accumulate && i % y_stride < s->rows)
            got[i] = want[i] = start[i];
    }
    ((lk_gemm_fn)kernel->scalar)(want, y_stride, &tile, panel, s->k, s->rows, s->cols,
                                 s->accumulate);
    ((lk_gemm_fn)kernel->fn)(got, y_stride, &tile, panel, s->k, s->rows, s->cols, s->accumulate);
    check_canaries();
    double terms = (1.0 + s->has_min) * s->k / s->group + 6.0;
    for (int i = 0; i < n; i++) {
        int r = i % y_stride, c = i / y_stride;
        if (r >= s->rows) {
            if (!check_is_canary(got[i]))
                check_fail("wrote row %d of column %d", r, c);
            continue;
        }
        if (s->exact)
            check_equal("y", &got[i], &want[i], 1);
        double m = magnitude(s, &tile, panel, r, c);
        m += s->accumulate ? fabs((double)start[i]) : 0.0;
        check_near("y", i, (double)got[i], (double)want[i], terms * CHECK_EPS * m);
    }
}

void check_lk_gemm_fn(const check_kernel *kernel) {
    static const codes g32[] = {{8, 15}, {16, 31}, {128, 255}}, g32_min[] = {{0, 15}, {0, 31}},
                       g16[] = {{4, 7}, {32, 63}}, g16_min[] = {{0, 3}};
    shape s = {.group = strstr(kernel->name, "g16") ? 16 : 32,
               .has_min = strstr(kernel->name, "min") != NULL};
    const codes *types = s.group == 32 ? (s.has_min ? g32_min : g32) : (s.has_min ? g16_min : g16);
    int n_types = s.group == 32 ? (s.has_min ? 2 : 3) : (s.has_min ? 1 : 2);
    static const int blocks[] = {1, 2, 3, 4, 5, 7, 8, 9};
    for (int t = 0; t < n_types; t++) {
        s.q = types[t];
        for (int i = 0; i < LK_TILE_ROWS * LK_PANEL_COLS; i++) {
            s.rows = 1 + i % LK_TILE_ROWS;
            s.cols = 1 + i / LK_TILE_ROWS;
            s.k = 32 * blocks[check_below(CHECK_COUNT(blocks))];
            s.accumulate = check_below(2);
            s.extreme = check_below(2);
            s.exact = check_below(2);
            if (s.exact) /* below 2^24 in total */
                s.k = s.q.q_max > 31 ? 32 : 128;
            run(kernel, &s, i % 3 ? -1 : 4 * check_below(16));
        }
        s = (shape){s.group, s.has_min, 4096, 16, 12, 1, false, true, s.q};
        run(kernel, &s, -1);
    }
}
