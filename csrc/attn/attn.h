/* Single elements of the KV cache (layout: kernels.h). */
#ifndef LK_ATTN_H
#define LK_ATTN_H

#include "../blocks.h"
#include "../half.h"
#include "../kernels.h"

/* Element j of the key of position p. */
LK_INLINE float attn_key(int type, const void *k, int dim, int p, int j) {
    const char *block = (const char *)k + p / LK_KEY_BLOCK * lk_key_block_bytes(type, dim);
    const int lane = p % LK_KEY_BLOCK, at = j * LK_KEY_BLOCK + lane;
    if (type == LK_F32)
        return lk_load_f32(block + 4 * at);
    if (type == LK_F16)
        return lk_f16_to_f32(lk_load_u16(block + 2 * at));
    const lk_key_group *g = (const lk_key_group *)(const void *)block + j / 32;
    return lk_f16_to_f32(g->d[lane]) * (float)g->q[j % 32][lane];
}

/* Element j of the value of position p. */
LK_INLINE float attn_value(int type, const void *v, int dim, int p, int j) {
    const char *row = (const char *)v + p * lk_value_row_bytes(type, dim);
    if (type == LK_F32)
        return lk_load_f32(row + 4 * j);
    if (type == LK_F16)
        return lk_f16_to_f32(lk_load_u16(row + 2 * j));
    const block_q8_0 *b = (const block_q8_0 *)row + j / 32;
    return lk_f16_to_f32(b->d) * (float)b->qs[j % 32];
}

#endif
