/* Pages of a mapping: fetched before they are needed, and held. Linux alone has these calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lk.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

#define WILLNEED_BYTES (128 << 10) /* of more, the kernel reads the beginning only */

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
    return errno == EFAULT || errno == EHWPOISON                  ? LK_ERR_BUS
           : errno == ENOMEM || errno == EPERM || errno == EAGAIN ? LK_ERR_MEMORY
                                                                  : LK_ERR_UNSUPPORTED;
}

/* First into the cache, exactly these pages, while faults may read their neighbours too; then into
 * the page table, which a kernel before 5.14 leaves to faults. */
int lk_pages_fetch(const void *p, size_t n) {
    const pages at = pages_of(p, n);
    for (size_t i = 0; i < at.n; i += WILLNEED_BYTES) {
        const size_t left = at.n - i;
        if (madvise(at.begin + i, left < WILLNEED_BYTES ? left : WILLNEED_BYTES, MADV_WILLNEED))
            return status_of(-1);
    }
    if (madvise(at.begin, at.n, MADV_POPULATE_READ) && errno != EINVAL)
        return status_of(-1);
    return LK_OK;
}

int lk_pages_lock(const void *p, size_t n) {
    const pages at = pages_of(p, n);
    return status_of(mlock(at.begin, at.n));
}
