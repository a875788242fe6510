/*
 * gemm_neon.h with USMMLA: 8 products of two columns with two rows an instruction. ZIP makes the 8
 * elements of two rows from two dwords of the tile; the four sums of a pair come apart by TRN. A
 * sum starts at the tile's -128 * sum of q, so that the 128 of activations vanish.
 */
#include "../kernels.h"

#if LK_ARM
#include "gemm_common_neon.h"

#define LEVEL(name) name##_neon_i8mm

LK_BEGIN_NEON_I8MM

LK_INLINE int32x4_t usmmla(int32x4_t acc, uint8x16_t a, int8x16_t w) {
#if defined(__clang__) && __clang_major__ < 16 /* see neon_sdot */
    __asm__("usmmla %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(a), "w"(w));
    return acc;
#else
    return vusmmlaq_s32(acc, a, w);
#endif
}

LK_INLINE int32x4_t trn1_s64(int32x4_t a, int32x4_t b) {
    return vreinterpretq_s32_s64(vtrn1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}
LK_INLINE int32x4_t trn2_s64(int32x4_t a, int32x4_t b) {
    return vreinterpretq_s32_s64(vtrn2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

LK_INLINE void g_sums(int32x4_t sum[G_ROWS][G_COLS], const g_place *at, int g,
                      const lk_panel_block *p, int column, const int first, const int n) {
    int32x4_t pair[2 * G_ROWS][G_COLS / 2]; /* c0 r0, c0 r1, c1 r0, c1 r1 */
    LK_UNROLL
    for (int r = 0; r < 2 * G_ROWS; r++) {
        const int32x2_t start = vld1_s32(at->start + LK_TILE_ROWS * g + 2 * r);
        LK_UNROLL
        for (int c = 0; c < G_COLS / 2; c++)
            pair[r][c] = vcombine_s32(start, start);
    }
    LK_UNROLL
    for (int e = first; e < first + n; e += 8) {
        uint8x16_t a[G_COLS / 2];
        LK_UNROLL
        for (int c = 0; c < G_COLS / 2; c++)
            a[c] = vcombine_u8(vld1_u8(p->q[column + 2 * c] + e),
                               vld1_u8(p->q[column + 2 * c + 1] + e));
        LK_UNROLL
        for (int v = 0; v < G_ROWS; v++) {
            const int32x4_t near = vreinterpretq_s32_s8(g_load_q(at, e / 4, v));
            const int32x4_t far = vreinterpretq_s32_s8(g_load_q(at, e / 4 + 1, v));
            const int8x16_t w01 = vreinterpretq_s8_s32(vzip1q_s32(near, far));
            const int8x16_t w23 = vreinterpretq_s8_s32(vzip2q_s32(near, far));
            LK_UNROLL
            for (int c = 0; c < G_COLS / 2; c++) {
                pair[2 * v][c] = usmmla(pair[2 * v][c], a[c], w01);
                pair[2 * v + 1][c] = usmmla(pair[2 * v + 1][c], a[c], w23);
            }
        }
    }
    LK_UNROLL
    for (int v = 0; v < G_ROWS; v++)
        LK_UNROLL
    for (int c = 0; c < G_COLS / 2; c++) {
        sum[v][2 * c] = trn1_s64(pair[2 * v][c], pair[2 * v + 1][c]);
        sum[v][2 * c + 1] = trn2_s64(pair[2 * v][c], pair[2 * v + 1][c]);
    }
}

#include "gemm_neon.h"

LK_END
#endif
