/*
 * The upper tail of the normal distribution, for gelu(x) = max(x, 0) - |x| Q(|x|).
 *
 * Q(t) = erfc(t / sqrt(2)) / 2 = exp(-t^2 / 2) R(t), t >= 0. R falls slowly, from 1 / 2 to
 * 1 / (t sqrt(2 pi)): a polynomial in w = (t - K) / (t + K), fitted with least relative error
 * (5e-8) up to LK_TAIL_END, beyond which Q is 0 in float.
 */
#ifndef LK_NORMAL_TAIL_H
#define LK_NORMAL_TAIL_H

#define LK_TAIL_END 16.0f
#define LK_TAIL_K 3.75f
#define LK_TAIL_TERMS 10

/* From w^9 down to 1. */
static const float lk_tail[LK_TAIL_TERMS] = {
    -0x1.f121c2p-15f, -0x1.3014f6p-17f, 0x1.470ff2p-11f, -0x1.773ce6p-11f, -0x1.3d203p-8f,
    0x1.9ce7c2p-6f,   -0x1.1380bp-4f,   0x1.00fd9cp-3f,  -0x1.6d7eb2p-3f,  0x1.99c2b6p-4f,
};

#endif
