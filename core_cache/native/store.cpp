#include "store.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "collection_rewrite.h"
#include "store_impl.h"

namespace predis {

uint64_t monotonic_ns() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1000000000 + static_cast<uint64_t>(ts.tv_nsec);
}

Store::Impl::Impl(std::unique_ptr<Arena> opened, PolicyKind kind, const std::vector<TenantOptions>& tenants)
    : arena(std::move(opened)), pages(*arena), slabs(*arena, pages), index(*arena, pages), partitions(tenants),
      max_memory(arena->capacity()) {
  set_now(realtime_ms());
  make_policy(kind);
  if (!arena->fresh()) recover();
  else if (!index.build(0)) throw ArenaError("no memory left for the index of " + arena->path());
  Header& h = arena->header();
  store_release(h.generation, (h.generation | 1) + 1);
}

void Store::Impl::set_now(uint64_t unix_ms) {
  now_ms = unix_ms;
  const uint64_t epoch = arena->header().epoch_unix_ms;
  tick = unix_ms > epoch ? static_cast<uint32_t>((unix_ms - epoch) >> 4) : 0;
}

void Store::Impl::make_policy(PolicyKind kind) {
  policy_kind = kind;
  uses.set_logarithmic(is_lfu(kind));
  uses.epoch_unix_ms = arena->header().epoch_unix_ms;
  const double second = has_queues(kind) ? test_share : 0;
  partitions.make_policies([&](uint32_t, uint32_t arm) { return new_policy(kind, footprint_of, arm); }, second);
  testing = second != 0;
  share_out();
  set_reserve();
}

// The memory of queues that are no longer used is given back piece by piece: a million keys' worth takes milliseconds.
bool Store::Impl::tidy_policies(uint64_t deadline_ns) {
  bool more = false;
  partitions.each([&](Policy& policy) {
    while (!more && policy.tidy()) more = monotonic_ns() >= deadline_ns;
  });
  if (more) return true;
  for (; !retired.empty(); retired.pop_back()) {
    while (retired.back()->tidy())
      if (monotonic_ns() >= deadline_ns) return true;
  }
  return false;
}

std::unique_ptr<Policy> Store::Impl::new_policy(PolicyKind kind, Footprint footprint, uint32_t arm) {
  if (has_queues(kind)) {
    auto queues = make_s3fifo(*arena, footprint, this);
    queues->set_scorer(new_scorer(kind, footprint, arm));
    return queues;
  }
  return make_sampled({*arena, index, tick, now_ms, uses}, kind);  // noeviction never asks it for a victim
}

std::unique_ptr<Scorer> Store::Impl::new_scorer(PolicyKind kind, Footprint footprint, uint32_t arm) {
  if (!models[arm] || (arm == 0 && kind != PolicyKind::learned)) return nullptr;
  return make_model_scorer({*arena, index, tick, now_ms, uses}, models[arm], footprint, this, model_use[arm]);
}

void Store::Impl::set_scorers() {
  for (uint32_t i = 0; i < partitions.size(); ++i)
    for (uint32_t arm = 0; arm < 2; ++arm)
      if (Policy* policy = partitions[i].arms[arm].get()) policy->set_scorer(new_scorer(policy_kind, footprint_of, arm));
}

Entry* Store::Impl::prepare(std::string_view key, size_t value_len, Type type, Entry* pin) {
  const size_t bytes = payload_bytes(key.size(), value_len, type);
  if (bytes > uint64_t{pages.limit()} * kPageSize / 2 || value_len > 0xffffffff) return nullptr;
  const uint32_t tenant = partitions.tenant_of(key);
  if (!partitions.single() && !keep_quota(tenant, slabs.footprint(bytes), pin)) return nullptr;
  while (!index.reserve())
    if (!make_room(kPageSize, pin, tenant) && !give_up_one(tenant)) return nullptr;
  Entry* entry = slabs.allocate(bytes);
  while (!entry) {
    if (offered != nullptr && slabs.class_of(bytes) < 0) {
      Landing& landing = *offered;
      withdraw(landing);
      if (!landing.failed) {  // not ready, or of another length, but not taken by a value before this one
        give_up(landing);
        entry = slabs.allocate(bytes);
        continue;
      }
    }
    if (!make_room(bytes, pin, tenant)) {
      if (give_up_one(tenant)) continue;
      full = policy_kind == PolicyKind::noeviction && pages.available() == 0;
      return nullptr;
    }
    entry = slabs.allocate(bytes);
  }
  if (!partitions.single()) partitions[tenant].coming += slabs.footprint(bytes);
  entry->expire_and_tenant = uint64_t{tenant} << 48;
  entry->queue_pos = 0;
  entry->access = tick;
  entry->value_len = static_cast<uint32_t>(value_len);
  entry->key_len16 = static_cast<uint16_t>(std::min<size_t>(key.size(), Entry::kLongKey));
  entry->kind = static_cast<uint8_t>(type);
  entry->freq = uses.initial();
  if (entry->key_len16 == Entry::kLongKey) {
    const auto length = static_cast<uint32_t>(key.size());
    std::memcpy(entry->payload(), &length, 4);
  }
  std::memcpy(entry->payload() + entry->key_offset(), key.data(), key.size());
  return entry;
}

void Store::Impl::commit(Entry* fresh, uint64_t hash, Entry* old) {
  const size_t bytes = slabs.footprint(bytes_of(fresh));
  Header& h = arena->header();
  const uint64_t version = h.next_version++;
  if (__builtin_expect(fresh->type() == Type::string, 1)) {
    const bool arrived = __builtin_expect(landed != nullptr, 0);
    store_checksum(*fresh, arrived ? landed_digest(*fresh, hash) : digest(fresh->value(), hash), version);
  } else {
    head_of(log_of(fresh)).owner = owner_checksum(hash, fresh->type(), version);
  }
  // From this store on the write survives a SIGKILL.
  store_release(fresh->version, version);
  if (const uint64_t at = fresh->expire_at()) {
    ++expires;
    slabs.note_expire(fresh, at);
  }
  if (__builtin_expect(observer != nullptr, 0)) observer->changed(fresh->key(), old ? Change::written : Change::created);
  if (!old) {
    index.insert(hash, arena->ref(fresh));
    partitions.of(fresh, hash).inserted(fresh, hash, bytes);
    if (!partitions.single()) {
      partitions[fresh->tenant()].coming -= bytes;
      count(fresh->tenant(), 1, static_cast<int64_t>(bytes));
    }
    return;
  }
  const size_t old_bytes = bytes_of(old);
  if (!partitions.single()) {
    partitions[fresh->tenant()].coming -= bytes;
    count(fresh->tenant(), 0, static_cast<int64_t>(bytes) - static_cast<int64_t>(slabs.footprint(old_bytes)));
  }
  fresh->freq = old->freq;
  fresh->access = old->access;
  uses.count(fresh, tick);
  fresh->access = tick;
  partitions.of(fresh, hash).replaced(old, fresh, slabs.footprint(old_bytes), bytes);
  index.replace(hash, arena->ref(old), arena->ref(fresh));
  if (old->expire_at()) --expires;
  if (__builtin_expect(old->type() != Type::string, 0)) sides.drop(old->version);
  store_release(old->version, 0);
  slabs.free(old, old_bytes);
}

void Store::Impl::erase(Entry* entry, uint64_t hash, EraseReason reason) {
  const size_t bytes = bytes_of(entry);
  Stats& stats = arena->stats();
  if (reason == EraseReason::evicted) {
    ++stats.evicted_capacity;
    if (__builtin_expect(testing, 0)) ++stats.arms[partitions.arm_of(hash)].evictions;
    partitions.of(entry, hash).evicted(entry, hash);
  } else if (reason == EraseReason::expired_lazy) {
    ++stats.expired_lazy;
  } else if (reason == EraseReason::expired_active) {
    ++stats.expired_active;
  }
  if (__builtin_expect(!partitions.single() && entry->tenant() != 0, 0)) {
    TenantStats& tenant = stats.tenants[entry->tenant() - 1];
    if (reason == EraseReason::evicted) ++tenant.evicted;
    else if (reason != EraseReason::deleted) ++tenant.expired;
  }
  if (__builtin_expect(observer != nullptr, 0)) {
    observer->changed(entry->key(), reason == EraseReason::evicted   ? Change::evicted
                                    : reason == EraseReason::deleted ? Change::deleted
                                                                     : Change::expired);
  }
  index.erase(hash, arena->ref(entry));
  partitions.of(entry, hash).erased(entry, slabs.footprint(bytes));
  if (!partitions.single()) count(entry->tenant(), -1, -static_cast<int64_t>(slabs.footprint(bytes)));
  if (entry->expire_at()) --expires;
  if (__builtin_expect(entry->type() != Type::string, 0)) sides.drop(entry->version);
  store_release(entry->version, 0);
  slabs.free(entry, bytes);
  full = false;
}

void Store::Impl::clear() {
  Header& h = arena->header();
  store_release(h.generation, h.generation + 1);
  __atomic_thread_fence(__ATOMIC_RELEASE);  // no change below is seen by a reader that does not see this number
  // The one store that empties the cache; the rest is tidying up.
  store_release(h.cleared_version, h.next_version++);
  store_release(h.cleared_again, h.cleared_version);
  partitions.each([](Policy& policy) { policy.clear(); });
  for (uint32_t i = 0; i < partitions.size(); ++i) partitions[i].keys = partitions[i].bytes = 0;
  for (Landing* landing : landings) {
    landing->promised = 0;
    landing->held.clear();
    set_counted(*landing, 0);
    landing->failed = true;
  }
  slabs.reset();
  pages.reset();
  pages.promise(0, reserve);
  index.build(0);
  sides.clear();
  expires = 0;
  full = false;
  orphans_page = sweep_page = 0;
  store_release(h.generation, h.generation + 1);
  ++arena->stats().flushes;
  if (observer != nullptr) observer->cleared();
}

// An arena of another size is set aside as PATH.old while its entries are carried over. To find such a file at start means
// that the carrying over was cut short: it begins again.
Store::Store(const StoreOptions& options) {
  const std::string aside = options.path + ".old";
  if (access(aside.c_str(), F_OK) == 0) ::rename(aside.c_str(), options.path.c_str());
  auto arena = std::make_unique<Arena>(options.path, options.capacity, options.readers_group);
  if (arena->capacity() == (options.capacity + kPageSize - 1) / kPageSize * kPageSize) {
    impl_ = std::make_unique<Impl>(std::move(arena), options.policy, options.tenants);
    impl_->fresh = impl_->arena->fresh();
  } else {
    arena->rename(aside);
    Impl source(std::move(arena), PolicyKind::lru, {});
    try {
      impl_ = std::make_unique<Impl>(std::make_unique<Arena>(options.path, options.capacity, options.readers_group),
                                     options.policy, options.tenants);
    } catch (...) {
      source.arena->rename(options.path);
      throw;
    }
    // Readers have to wait: if this is cut short, the arena is thrown away, and whoever had it would never know.
    uint32_t& generation = impl_->arena->header().generation;
    store_release(generation, generation | 1);
    impl_->carry_over(source);
    store_release(generation, generation + 1);
    source.arena->header().generation |= 1;  // its readers look for the new one from now on
    unlink(aside.c_str());
  }
  refresh_gauges();
}
Store::~Store() { impl_->sides.end(); }  // what they hold of the store they give back to it

void Store::set_now(uint64_t unix_ms) {
  ++impl_->turns;
  impl_->set_now(unix_ms);
}
uint64_t Store::turns() const { return impl_->turns; }
bool Store::reserve_inserts(size_t count) { return impl_->index.reserve(count); }

void Store::use_huge_pages() { impl_->arena->use_huge_pages(); }

uint64_t Store::now_ms() const { return impl_->now_ms; }
uint64_t Store::hash(std::string_view key) const { return impl_->index.hash(key); }
void Store::prefetch_bucket(uint64_t hash) const { impl_->index.prefetch_bucket(hash); }
void Store::prefetch_entry(uint64_t hash) const { impl_->index.prefetch_entry(hash); }
void Store::prefetch_change(uint64_t hash) const {
  if (const Entry* entry = impl_->index.candidate(hash)) impl_->partitions.of(entry, hash).prefetch_replace(entry);
}

Entry* Store::peek(std::string_view key, uint64_t hash) const {
  Entry* entry = impl_->index.find(key, hash, tag_of(hash));
  return entry && !impl_->expired(entry) ? entry : nullptr;
}
AccessSample& Store::access_sample() { return impl_->index.sample(); }

Entry* Store::find(std::string_view key, uint64_t hash) {
  Entry* entry = impl_->index.find(key, hash);
  if (entry && impl_->expired(entry)) {
    impl_->erase(entry, hash, EraseReason::expired_lazy);
    return nullptr;
  }
  return entry;
}

void Store::touch(Entry* entry) {
  impl_->uses.count(entry, impl_->tick);
  if (entry->access != impl_->tick) entry->access = impl_->tick;
}

void Store::touch_hashes(const uint64_t* hashes, size_t count) {
  constexpr size_t kGroup = 32;
  for (size_t start = 0; start < count; start += kGroup) {
    const size_t end = std::min(count, start + kGroup);
    for (size_t i = start; i < end; ++i) prefetch_bucket(hashes[i]);
    for (size_t i = start; i < end; ++i) prefetch_entry(hashes[i]);
    for (size_t i = start; i < end; ++i) {
      Entry* entry = impl_->index.find_hash(hashes[i]);
      if (entry != nullptr && !impl_->expired(entry)) touch(entry);
    }
  }
}

Entry* Store::prepare(std::string_view key, size_t value_len, Type type, Entry* pin) {
  return impl_->prepare(key, value_len, type, pin);
}
void Store::commit(Entry* fresh, uint64_t hash, Entry* old) { impl_->commit(fresh, hash, old); }
void Store::abandon(Entry* fresh) {
  if (!impl_->partitions.single()) impl_->partitions[fresh->tenant()].coming -= impl_->footprint_of(impl_.get(), fresh);
  impl_->slabs.free(fresh, bytes_of(fresh));
  impl_->full = false;
}
void Store::erase(Entry* entry, uint64_t hash, EraseReason reason) { impl_->erase(entry, hash, reason); }

void Store::set_expire_at(Entry* entry, uint64_t hash, uint64_t unix_ms) {
  unix_ms = std::min(unix_ms, Entry::kExpireMask);
  const uint64_t word = (entry->expire_and_tenant & ~Entry::kExpireMask) | unix_ms;
  if (!entry->live()) {  // prepared, not yet published: commit() counts it
    entry->expire_and_tenant = word;
    return;
  }
  const int gained = (unix_ms != 0) - (entry->expire_at() != 0);
  impl_->expires += static_cast<uint64_t>(gained);
  impl_->index.locked(hash, [&] { store_release(entry->expire_and_tenant, word); });
  if (gained != 0) impl_->partitions.of(entry, hash).expiry_changed(entry);
  if (unix_ms) impl_->slabs.note_expire(entry, unix_ms);
  if (__builtin_expect(impl_->observer != nullptr, 0)) impl_->observer->changed(entry->key(), Change::written);
}

void Store::changed_in_place(Entry* entry) {
  touch(entry);
  if (impl_->observer != nullptr) impl_->observer->changed(entry->key(), Change::written);
}

void Store::commit_moved(Entry* fresh, uint64_t hash, Entry* old) {
  KeyObserver* const observer = std::exchange(impl_->observer, nullptr);
  const uint32_t access = old->access;
  const uint8_t freq = old->freq;
  impl_->commit(fresh, hash, old);
  fresh->access = access;
  fresh->freq = freq;
  impl_->observer = observer;
}

void Store::set_observer(KeyObserver* observer) { impl_->observer = observer; }

void Store::clear() { impl_->clear(); }
void Store::use_reserve(bool yes) { impl_->pages.promise(yes ? impl_->reserve : 0, yes ? 0 : impl_->reserve); }

uint64_t Store::scan(uint64_t cursor, size_t count, const Visit& visit) {
  std::vector<Ref> refs;
  size_t visited = 0;
  count = std::min(count, size_t{1} << 40);
  // Empty buckets count a little, so that a nearly empty table does not turn one SCAN into a walk over all of it.
  for (size_t steps = 0; visited < count && steps < count * 10 + 10; ++steps) {
    refs.clear();
    cursor = impl_->index.scan(cursor, [&](Ref ref) { refs.push_back(ref); });
    for (const Ref ref : refs) {
      Entry* entry = impl_->arena->at(ref);
      if (impl_->expired(entry)) {
        impl_->erase(entry, hash(entry->key()), EraseReason::expired_lazy);
        continue;
      }
      visit(entry);
      ++visited;
    }
    if (cursor == 0) break;
  }
  return cursor;
}

Entry* Store::random() {
  Impl& s = *impl_;
  while (s.index.size() > 0) {
    s.random_state = s.random_state * 6364136223846793005 + 1442695040888963407;
    const uint64_t r = s.random_state ^ s.random_state >> 33;
    const auto number = static_cast<uint32_t>((static_cast<unsigned __int128>(r * 0x9e3779b97f4a7c15) * s.index.buckets()) >> 64);
    Ref refs[64];
    uint32_t n = 0;
    s.index.each_in(number, [&](Ref ref) { if (n < 64) refs[n++] = ref; });
    if (n == 0) continue;
    Entry* entry = s.arena->at(refs[(r >> 32) % n]);
    if (!s.expired(entry)) return entry;
    s.erase(entry, hash(entry->key()), EraseReason::expired_lazy);
  }
  return nullptr;
}

Stats& Store::stats() { return impl_->arena->stats(); }
bool Store::fresh() const { return impl_->fresh; }
uint64_t Store::writes() const { return impl_->arena->header().next_version; }
size_t Store::size() const { return impl_->index.size(); }
size_t Store::expires() const { return impl_->expires; }
size_t Store::entry_size(const Entry* entry) const {
  const size_t bytes = impl_->slabs.footprint(bytes_of(entry));
  if (entry->type() == Type::string) return bytes;
  const SideIndex* side = impl_->sides.find(entry->version);
  return bytes + (side != nullptr ? side->bytes() : 0);
}
SideIndexes& Store::side_indexes() { return impl_->sides; }
LogSeed Store::log_seed() const { return impl_->log_seed(); }
size_t Store::roomy_length(size_t key_len, size_t value_len) const {
  const size_t bytes = payload_bytes(key_len, value_len, Type::hash);
  return value_len + impl_->slabs.footprint(bytes) - bytes;
}
uint64_t Store::idle_ms(const Entry* entry) const { return uint64_t{impl_->tick - entry->access} << 4; }

void Store::refresh_gauges() {
  Impl& s = *impl_;
  Stats& stats = s.arena->stats();
  stats.keys = s.index.size();
  stats.keys_with_expiry = s.expires;
  stats.entry_bytes = s.slabs.live_bytes();
  stats.slab_free_bytes = s.slabs.free_bytes();
  stats.index_bytes = s.index.bytes();
  stats.overhead_bytes = uint64_t{s.pages.first()} * kPageSize;
  stats.policy_bytes = 0;
  s.partitions.each([&](Policy& policy) { stats.policy_bytes += policy.memory(); });
  for (uint32_t arm = 0; arm < 2; ++arm) {
    stats.arms[arm].bytes = 0;
    for (uint32_t i = 0; s.testing && i < s.partitions.size(); ++i) {
      if (s.partitions[i].arms[arm]) stats.arms[arm].bytes += s.partitions[i].arms[arm]->bytes();
    }
  }
  stats.collection_index_bytes = s.sides.bytes();
  stats.used_bytes = stats.entry_bytes + stats.index_bytes + stats.overhead_bytes + stats.policy_bytes +
                     stats.collection_index_bytes;
  stats.peak_used_bytes = std::max(stats.peak_used_bytes, stats.used_bytes);
  stats.max_bytes = s.max_memory;
  stats.pages_used = s.pages.used();
  for (uint32_t i = 1; i < s.partitions.size(); ++i) {
    const Partitions::Tenant& tenant = s.partitions[i];
    TenantStats& numbers = stats.tenants[i - 1];
    numbers.keys = tenant.keys;
    numbers.bytes = tenant.bytes;
    numbers.quota = tenant.quota;
  }
}

uint64_t Store::max_memory() const { return impl_->max_memory; }
uint64_t Store::capacity() const { return impl_->arena->capacity(); }

bool Store::set_max_memory(uint64_t bytes) {
  Impl& s = *impl_;
  const uint64_t fixed = uint64_t{s.pages.first()} * kPageSize;
  if (bytes > capacity() || bytes < std::min(fixed + kMinCapacity / 2, capacity())) return false;
  s.max_memory = bytes;
  s.pages.set_limit(static_cast<uint32_t>((bytes - fixed) / kPageSize));
  s.share_out();
  s.set_reserve();
  s.full = false;
  return true;  // upkeep evicts what is too much
}

PolicyKind Store::policy() const { return impl_->policy_kind; }

void Store::set_policy(PolicyKind kind) {
  if (kind == impl_->policy_kind) return;
  if (has_queues(kind) && has_queues(impl_->policy_kind)) {  // they stay as they are
    impl_->policy_kind = kind;
    impl_->set_scorers();
    impl_->set_reserve();
    return;
  }
  impl_->renew_policies(kind);
  testing_ = impl_->testing;
}

void Store::Impl::renew_policies(PolicyKind kind) {
  partitions.each([](Policy& policy) { policy.clear(); });
  partitions.retire(retired);
  make_policy(kind);
  full = false;
  // Upkeep shows the entries to the new policy bit by bit. Their old queue positions mean nothing to it.
  orphans_page = pages.first();
}

void Store::set_model(std::shared_ptr<const PolicyModel> model, uint32_t arm) {
  impl_->models[arm] = std::move(model);
  if (arm == 0) stats().policy_model_unix_ms = now_ms();
  impl_->set_scorers();
}
const std::shared_ptr<const PolicyModel>& Store::model(uint32_t arm) const { return impl_->models[arm]; }
const ModelUse& Store::model_use(uint32_t arm) const { return impl_->model_use[arm]; }

double Store::test_share() const { return impl_->test_share; }
void Store::set_test_share(double share) {
  if (share == impl_->test_share) return;
  impl_->test_share = share;
  for (ArmStats& arm : stats().arms) arm = {};
  if (has_queues(impl_->policy_kind)) impl_->renew_policies(impl_->policy_kind);
  testing_ = impl_->testing;
}
void Store::count_in_test(uint64_t hash, bool hit) {
  ArmStats& arm = stats().arms[impl_->partitions.arm_of(hash)];
  ++(hit ? arm.hits : arm.misses);
}

void Store::set_lfu(uint32_t log_factor, uint32_t decay_minutes) {
  impl_->uses.log_factor = log_factor;
  impl_->uses.decay_minutes = decay_minutes;
}
uint8_t Store::frequency(const Entry* entry) const { return impl_->uses.decayed(*entry, impl_->tick); }
uint64_t Store::quotas() const {
  uint64_t sum = 0;
  for (uint32_t i = 1; i < tenants(); ++i) sum += impl_->partitions[i].quota;
  return sum;
}
uint32_t Store::tenants() const { return impl_->partitions.size(); }
Store::TenantUse Store::tenant(uint32_t number) const {
  const Partitions::Tenant& t = impl_->partitions[number];
  return {t.name, t.prefix, t.quota, t.keys, t.bytes};
}
uint32_t Store::tenant_of(std::string_view key) const { return impl_->partitions.tenant_of(key); }

bool Store::out_of_memory() const { return impl_->full; }

bool Store::upkeep(uint64_t budget_us) {
  const uint64_t deadline = monotonic_ns() + budget_us * 1000;
  impl_->pages.retry();
  impl_->share_out();
  bool more = impl_->shrink(deadline);
  more = impl_->adopt_orphans(deadline) || more;
  more = impl_->tidy_policies(deadline) || more;
  more = advance_rewrites(*this, deadline) || more;
  more = impl_->sides.release(deadline) || more;
  return impl_->expire(deadline) || more;
}

}  // namespace predis
