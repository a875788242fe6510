/* A heap of the pairs that merge, the next on top. */
#ifndef LK_BPE_HEAP_H
#define LK_BPE_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct lk_heap {
    uint64_t *items; /* rank << 32 | node: the order in which pairs merge */
    size_t count;
};

/* Puts the item at i, too late or in place, where it belongs. */
static inline void lk_heap_sift(struct lk_heap *heap, size_t i) {
    uint64_t item = heap->items[i];
    for (size_t child; (child = 2 * i + 1) < heap->count; i = child) {
        if (child + 1 < heap->count && heap->items[child + 1] < heap->items[child]) {
            child++;
        }
        if (item <= heap->items[child]) {
            break;
        }
        heap->items[i] = heap->items[child];
    }
    heap->items[i] = item;
}

static inline void lk_heap_push(struct lk_heap *heap, uint64_t item) {
    size_t i = heap->count++;
    for (; i > 0 && item < heap->items[(i - 1) / 2]; i = (i - 1) / 2) {
        heap->items[i] = heap->items[(i - 1) / 2];
    }
    heap->items[i] = item;
}

static inline uint64_t lk_heap_pop(struct lk_heap *heap) {
    uint64_t top = heap->items[0];
    heap->items[0] = heap->items[--heap->count];
    if (heap->count) {
        lk_heap_sift(heap, 0);
    }
    return top;
}

#endif
