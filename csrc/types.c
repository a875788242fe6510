/* The weight types we run: block sizes by type, one place for C. */
#include "blocks.h"
#include "lk.h"

int lk_type_block(int type, int32_t *n, int32_t *bytes) {
    switch (type) {
#define LK_TYPE(id, length, size)                                                                  \
    case id:                                                                                       \
        *n = (length);                                                                             \
        *bytes = (size);                                                                           \
        return LK_OK;
        LK_TYPE(LK_F32, 1, 4)
        LK_TYPE(LK_F16, 1, 2)
        LK_TYPE(LK_BF16, 1, 2)
        LK_TYPE(LK_Q4_0, LK_QK32, sizeof(block_q4_0))
        LK_TYPE(LK_Q4_1, LK_QK32, sizeof(block_q4_1))
        LK_TYPE(LK_Q5_0, LK_QK32, sizeof(block_q5_0))
        LK_TYPE(LK_Q5_1, LK_QK32, sizeof(block_q5_1))
        LK_TYPE(LK_Q8_0, LK_QK32, sizeof(block_q8_0))
        LK_TYPE(LK_IQ4_NL, LK_QK32, sizeof(block_iq4_nl))
        LK_TYPE(LK_MXFP4, LK_QK32, sizeof(block_mxfp4))
        LK_TYPE(LK_Q2_K, LK_QK256, sizeof(block_q2_K))
        LK_TYPE(LK_Q3_K, LK_QK256, sizeof(block_q3_K))
        LK_TYPE(LK_Q4_K, LK_QK256, sizeof(block_q4_K))
        LK_TYPE(LK_Q5_K, LK_QK256, sizeof(block_q5_K))
        LK_TYPE(LK_Q6_K, LK_QK256, sizeof(block_q6_K))
        LK_TYPE(LK_IQ4_XS, LK_QK256, sizeof(block_iq4_xs))
#undef LK_TYPE
    default:
        return LK_ERR_UNSUPPORTED;
    }
}
