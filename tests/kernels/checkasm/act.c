/* act_q8, panel_q8: records in either order, a column of a panel; bit for bit. */
#include "check.h"

static const char *const contents[] = {"random", "zero blocks", "tiny",
                                       "huge",   "ties",        "one value"};

static void fill(float *x, int k, int content) {
    for (int i = 0; i < k; i++) {
        switch (content) {
        case 0:
            x[i] = check_wide(-8, 4);
            break;
        case 1:
            x[i] = i / 32 % 2 ? check_wide(-2, 2) : (check_below(2) ? 0.0f : -0.0f);
            break;
        case 2: /* down to where x / 127 is subnormal */
            x[i] = check_wide(-126, -100);
            break;
        case 3:
            x[i] = check_wide(100, 127);
            break;
        case 4: /* multiples of d / 2: every rounding is a tie or exact */
            x[i] = i % 32 == 0 ? 127.0f : 0.5f * (float)(check_below(509) - 254);
            break;
        default:
            x[i] = i % 32 == 7 ? check_wide(-3, 3) : 0.0f;
        }
    }
}

void check_lk_act_fn(const check_kernel *kernel) {
    static const int blocks[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33};
    for (int i = 0; i < CHECK_COUNT(blocks) * CHECK_COUNT(contents); i++) {
        int content = i % CHECK_COUNT(contents), k = 32 * blocks[i / CHECK_COUNT(contents)];
        for (int offset = -4; offset <= 28; offset += 4) {
            check_case("k = %d, %s, x %s %d", k, contents[content],
                       offset < 0 ? "at the end" : "from byte", offset);
            float *x = check_at("x", (size_t)k * 4, offset);
            fill(x, k, content);
            int order = check_below(2);
            size_t floats = lk_act_bytes(k) / sizeof(float);
            float *want = check_output("the scalar row", floats);
            float *got = check_output("the row", floats);
            ((lk_act_fn)kernel->scalar)((lk_act_block *)want, x, k, order);
            ((lk_act_fn)kernel->fn)((lk_act_block *)got, x, k, order);
            check_canaries();
            check_equal_bytes("the row", got, want, lk_act_bytes(k));
        }
    }
}

void bench_lk_act_fn(const check_kernel *kernel) {
    const int k = 4096;
    check_case("k = %d", k);
    float *x = check_at_start("x", (size_t)k * 4, 0);
    lk_act_block *act = check_at_start("the row", lk_act_bytes(k), 0);
    fill(x, k, 0);
    BENCH(((lk_act_fn)kernel->fn)(act, x, k, LK_ACT_IN_ORDER), .bytes = 4.0 * k, .limits = "L1");
}

void check_lk_panel_fn(const check_kernel *kernel) {
    static const int blocks[] = {1, 2, 3, 8, 9};
    for (int i = 0; i < CHECK_COUNT(blocks) * CHECK_COUNT(contents); i++) {
        int content = i % CHECK_COUNT(contents), k = 32 * blocks[i / CHECK_COUNT(contents)];
        for (int column = 0; column < LK_PANEL_COLS; column++) {
            int offset = 4 * check_below(8) - 4;
            check_case("k = %d, %s, column %d, x %s %d", k, contents[content], column,
                       offset < 0 ? "at the end" : "from byte", offset);
            float *x = check_at("x", (size_t)k * 4, offset);
            fill(x, k, content);
            size_t bytes = sizeof(lk_panel_block) * (size_t)(k / 32);
            float *want = check_output("the scalar panel", bytes / 4);
            float *got = check_output("the panel", bytes / 4);
            ((lk_panel_fn)kernel->scalar)((lk_panel_block *)want, column, x, k);
            ((lk_panel_fn)kernel->fn)((lk_panel_block *)got, column, x, k);
            check_canaries();
            check_equal_bytes("the panel", got, want, bytes);
        }
    }
}

void bench_lk_panel_fn(const check_kernel *kernel) {
    const int k = 4096;
    check_case("k = %d", k);
    float *x = check_at_start("x", (size_t)k * 4, 0);
    lk_panel_block *panel = check_at_start("the panel", sizeof(lk_panel_block) * (size_t)k / 32, 0);
    fill(x, k, 0);
    BENCH(((lk_panel_fn)kernel->fn)(panel, 0, x, k), .bytes = 4.0 * k, .limits = "L1");
}
