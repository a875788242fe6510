/* What main.c needs of check.c beyond what the checks see. */
#ifndef RUN_H
#define RUN_H

#include <stddef.h>
#include <stdint.h>

void run_seed(uint64_t seed);
void run_forget_buffers(void);
/* In words: which guarded buffer this address lies next to. */
void run_describe_address(const void *address, char *text, size_t size);

#endif
