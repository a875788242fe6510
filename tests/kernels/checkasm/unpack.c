/* unpack_TYPE: codes, starts, scales, minima of a tile, bit for bit; absent rows repeat row 0. */
#include "weights.h"

static void run(const check_kernel *kernel, const check_weight *type, int n_blocks, int rows,
                check_scale scale, bool extreme, int offset) {
    check_case("%d blocks, rows = %d, %s scales, %s bytes, weights %s %d", n_blocks, rows,
               check_scale_names[scale], extreme ? "extreme" : "random",
               offset < 0 ? "at the end" : "from byte", offset);
    int k = n_blocks * type->length;
    size_t w_bytes = (size_t)(n_blocks * type->bytes);
    size_t w_stride = w_bytes + 2 * (size_t)check_below(3);
    size_t q_floats = (size_t)k * LK_TILE_ROWS / 4;
    size_t n_scales = (size_t)(k / type->group) * LK_TILE_ROWS;
    uint8_t *w = check_at("weights", w_stride * (size_t)(rows - 1) + w_bytes, offset);
    for (int r = 0; r < rows; r++)
        check_fill_blocks(type, w + (size_t)r * w_stride, n_blocks, scale, extreme);
    float *q[2], *starts[2], *scales[2], *mins[2];
    const lk_fn versions[2] = {kernel->scalar, kernel->fn};
    for (int v = 0; v < 2; v++) {
        q[v] = check_output("q", q_floats);
        starts[v] = check_output("start", n_scales);
        scales[v] = check_output("scale", n_scales);
        mins[v] = check_output("min", n_scales);
        const lk_tile tile = {(int8_t *)q[v], (int32_t *)starts[v], scales[v], mins[v], 0};
        ((lk_unpack_fn)versions[v])(&tile, w, w_stride, k, rows);
    }
    check_canaries();
    check_equal_bytes("q", q[1], q[0], q_floats * 4);
    check_equal_bytes("start", starts[1], starts[0], n_scales * 4);
    check_equal("scale", scales[1], scales[0], n_scales);
    if (type->min_max)
        check_equal("min", mins[1], mins[0], n_scales);
    for (size_t i = 0; i < n_scales; i++)
        if (!type->min_max && !check_is_canary(mins[1][i]))
            check_fail("wrote min[%zu] of a type without minima", i);
}

void check_lk_unpack_fn(const check_kernel *kernel) {
    const check_weight *type = check_weight_of(kernel->name);
    int most = type->length == 32 ? 9 : 3;
    for (int rows = 1; rows <= LK_TILE_ROWS; rows++)
        run(kernel, type, 1 + check_below(most), rows, SCALE_RANDOM, false, -1);
    for (int i = 0; i < most * N_SCALES * 2; i++)
        run(kernel, type, 1 + i % most, 1 + check_below(LK_TILE_ROWS), i / most % N_SCALES,
            i / most >= N_SCALES, -1);
    for (int offset = 0; offset <= 30; offset += 2)
        run(kernel, type, 1 + check_below(most), LK_TILE_ROWS, SCALE_RANDOM, false, offset);
}

void bench_lk_unpack_fn(const check_kernel *kernel) {
    const check_weight *type = check_weight_of(kernel->name);
    const int k = 2048, blocks = k / type->length * LK_TILE_ROWS;
    const size_t n_scales = (size_t)(k / type->group) * LK_TILE_ROWS;
    const size_t row_bytes = (size_t)(k / type->length * type->bytes);
    check_case("k = %d, rows = %d", k, LK_TILE_ROWS);
    void *w = check_at_start("weights", row_bytes * LK_TILE_ROWS, 0);
    check_fill_blocks(type, w, blocks, SCALE_RANDOM, false);
    const lk_tile tile = {
        .q = check_at_start("q", (size_t)k * LK_TILE_ROWS, 0),
        .start = check_at_start("start", n_scales * 4, 0),
        .scale = check_at_start("scale", n_scales * 4, 0),
        .min = check_at_start("min", n_scales * 4, 0),
    };
    BENCH(((lk_unpack_fn)kernel->fn)(&tile, w, row_bytes, k, LK_TILE_ROWS),
          .bytes = (double)(blocks * type->bytes), .limits = "L1");
}
