// pages.h: hands out runs of contiguous 64 KiB pages. Everything here is derived from the page descriptors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "arena.h"

namespace predis {

class Pages {
 public:
  explicit Pages(Arena& arena);

  // First page of a run of `count` free pages, 0 when there is none. The run is described by the caller, see describe().
  uint32_t allocate(uint32_t count);
  // One page from the far end: the index' pages, which stay, keep out of the way of long runs.
  uint32_t allocate_high();
  void describe(uint32_t first, uint32_t count, PageUse use, uint8_t size_class);
  void free(uint32_t first, uint32_t count);

  void hold(uint32_t page) { mark(page, 1, true); }  // keeps a free page from being handed out
  void unhold(uint32_t page) { mark(page, 1, false); }

  void promise(uint32_t before, uint32_t now) { promised_ += now - before; }  // so many free pages are for somebody
  bool back(uint32_t first, uint32_t count) { return back_with_memory(first, count); }

  // Recovery: marks a run that the descriptors name as in use.
  void adopt(uint32_t first, uint32_t count);
  void reset();  // every page becomes free

  uint32_t limit() const { return limit_; }
  void set_limit(uint32_t pages) { limit_ = pages; }
  uint32_t used() const { return used_; }
  uint32_t available() const {
    uint32_t room = used_ < limit_ ? limit_ - used_ : 0;
    if (starved_) room = std::min(room, backed_free_);
    return room > promised_ ? room - promised_ : 0;
  }
  uint32_t first() const { return first_; }
  uint32_t end() const { return end_; }
  bool is_used(uint32_t page) const { return used_bits_[page >> 6] >> (page & 63) & 1; }
  // Neither used nor, while the file system is full, without memory of its own.
  bool is_usable(uint32_t page) const { return !(taken(page >> 6) >> (page & 63) & 1); }
  void retry();  // the file system may have memory again
  // Gives free pages' memory back to the system, at most `count` pages.
  void trim(uint32_t count);

 private:
  uint32_t find(uint32_t count, uint32_t from, uint32_t to) const;
  void mark(uint32_t first, uint32_t count, bool used);
  bool back_with_memory(uint32_t first, uint32_t count);
  bool backed(uint32_t page) const { return backed_bits_[page >> 6] >> (page & 63) & 1; }
  void set_backed(uint32_t page);
  uint64_t taken(uint32_t word) const { return used_bits_[word] | (starved_ ? ~backed_bits_[word] : 0); }

  Arena& arena_;
  uint32_t first_, end_, limit_, used_ = 0;
  uint32_t hint_;                     // where the search for a single page begins
  uint32_t high_hint_;                // and, from the far end down, for one of the index
  std::vector<uint64_t> used_bits_;
  std::vector<uint64_t> backed_bits_; // pages for which the file system has set memory aside
  uint32_t backed_free_ = 0;          // of them, how many are free
  uint32_t promised_ = 0;
  bool starved_ = false;              // it had no memory to give: only pages that have theirs are handed out
};

}  // namespace predis
