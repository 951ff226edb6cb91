// Tests of the store against a model (std::map), under the sanitizers; run by tests/core_cache/test_store.py.
//
//   store_test model SEED      random commands against the model, reopening the arena now and then
//   store_test kill DIR SEED   a child writes and is killed with SIGKILL; what it acknowledged must be there
//   store_test reclaim         sizes shift and grow: memory changes class without losing the cache
//   store_test edges           a change of policy, values too large for noeviction, a cache of nothing but used keys
//   store_test resize          the arena's size changes between two lives
//   store_test readers SEED    readers in other processes while the writer overwrites, deletes, evicts and clears
//   store_test damage SEED     bits flip in an arena: it is refused or repaired, and never gives a value that was not stored
//   store_test tenants SEED    quotas hold, one tenant's flood evicts nothing of another's, counts are right after all
//   store_test scan            SCAN's promise while the table grows
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "../../../core_cache/native/reader.h"
#include "../../../core_cache/native/store.h"
#include "check.h"

using namespace predis;

namespace {

std::string arena_path(const char* name) { return "/dev/shm/predis-test-" + std::to_string(getpid()) + "-" + name; }

struct Arena1 {  // a path that is removed at the end
  std::string path;
  explicit Arena1(const char* name) : path(arena_path(name)) {}
  ~Arena1() { unlink(path.c_str()); }
};

StoreOptions options(const std::string& path, uint64_t mib, PolicyKind policy) { return {path, mib << 20, policy, {}}; }

// The value says which key and version it belongs to, and fills its length with that.
std::string value_for(const std::string& key, uint64_t version, size_t length) {
  std::string value = key + ":" + std::to_string(version) + ":";
  const std::string pattern = value;
  while (value.size() < length) value += pattern;
  value.resize(std::max(length, pattern.size()));
  return value;
}

bool put(Store& store, const std::string& key, const std::string& value, uint64_t expire_at = 0) {
  const uint64_t hash = store.hash(key);
  Entry* old = store.find(key, hash);
  Entry* fresh = store.prepare(key, value.size(), Type::string, old);
  if (!fresh) return false;
  std::memcpy(fresh->value_data(), value.data(), value.size());
  if (expire_at) store.set_expire_at(fresh, hash, expire_at);
  store.commit(fresh, hash, old);
  return true;
}

Entry* get(Store& store, const std::string& key) {
  const uint64_t hash = store.hash(key);
  Entry* entry = store.find(key, hash);
  if (entry) store.touch(entry);
  return entry;
}

bool del(Store& store, const std::string& key) {
  const uint64_t hash = store.hash(key);
  Entry* entry = store.find(key, hash);
  if (entry) store.erase(entry, hash);
  return entry != nullptr;
}

size_t some_length(std::mt19937_64& rng) {
  switch (rng() % 20) {
    case 0: return rng() % 300000;
    case 1: case 2: return rng() % 20000;
    default: return rng() % 400;
  }
}

void model(uint64_t seed, PolicyKind policy, uint64_t mib, bool exact) {
  Arena1 file("model");
  std::mt19937_64 rng(seed);
  auto store = std::make_unique<Store>(options(file.path, mib, policy));
  struct Known { std::string value; uint64_t expire_at; };
  std::map<std::string, Known> known;
  uint64_t now = 1800000000000, version = 0;
  store->set_now(now);
  const size_t keys = exact ? 3000 : 40000;
  for (int step = 0; step < 200000; ++step) {
    const std::string key = (rng() % 50 == 0 ? std::string(70000, 'k') : "key") + std::to_string(rng() % keys);
    const auto op = rng() % 100;
    const auto present = known.find(key);
    if (op < 45) {
      const uint64_t expire_at = rng() % 5 == 0 ? now + rng() % 5000 : 0;
      const std::string value = value_for(key.substr(key.size() > 100 ? 70000 : 0), ++version, exact ? some_length(rng) % 9000 : some_length(rng));
      if (put(*store, key, value, expire_at)) known[key] = {value, expire_at};
      else CHECK(policy == PolicyKind::noeviction && !exact, "no room for %zu bytes", value.size());
    } else if (op < 85) {
      const Entry* entry = get(*store, key);
      const bool alive = present != known.end() && (present->second.expire_at == 0 || present->second.expire_at >= now);
      if (entry) {
        CHECK(alive, "key %.20s is back", key.c_str());
        CHECK(entry->value() == present->second.value, "another value of %.20s", key.c_str());
      } else if (exact) {
        CHECK(!alive, "key %.20s is lost at step %d", key.c_str(), step);
      }
    } else if (op < 93) {
      const bool had = del(*store, key);
      if (exact && present != known.end() && (present->second.expire_at == 0 || present->second.expire_at >= now)) CHECK(had, "nothing to delete");
      known.erase(key);
    } else if (op < 96) {
      const uint64_t hash = store->hash(key);
      if (Entry* entry = store->find(key, hash)) {
        const uint64_t at = rng() % 2 ? now + rng() % 3000 : 0;
        store->set_expire_at(entry, hash, at);
        known[key].expire_at = at;
      }
    } else if (op < 97) {
      now += rng() % 100;
      store->set_now(now);
      store->upkeep(2000);
    } else if (rng() % 300 == 0) {
      store.reset();
      store = std::make_unique<Store>(options(file.path, mib, policy));
      store->set_now(now);
    } else if (rng() % 3000 == 0) {
      store->clear();
      known.clear();
      CHECK(store->size() == 0, "cleared");
    } else if (rng() % 500 == 0) {
      constexpr PolicyKind kKinds[] = {PolicyKind::lru, PolicyKind::s3fifo, PolicyKind::lfu, PolicyKind::random};
      store->set_policy(kKinds[rng() % 4]);
      if (policy == PolicyKind::noeviction) store->set_policy(policy);
    }
  }
  // The walk sees each live key once, and the counts agree with it.
  std::set<std::string> seen;
  size_t with_expiry = 0;
  uint64_t cursor = 0;
  do cursor = store->scan(cursor, 100, [&](Entry* e) {
    CHECK(seen.emplace(e->key()).second, "seen twice");
    with_expiry += e->expire_at() != 0;
    const auto it = known.find(std::string(e->key()));
    CHECK(it != known.end() && it->second.value == e->value(), "unknown entry");
  });
  while (cursor);
  CHECK(seen.size() == store->size(), "%zu seen, %zu counted", seen.size(), store->size());
  CHECK(with_expiry == store->expires(), "%zu expiries seen, %zu counted", with_expiry, store->expires());
  store->refresh_gauges();
  CHECK(store->stats().used_bytes <= store->capacity() + store->stats().policy_bytes, "over the limit");
  if (!exact && policy != PolicyKind::noeviction) CHECK(store->stats().evicted_capacity > 0, "nothing was evicted");
  store->set_now(now + 100000);
  while (store->expires() > 0) {
    now += 1000;
    store->set_now(now + 100000);
    store->upkeep(100000);
  }
  std::printf("model seed %lu: %zu keys, %lu evicted, %lu expired, %lu moved, %lu recoveries\n", seed, store->size(),
              store->stats().evicted_capacity, store->stats().expired_active + store->stats().expired_lazy,
              store->stats().moved_entries, store->stats().recoveries);
}

// Shared with the child: for each key the version that was acknowledged last, and the one that is being written.
struct Ledger {
  static constexpr int kKeys = 2000;
  struct { volatile uint64_t acked, begun; } keys[kKeys];  // even: value of that version; odd: deleted
};

void kill_rounds(uint64_t seed) {
  Arena1 file("kill");
  std::mt19937_64 rng(seed);
  auto* ledger = static_cast<Ledger*>(mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  uint64_t twins = 0;
  for (int round = 0; round < 60; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      Store store(options(file.path, 48, PolicyKind::s3fifo));
      store.set_now(1800000000000);
      std::mt19937_64 mine(rng());
      for (;;) {
        const auto k = mine() % Ledger::kKeys;
        const std::string key = "key" + std::to_string(k);
        auto& row = ledger->keys[k];
        uint64_t next = (row.begun | 1) + 1;
        if (mine() % 10 == 0) {
          row.begun = ++next;
          del(store, key);
        } else {
          row.begun = next;
          if (!put(store, key, value_for(key, next, some_length(mine) % 30000))) abort();
        }
        row.acked = next;
        if (mine() % 5000 == 0) store.upkeep(1000);
      }
    }
    usleep(static_cast<useconds_t>(3000 + rng() % 40000));
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child died by itself, status %d", status);
    Store store(options(file.path, 48, PolicyKind::s3fifo));
    store.set_now(1800000000000);
    CHECK(store.stats().evicted_capacity == 0, "the test's arena is too small");
    for (int k = 0; k < Ledger::kKeys; ++k) {
      auto& row = ledger->keys[k];
      const std::string key = "key" + std::to_string(k);
      const Entry* entry = get(store, key);
      if (!entry) {
        CHECK(row.acked == 0 || row.acked % 2 == 1 || row.begun % 2 == 1, "round %d: %s is lost", round, key.c_str());
        row.begun = row.begun | 1;
        row.acked = row.begun;
        continue;
      }
      const std::string value(entry->value());
      const uint64_t version = std::strtoull(value.c_str() + key.size() + 1, nullptr, 10);
      CHECK(version == row.acked || version == row.begun, "round %d: %s has version %lu, acked %lu, begun %lu", round,
            key.c_str(), version, row.acked, row.begun);
      CHECK(value == value_for(key, version, value.size()), "round %d: %s is torn", round, key.c_str());
      row.begun = version;
      row.acked = version;
    }
    twins = store.stats().recovered_entries;
  }
  std::printf("kill: 60 rounds, %lu entries recovered\n", twins);
}

void reclaim() {
  Arena1 file("reclaim");
  for (const PolicyKind policy : {PolicyKind::s3fifo, PolicyKind::lru}) {
    unlink(file.path.c_str());
    Store store(options(file.path, 32, policy));
    store.set_now(1800000000000);
    int n = 0;
    for (const size_t length : {100, 1000, 90, 20000, 50, 75000, 3000, 500000, 10, 10000000, 500}) {
      const int count = static_cast<int>(std::min<size_t>(200000, 100000000 / length));
      int stored = 0;
      for (int i = 0; i < count; ++i) {
        store.set_now(1800000000000 + static_cast<uint64_t>(n) * 16);  // each is older than the next
        stored += put(store, "key" + std::to_string(n++), std::string(length, 'x'));
      }
      CHECK(stored == count, "length %zu: %d of %d stored", length, stored, count);
      store.refresh_gauges();
      const double share = static_cast<double>(store.stats().entry_bytes) / static_cast<double>(store.capacity());
      std::printf("reclaim: values of %zu bytes: %zu keys, %.2f of the memory holds entries\n", length, store.size(), share);
      // Values that need a run of pages leave holes, and those of a third of the memory large ones.
      CHECK(share > (length >= 10000000 ? 0.25 : length >= 20000 ? 0.50 : 0.80), "only %.2f in use", share);
      CHECK(get(store, "key" + std::to_string(n - 1)), "the newest is gone");
    }
    CHECK(!put(store, "huge", std::string(20 << 20, 'x')), "more than half of the arena in one value");
    CHECK(store.set_max_memory(16 << 20), "maxmemory lowered");
    for (int i = 0; i < 1000 && store.upkeep(5000); ++i) {}
    store.refresh_gauges();
    CHECK(store.stats().used_bytes - store.stats().policy_bytes <= 16u << 20, "%lu bytes after lowering", store.stats().used_bytes);
  }
}

void edges() {
  Arena1 file("edges");
  {  // A new policy has seen no entry yet, and room is needed at once.
    Store store(options(file.path, 16, PolicyKind::lru));
    for (int i = 0; i < 200000; ++i) put(store, "key" + std::to_string(i), std::string(100, 'x'));
    CHECK(store.stats().evicted_capacity > 0, "the cache is not full");
    store.set_policy(PolicyKind::s3fifo);
    for (int i = 0; i < 1000; ++i)
      CHECK(put(store, "at once" + std::to_string(i), std::string(5000, 'x')), "no room for %d right after the change", i);
  }
  unlink(file.path.c_str());
  {  // One value that is too large does not make the cache refuse small ones.
    Store store(options(file.path, 16, PolicyKind::noeviction));
    for (int i = 0; i < 10; ++i) put(store, "large" + std::to_string(i), std::string(1 << 20, 'x'));
    CHECK(!put(store, "too large", std::string(7 << 20, 'x')), "there cannot be room for it");
    CHECK(!store.out_of_memory(), "small values are refused");
    CHECK(put(store, "small", "x"), "there is room for it");
  }
  unlink(file.path.c_str());
  {  // However many entries have been used, one eviction looks at a bounded number of them.
    Store store(options(file.path, 32, PolicyKind::s3fifo));
    store.set_now(1800000000000);
    for (int i = 0; i < 120000; ++i) {
      const std::string key = "key" + std::to_string(i);
      put(store, key, std::string(100, 'x'));
      for (int hit = 0; hit < 3; ++hit) get(store, key);
    }
    CHECK(store.stats().evicted_capacity == 0, "evicted too early");
    const auto used = [&] {
      size_t count = 0;
      uint64_t cursor = 0;
      do cursor = store.scan(cursor, 1000, [&](Entry* e) { count += e->freq == 3; });
      while (cursor);
      return count;
    };
    const size_t before = used();
    for (int i = 0; store.stats().evicted_capacity == 0; ++i) put(store, "new" + std::to_string(i), std::string(100, 'x'));
    CHECK(before - used() < 20000, "%zu of %zu entries were looked at for %lu evictions", before - used(), before,
          store.stats().evicted_capacity);
  }
}

void resize() {
  Arena1 file("resize");
  for (const uint64_t mib : {16, 64, 12, 32}) {
    Store store(options(file.path, mib, PolicyKind::s3fifo));
    if (mib != 16) {
      CHECK(store.size() == 5000, "%zu keys at %lu MiB", store.size(), mib);
      for (int i = 0; i < 5000; ++i) {
        const std::string key = "key" + std::to_string(i);
        const Entry* entry = get(store, key);
        CHECK(entry && entry->value() == value_for(key, 1, 200), "%s", key.c_str());
        CHECK((entry->expire_at() != 0) == (i % 2 == 0), "%s's expiry", key.c_str());
      }
    }
    for (int i = 0; i < 5000; ++i) {
      const std::string key = "key" + std::to_string(i);
      put(store, key, value_for(key, 1, 200), i % 2 ? 0 : 4000000000000);
    }
  }
  CHECK(access((file.path + ".old").c_str(), F_OK) != 0, "the old arena is left over");
}

// Each key's acknowledged version stands in the ledger: a reader that began after an acknowledgement must not see an older
// one, and never a torn or foreign value.
void readers(uint64_t seed) {
  Arena1 file("readers");
  auto* ledger = static_cast<Ledger*>(mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  auto* counts = static_cast<uint64_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  auto store = std::make_unique<Store>(options(file.path, 16, PolicyKind::s3fifo));
  store->set_now(1800000000000);
  for (int k = 0; k < 100; ++k) put(*store, "key" + std::to_string(k), value_for("key" + std::to_string(k), 2, 100));
  std::vector<pid_t> children;
  for (int child = 0; child < 2; ++child) {
    children.push_back(fork());
    if (children.back() != 0) continue;
    store.reset();  // the lock is the parent's alone
    Reader reader(file.path);
    std::mt19937_64 rng(seed + static_cast<uint64_t>(child));
    std::string value;
    uint64_t hits = 0, misses = 0;
    while (hits + misses < 200000) {
      const auto k = rng() % 4 ? rng() % Ledger::kKeys : rng() % 100;
      const std::string key = "key" + std::to_string(k);
      const uint64_t acked = ledger->keys[k].acked;
      const uint64_t hash = reader.hash(key);
      const ReadStatus status = reader.get(key, hash, coarse_ms(), 256, [&](const char* data, size_t size) {
        value.assign(data, size);
        return true;
      });
      if (status == ReadStatus::unavailable) continue;
      if (status == ReadStatus::miss) {
        ++misses;
        continue;
      }
      ++hits;
      CHECK(value.compare(0, key.size() + 1, key + ":") == 0, "%s got %.30s", key.c_str(), value.c_str());
      const uint64_t version = std::strtoull(value.c_str() + key.size() + 1, nullptr, 10);
      CHECK(value == value_for(key, version, value.size()), "%s is torn at version %lu", key.c_str(), version);
      CHECK(version >= acked, "%s is stale: version %lu, acknowledged %lu", key.c_str(), version, acked);
    }
    counts[child] = hits;
    _exit(0);
  }
  std::mt19937_64 rng(seed + 10);
  size_t waiting = children.size();
  uint64_t writes = 0;
  while (waiting > 0) {
    for (int i = 0; i < 2000; ++i, ++writes) {
      const auto k = rng() % Ledger::kKeys;
      const std::string key = "key" + std::to_string(k);
      const uint64_t version = writes + 4;
      if (rng() % 10 == 0) del(*store, key);
      else if (put(*store, key, value_for(key, version, rng() % 12000))) ledger->keys[k].acked = version;
    }
    if (rng() % 200 == 0) store->clear();
    if (rng() % 400 == 0) store = nullptr, store = std::make_unique<Store>(options(file.path, 16, PolicyKind::s3fifo));
    int status;
    while (waiting > 0 && waitpid(-1, &status, WNOHANG) > 0) {
      CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a reader failed");
      --waiting;
    }
  }
  std::printf("readers: %lu and %lu hits of 200000 reads each, %lu writes, %lu evictions, %lu moves, %lu clears\n", counts[0],
              counts[1], writes, store->stats().evicted_capacity, store->stats().moved_entries, store->stats().flushes);
  CHECK(counts[0] > 20000, "the readers found too little to say anything");
}

// What a key was given last, or nothing: whatever bits have flipped meanwhile.
void damage(uint64_t seed) {
  std::mt19937_64 rng(seed);
  uint64_t refused = 0, lost = 0, kept = 0;
  for (int round = 0; round < 40; ++round) {
    Arena1 file("damage");
    std::map<std::string, std::string> known;
    {
      Store store(options(file.path, 9, PolicyKind::noeviction));
      store.set_now(1800000000000);
      if (round % 3 == 0) {
        for (int i = 0; i < 500; ++i) put(store, "flushed" + std::to_string(i), value_for("flushed", 1, some_length(rng) % 900));
        store.clear();
      }
      for (uint64_t version = 1; version < 6000; ++version) {
        const std::string key = "key" + std::to_string(rng() % 2000);
        const std::string value = value_for(key, version, rng() % 20 ? rng() % 300 : some_length(rng));
        if (put(store, key, value)) known[key] = value;
        if (rng() % 10 == 0 && del(store, key)) known.erase(key);
      }
    }
    const int fd = open(file.path.c_str(), O_RDWR);
    const off_t size = lseek(fd, 0, SEEK_END), head = 1 << 20;
    for (int flips = 1 << rng() % 12; flips > 0; --flips) {
      // The fixed parts are small: some flips are aimed at them.
      const off_t at = static_cast<off_t>(rng() % static_cast<uint64_t>(rng() % 4 == 0 ? (rng() % 2 ? head : 256) : size));
      unsigned char byte;
      CHECK(pread(fd, &byte, 1, at) == 1, "read");
      byte = static_cast<unsigned char>(rng() % 3 ? byte ^ (1u << rng() % 8) : rng());
      CHECK(pwrite(fd, &byte, 1, at) == 1, "write");
    }
    close(fd);
    try {
      Store store(options(file.path, 9, PolicyKind::noeviction));
      store.set_now(1800000000000);
      size_t found = 0;
      uint64_t cursor = 0;
      do {
        cursor = store.scan(cursor, 100, [&](Entry* entry) {
          const auto it = known.find(std::string(entry->key()));
          CHECK(it != known.end(), "a key that is not there: %.40s", std::string(entry->key()).c_str());
          CHECK(entry->type() == Type::string && entry->value() == it->second, "a wrong value of %s", it->first.c_str());
          ++found;
        });
      } while (cursor);
      kept += found;
      lost += known.size() - found;
      for (int i = 0; i < 300; ++i) put(store, "new" + std::to_string(i), value_for("new", 1, some_length(rng)));
    } catch (const ArenaError&) {
      ++refused;
    }
  }
  std::printf("damage: %lu arenas refused; in the others %lu entries kept, %lu lost, none wrong\n", refused, kept, lost);
  CHECK(kept > lost && lost > 0, "nothing was tested");
}

// Keys and bytes of each tenant, counted by walking.
void check_tenants(Store& store) {
  std::vector<uint64_t> keys(store.tenants()), bytes(store.tenants());
  uint64_t cursor = 0;
  do {
    cursor = store.scan(cursor, 1000, [&](Entry* entry) {
      CHECK(entry->tenant() == store.tenant_of(entry->key()), "%.30s", std::string(entry->key()).c_str());
      ++keys[entry->tenant()];
      bytes[entry->tenant()] += store.entry_size(entry);
    });
  } while (cursor);
  for (uint32_t i = 0; i < store.tenants(); ++i) {
    const auto use = store.tenant(i);
    CHECK(use.keys == keys[i] && use.bytes == bytes[i], "tenant %u says %lu keys, %lu bytes; there are %lu, %lu", i, use.keys,
          use.bytes, keys[i], bytes[i]);
    CHECK(i == 0 || use.bytes <= use.quota, "tenant %u has %lu of %lu bytes", i, use.bytes, use.quota);
  }
}

void tenants(uint64_t seed) {
  Arena1 file("tenants");
  std::mt19937_64 rng(seed);
  StoreOptions with = options(file.path, 64, PolicyKind::s3fifo);
  with.tenants = {{"acme", "acme:", 16 << 20}, {"acme-eu", "acme:eu:", 8 << 20}, {"beta", "b", 8 << 20}};
  auto store = std::make_unique<Store>(with);
  store->set_now(1800000000000);
  CHECK(store->tenant_of("acme:1") == 1 && store->tenant_of("acme:eu:1") == 2 && store->tenant_of("bx") == 3 &&
            store->tenant_of("a") == 0 && store->tenant_of("") == 0, "prefixes");
  std::map<std::string, std::string> quiet;  // within its quota: nothing of it may go
  while (store->tenant(2).bytes < (7 << 20)) {
    const std::string key = "acme:eu:" + std::to_string(rng() % 100000);
    const std::string value = value_for(key, 1, rng() % 1000 ? rng() % 800 : rng() % 200000);
    if (store->tenant(2).bytes + value.size() > (7 << 20) + 100000) break;
    CHECK(put(*store, key, value), "room for the quiet tenant");
    quiet[key] = value;
  }
  const char* prefixes[] = {"x:", "acme:", "b", ""};
  for (int phase = 0; phase < 6; ++phase) {
    const size_t size = size_t{1} << (4 + phase * 3);  // 16 bytes to 512 KiB: memory changes its class
    const uint64_t evicted = store->stats().evicted_capacity;
    for (size_t written = 0; written < (160u << 20); written += size + 100) {
      const std::string key = prefixes[rng() % (phase % 2 ? 1 : 4)] + std::to_string(rng() % 2000000);
      CHECK(put(*store, key, value_for("", 1, rng() % size + size / 2)), "room");
      if (rng() % 50 == 0) del(*store, key);
      if (rng() % 4000 == 0) store->upkeep(1000);
    }
    CHECK(store->stats().evicted_capacity > evicted, "a flood that does not evict");
    for (const auto& [key, value] : quiet) {
      const Entry* entry = get(*store, key);
      CHECK(entry && entry->value() == value, "%s of the quiet tenant is gone in phase %d", key.c_str(), phase);
    }
    check_tenants(*store);
    if (phase == 2) store->set_policy(PolicyKind::noeviction), store->set_policy(PolicyKind::s3fifo);
    if (phase % 2) {
      store.reset();
      store = std::make_unique<Store>(with);
      store->set_now(1800000000000);
      check_tenants(*store);
    }
  }
  CHECK(!put(*store, "b:huge", std::string(9 << 20, 'x')), "more than the quota fits");
  store->clear();
  check_tenants(*store);
  with.tenants.resize(1);  // others are gone with the next start
  store.reset();
  store = std::make_unique<Store>(with);
  check_tenants(*store);
  std::printf("tenants: %zu keys of a quiet tenant survived all floods\n", quiet.size());
}

void scan() {
  Arena1 file("scan");
  Store store(options(file.path, 256, PolicyKind::s3fifo));
  store.set_now(1800000000000);
  const int fixed = 20000;
  for (int i = 0; i < fixed; ++i) put(store, "fixed" + std::to_string(i), "x");
  std::map<std::string, int> seen;
  uint64_t cursor = 0;
  int n = 0;
  do {
    cursor = store.scan(cursor, 50, [&](Entry* e) { if (e->key().starts_with("fixed")) ++seen[std::string(e->key())]; });
    for (int i = 0; i < 40; ++i) put(store, "more" + std::to_string(n++), "x");
  } while (cursor);
  CHECK(seen.size() == fixed, "%zu of %d seen while the table grew to %zu keys", seen.size(), fixed, store.size());
  for (const auto& [key, times] : seen) CHECK(times == 1, "%s seen %d times", key.c_str(), times);
  std::printf("scan: %d keys seen once each while %d were added\n", fixed, n);
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::string what = argc > 1 ? argv[1] : "";
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  if (what == "model") {
    model(seed, PolicyKind::s3fifo, 128, true);
    model(seed + 1, PolicyKind::s3fifo, 12, false);
    model(seed + 2, PolicyKind::lru, 24, false);
    model(seed + 3, PolicyKind::noeviction, 16, false);
  } else if (what == "kill") kill_rounds(seed);
  else if (what == "reclaim") reclaim();
  else if (what == "edges") edges();
  else if (what == "resize") resize();
  else if (what == "readers") readers(seed);
  else if (what == "tenants") tenants(seed);
  else if (what == "damage") damage(seed);
  else if (what == "scan") scan();
  else return std::fprintf(stderr, "store_test model|kill|readers|reclaim|edges|resize|damage|tenants|scan [SEED]\n"), 2;
  std::printf("%s: ok\n", what.c_str());
  return 0;
}
