/*
 * quantize_TYPE: a row of floats as blocks, with the smallest weighted squared error that the
 * search of groups.h finds. All levels give the same bits: groups are independent, one to a lane,
 * and every lane does the same float operations in the same order.
 */
#include "../kernels.h"
#include "lanes_scalar.h"

#define NAME(type) quantize_##type##_scalar
#include "quantize.inc"
