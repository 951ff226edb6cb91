// heap_pages.h: gives memory that is about to be freed back to the system, in pieces.
//
// malloc keeps what is freed, and malloc_trim gives all of it back at once: a stall of a millisecond for every 10 MB. What
// its pages have lost before costs it nothing.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace predis {

// What lay there is gone. Only whole pages go: what is beside the memory stays.
inline void give_pages_back(void* memory, size_t bytes) {
  constexpr uintptr_t kPage = 4096;
  const uintptr_t from = (reinterpret_cast<uintptr_t>(memory) + kPage - 1) & ~(kPage - 1);
  const uintptr_t to = (reinterpret_cast<uintptr_t>(memory) + bytes) & ~(kPage - 1);
  if (from < to) madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
}

}  // namespace predis
