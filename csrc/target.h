/*
 * One set of baseline flags serves every source: a file of a higher level opens a target region,
 * so it compiles everywhere and runs only where dispatch.c says so.
 *
 *     LK_BEGIN_AVX2 ... functions ... LK_END
 */
#ifndef LK_TARGET_H
#define LK_TARGET_H

#if defined(__x86_64__)
#define LK_X86 1
#define LK_ARM 0
#elif defined(__aarch64__)
#define LK_X86 0
#define LK_ARM 1
#else
#define LK_X86 0
#define LK_ARM 0
#endif

/* VPDPBUSD on 256 bits without AVX-512: compilers know it since 2021. */
#if LK_X86 && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define LK_AVX_VNNI 1
#else
#define LK_AVX_VNNI 0
#endif

#define LK_INLINE static inline __attribute__((always_inline))
#define LK_PRAGMA(text) _Pragma(#text)

/* A vector that is loaded once: compilers would rather load again than copy for an instruction that
 * overwrites its operand, and an unaligned load is dearer. */
#define LK_LOADED_ONCE(v) __asm__("" : "+v"(v))

/* A 256-bit sum that is computed here: compilers put additions off, and spill what is to add. */
#define LK_ADDED_HERE(v) __asm__("" : "+x"(v))

/* Before a loop with a constant trip count whose arrays are meant to live in registers. */
#if defined(__clang__)
#define LK_UNROLL LK_PRAGMA(unroll)
#else
#define LK_UNROLL LK_PRAGMA(GCC unroll 16)
#endif

#if defined(__clang__)
#define LK_BEGIN(features)                                                                         \
    LK_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define LK_END LK_PRAGMA(clang attribute pop)
#else
#define LK_BEGIN(features) LK_PRAGMA(GCC push_options) LK_PRAGMA(GCC target(features))
#define LK_END LK_PRAGMA(GCC pop_options)
#endif

#define LK_BEGIN_AVX2 LK_BEGIN("avx2,fma,f16c,bmi,bmi2")
#define LK_BEGIN_AVX_VNNI LK_BEGIN("avx2,fma,f16c,bmi,bmi2,avxvnni")
#define LK_BEGIN_AVX512                                                                            \
    LK_BEGIN("avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")

/* Advanced SIMD is the AArch64 baseline; only what goes beyond it needs a region. */
#if defined(__clang__)
#define LK_BEGIN_NEON_DOT LK_BEGIN("dotprod")
#define LK_BEGIN_NEON_I8MM LK_BEGIN("dotprod,i8mm")
#else
#define LK_BEGIN_NEON_DOT LK_BEGIN("arch=armv8.2-a+dotprod")
#define LK_BEGIN_NEON_I8MM LK_BEGIN("arch=armv8.2-a+dotprod+i8mm")
#endif

#endif
