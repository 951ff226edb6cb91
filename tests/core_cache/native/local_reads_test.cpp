// Tests of what the cache takes in from its local readers, under the sanitizers; run by tests/core_cache/test_local_reads.py.
//
//   local_reads_test fuzz FOLDER SEED   the readers' file holds garbage, is cut short, grows: the cache stays what it is
//   local_reads_test touch FOLDER       collected hashes are uses of their keys, whatever else is among them
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

#include "../../../core_cache/native/local_reads.h"
#include "../../../core_cache/native/store.h"

using namespace predis;

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);      \
      std::abort();                                                             \
    }                                                                           \
  } while (false)

namespace {

void put(Store& store, const std::string& key, const std::string& value) {
  const uint64_t hash = store.hash(key);
  Entry* old = store.find(key, hash);
  Entry* fresh = store.prepare(key, value.size(), Type::string, old);
  CHECK(fresh != nullptr);
  std::memcpy(fresh->value_data(), value.data(), value.size());
  store.commit(fresh, hash, old);
}

std::string name(int i) { return "key:" + std::to_string(i); }

void fuzz(const std::string& folder, uint64_t seed) {
  const std::string arena = folder + "/fuzz.arena", path = local_reads_path(arena);
  StoreOptions options;
  options.path = arena;
  options.capacity = 16 << 20;
  Store store(options);
  store.set_now(1'800'000'000'000);
  for (int i = 0; i < 5000; ++i) put(store, name(i), "value of " + name(i));
  std::mt19937_64 random(seed);
  const int fd = [&] {
    LocalReads first(arena, -1);
    return open(path.c_str(), O_RDWR | O_CLOEXEC);
  }();
  CHECK(fd >= 0);
  LocalReads reads(arena, -1);
  for (int round = 0; round < 3000; ++round) {
    switch (random() % 8) {
      case 0:  // a head
      case 1:
        for (int i = 0; i < 4; ++i) {
          const uint64_t word = random() % 3 ? random() : random() % 10000;
          const uint64_t at = kSlotHeadsOffset + random() % kReaderSlots * sizeof(SlotHead) + random() % 4 * 8;
          CHECK(pwrite(fd, &word, 8, static_cast<off_t>(at)) == 8);
        }
        break;
      case 2: {  // a stretch of a ring, with some hashes that are right
        uint64_t words[512];
        for (uint64_t& word : words) word = random() % 2 ? random() : store.hash(name(static_cast<int>(random() % 6000)));
        const uint64_t at = kRingsOffset + random() % (kReaderSlots * kRingBytes / 4096 - 1) * 4096;
        CHECK(pwrite(fd, words, sizeof words, static_cast<off_t>(at)) == sizeof words);
        break;
      }
      case 3:
        CHECK(ftruncate(fd, static_cast<off_t>(random() % kLocalReadsBytes)) == 0);
        break;
      case 4:
        CHECK(ftruncate(fd, static_cast<off_t>(kLocalReadsBytes)) == 0);
        break;
      case 5: {
        const uint64_t word = random();
        CHECK(pwrite(fd, &word, 8, static_cast<off_t>(random() % 4096)) == 8);
        break;
      }
      default: put(store, name(static_cast<int>(random() % 5000)), std::string(random() % 200, 'x'));
    }
    const uint64_t before = store.stats().local_read_hits;
    reads.collect(store, random() % 400);
    CHECK(store.stats().local_read_hits - before < uint64_t{kReaderSlots} << 32);
  }
  for (int i = 0; i < 5000; ++i) CHECK(store.find(name(i), store.hash(name(i))) != nullptr);
  CHECK(store.size() == 5000);
  close(fd);
}

void touch(const std::string& folder) {
  const std::string arena = folder + "/touch.arena";
  StoreOptions options;
  options.path = arena;
  options.capacity = 16 << 20;
  Store store(options);
  store.set_now(1'800'000'000'000);
  LocalReads reads(arena, -1);
  for (int i = 0; i < 100; ++i) put(store, name(i), "v");
  const auto entry = [&](int i) { return store.find(name(i), store.hash(name(i))); };
  {
    ReadSlot slot(arena);
    CHECK(slot.counts());
    for (int i = 0; i < 50; ++i) slot.hit(store.hash(name(i)));
    slot.hit(0);
    slot.hit(~uint64_t{0});
    slot.count(52, 7);
  }
  store.set_now(1'800'000'060'000);
  reads.collect(store, 100'000);
  for (int i = 0; i < 100; ++i) {
    CHECK(entry(i)->freq == (i < 50 ? 1 : 0));
    CHECK((store.idle_ms(entry(i)) < 100) == (i < 50));
  }
  CHECK(store.stats().local_read_hits == 52 && store.stats().local_read_misses == 7);
  CHECK(store.stats().keyspace_hits == 52 && store.stats().keyspace_misses == 7);
  // The next owner of the slot goes on from there, and more than a ring holds leaves the newest of it.
  ReadSlot slot(arena);
  for (uint32_t i = 0; i < 3 * kReaderRing + 17; ++i) slot.hit(store.hash(name(i < 3 * kReaderRing - 100 ? 60 : 70)));
  slot.count(3 * kReaderRing + 17, 0);
  reads.collect(store, 100'000);
  CHECK(store.stats().local_read_hits == 52 + 3 * kReaderRing + 17);
  CHECK(entry(60)->freq == 3 && entry(70)->freq == 3 && entry(80)->freq == 0);
  // Without time there are no touches, but all counts; the touches come later.
  for (int i = 0; i < 10; ++i) slot.hit(store.hash(name(80)));
  slot.count(10, 0);
  reads.collect(store, 0);
  CHECK(store.stats().local_read_hits == 62 + 3 * kReaderRing + 17 && entry(80)->freq == 0);
  reads.collect(store, 100'000);
  CHECK(entry(80)->freq == 3);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 2 ? argv[1] : "";
  if (what == "fuzz" && argc > 3) fuzz(argv[2], std::strtoull(argv[3], nullptr, 10));
  else if (what == "touch") touch(argv[2]);
  else return 2;
  std::puts("ok");
}
