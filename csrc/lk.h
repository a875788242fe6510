/* What every C file includes: the contract, and what C needs beside it. */
#ifndef LK_H
#define LK_H

#include <stddef.h>
#include <stdint.h>

#include "lk_api.h"

#endif
