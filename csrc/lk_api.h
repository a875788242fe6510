/*
 * The contract between C and Python. cffi reads this file verbatim and C includes it through lk.h,
 * so it holds no preprocessor line. Every function that can fail returns an lk_status.
 */

enum lk_status {
    LK_OK = 0,
    LK_ERR_ARGUMENT = 1,    /* a size, id or pointer is out of range */
    LK_ERR_MEMORY = 2,      /* an allocation failed or the scratch given is too small */
    LK_ERR_UNSUPPORTED = 3, /* valid, but not something this build or machine does */
    LK_ERR_TRUNCATED = 4,   /* bytes end before the data they announce */
    LK_ERR_BUS = 5          /* mapped pages went away: the file shrank under the map */
};

/* Instruction-set levels, each a bundle of features; a level includes those below it on its machine. */
enum lk_level {
    LK_LEVEL_SCALAR = 0,
    LK_LEVEL_AVX2 = 1,      /* AVX2, FMA, F16C, BMI2 */
    LK_LEVEL_AVX512 = 2,    /* + AVX-512 F, BW, DQ, VL, VNNI, VBMI */
    LK_LEVEL_NEON = 3,      /* Armv8.0 Advanced SIMD */
    LK_LEVEL_NEON_DOT = 4,  /* + dot product */
    LK_LEVEL_NEON_I8MM = 5, /* + int8 matrix multiply */
    LK_N_LEVELS = 6
};

/* GGML tensor types that have kernels; the numbers are GGML's own. */
enum lk_type {
    LK_F32 = 0,
    LK_F16 = 1,
    LK_Q4_0 = 2,
    LK_Q4_1 = 3,
    LK_Q5_0 = 6,
    LK_Q5_1 = 7,
    LK_Q8_0 = 8,
    LK_Q2_K = 10,
    LK_Q3_K = 11,
    LK_Q4_K = 12,
    LK_Q5_K = 13,
    LK_Q6_K = 14,
    LK_BF16 = 30
};

/* ---- cpu and dispatch -------------------------------------------------------------------- */

const char *lk_level_name(int level);                /* NULL when there is no such level */
int lk_level_available(int level);                   /* 1: this CPU and its OS support it */
int lk_level_active(void);
int lk_level_set(int level);                         /* LK_ERR_UNSUPPORTED if unavailable */
int lk_n_kernels(void);                              /* kernel slots */
const char *lk_kernel_name(int slot);                /* NULL when there is no such slot */
int lk_kernel_has(int slot, int level);              /* 1: this level has a version of its own */
int lk_type_block(int type, int32_t *n, int32_t *bytes); /* block length and size of a kernel type */
