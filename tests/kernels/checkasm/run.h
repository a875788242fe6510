/* What main.c, check.c and bench.c need of each other beyond what the checks see. */
#ifndef RUN_H
#define RUN_H

#include <stddef.h>
#include <stdint.h>

void run_seed(uint64_t seed);
void run_forget_buffers(void);
/* In words: which guarded buffer this address lies next to. */
void run_describe_address(const void *address, char *text, size_t size);

/* Whose bench comes next, and how long each of its cases may take. */
void run_bench(const char *slot_name, const char *level_name, double ms);
/* The case that was begun, in words. */
const char *run_case(void);

#endif
