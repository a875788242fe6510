/* The tables of iq_quants.h. */
#include "iq_quants.h"

#include "iq_grids.inc"
