/* What the probes of several levels share. */
#ifndef LK_PROBE_H
#define LK_PROBE_H

#include "kernels.h"

/*
 * From here on the compiler knows nothing of a register's value, which stays what it is: so that it
 * neither finds sums to be equal, nor products the same in every round.
 */
#if LK_ARM
#define PROBE_OPAQUE(v) __asm__("" : "+w"(v))
#else
#define PROBE_OPAQUE(v) __asm__("" : "+v"(v))
#endif

/* The sum of lanes, modulo 2^32. */
LK_INLINE uint32_t probe_total(const uint32_t *lanes, int n) {
    uint32_t total = 0;
    for (int i = 0; i < n; i++)
        total += lanes[i];
    return total;
}

#endif
