#include "pages.h"

#include <algorithm>

namespace predis {
namespace {
constexpr uint32_t kReserveAhead = 16;  // pages reserved with one system call
}

Pages::Pages(Arena& arena)
    : arena_(arena),
      first_(arena.header().first_page),
      end_(arena.header().pages),
      limit_(end_ - first_),
      hint_(first_),
      high_hint_(end_ - 1),
      used_bits_((end_ + 63) / 64),
      backed_bits_((end_ + 63) / 64) {}

uint32_t Pages::find(uint32_t count, uint32_t from, uint32_t to) const {
  uint32_t run = 0;
  for (uint32_t page = from; page < to; ++page) {
    if ((page & 63) == 0 && taken(page >> 6) == ~uint64_t{0}) {
      run = 0;
      page += 63;
    } else if (!is_usable(page)) {
      run = 0;
    } else if (++run == count) {
      return page + 1 - count;
    }
  }
  return 0;
}

void Pages::mark(uint32_t first, uint32_t count, bool used) {
  for (uint32_t page = first; page < first + count; ++page) {
    const uint64_t bit = uint64_t{1} << (page & 63);
    if (used) used_bits_[page >> 6] |= bit;
    else used_bits_[page >> 6] &= ~bit;
    if (backed(page)) backed_free_ += used ? -1 : 1;
  }
  used_ = used ? used_ + count : used_ - count;
}

void Pages::set_backed(uint32_t page) {
  if (!backed(page) && !is_used(page)) ++backed_free_;
  backed_bits_[page >> 6] |= uint64_t{1} << (page & 63);
}

void Pages::retry() {
  if (!starved_) return;
  starved_ = false;
  hint_ = first_;
  high_hint_ = end_ - 1;
}

bool Pages::back_with_memory(uint32_t first, uint32_t count) {
  for (uint32_t page = first; page < first + count; ++page) {
    if (backed(page)) continue;
    uint32_t stop = page + 1;
    const uint32_t most = std::min(end_, std::max(first + count, page + kReserveAhead));
    while (stop < most && !backed(stop)) ++stop;
    if (!arena_.reserve(page, stop - page)) {
      stop = first + count;
      if (!arena_.reserve(page, stop - page)) return false;
    }
    for (uint32_t p = page; p < stop; ++p) set_backed(p);
    page = stop - 1;
  }
  return true;
}

uint32_t Pages::allocate(uint32_t count) {
  if (count == 0 || count > available()) return 0;
  uint32_t page = find(count, count == 1 ? hint_ : first_, end_);
  if (page == 0) page = find(count, first_, end_);
  if (page == 0) return 0;
  if (!back_with_memory(page, count)) {
    starved_ = true;  // on with the pages that have memory
    if (count > available() || (page = find(count, first_, end_)) == 0) return 0;
  }
  mark(page, count, true);
  if (count == 1) hint_ = page + 1;
  return page;
}

uint32_t Pages::allocate_high() {
  if (available() == 0) return 0;
  uint32_t page = high_hint_;
  while (page > first_ && !is_usable(page)) --page;
  if (!is_usable(page)) return 0;
  if (!back_with_memory(page, 1)) {
    starved_ = true;
    if (available() == 0) return 0;
    for (page = end_ - 1; page > first_ && !is_usable(page); --page) {}
    if (!is_usable(page)) return 0;
  }
  mark(page, 1, true);
  high_hint_ = page;
  return page;
}

void Pages::describe(uint32_t first, uint32_t count, PageUse use, uint8_t size_class) {
  PageDesc* descs = arena_.descs();
  for (uint32_t page = first + 1; page < first + count; ++page) descs[page] = PageDesc{};
  descs[first].size_class = size_class;
  descs[first].run_pages = count;
  store_release(descs[first].use, static_cast<uint8_t>(use));
}

void Pages::free(uint32_t first, uint32_t count) {
  store_release(arena_.descs()[first].use, static_cast<uint8_t>(PageUse::free));
  mark(first, count, false);
  hint_ = std::min(hint_, first);
  high_hint_ = std::max(high_hint_, first + count - 1);
}

void Pages::adopt(uint32_t first, uint32_t count) {
  mark(first, count, true);
  for (uint32_t p = first; p < first + count; ++p) set_backed(p);
}

void Pages::reset() {
  PageDesc* descs = arena_.descs();
  for (uint32_t page = first_; page < end_; ++page) descs[page] = PageDesc{};
  std::fill(used_bits_.begin(), used_bits_.end(), 0);
  used_ = backed_free_ = promised_ = 0;
  for (const uint64_t word : backed_bits_) backed_free_ += static_cast<uint32_t>(__builtin_popcountll(word));
  hint_ = first_;
  high_hint_ = end_ - 1;
}

void Pages::trim(uint32_t count) {
  for (uint32_t page = end_; page-- > first_ && count > 0;) {
    const uint64_t bit = uint64_t{1} << (page & 63);
    if (is_used(page) || !(backed_bits_[page >> 6] & bit)) continue;
    arena_.release(page, 1);
    backed_bits_[page >> 6] &= ~bit;
    --backed_free_;
    --count;
  }
}

}  // namespace predis
