/* Counts a process's allocations of a page or more. Load it with LD_PRELOAD; it needs glibc. */
#include <stddef.h>

static _Atomic long allocations;

long large_allocations(void) { return allocations; }

static void count(size_t size) {
  if (size >= 4096) ++allocations;
}

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t size) {
  count(size);
  return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
  count(number * size);
  return __libc_calloc(number, size);
}

void *realloc(void *from, size_t size) {
  count(size);
  return __libc_realloc(from, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **to, size_t alignment, size_t size) {
  count(size);
  *to = __libc_memalign(alignment, size);
  return *to == NULL;
}
