// store_impl.h: the parts of a Store and how they hang together; shared by store.cpp, room.cpp, window.cpp, landing.cpp and recovery.cpp.
#pragma once

#include <memory>
#include <vector>

#include "arena.h"
#include "checksum.h"
#include "index.h"
#include "landing.h"
#include "pages.h"
#include "partitions.h"
#include "policy.h"
#include "policy_model.h"
#include "side_index.h"
#include "slabs.h"
#include "store.h"

namespace predis {

constexpr size_t payload_bytes(size_t key_len, size_t value_len, Type type) {
  return sizeof(Entry) + (key_len >= Entry::kLongKey ? 4 : 0) + key_len + value_len + checksum_bytes(type);
}
inline size_t bytes_of(const Entry* entry) { return payload_bytes(entry->key_len(), entry->value_len, entry->type()); }

struct Store::Impl {
  Impl(std::unique_ptr<Arena> opened, PolicyKind kind, const std::vector<TenantOptions>& tenants);

  // store.cpp
  Entry* prepare(std::string_view key, size_t value_len, Type type, Entry* pin);
  void commit(Entry* fresh, uint64_t hash, Entry* old);
  void erase(Entry* entry, uint64_t hash, EraseReason reason);
  void clear();
  void set_now(uint64_t unix_ms);
  bool expired(const Entry* entry) const {
    const uint64_t at = entry->expire_at();
    return at != 0 && at < now_ms;
  }
  void make_policy(PolicyKind kind);
  static size_t footprint_of(const void* self, const Entry* entry) {
    return static_cast<const Impl*>(self)->slabs.footprint(bytes_of(entry));
  }
  std::unique_ptr<Policy> new_policy(PolicyKind kind, Footprint footprint, uint32_t arm);
  std::unique_ptr<Scorer> new_scorer(PolicyKind kind, Footprint footprint, uint32_t arm);
  void set_scorers();
  void renew_policies(PolicyKind kind);
  LogSeed log_seed() const { return {arena->header().hash_seed[0], arena->header().hash_seed[1]}; }
  bool tidy_policies(uint64_t deadline_ns);
  void count(uint32_t tenant, int keys, int64_t bytes) {
    partitions[tenant].keys += static_cast<uint64_t>(static_cast<int64_t>(keys));
    partitions[tenant].bytes += static_cast<uint64_t>(bytes);
  }

  // room.cpp: memory for new entries, and upkeep
  bool make_room(size_t bytes, const Entry* pin, uint32_t tenant);
  bool make_run(uint32_t need, const Entry* pin, uint32_t tenant);
  void set_reserve();
  bool keep_quota(uint32_t tenant, size_t bytes, const Entry* pin);
  void share_out();
  bool evict_from(Policy& policy, const Entry* pin);
  bool evict_one(const Entry* pin, uint32_t tenant = 0) { return evict_from(partitions.donor(tenant), pin); }
  bool compact(const Entry* pin);
  bool clear_window(uint32_t pages, const Entry* pin, uint32_t tenant);  // window.cpp
  uint32_t find_window(uint32_t pages, const Entry* pin, uint32_t tenant) const;
  bool may_take(const Entry* entry, uint32_t asking) const;
  PageUse use_of(uint32_t page) const;
  uint32_t run_of(uint32_t page) const {  // pages in the run that begins here; a page that is held describes none
    return use_of(page) == PageUse::free ? 1 : std::max(1u, arena->descs()[page].run_pages);
  }
  bool move(Entry* entry);
  bool shrink(uint64_t deadline_ns);
  bool expire(uint64_t deadline_ns);
  bool adopt_orphans(uint64_t deadline_ns);

  // landing.cpp
  bool make_ready(Landing& landing, uint32_t due, uint64_t deadline_ns);
  void advance(Landing& landing, std::string_view arrived, uint64_t deadline_ns);
  void withdraw(Landing& landing);
  void give_up(Landing& landing);
  bool give_up_one(uint32_t tenant);
  uint64_t landed_digest(const Entry& entry, uint64_t hash);
  void set_counted(Landing& landing, uint64_t bytes) {
    partitions[landing.tenant].coming += bytes - landing.counted;
    landing.counted = bytes;
  }
  bool gather(Landing& landing, uint32_t due, uint64_t deadline_ns);
  void hold_free(Landing& landing, uint32_t from, uint32_t to);
  bool back(Landing& landing, uint64_t deadline_ns);
  bool clear_run(Landing& landing, uint64_t deadline_ns);
  bool empty_page(uint32_t page, uint32_t tenant, const Entry* pin);

  // recovery.cpp
  void recover();
  void carry_over(Impl& source);  // from an arena of another size

  std::unique_ptr<Arena> arena;
  Pages pages;
  Slabs slabs;
  Index index;
  Partitions partitions;
  std::vector<std::unique_ptr<Policy>> retired;  // of earlier policies, until their memory is given back
  PolicyKind policy_kind;
  Uses uses;
  std::shared_ptr<const PolicyModel> models[2];  // by arm
  ModelUse model_use[2];
  double test_share = 0;  // of the keys that belong to arm 1
  bool testing = false;
  uint64_t max_memory;
  KeyObserver* observer = nullptr;
  std::vector<Landing*> landings;
  uint32_t reserve = 0;  // pages that are kept for removals
  Landing* offered = nullptr;  // whose run the slabs may give out
  const Landing* landed = nullptr;  // the one whose value was written last, until it is committed
  SideIndexes sides;  // of collections
  uint64_t turns = 0;         // calls of set_now
  uint64_t now_ms = 0;
  uint32_t tick = 0;          // now, in the units of Entry::access
  uint64_t expires = 0;       // keys with an expiry
  bool fresh = false;
  bool full = false;          // noeviction: the last write found no room
  uint32_t sweep_page = 0;    // where active expiry goes on
  uint64_t sweep_began_ms = 0;
  uint32_t orphans_page = 0;  // where taking over entries into a new policy goes on, 0: done
  uint64_t random_state = 0x243f6a8885a308d3;
};

uint64_t monotonic_ns();

}  // namespace predis
