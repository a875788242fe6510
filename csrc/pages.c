/* What of a file the page cache holds. */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lk.h"

int lk_pages_resident(const void *memory, size_t n_bytes, uint8_t *resident) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (mincore((void *)memory, n_bytes, resident))
        return LK_ERR_ARGUMENT;
    for (size_t i = 0; i < (n_bytes + page - 1) / page; i++)
        resident[i] &= 1; /* the other bits are reserved */
    return LK_OK;
}

int lk_file_evicted(int fd, uint64_t *pages) {
    enum { CACHESTAT = 451 }; /* of every architecture; the C library has no name for it yet */
    struct {
        uint64_t offset, n_bytes; /* 0 bytes: to the end */
    } range = {0, 0};
    struct {
        uint64_t cached, dirty, writeback, evicted, recently_evicted;
    } found;
    if (syscall(CACHESTAT, fd, &range, &found, 0))
        return LK_ERR_UNSUPPORTED;
    *pages = found.recently_evicted;
    return LK_OK;
}
