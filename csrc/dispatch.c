/* The kernel table: every slot starts with its scalar, a ladder of levels overrides it upward. */
#include <stdatomic.h>

#include "kernels.h"

enum lk_level_alias {
    LK_AT_scalar = LK_LEVEL_SCALAR,
    LK_AT_avx2 = LK_LEVEL_AVX2,
    LK_AT_avx_vnni = LK_LEVEL_AVX_VNNI,
    LK_AT_avx512 = LK_LEVEL_AVX512,
    LK_AT_neon = LK_LEVEL_NEON,
    LK_AT_neon_dot = LK_LEVEL_NEON_DOT,
    LK_AT_neon_i8mm = LK_LEVEL_NEON_I8MM,
};

/* Declarations: the type of a kernel is that of its slot. */
#define LK_SLOT(slot, type) typedef type lk_type_of_##slot;
#include "kernels.inc"
#define LK_KERNEL(level, slot) extern __typeof__(*(lk_type_of_##slot)0) slot##_##level;
#include "kernels.inc"

static const lk_fn versions[LK_N_LEVELS][LK_N_SLOTS] = {
#define LK_KERNEL(level, slot) [LK_AT_##level][LK_SLOT_##slot] = (lk_fn)slot##_##level,
#include "kernels.inc"
};

static const char *const slot_names[LK_N_SLOTS] = {
#define LK_SLOT(slot, type) [LK_SLOT_##slot] = #slot,
#include "kernels.inc"
};

/* One ready-made table per level: changing level is one store, safe while others compute. */
static lk_fn tables[LK_N_LEVELS][LK_N_SLOTS];
static _Atomic(int) active_level = LK_LEVEL_SCALAR;

/* Runs when the extension is loaded, before anything can call a kernel. */
__attribute__((constructor)) static void fill_tables(void) {
    int best = LK_LEVEL_SCALAR;
    for (int level = 0; level < LK_N_LEVELS; level++) {
        if (!lk_level_available(level))
            continue;
        int n_own = 0;
        for (int slot = 0; slot < LK_N_SLOTS; slot++) {
            lk_fn own = versions[level][slot];
            tables[level][slot] = own ? own : tables[best][slot];
            n_own += own != NULL;
        }
        if (n_own) /* a level without kernels of its own is that below it, and is called so */
            best = level;
    }
    atomic_store(&active_level, best);
}

lk_fn lk_kernel(int slot) {
    return tables[atomic_load_explicit(&active_level, memory_order_relaxed)][slot];
}

lk_fn lk_kernel_at(int slot, int level) {
    if (slot < 0 || slot >= LK_N_SLOTS || level < 0 || level >= LK_N_LEVELS)
        return NULL;
    return versions[level][slot];
}

int lk_level_active(void) {
    return atomic_load(&active_level);
}

int lk_level_set(int level) {
    if (!lk_level_available(level))
        return LK_ERR_UNSUPPORTED;
    atomic_store(&active_level, level);
    return LK_OK;
}

int lk_n_kernels(void) {
    return LK_N_SLOTS;
}

const char *lk_kernel_name(int slot) {
    return slot >= 0 && slot < LK_N_SLOTS ? slot_names[slot] : NULL;
}

int lk_kernel_has(int slot, int level) {
    return lk_kernel_at(slot, level) != NULL;
}
