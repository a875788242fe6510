#include "weights.h"

#include "blocks.h"

#define WEIGHT(T, LENGTH, GROUP, ZERO, Q, SCALE, MIN, M)                                           \
    {                                                                                              \
        #T,    LENGTH,    sizeof(block_##T),                                                       \
        GROUP, ZERO,      Q,                                                                       \
        SCALE, MIN,       (int)offsetof(block_##T, d),                                             \
        M,     ORDER_##T, sizeof(((block_##T *)0)->d) == 1}
/* Blocks with two elements 16 apart in a byte. */
#define ORDER_q4_0 LK_ACT_BY_HALVES
#define ORDER_q4_1 LK_ACT_BY_HALVES
#define ORDER_q5_0 LK_ACT_BY_HALVES
#define ORDER_q5_1 LK_ACT_BY_HALVES
#define ORDER_q8_0 LK_ACT_IN_ORDER
#define ORDER_q2_K LK_ACT_IN_ORDER
#define ORDER_q3_K LK_ACT_IN_ORDER
#define ORDER_q4_K LK_ACT_IN_ORDER
#define ORDER_q5_K LK_ACT_IN_ORDER
#define ORDER_q6_K LK_ACT_IN_ORDER
#define ORDER_iq4_nl LK_ACT_BY_HALVES
#define ORDER_iq4_xs LK_ACT_IN_ORDER
#define ORDER_mxfp4 LK_ACT_BY_HALVES

static const check_weight types[] = {
    WEIGHT(q4_0, 32, 32, 8, 15, 1, 0, -1),
    WEIGHT(q4_1, 32, 32, 0, 15, 1, 1, (int)offsetof(block_q4_1, m)),
    WEIGHT(q5_0, 32, 32, 16, 31, 1, 0, -1),
    WEIGHT(q5_1, 32, 32, 0, 31, 1, 1, (int)offsetof(block_q5_1, m)),
    WEIGHT(q8_0, 32, 32, 128, 255, 1, 0, -1),
    WEIGHT(q2_K, 256, 16, 0, 3, 15, 15, (int)offsetof(block_q2_K, dmin)),
    WEIGHT(q3_K, 256, 16, 4, 7, 32, 0, -1),
    WEIGHT(q4_K, 256, 32, 0, 15, 63, 63, (int)offsetof(block_q4_K, dmin)),
    WEIGHT(q5_K, 256, 32, 0, 31, 63, 63, (int)offsetof(block_q5_K, dmin)),
    WEIGHT(q6_K, 256, 16, 32, 63, 128, 0, -1),
    WEIGHT(iq4_nl, 32, 32, 128, 241, 1, 0, -1),
    WEIGHT(iq4_xs, 256, 32, 128, 241, 32, 0, -1),
    WEIGHT(mxfp4, 32, 32, 12, 24, 1, 0, -1),
};

const char *const check_scale_names[N_SCALES] = {
    [SCALE_RANDOM] = "random", [SCALE_ZERO] = "zero",   [SCALE_SUBNORMAL] = "subnormal",
    [SCALE_HUGE] = "huge",     [SCALE_EXACT] = "exact",
};

const check_weight *check_weight_of(const char *slot_name) {
    const char *name = strchr(slot_name, '_') + 1;
    for (int i = 0; i < CHECK_COUNT(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

static uint16_t random_half(check_scale scale) {
    uint64_t bits = check_random();
    uint16_t sign = (uint16_t)(bits & 0x8000), mantissa = (uint16_t)(bits >> 16 & 0x3ff);
    switch (scale) {
    case SCALE_RANDOM: /* 2^-12 .. 2 */
        return (uint16_t)(sign | (3 + check_below(13)) << 10 | mantissa);
    case SCALE_ZERO:
        return sign;
    case SCALE_SUBNORMAL:
        return (uint16_t)(sign | (mantissa ? mantissa : 1));
    case SCALE_HUGE:
        return (uint16_t)(sign | 0x7800 | mantissa);
    default:
        return (uint16_t)(sign | 0x3c00);
    }
}

/* E8M0 less one, as in MXFP4: like the halves, but there is neither zero nor sign. */
static uint8_t random_exponent(check_scale scale) {
    switch (scale) {
    case SCALE_RANDOM:
        return (uint8_t)(116 + check_below(13));
    case SCALE_ZERO: /* the least, which are no normal floats */
        return (uint8_t)check_below(2);
    case SCALE_SUBNORMAL:
        return (uint8_t)(104 + check_below(10));
    case SCALE_HUGE:
        return 128 + 15;
    default:
        return 128;
    }
}

static void store_half(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static void extreme_bytes(uint8_t *block, int n) {
    static const uint8_t edges[] = {0x00, 0x7f, 0x80, 0xff};
    uint8_t whole = edges[check_below(4)];
    bool mixed = check_below(2);
    for (int i = 0; i < n; i++)
        block[i] = mixed ? edges[check_below(4)] : whole;
}

void check_fill_blocks(const check_weight *type, void *w, int n_blocks, check_scale scale,
                       bool extreme) {
    uint8_t *block = w;
    for (int i = 0; i < n_blocks; i++, block += type->bytes) {
        if (extreme)
            extreme_bytes(block, type->bytes);
        else
            check_random_bytes(block, (size_t)type->bytes);
        if (type->is_e8m0)
            block[type->d] = random_exponent(scale);
        else
            store_half(block + type->d, random_half(scale));
        if (type->m >= 0)
            store_half(block + type->m, random_half(scale));
    }
}

static float act_scale(check_scale scale) {
    switch (scale) {
    case SCALE_ZERO:
        return check_below(2) ? 0.0f : 1.0f;
    case SCALE_SUBNORMAL: /* times the least half float this is still a normal float */
        return fabsf(check_wide(-80, -70));
    case SCALE_HUGE:
        return fabsf(check_wide(70, 80));
    case SCALE_EXACT:
        return 1.0f;
    default:
        return fabsf(check_wide(-12, 1));
    }
}

void check_fill_act(void *row, int k, int order, check_scale scale, int amplitude, bool extreme,
                    int active) {
    lk_act_block *act = row;
    bool scattered = check_below(2);
    int first = check_below(k - active + 1), left = active;
    memset(row, 0, lk_act_bytes(k));
    for (int b = 0; b < k / 32; b++) {
        lk_act_block *a = &act[b / 8];
        int sum[2] = {0, 0}, at = b % 8;
        float d = act_scale(scale);
        for (int j = 0; j < 32; j++) {
            int i = 32 * b + j;
            bool on =
                left > 0 && (active == k || (scattered ? check_below(k) < active : i >= first));
            int value = extreme ? (check_below(8) ? amplitude : -amplitude)
                                : check_below(2 * amplitude + 1) - amplitude;
            left -= on;
            value = on && d != 0.0f ? value : 0;
            a->q[lk_act_place(order, 32 * at + j)] = (int8_t)value;
            sum[j / 16] += value;
        }
        a->d[at] = d;
        a->s16[2 * at] = d * (float)sum[0];
        a->s16[2 * at + 1] = d * (float)sum[1];
        a->s32[at] = d * (float)(sum[0] + sum[1]);
    }
}

int check_exact_elements(const check_weight *type, int k, int amplitude) {
    int per_element = amplitude * ((type->q_max + type->zero) * type->scale_max + type->min_max);
    int n = (1 << 24) / per_element;
    return n < k ? n : k;
}
