/*
 * The 32-wide block types (blocks.h) seen as one:  x[j] = d (q[j] - zero) + m
 * with q an unsigned byte; where a nibble stands for a value of a table, that plus zero. A kernel
 * is one always-inlined body with the type as a constant, and B32_TYPES makes an entry point of it
 * per type.
 */
#ifndef LK_B32_H
#define LK_B32_H

#include "../blocks.h"
#include "../half.h"
#include "../kernels.h"

#define B32_TYPES(X) X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q8_0) X(iq4_nl) X(mxfp4)

typedef enum { B32_q4_0, B32_q4_1, B32_q5_0, B32_q5_1, B32_q8_0, B32_iq4_nl, B32_mxfp4 } b32_type;

LK_INLINE size_t b32_bytes(b32_type type) {
#define SIZE(type) [B32_##type] = sizeof(block_##type),
    static const uint8_t bytes[] = {B32_TYPES(SIZE)};
#undef SIZE
    return bytes[type];
}

LK_INLINE int b32_zero(b32_type type) {
    return type == B32_q4_0                         ? 8
           : type == B32_q5_0                       ? 16
           : type == B32_mxfp4                      ? 12
           : type == B32_q8_0 || type == B32_iq4_nl ? 128
                                                    : 0;
}

LK_INLINE int b32_has_min(b32_type type) {
    return type == B32_q4_1 || type == B32_q5_1;
}

LK_INLINE int b32_has_fifth_bit(b32_type type) {
    return type == B32_q5_0 || type == B32_q5_1;
}

/* What nibbles stand for; NULL: themselves. */
LK_INLINE const int8_t *b32_table(b32_type type) {
    return type == B32_iq4_nl ? lk_iq4_values : type == B32_mxfp4 ? lk_mxfp4_values : NULL;
}

/* Every block is d, m if any, qh if any, quants: byte offsets of the last two. */
LK_INLINE int b32_fifth_at(b32_type type) {
    return type == B32_mxfp4 ? 1 : b32_has_min(type) ? 4 : 2;
}

LK_INLINE int b32_quants_at(b32_type type) {
    return b32_fifth_at(type) + (b32_has_fifth_bit(type) ? 4 : 0);
}

/* One block decoded, the plain way. */
typedef struct {
    uint8_t q[LK_QK32];
    float d;
    float m; /* 0 for types without minimum */
} b32_values;

LK_INLINE void b32_decode(b32_values *v, b32_type type, const uint8_t *w) {
    const uint8_t *qh = w + b32_fifth_at(type), *qs = w + b32_quants_at(type);
    v->d = type == B32_mxfp4 ? lk_half_e8m0_to_f32(*w) : lk_f16_to_f32(lk_load_u16(w));
    v->m = b32_has_min(type) ? lk_f16_to_f32(lk_load_u16(w + 2)) : 0.0f;
    for (int j = 0; j < LK_QK32; j++) {
        if (type == B32_q8_0) {
            v->q[j] = qs[j] ^ 0x80;
            continue;
        }
        v->q[j] = j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;
        if (b32_has_fifth_bit(type))
            v->q[j] |= (uint8_t)((qh[j / 8] >> (j % 8) & 1) << 4);
        if (b32_table(type))
            v->q[j] = (uint8_t)(b32_table(type)[v->q[j]] + b32_zero(type));
    }
}

/* The order of activations that the dot of a type reads: elements j and j + 16 share a byte. */
LK_INLINE int b32_act_order(b32_type type) {
    return type == B32_q8_0 ? LK_ACT_IN_ORDER : LK_ACT_BY_HALVES;
}

#endif
