/* 16 groups side by side, one in each lane. Include it inside the target region. */
#ifndef QUANTIZE_LANES_AVX512_H
#define QUANTIZE_LANES_AVX512_H

#include <immintrin.h>

#include "../target.h"

#define LANES 16
typedef __m512 vec;
typedef __mmask16 lane_mask;

LK_INLINE vec v_all(float a) {
    return _mm512_set1_ps(a);
}
LK_INLINE vec v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
LK_INLINE void v_store(float *p, vec a) {
    _mm512_storeu_ps(p, a);
}
LK_INLINE vec v_add(vec a, vec b) {
    return _mm512_add_ps(a, b);
}
LK_INLINE vec v_sub(vec a, vec b) {
    return _mm512_sub_ps(a, b);
}
LK_INLINE vec v_mul(vec a, vec b) {
    return _mm512_mul_ps(a, b);
}
LK_INLINE vec v_div(vec a, vec b) {
    return _mm512_div_ps(a, b);
}
LK_INLINE vec v_min(vec a, vec b) {
    return _mm512_min_ps(a, b);
}
LK_INLINE vec v_max(vec a, vec b) {
    return _mm512_max_ps(a, b);
}
LK_INLINE vec v_sqrt(vec a) {
    return _mm512_sqrt_ps(a);
}
LK_INLINE vec v_round(vec a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
LK_INLINE lane_mask v_greater(vec a, vec b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
LK_INLINE vec v_select(lane_mask m, vec a, vec b) {
    return _mm512_mask_blend_ps(m, b, a);
}

#endif
