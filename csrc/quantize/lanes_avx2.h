/* 8 groups side by side, one in each lane. Include it inside the target region. */
#ifndef QUANTIZE_LANES_AVX2_H
#define QUANTIZE_LANES_AVX2_H

#include <immintrin.h>

#include "../target.h"

#define LANES 8
typedef __m256 vec;
typedef __m256 lane_mask;

LK_INLINE vec v_all(float a) {
    return _mm256_set1_ps(a);
}
LK_INLINE vec v_load(const float *p) {
    return _mm256_loadu_ps(p);
}
LK_INLINE void v_store(float *p, vec a) {
    _mm256_storeu_ps(p, a);
}
LK_INLINE vec v_add(vec a, vec b) {
    return _mm256_add_ps(a, b);
}
LK_INLINE vec v_sub(vec a, vec b) {
    return _mm256_sub_ps(a, b);
}
LK_INLINE vec v_mul(vec a, vec b) {
    return _mm256_mul_ps(a, b);
}
LK_INLINE vec v_div(vec a, vec b) {
    return _mm256_div_ps(a, b);
}
LK_INLINE vec v_min(vec a, vec b) {
    return _mm256_min_ps(a, b);
}
LK_INLINE vec v_max(vec a, vec b) {
    return _mm256_max_ps(a, b);
}
LK_INLINE vec v_sqrt(vec a) {
    return _mm256_sqrt_ps(a);
}
LK_INLINE vec v_round(vec a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
LK_INLINE lane_mask v_greater(vec a, vec b) {
    return _mm256_cmp_ps(a, b, _CMP_GT_OQ);
}
LK_INLINE vec v_select(lane_mask m, vec a, vec b) {
    return _mm256_blendv_ps(b, a, m);
}

#endif
