// window.cpp: contiguous pages for an entry that needs a run of its own: the window in which least lives is emptied.
//
// Slots and index pages move elsewhere. What has a run of its own, and slots for which no room is left, is evicted, unless
// it belongs to another tenant: then nothing comes of it, and the caller makes more room first.
#include <algorithm>
#include <vector>

#include "store_impl.h"

namespace predis {
namespace {
constexpr uint64_t kNever = uint64_t{1} << 40;
}

bool Store::Impl::may_take(const Entry* entry, uint32_t asking) const {
  return any_may_go(policy_kind) && (entry->tenant() == 0 || entry->tenant() == asking);
}

PageUse Store::Impl::use_of(uint32_t page) const { return static_cast<PageUse>(arena->descs()[page].use); }

// First page of the cheapest window, 0 for none.
uint32_t Store::Impl::find_window(uint32_t count, const Entry* pin, uint32_t tenant) const {
  const uint32_t first = pages.first(), end = pages.end();
  const uint32_t pinned = pin ? slabs.head_of(arena->page_of(pin)) : 0;
  std::vector<uint64_t> cost(end);
  for (uint32_t page = first; page < end; ++page) {
    if (!pages.is_used(page)) {
      if (!pages.is_usable(page)) cost[page] = kNever;
      continue;
    }
    const uint32_t run = run_of(page);
    uint64_t each = kNever;
    if (use_of(page) == PageUse::index) {
      each = kPageSize;
    } else if (use_of(page) == PageUse::slab) {
      if (page != pinned) each = 1 + slabs.live_bytes_in(page) / run;
    } else if (use_of(page) == PageUse::large && page != pinned && may_take(reinterpret_cast<const Entry*>(arena->page(page)), tenant)) {
      each = 1 + kPageSize;
    }
    std::fill_n(cost.begin() + page, run, each);
    page += run - 1;
  }
  uint64_t sum = 0, best = kNever;
  uint32_t start = 0;
  for (uint32_t page = first; page < end; ++page) {
    sum += cost[page];
    if (page - first >= count) sum -= cost[page - count];
    if (page - first + 1 >= count && sum < best) {
      best = sum;
      start = page + 1 - count;
    }
  }
  return start;
}

bool Store::Impl::clear_window(uint32_t count, const Entry* pin, uint32_t tenant) {
  const uint32_t start = find_window(count, pin, tenant), stop = start + count;
  if (start == 0) return false;
  slabs.flush_magazines();
  std::vector<uint32_t> heads, held;
  const auto hold = [&](uint32_t from, uint32_t to) {  // what is free in the window is to stay so
    for (uint32_t page = std::max(from, start); page < std::min(to, stop); ++page) {
      if (pages.is_used(page)) continue;
      pages.hold(page);
      held.push_back(page);
    }
  };
  for (uint32_t page = start; page < stop; ++page) {
    if (!pages.is_used(page)) continue;
    const uint32_t head = use_of(page) == PageUse::index ? page : slabs.head_of(page);
    if (!heads.empty() && heads.back() == head) continue;
    heads.push_back(head);
    if (use_of(head) == PageUse::slab) slabs.evacuate(head);
  }
  hold(start, stop);
  bool stuck = false;
  for (const uint32_t head : heads) {
    const uint32_t run = arena->descs()[head].run_pages;
    if (use_of(head) == PageUse::slab) {
      for (uint32_t i = 0, n = slabs.slots_in(head); i < n && !stuck; ++i) {
        Entry* entry = slabs.slot(head, i);
        if (!entry->live() || move(entry)) continue;
        stuck = !may_take(entry, tenant);
        if (!stuck) erase(entry, index.hash(entry->key()), EraseReason::evicted);
      }
      slabs.end_evacuation(head);
    } else if (!stuck && use_of(head) == PageUse::index) {
      stuck = !index.relocate(head);
    } else if (!stuck) {
      auto* entry = reinterpret_cast<Entry*>(arena->page(head));
      erase(entry, index.hash(entry->key()), EraseReason::evicted);
    }
    hold(head, head + run);
  }
  const bool empty = held.size() == count;
  for (const uint32_t page : held) pages.unhold(page);
  return empty;
}

}  // namespace predis
