// room.cpp: how memory is found for a new entry in a full cache, and the upkeep between commands.
//
// The policy chooses what goes, whatever its size; its slot helps a new entry of the same class only. Where the sizes that
// come differ from those that go, free slots pile up in the wrong classes: as soon as a class has a slab's worth of them,
// its emptiest slab is moved into the others' holes and its pages change hands.
#include <algorithm>
#include <vector>

#include "store_impl.h"

namespace predis {

bool Store::Impl::evict_one(const Entry* pin) {
  if (policy_kind == PolicyKind::noeviction) return false;
  Entry* entry = policy->victim(pin);
  while (!entry && orphans_page != 0) {  // a new policy has not seen the entries yet
    adopt_orphans(monotonic_ns() + 200'000);
    entry = policy->victim(pin);
  }
  if (!entry) return false;
  erase(entry, index.hash(entry->key()), EraseReason::evicted);
  return true;
}

bool Store::Impl::make_room(size_t bytes, const Entry* pin) {
  constexpr int kEvictionsBeforeCompaction = 64;
  const int size_class = slabs.class_of(bytes);
  const uint32_t need = size_class >= 0 ? slabs.run_pages(size_class)
                                        : static_cast<uint32_t>((bytes + kPageSize - 1) / kPageSize);
  bool evicted = false;
  if (size_class < 0) return make_run(need, pin);
  // Holes are memory too: no more than a part in 32 of all may lie idle in other classes.
  if (slabs.free_bytes() > size_t{pages.limit()} * kPageSize / 32 && compact(pin)) return true;
  for (int i = 0; i < kEvictionsBeforeCompaction && evict_one(pin); ++i) {
    evicted = true;
    if (slabs.has_free(size_class) || (need == 1 && pages.available() > 0)) return true;
    if (need > 1 && pages.available() >= 2 * need) break;
  }
  if (need > 1) return make_run(need, pin);
  slabs.release_spares();
  return pages.available() > 0 || compact(pin) || evicted;
}

// Room for a run: gathers twice as many free pages as it takes, so that the window to be emptied is nearly empty already.
bool Store::Impl::make_run(uint32_t need, const Entry* pin) {
  const uint32_t target = std::min(2 * need, pages.limit() / 4 * 3);
  for (;;) {
    slabs.release_spares();
    while (pages.available() < target && compact(pin)) {}
    if (pages.available() >= target) break;
    int evicted = 0;
    while (evicted < 64 && pages.available() < target && evict_one(pin)) ++evicted;
    if (evicted == 0) break;
  }
  // An empty window is of no use while a lowered limit forbids to take it.
  return clear_window(need, pin) && pages.available() >= need;
}

void Store::Impl::move(Entry* entry) {
  const size_t bytes = bytes_of(entry);
  Entry* fresh = slabs.allocate(bytes);
  std::copy_n(reinterpret_cast<const char*>(entry) + 8, bytes - 8, reinterpret_cast<char*>(fresh) + 8);
  const size_t footprint = slabs.footprint(bytes);
  policy->replaced(entry, fresh, footprint, footprint);
  if (const uint64_t at = fresh->expire_at()) slabs.note_expire(fresh, at);
  // For a moment there are two copies of one version: recovery keeps either.
  store_release(fresh->version, entry->version);
  index.replace(index.hash(fresh->key()), arena->ref(entry), arena->ref(fresh));
  store_release(entry->version, 0);
  slabs.free(entry, bytes);
  ++arena->stats().moved_entries;
}

bool Store::Impl::compact(const Entry* pin) {
  const int size_class = slabs.compactable();
  if (size_class < 0) return false;
  const uint32_t page = slabs.begin_evacuation(size_class, pin);
  if (page == 0) return false;
  for (uint32_t i = 0, n = slabs.slots_in(page); i < n; ++i)
    if (slabs.slot(page, i)->live()) move(slabs.slot(page, i));
  const uint32_t before = pages.used();
  slabs.end_evacuation(page);
  return pages.used() < before;
}

// Empties the cheapest window of contiguous pages, for an entry that needs a run of its own.
bool Store::Impl::clear_window(uint32_t count, const Entry* pin) {
  constexpr uint64_t kNever = uint64_t{1} << 40;
  const PageDesc* descs = arena->descs();
  const uint32_t first = pages.first(), end = pages.end();
  const uint32_t pinned = pin ? slabs.head_of(arena->page_of(pin)) : 0;
  const bool may_evict = any_may_go(policy_kind);
  std::vector<uint64_t> cost(end);
  for (uint32_t page = first; page < end; ++page) {
    if (!pages.is_used(page)) {
      if (!pages.is_usable(page)) cost[page] = kNever;
      continue;
    }
    const auto use = static_cast<PageUse>(descs[page].use);
    uint32_t run = 1;
    uint64_t each = kNever;
    if (use == PageUse::slab || use == PageUse::large) {
      run = descs[page].run_pages;
      const uint64_t live = use == PageUse::large ? run * kPageSize : slabs.live_bytes_in(page);
      if (may_evict && page != pinned) each = 1 + live / run;
    }
    for (uint32_t p = page; p < page + run; ++p) cost[p] = each;
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
  if (start == 0) return false;
  for (uint32_t page = start; page < start + count; ++page) {
    if (!pages.is_used(page)) continue;
    const uint32_t head = slabs.head_of(page);
    const auto use = static_cast<PageUse>(descs[head].use);
    const uint32_t slots = use == PageUse::large ? 1 : slabs.slots_in(head);
    for (uint32_t i = 0; i < slots; ++i) {
      Entry* entry = use == PageUse::large ? reinterpret_cast<Entry*>(arena->page(head)) : slabs.slot(head, i);
      if (entry->live()) erase(entry, index.hash(entry->key()), EraseReason::evicted);
    }
  }
  slabs.release_spares();
  for (uint32_t page = start; page < start + count; ++page)
    if (pages.is_used(page)) return false;
  return true;
}

// Brings the pages in use under the limit after maxmemory was lowered, and gives them back to the system.
bool Store::Impl::shrink(uint64_t deadline_ns) {
  const uint32_t limit = pages.limit();
  if (pages.used() <= limit) {
    const uint32_t all = pages.end() - pages.first();
    if (limit < all) pages.trim(64);
    return false;
  }
  while (pages.used() > limit && monotonic_ns() < deadline_ns) {
    for (int i = 0; i < 32; ++i)
      if (!evict_one(nullptr)) break;
    slabs.release_spares();
    if (pages.used() > limit && !compact(nullptr) && index.size() == 0) return false;
  }
  pages.trim(64);
  return pages.used() > limit;
}

// Active expiry: walks the slabs in turn and looks into those whose earliest expiry has passed.
bool Store::Impl::expire(uint64_t deadline_ns) {
  constexpr uint64_t kPassMs = 500;  // a new walk begins at most this often
  if (sweep_page == 0) {
    if (expires == 0 || now_ms - sweep_began_ms < kPassMs) return false;
    sweep_began_ms = now_ms;
    sweep_page = pages.first();
  }
  const auto now_s = static_cast<uint32_t>(now_ms / 1000);
  const PageDesc* descs = arena->descs();
  for (; sweep_page < pages.end(); ++sweep_page) {
    if (!pages.is_used(sweep_page)) continue;
    const uint32_t page = sweep_page;
    const auto use = static_cast<PageUse>(descs[page].use);
    const uint32_t run = descs[page].run_pages;
    if ((use == PageUse::slab || use == PageUse::large) && slabs.min_expire(page) <= now_s) {
      if (monotonic_ns() >= deadline_ns) return true;
      const uint32_t slots = use == PageUse::large ? 1 : slabs.slots_in(page);
      uint64_t least = ~uint64_t{0};
      for (uint32_t i = 0; i < slots; ++i) {
        Entry* entry = use == PageUse::large ? reinterpret_cast<Entry*>(arena->page(page)) : slabs.slot(page, i);
        if (!entry->live() || entry->expire_at() == 0) continue;
        if (expired(entry)) erase(entry, index.hash(entry->key()), EraseReason::expired_active);
        else least = std::min(least, entry->expire_at() / 1000);
      }
      slabs.min_expire(page) = static_cast<uint32_t>(std::min<uint64_t>(least, 0xffffffff));
    }
    if (run > 1) sweep_page += run - 1;
  }
  sweep_page = 0;
  return false;
}

// After a change of policy: shows it the entries that it has not seen.
bool Store::Impl::adopt_orphans(uint64_t deadline_ns) {
  if (orphans_page == 0) return false;
  const PageDesc* descs = arena->descs();
  for (; orphans_page < pages.end(); ++orphans_page) {
    if (!pages.is_used(orphans_page)) continue;
    if (monotonic_ns() >= deadline_ns) return true;
    const uint32_t page = orphans_page, run = std::max(1u, descs[page].run_pages);
    const auto use = static_cast<PageUse>(descs[page].use);
    const uint32_t slots = use == PageUse::slab ? slabs.slots_in(page) : use == PageUse::large ? 1 : 0;
    for (uint32_t i = 0; i < slots; ++i) {
      Entry* entry = use == PageUse::large ? reinterpret_cast<Entry*>(arena->page(page)) : slabs.slot(page, i);
      if (entry->live()) policy->adopted(entry, slabs.footprint(bytes_of(entry)));
    }
    orphans_page += run - 1;
  }
  orphans_page = 0;
  return false;
}

}  // namespace predis
