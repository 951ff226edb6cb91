// room.cpp: how memory is found for a new entry in a full cache, and the upkeep between commands.
//
// The policy chooses what goes, whatever its size; its slot helps a new entry of the same class only. Where the sizes that
// come differ from those that go, free slots pile up in the wrong classes: as soon as a class has a slab's worth of them,
// its emptiest slab is moved into the others' holes and its pages change hands.
#include <algorithm>
#include <vector>

#include "store_impl.h"

namespace predis {

bool Store::Impl::evict_from(Policy& policy, const Entry* pin) {
  if (policy_kind == PolicyKind::noeviction) return false;
  Entry* entry = policy.victim(pin);
  while (!entry && orphans_page != 0) {  // a new policy has not seen the entries yet
    adopt_orphans(monotonic_ns() + 200'000);
    entry = policy.victim(pin);
  }
  if (!entry) return false;
  erase(entry, index.hash(entry->key()), EraseReason::evicted);
  return true;
}

// Room within the tenant's quota for `bytes` more, besides what is set aside for other values on their way.
bool Store::Impl::keep_quota(uint32_t tenant, size_t bytes, const Entry* pin) {
  const Partitions::Tenant& t = partitions[tenant];
  if (bytes > t.quota) return false;
  const uint64_t ours = offered != nullptr && offered->tenant == tenant ? offered->counted : 0;
  while (t.bytes + t.coming - ours + bytes > t.quota)
    if (!evict_from(partitions.donor_in(tenant), pin) && !give_up_one(tenant)) return false;
  return true;
}

// What the tenants leave is for the keys of nobody; the index and the holes of the slabs are at their expense.
void Store::Impl::share_out() {
  const uint64_t room = uint64_t{pages.limit()} * kPageSize;
  partitions[0].quota = room;
  if (partitions.size() > 1) {
    uint64_t rest = room - std::min<uint64_t>(room, room / 16 + index.bytes());
    for (uint32_t i = 1; i < partitions.size(); ++i) rest -= std::min(rest, partitions[i].quota);
    partitions[0].quota = std::max<uint64_t>(rest, room / 64);
  }
  for (uint32_t i = 0; i < partitions.size(); ++i) {
    const Partitions::Tenant& tenant = partitions[i];
    const auto second = static_cast<uint64_t>(static_cast<double>(tenant.quota) * partitions.second_share());
    tenant.arms[0]->set_room(tenant.quota - second);
    if (tenant.arms[1]) tenant.arms[1]->set_room(second);
  }
}

// A removal is a record in a log, for which there may be no room: then the log is written anew, and the old one freed.
void Store::Impl::set_reserve() {
  const uint32_t before = reserve;
  constexpr uint32_t kSlab = 17;  // pages: the longest slab, and one for the index
  reserve = any_may_go(policy_kind) ? 0 : std::max(pages.limit() / 64, std::min(kSlab, pages.limit() / 16));
  pages.promise(before, reserve);
}

bool Store::Impl::make_room(size_t bytes, const Entry* pin, uint32_t tenant) {
  constexpr int kEvictionsBeforeCompaction = 64;
  const int size_class = slabs.class_of(bytes);
  const uint32_t need = size_class >= 0 ? slabs.run_pages(size_class)
                                        : static_cast<uint32_t>((bytes + kPageSize - 1) / kPageSize);
  bool evicted = false;
  if (size_class < 0) return make_run(need, pin, tenant);
  // Holes are memory too: no more than a part in 32 of all may lie idle in other classes.
  if (slabs.free_bytes() > size_t{pages.limit()} * kPageSize / 32 && compact(pin)) return true;
  for (int i = 0; i < kEvictionsBeforeCompaction && evict_one(pin, tenant); ++i) {
    evicted = true;
    if (slabs.has_free(size_class) || (need == 1 && pages.available() > 0)) return true;
    if (need > 1 && pages.available() >= need + need / 8 + 2) break;
  }
  if (need > 1) return make_run(need, pin, tenant);
  slabs.release_spares();
  return pages.available() > 0 || compact(pin) || evicted;
}

// Room for a run: gathers some more free pages than it takes, then moves what lives in the emptiest window.
bool Store::Impl::make_run(uint32_t need, const Entry* pin, uint32_t tenant) {
  constexpr uint32_t kMore = 2;
  const uint32_t most = pages.limit() / 4 * 3;
  for (uint32_t target = need + need / 8 + kMore;; target += target / 4 + kMore) {
    target = std::min(target, most);
    bool evicted = true;
    while (evicted && pages.available() < target) {
      evicted = false;
      for (int i = 0; i < 64 && pages.available() < target && evict_one(pin, tenant); ++i) evicted = true;
      slabs.release_spares();
      while (pages.available() < target && compact(pin)) {}
    }
    // An empty window is of no use while a lowered limit forbids to take it.
    if (clear_window(need, pin, tenant)) return pages.available() >= need;
    if (!evicted || target == most) return false;
  }
}

// Into another slot, out of a slab that is being emptied; false when there is none.
bool Store::Impl::move(Entry* entry) {
  const size_t bytes = bytes_of(entry);
  Entry* fresh = slabs.allocate(bytes);
  if (!fresh) return false;
  std::copy_n(reinterpret_cast<const char*>(entry) + 8, bytes - 8, reinterpret_cast<char*>(fresh) + 8);
  const size_t footprint = slabs.footprint(bytes);
  const uint64_t hash = index.hash(fresh->key());
  partitions.of(entry, hash).replaced(entry, fresh, footprint, footprint);
  if (const uint64_t at = fresh->expire_at()) slabs.note_expire(fresh, at);
  // For a moment there are two copies of one version: recovery keeps either.
  store_release(fresh->version, entry->version);
  index.replace(hash, arena->ref(entry), arena->ref(fresh));
  store_release(entry->version, 0);
  slabs.free(entry, bytes);
  ++arena->stats().moved_entries;
  return true;
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

// Brings the pages in use under the limit after maxmemory was lowered, and gives them back to the system.
bool Store::Impl::shrink(uint64_t deadline_ns) {
  const uint32_t limit = pages.limit();
  if (pages.used() <= limit) {
    const uint32_t all = pages.end() - pages.first();
    if (limit < all) pages.trim(64);
    return false;
  }
  for (Landing* landing : landings)
    if (landing->pin != nullptr) give_up(*landing);  // a log can wait, and be written anew in less room
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
    const uint32_t run = run_of(page);
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
    const uint32_t page = orphans_page, run = run_of(page);
    const auto use = static_cast<PageUse>(descs[page].use);
    const uint32_t slots = use == PageUse::slab ? slabs.slots_in(page) : use == PageUse::large ? 1 : 0;
    for (uint32_t i = 0; i < slots; ++i) {
      Entry* entry = use == PageUse::large ? reinterpret_cast<Entry*>(arena->page(page)) : slabs.slot(page, i);
      if (!entry->live()) continue;
      Policy& policy = partitions.single() ? partitions.first() : partitions.of(entry, index.hash(entry->key()));
      policy.adopted(entry, slabs.footprint(bytes_of(entry)));
    }
    orphans_page += run - 1;
  }
  orphans_page = 0;
  return false;
}

}  // namespace predis
