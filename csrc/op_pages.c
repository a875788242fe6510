/* Pages of a mapping: fetched before they are needed, and held. Linux alone has these calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lk.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

typedef struct {
    char *begin;
    size_t n;
} pages;

static pages pages_of(const void *p, size_t n) {
    const uintptr_t size = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)p;
    const uintptr_t begin = at / size * size, end = (at + n + size - 1) / size * size;
    return (pages){(char *)begin, end - begin};
}

static int status_of(int result) {
    if (result == 0)
        return LK_OK;
    return errno == EFAULT || errno == EHWPOISON ? LK_ERR_BUS
           : errno == ENOMEM || errno == EPERM || errno == EAGAIN ? LK_ERR_MEMORY
                                                                  : LK_ERR_UNSUPPORTED;
}

int lk_pages_fetch(const void *p, size_t n) {
    const pages at = pages_of(p, n);
    if (madvise(at.begin, at.n, MADV_POPULATE_READ) == 0)
        return LK_OK;
    if (errno != EINVAL)
        return status_of(-1);
    return status_of(madvise(at.begin, at.n, MADV_WILLNEED)); /* an older kernel: into the cache */
}

int lk_pages_lock(const void *p, size_t n) {
    const pages at = pages_of(p, n);
    return status_of(mlock(at.begin, at.n));
}
