/*
 * Feature detection: CPUID says what the CPU has, XGETBV whether the operating system saves the
 * registers it needs; on AArch64 the kernel reports both in the auxiliary vector.
 */
#include "lk.h"
#include "target.h"

static const char *const names[LK_N_LEVELS] = {
    [LK_LEVEL_SCALAR] = "scalar",       [LK_LEVEL_AVX2] = "avx2", [LK_LEVEL_AVX_VNNI] = "avx_vnni",
    [LK_LEVEL_AVX512] = "avx512",       [LK_LEVEL_NEON] = "neon", [LK_LEVEL_NEON_DOT] = "neon_dot",
    [LK_LEVEL_NEON_I8MM] = "neon_i8mm",
};

const char *lk_level_name(int level) {
    return level >= 0 && level < LK_N_LEVELS ? names[level] : NULL;
}

#if LK_X86
#include <cpuid.h>

#define LK_BIT_AVX_VNNI (1u << 4) /* of leaf 7.1's EAX; <cpuid.h> is younger */

static int has(unsigned reg, unsigned mask) {
    return (reg & mask) == mask;
}

static unsigned long long xcr0(void) {
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (unsigned long long)high << 32 | low;
}

int lk_level_available(int level) {
    if (level == LK_LEVEL_SCALAR)
        return 1;
    if (level != LK_LEVEL_AVX2 && level != LK_LEVEL_AVX_VNNI && level != LK_LEVEL_AVX512)
        return 0;
    unsigned a, b, c, d, b7, c7, d7;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    if (!has(c, bit_FMA | bit_F16C | bit_AVX | bit_OSXSAVE))
        return 0;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7))
        return 0;
    const unsigned long long ymm_state = 0x6, zmm_state = 0xe6;
    unsigned long long saved = xcr0();
    if (!has(b7, bit_AVX2 | bit_BMI | bit_BMI2) || (saved & ymm_state) != ymm_state)
        return 0;
    if (level == LK_LEVEL_AVX2)
        return 1;
    if (level == LK_LEVEL_AVX_VNNI)
        return __get_cpuid_count(7, 1, &a, &b, &c, &d) && has(a, LK_BIT_AVX_VNNI);
    return has(b7, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL) &&
           has(c7, bit_AVX512VNNI | bit_AVX512VBMI) && (saved & zmm_state) == zmm_state;
}

#elif LK_ARM && defined(__linux__)
#include <sys/auxv.h>

#define LK_HWCAP_ASIMD (1ul << 1)
#define LK_HWCAP_ASIMDDP (1ul << 20)
#define LK_HWCAP2_I8MM (1ul << 13)

int lk_level_available(int level) {
    unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
    int neon = (cap & LK_HWCAP_ASIMD) != 0;
    int dot = neon && (cap & LK_HWCAP_ASIMDDP) != 0;
    switch (level) {
    case LK_LEVEL_SCALAR:
        return 1;
    case LK_LEVEL_NEON:
        return neon;
    case LK_LEVEL_NEON_DOT:
        return dot;
    case LK_LEVEL_NEON_I8MM:
        return dot && (cap2 & LK_HWCAP2_I8MM) != 0;
    default:
        return 0;
    }
}

#else

int lk_level_available(int level) {
    /* Advanced SIMD is part of every AArch64; what lies beyond it needs an operating system we
     * know. */
    return level == LK_LEVEL_SCALAR || (LK_ARM && level == LK_LEVEL_NEON);
}

#endif
