/* Writing tiles (lk_tile in kernels.h), the same at every level. */
#ifndef LK_TILE_H
#define LK_TILE_H

#include "kernels.h"

/* The part of a tile that starts with element i; group: elements that share a scale. */
LK_INLINE lk_tile lk_tile_from(const lk_tile *t, int i, int group) {
    const ptrdiff_t g = (ptrdiff_t)(i / group) * LK_TILE_ROWS;
    return (lk_tile){t->q + (ptrdiff_t)i * LK_TILE_ROWS, t->start + g, t->scale + g,
                     t->min ? t->min + g : NULL, t->q_max};
}

/* The same tile from row r on. */
LK_INLINE lk_tile lk_tile_rows(const lk_tile *t, int r) {
    return (lk_tile){t->q + 4 * r, t->start + r, t->scale + r, t->min ? t->min + r : NULL,
                     t->q_max};
}

#endif
