/*
 * Encoders of the 32-wide types (blocks.h). Scales are searched in floats (groups.h); of the half
 * floats next to the best the one with the smallest error is stored, and codes are those nearest
 * with what is stored. Include it after groups.h.
 */
#ifndef QUANTIZE_B32_H
#define QUANTIZE_B32_H

#include "../blocks.h"
#include "../lk.h"

/* Codes that the value of largest size may get at first: beyond the grid it is cut off. */
static const float starts_q4_0[] = {-8.0f, -8.4f, -7.6f, -7.2f, -6.8f, -6.4f,
                                    -8.8f, 7.0f,  7.4f,  7.8f,  6.6f,  8.2f};
static const float starts_q5_0[] = {-16.0f, -16.4f, -15.6f, -15.2f, -14.8f, -14.4f,
                                    -16.9f, 15.0f,  15.4f,  14.6f,  14.2f,  15.9f};
static const float starts_q8_0[] = {127.0f, 126.6f, 126.2f, 125.8f, 125.4f,
                                    125.0f, 124.6f, 124.2f, 123.8f, 123.4f};
static const float starts_iq4[] = {-127.0f, -120.0f, -113.0f, -106.0f, -134.0f, -141.0f,
                                   -99.0f,  -92.0f,  113.0f,  107.0f,  101.0f,  95.0f,
                                   120.0f,  127.0f,  89.0f,   83.0f};
static const float cuts_q4_1[] = {-0.02f, 0.0f, 0.025f, 0.05f, 0.08f};
static const float cuts_q5_1[] = {-0.01f, 0.0f, 0.01f, 0.02f, 0.035f};
#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* Stores scales as half floats, and fills g->q. */
LK_INLINE void settle_scales(uint16_t half[GROUPS], groups *g, const grid codes,
                             const float d[GROUPS]) {
    static const int steps[] = {0, -1, 1};
    float value[GROUPS], least[GROUPS], error[GROUPS];
    for (int s = 0; s < COUNT(steps); s++) {
        uint16_t trial[GROUPS];
        for (int i = 0; i < GROUPS; i++) {
            trial[i] = half_beside(to_half(d[i]), steps[s]);
            value[i] = lk_f16_to_f32(trial[i]);
        }
        for (int c = 0; c < GROUPS; c += LANES)
            v_store(&error[c], error_of(g, c, codes, v_load(&value[c]), v_all(0.0f), NULL));
        for (int i = 0; i < GROUPS; i++)
            if (s == 0 || error[i] < least[i]) {
                least[i] = error[i];
                half[i] = trial[i];
            }
    }
    for (int i = 0; i < GROUPS; i++)
        value[i] = lk_f16_to_f32(half[i]);
    for (int c = 0; c < GROUPS; c += LANES)
        error_of(g, c, codes, v_load(&value[c]), v_all(0.0f), g->q);
}

/* The values of MXFP4, ascending, and the nibbles that stand for them. */
static const int8_t mxfp4_book[16] = {-12, -8, -6, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 6, 8, 12};
static const uint8_t mxfp4_nibbles[16] = {15, 14, 13, 12, 11, 10, 9, 0, 0, 1, 2, 3, 4, 5, 6, 7};

/* Stores scales that are powers of two, and fills g->q. In units of a scale that is tried the
 * largest value is 16 or more, and cut off to 12; or 8 or more; or 4 or more. */
LK_INLINE void settle_powers(uint8_t power[GROUPS], groups *g, const grid codes) {
    float value[GROUPS], least[GROUPS], error[GROUPS];
    for (int s = 0; s < 3; s++) {
        uint8_t trial[GROUPS];
        for (int i = 0; i < GROUPS; i++) {
            float most = 0.0f;
            for (int j = 0; j < 32; j++)
                most = __builtin_fabsf(g->x[j][i]) > most ? __builtin_fabsf(g->x[j][i]) : most;
            const int exponent = (int)(lk_f32_to_bits(most) >> 23) - 3 + s; /* 127: of 1 to 2 */
            trial[i] = (uint8_t)(exponent < 0 ? 0 : exponent > 254 ? 254 : exponent);
            value[i] = lk_half_e8m0_to_f32(trial[i]);
        }
        for (int c = 0; c < GROUPS; c += LANES)
            v_store(&error[c], error_of(g, c, codes, v_load(&value[c]), v_all(0.0f), NULL));
        for (int i = 0; i < GROUPS; i++)
            if (s == 0 || error[i] < least[i]) {
                least[i] = error[i];
                power[i] = trial[i];
            }
    }
    for (int i = 0; i < GROUPS; i++)
        value[i] = lk_half_e8m0_to_f32(power[i]);
    for (int c = 0; c < GROUPS; c += LANES)
        error_of(g, c, codes, v_load(&value[c]), v_all(0.0f), g->q);
    find_places(g, codes.book);
    for (int j = 0; j < 32; j++)
        for (int i = 0; i < GROUPS; i++)
            g->q[j][i] = mxfp4_nibbles[(int)g->q[j][i]];
}

/* The same with offsets: each scale with the offset that suits it. */
LK_INLINE void settle_offsets(uint16_t half_d[GROUPS], uint16_t half_m[GROUPS], groups *g,
                              const grid codes, const float d[GROUPS], const float m[GROUPS]) {
    static const int steps[] = {0, -1, 1};
    float vd[GROUPS], vm[GROUPS], least[GROUPS], error[GROUPS];
    for (int s = 0; s < COUNT(steps); s++) {
        uint16_t trial[GROUPS];
        for (int i = 0; i < GROUPS; i++) {
            trial[i] = half_beside(to_half(d[i]), steps[s]);
            vd[i] = lk_f16_to_f32(trial[i]);
        }
        for (int c = 0; c < GROUPS; c += LANES)
            v_store(&vm[c], offset_for(g, c, codes, v_load(&vd[c]), v_load(&m[c])));
        for (int i = 0; i < GROUPS; i++)
            vm[i] = lk_f16_to_f32(to_half(vm[i]));
        for (int c = 0; c < GROUPS; c += LANES)
            v_store(&error[c], error_of(g, c, codes, v_load(&vd[c]), v_load(&vm[c]), NULL));
        for (int i = 0; i < GROUPS; i++)
            if (s == 0 || error[i] < least[i]) {
                least[i] = error[i];
                half_d[i] = trial[i];
                half_m[i] = to_half(vm[i]);
            }
    }
    for (int i = 0; i < GROUPS; i++) {
        vd[i] = lk_f16_to_f32(half_d[i]);
        vm[i] = lk_f16_to_f32(half_m[i]);
    }
    for (int c = 0; c < GROUPS; c += LANES)
        error_of(g, c, codes, v_load(&vd[c]), v_load(&vm[c]), g->q);
}

/* ---- writing blocks -------------------------------------------------------------------------- */

/* Nibbles of a block: element j with element j + 16. zero: what is added to the codes. */
LK_INLINE void put_nibbles(uint8_t qs[16], const groups *g, int lane, int zero) {
    for (int j = 0; j < 16; j++) {
        const unsigned low = (unsigned)((int)g->q[j][lane] + zero) & 15;
        const unsigned high = (unsigned)((int)g->q[j + 16][lane] + zero) & 15;
        qs[j] = (uint8_t)(low | high << 4);
    }
}

LK_INLINE void put_fifth_bits(uint8_t qh[4], const groups *g, int lane, int zero) {
    for (int i = 0; i < 4; i++) {
        unsigned bits = 0;
        for (int j = 0; j < 8; j++)
            bits |= ((unsigned)((int)g->q[8 * i + j][lane] + zero) >> 4 & 1) << j;
        qh[i] = (uint8_t)bits;
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

typedef enum { AS_Q4_0, AS_Q4_1, AS_Q5_0, AS_Q5_1, AS_Q8_0, AS_IQ4_NL, AS_MXFP4 } b32_type;

typedef struct {
    uint16_t d[GROUPS], m[GROUPS]; /* half floats */
    uint8_t power[GROUPS];
} b32_scales;

LK_INLINE void write_blocks(const b32_type type, void *dst, const groups *g, const b32_scales *s,
                            int n) {
    for (int i = 0; i < n; i++) {
        if (type == AS_Q4_0 || type == AS_IQ4_NL) {
            block_q4_0 *b = (block_q4_0 *)dst + i; /* and block_iq4_nl */
            b->d = s->d[i];
            put_nibbles(b->qs, g, i, type == AS_Q4_0 ? 8 : 0);
        } else if (type == AS_MXFP4) {
            block_mxfp4 *b = (block_mxfp4 *)dst + i;
            b->d = s->power[i];
            put_nibbles(b->qs, g, i, 0);
        } else if (type == AS_Q4_1) {
            block_q4_1 *b = (block_q4_1 *)dst + i;
            b->d = s->d[i];
            b->m = s->m[i];
            put_nibbles(b->qs, g, i, 0);
        } else if (type == AS_Q5_0) {
            block_q5_0 *b = (block_q5_0 *)dst + i;
            b->d = s->d[i];
            put_fifth_bits(b->qh, g, i, 16);
            put_nibbles(b->qs, g, i, 16);
        } else if (type == AS_Q5_1) {
            block_q5_1 *b = (block_q5_1 *)dst + i;
            b->d = s->d[i];
            b->m = s->m[i];
            put_fifth_bits(b->qh, g, i, 0);
            put_nibbles(b->qs, g, i, 0);
        } else {
            block_q8_0 *b = (block_q8_0 *)dst + i;
            b->d = s->d[i];
            for (int j = 0; j < 32; j++)
                b->qs[j] = (int8_t)g->q[j][i];
        }
    }
}

/* n blocks from the groups in g, whose scales are not searched yet. */
LK_INLINE void quantize_blocks(const b32_type type, void *dst, groups *g, int n) {
    float d[GROUPS], m[GROUPS];
    b32_scales scales;
    const grid codes = type == AS_Q4_0    ? (grid){-8, 7, NULL}
                       : type == AS_Q4_1  ? (grid){0, 15, NULL}
                       : type == AS_Q5_0  ? (grid){-16, 15, NULL}
                       : type == AS_Q5_1  ? (grid){0, 31, NULL}
                       : type == AS_Q8_0  ? (grid){-127, 127, NULL}
                       : type == AS_MXFP4 ? (grid){0, 0, mxfp4_book}
                                          : (grid){0, 0, lk_iq4_values};
    if (type == AS_Q4_0)
        search_scales(d, g, codes, starts_q4_0, COUNT(starts_q4_0));
    if (type == AS_Q5_0)
        search_scales(d, g, codes, starts_q5_0, COUNT(starts_q5_0));
    if (type == AS_Q8_0)
        search_scales(d, g, codes, starts_q8_0, COUNT(starts_q8_0));
    if (type == AS_IQ4_NL)
        search_scales(d, g, codes, starts_iq4, COUNT(starts_iq4));
    if (type == AS_Q4_1)
        search_offsets(d, m, g, codes, cuts_q4_1, COUNT(cuts_q4_1), 0);
    if (type == AS_Q5_1)
        search_offsets(d, m, g, codes, cuts_q5_1, COUNT(cuts_q5_1), 0);
    if (type == AS_MXFP4)
        settle_powers(scales.power, g, codes);
    else if (type == AS_Q4_1 || type == AS_Q5_1)
        settle_offsets(scales.d, scales.m, g, codes, d, m);
    else
        settle_scales(scales.d, g, codes, d);
    if (type == AS_IQ4_NL)
        find_places(g, lk_iq4_values);
    write_blocks(type, dst, g, &scales, n);
}

LK_INLINE void quantize_b32(const b32_type type, size_t block_bytes, void *dst, const float *x,
                            const float *importance, int k) {
    const float sigma2 = mean_square(x, k);
    groups g;
    g.n = 32;
    for (int at = 0; at < k / 32; at += GROUPS) {
        const int n = k / 32 - at < GROUPS ? k / 32 - at : GROUPS;
        load_groups(&g, x + 32 * at, importance ? importance + 32 * at : NULL, sigma2, n);
        quantize_blocks(type, (uint8_t *)dst + at * block_bytes, &g, n);
    }
}

#endif
