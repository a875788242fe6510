/* Blocks and activations made to measure: what each weight type needs for its checks. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "check.h"

typedef struct {
    const char *name; /* the slot's ending: q4_0 in dot_q4_0 */
    int length;       /* elements of a block */
    int bytes;
    int group;     /* elements that share a scale: G of the tile */
    int zero;      /* of the tile */
    int q_max;     /* largest q of the tile */
    int scale_max; /* largest magnitude of the integer scale inside a block */
    int min_max;   /* same for the block minimum; 0: the type has none */
    int d, m;      /* byte offsets of the half floats; m < 0: none */
    int order;     /* lk_act_order of the activations that the dot reads */
    bool is_e8m0;  /* d is an exponent */
} check_weight;

/* The type a quantised slot is about; NULL for floats. */
const check_weight *check_weight_of(const char *slot_name);

/* Contents of the half floats, and of the activation scales that go with them. */
typedef enum {
    SCALE_RANDOM,
    SCALE_ZERO,      /* +0 and -0 */
    SCALE_SUBNORMAL, /* below the normal half floats */
    SCALE_HUGE,      /* the largest finite half floats */
    SCALE_EXACT,     /* +1 and -1: results are integers */
    N_SCALES
} check_scale;
extern const char *const check_scale_names[N_SCALES];

/* `extreme`: every other byte is 0x00, 0x7f, 0x80 or 0xff. */
void check_fill_blocks(const check_weight *type, void *w, int n_blocks, check_scale scale,
                       bool extreme);

/* An activation row, |q| <= amplitude (extreme: always equal); at most `active` are not 0. */
void check_fill_act(void *row, int k, int order, check_scale scale, int amplitude, bool extreme,
                    int active);

/* How many elements keep any sum of products of integers below 2^24, which floats hold exactly. */
int check_exact_elements(const check_weight *type, int k, int amplitude);

#endif
