// Tests of values that arrive in pieces (landing.cpp), under the sanitizers; run by tests/core_cache/test_store.py.
//
//   landing_test SEED   large values, several at once, while small ones come and go and the memory changes
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../../../core_cache/native/landing.h"
#include "../../../core_cache/native/store.h"
#include "check.h"

using namespace predis;

namespace {

bool put(Store& store, const std::string& key, const std::string& value) {
  const uint64_t hash = store.hash(key);
  Entry* old = store.find(key, hash);
  Entry* fresh = store.prepare(key, value.size(), Type::string, old);
  if (!fresh) return false;
  std::memcpy(fresh->value_data(), value.data(), value.size());
  store.commit(fresh, hash, old);
  return true;
}

Entry* get(Store& store, const std::string& key) { return store.find(key, store.hash(key)); }

// A large value on its way.
struct Arriving {
  std::string key, value;
  size_t there = 0;
  std::unique_ptr<Landing> landing;
};

// As the engine does when the last piece has come.
bool arrive(Store& store, Arriving& a) {
  const uint64_t hash = store.hash(a.key);
  if (a.landing) store.offer(*a.landing, a.value.data());
  Entry* entry = store.prepare(a.key, a.value.size());
  if (entry != nullptr) {
    store.fill(entry->value_data(), a.value, a.landing.get());
    store.commit(entry, hash, store.find(a.key, hash));
    CHECK(checksum_holds(*entry, hash), "the checksum that was made on the way is not that of %zu bytes", a.value.size());
  }
  if (a.landing) store.withdraw(*a.landing);
  a.landing.reset();
  return entry != nullptr;
}

void landing(uint64_t seed) {
  const std::string path = "/dev/shm/predis-test-" + std::to_string(getpid()) + "-landing";
  std::mt19937_64 rng(seed);
  size_t landed = 0, refused = 0;
  for (const PolicyKind policy : {PolicyKind::s3fifo, PolicyKind::lru, PolicyKind::noeviction, PolicyKind::volatile_lru}) {
    unlink(path.c_str());
    auto store = std::make_unique<Store>(StoreOptions{path, 64 << 20, policy, {}});
    const bool evicts = policy == PolicyKind::s3fifo || policy == PolicyKind::lru;
    store->set_now(1800000000000);
    std::vector<Arriving> coming(3);
    std::map<std::string, std::string> large;  // what was stored last
    uint64_t n = 0;
    for (int round = 0; round < 6000; ++round) {
      for (int i = 0; i < 20; ++i) put(*store, "small" + std::to_string(n++ % 400000), std::string(rng() % 300, 's'));
      if (rng() % 4 == 0) put(*store, "middle" + std::to_string(rng() % 300), std::string(rng() % 200000, 'm'));
      Arriving& a = coming[rng() % coming.size()];
      if (a.there == a.value.size()) {  // the next one
        a.key = "large" + std::to_string(rng() % 60);
        a.value = std::string(150000 + rng() % 8000000, static_cast<char>('a' + n % 26));
        a.there = 0;
        a.landing = store->land(a.key, a.value.size());
      }
      a.there = std::min(a.value.size(), a.there + 65536 + rng() % 400000);
      if (a.there < a.value.size()) {
        if (a.landing) store->advance(*a.landing, std::string_view(a.value).substr(0, a.there), rng() % 2 ? 1000000 : 10000);
        if (rng() % 40 == 0) a.there = a.value.size(), a.landing.reset();  // the client has gone
      } else {
        const bool ready = a.landing && a.landing->cleared;
        const bool stored = arrive(*store, a);
        CHECK(stored || !evicts, "no room for %zu bytes", a.value.size());
        landed += ready && stored;
        refused += !stored;
        if (stored) large[a.key] = a.value;
      }
      if (rng() % 1500 == 0) {
        store->clear();
        large.clear();
      }
      if (rng() % 50 == 0) store->upkeep(100);
      if (rng() % 1500 == 0) store->set_max_memory((rng() % 2 ? 64 : 48) << 20);
      if (round % 25 == 0)
        for (const auto& [key, value] : large) {
          const auto found = get(*store, key);
          CHECK(!found || found->value() == value, "%s is not what was stored", key.c_str());
          CHECK(found || evicts, "%s is gone", key.c_str());
        }
    }
    // What was on its way goes, and all the memory is there to be used.
    for (Arriving& a : coming) a.landing.reset();
    store->set_max_memory(64 << 20);
    store->clear();
    int fits = 0;
    while (fits < 1000 && put(*store, "fits" + std::to_string(fits), std::string(500000, 'f'))) ++fits;
    CHECK(evicts ? fits == 1000 : fits >= 115, "only %d values of 500,000 bytes in 64 MiB", fits);
    large.clear();
    store.reset();
    store = std::make_unique<Store>(StoreOptions{path, 64 << 20, policy, {}});
    CHECK(get(*store, "fits" + std::to_string(fits - 1)), "lost when opened again");
  }
  CHECK(landed > 100, "only %zu values found their place ready", landed);
  std::printf("landing: %zu values found their place ready, %zu were refused\n", landed, refused);
  unlink(path.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  landing(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1);
  std::printf("landing: ok\n");
  return 0;
}
