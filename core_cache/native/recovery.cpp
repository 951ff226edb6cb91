// recovery.cpp: makes index, free lists and policy queues anew from the entries that the last writer left behind.
//
// Whatever the last writer was doing when it was killed, each entry is either published (version not 0, all of it
// written) or not there. Two entries can have one key, where an overwrite or a move was cut short: the higher version
// counts. Lengths are checked against the slot, so that a damaged arena costs entries and never a crash.
#include <algorithm>
#include <cstring>
#include <vector>

#include "store_impl.h"

namespace predis {
namespace {

bool plausible(Entry* entry, size_t room, LogSeed seed) {
  if (entry->key_len16 == Entry::kLongKey && room < sizeof(Entry) + 4) return false;
  const uint64_t bytes = uint64_t{sizeof(Entry)} + entry->key_offset() + entry->key_len() + entry->value_len +
                         checksum_bytes(entry->type());
  if (bytes > room || entry->type() > Type::hash) return false;
  return entry->type() == Type::string || recover_log(entry, seed);
}

// Versions count writes, and nobody lives to see so many: a number beyond is damage. To go on from it would end in a
// counter that begins anew, and entries that the next recovery takes for free or flushed.
constexpr uint64_t kMostVersions = uint64_t{1} << 62;
uint64_t sane_version(uint64_t version) { return version < kMostVersions ? version : 0; }

constexpr uint8_t kDropped = 0x80;  // in Entry::kind, during recovery: a twin with a higher version was found

// All entries are gone through several times, far more than caches hold: what comes next is fetched ahead.
constexpr size_t kAhead = 16;

// Sorts by age, oldest first: two rounds of counting over 22 bits of the age. (LSD radix sort)
void sort_by_access(std::vector<Ref>& refs, const Arena& arena, uint32_t tick) {
  const auto key = [&](Ref ref) {
    const uint32_t age = tick - arena.at(ref)->access;
    return 0x3fffffu - std::min(age, 0x3fffffu);
  };
  std::vector<std::pair<uint32_t, Ref>> items(refs.size()), sorted(refs.size());
  for (size_t i = 0; i < refs.size(); ++i) {
    if (i + kAhead < refs.size()) prefetch(arena.at(refs[i + kAhead]));
    items[i] = {key(refs[i]), refs[i]};
  }
  for (const int shift : {0, 11}) {
    uint32_t counts[2049] = {};
    for (const auto& item : items) ++counts[(item.first >> shift & 2047) + 1];
    for (int i = 0; i < 2048; ++i) counts[i + 1] += counts[i];
    for (const auto& item : items) sorted[counts[item.first >> shift & 2047]++] = item;
    items.swap(sorted);
  }
  for (size_t i = 0; i < refs.size(); ++i) refs[i] = items[i].second;
}

}  // namespace

void Store::Impl::recover() {
  const uint64_t began = monotonic_ns();
  Header& h = arena->header();
  store_release(h.generation, h.generation | 1);
  __atomic_thread_fence(__ATOMIC_RELEASE);  // no change below is seen by a reader that does not see this number
  PageDesc* descs = arena->descs();
  Stats& stats = arena->stats();
  std::vector<Ref> found;
  h.cleared_version = h.cleared_again = std::max(sane_version(h.cleared_version), sane_version(h.cleared_again));
  uint64_t highest = std::max(sane_version(h.next_version), h.cleared_version);

  const auto fetch = [&](size_t i) {
    if (i < found.size()) prefetch(arena->at(found[i]));
  };
  const auto live = [&](Entry* entry, size_t room, int size_class) {
    prefetch(reinterpret_cast<const char*>(entry) + kAhead * room);  // another slot's head, or of no use
    if (entry->version == 0) return false;
    if (entry->version <= h.cleared_version || sane_version(entry->version) == 0 || !plausible(entry, room, log_seed()) ||
        slabs.class_of(bytes_of(entry)) != size_class || (size_class < 0 && slabs.footprint(bytes_of(entry)) != room)) {
      entry->version = 0;
      return false;
    }
    if (expired(entry)) {
      entry->version = 0;
      ++stats.expired_active;
      return false;
    }
    entry->kind = static_cast<uint8_t>(entry->kind & ~kDropped);  // a recovery that was cut short has left it, or damage
    found.push_back(arena->ref(entry));
    return true;
  };

  for (uint32_t page = pages.first(); page < pages.end();) {
    PageDesc& desc = descs[page];
    const auto use = static_cast<PageUse>(desc.use);
    const uint32_t run = desc.run_pages;
    const bool fits = run > 0 && run <= pages.end() - page;
    if (use == PageUse::slab && fits && desc.size_class < slabs.classes() && run == slabs.run_pages(desc.size_class)) {
      const int size_class = desc.size_class;
      pages.adopt(page, run);
      slabs.adopt(page, size_class, [&](Entry* entry) { return live(entry, slabs.slot_size(size_class), size_class); });
      page += run;
    } else if (use == PageUse::large && fits && live(reinterpret_cast<Entry*>(arena->page(page)), run * kPageSize, -1)) {
      pages.adopt(page, run);
      slabs.adopt_large(page, run);
      page += run;
    } else {
      desc.use = static_cast<uint8_t>(PageUse::free);  // the index too: it is made anew
      ++page;
    }
  }
  uint64_t size_for = found.size();
  while (!index.build(size_for)) {
    if (size_for == 0) throw ArenaError("the arena " + arena->path() + " has no room for its index: remove the file");
    size_for /= 2;
  }
  const auto drop = [&](Entry* entry) {
    const size_t bytes = bytes_of(entry);
    store_release(entry->version, 0);
    slabs.free(entry, bytes);
  };
  constexpr size_t kBatch = 32;
  uint64_t hashes[kBatch];
  size_t kept = 0;
  for (size_t start = 0; start < found.size(); start += kBatch) {
    const size_t n = std::min(kBatch, found.size() - start);
    for (size_t i = start + n; i < std::min(start + n + kBatch, found.size()); ++i) {
      const char* const entry = reinterpret_cast<const char*>(arena->at(found[i]));
      for (size_t line = 0; line < 192; line += 64) prefetch(entry + line);  // its checksum is over all of it
    }
    for (size_t i = 0; i < n; ++i) {
      hashes[i] = index.hash(arena->at(found[start + i])->key());
      index.prefetch_bucket(hashes[i]);
    }
    for (size_t i = 0; i < n; ++i) {
      Entry* entry = arena->at(found[start + i]);
      if (entry->type() == Type::string && !checksum_holds(*entry, hashes[i])) {
        ++stats.damaged_entries;
        drop(entry);
        continue;
      }
      highest = std::max(highest, entry->version);
      if (Entry* twin = index.find(entry->key(), hashes[i])) {
        if (twin->version >= entry->version) {
          drop(entry);
          continue;
        }
        index.replace(hashes[i], arena->ref(twin), arena->ref(entry));
        twin->kind |= kDropped;
        found[kept++] = found[start + i];
        continue;
      }
      if (!index.reserve()) {  // an arena full to the last page: an entry makes way
        ++stats.evicted_capacity;
        drop(entry);
        continue;
      }
      index.insert(hashes[i], arena->ref(entry));
      found[kept++] = found[start + i];
    }
  }
  h.next_version = highest + 1;
  found.resize(kept);
  size_t counted = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    fetch(i + kAhead);
    Entry* entry = arena->at(found[i]);
    if (entry->kind & kDropped) {
      drop(entry);
      continue;
    }
    entry->queue_pos = 0;
    // Tenants may have come and gone since.
    entry->expire_and_tenant = entry->expire_at() | uint64_t{partitions.tenant_of(entry->key())} << 48;
    if (const uint64_t at = entry->expire_at()) {
      ++expires;
      slabs.note_expire(entry, at);
    }
    found[counted++] = found[i];
  }
  found.resize(counted);
  if (has_queues(policy_kind)) sort_by_access(found, *arena, tick);
  for (size_t i = 0; i < found.size(); ++i) {
    fetch(i + kAhead);
    Entry* entry = arena->at(found[i]);
    const size_t bytes = slabs.footprint(bytes_of(entry));
    if (partitions.single()) {
      partitions.first().adopted(entry, bytes);
    } else {
      count(entry->tenant(), 1, static_cast<int64_t>(bytes));
      partitions.of(entry, index.hash(entry->key())).adopted(entry, bytes);
    }
  }
  ++stats.recoveries;
  stats.recovered_entries += found.size();
  stats.recovery_nanoseconds += monotonic_ns() - began;
}

void Store::Impl::carry_over(Impl& source) {
  Header& h = arena->header();
  h.epoch_unix_ms = source.arena->header().epoch_unix_ms;
  h.check = header_check(h);
  uses.epoch_unix_ms = arena->header().epoch_unix_ms;
  set_now(now_ms);
  std::memcpy(&arena->stats(), &source.arena->stats(), sizeof(Stats));
  uint64_t cursor = 0;
  do {
    cursor = source.index.scan(cursor, [&](Ref ref) {
      const Entry* entry = source.arena->at(ref);
      Entry* fresh = prepare(entry->key(), entry->value_len, static_cast<Type>(entry->kind & 0x0f), nullptr);
      if (!fresh) return;
      std::memcpy(fresh->value_data(), entry->value().data(), entry->value_len);
      if (entry->type() != Type::string) reseal_log(fresh, log_seed());
      fresh->expire_and_tenant |= entry->expire_at();
      fresh->access = entry->access;
      fresh->freq = entry->freq;
      fresh->kind = entry->kind;
      commit(fresh, index.hash(entry->key()), nullptr);
    });
  } while (cursor != 0);
}

}  // namespace predis
