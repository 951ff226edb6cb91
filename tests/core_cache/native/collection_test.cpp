// Tests of collections in the store against a model, under the sanitizers; run by tests/core_cache/test_store.py.
//
//   collection_test model SEED    random changes of all kinds, reopening the arena now and then
//   collection_test pressure SEED the same in a cache that is too small: what is there is right, and moves do no harm
//   collection_test kill SEED     a child changes many fields at once and is killed: all of a change is there, or nothing
//   collection_test damage SEED   bytes of the arena are changed between two lives: a collection is right, or gone
//   collection_test resize        the arena's size changes between two lives
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "collection_tester.h"

namespace {

void model(uint64_t seed, uint64_t mib, bool pressure) {
  File file(pressure ? "pressure" : "model");
  auto store = open_store(file, mib);
  Tester tester(seed, seed % 2 ? 40 : 600);
  const uint64_t keys = pressure ? 400 : 30;
  uint64_t refused = 0, gone = 0;
  for (int step = 0; step < (pressure ? 60000 : 30000); ++step) {
    const std::string key = name_of(tester.rng() % keys);
    const auto op = tester.rng() % 100;
    if (op < 70) {
      refused += !tester.change(*store, key);
    } else if (op < 90) {
      gone += tester.models.count(key) != 0 && store->find(key, store->hash(key)) == nullptr;
      tester.check(*store, key, pressure);
    } else if (op < 93) {
      if (Entry* entry = store->find(key, store->hash(key))) store->erase(entry, store->hash(key));
      tester.models.erase(key);
    } else if (pressure && op < 99) {
      put_string(*store, "s" + std::to_string(tester.rng() % 3000), tester.rng() % 12000);
    } else if (tester.rng() % 100 == 0) {
      check_gauges(*store);
      store.reset();
      store = open_store(file, mib);
    } else if (tester.rng() % 300 == 0) {
      store->clear();
      tester.models.clear();
      check_gauges(*store);
    }
    if (step % 100 == 0) store->upkeep(1000);
  }
  for (uint64_t i = 0; i < keys; ++i) tester.check(*store, name_of(i), pressure);
  check_gauges(*store);
  CHECK(!pressure || (gone > 20 && store->stats().moved_entries > 20), "no pressure: %lu gone, %lu moved",
        static_cast<unsigned long>(gone), static_cast<unsigned long>(store->stats().moved_entries));
  CHECK(pressure || refused == 0, "no room");
}

// Each round sets all fields of a hash to its number, adds to a list and a set, and says so in shared memory.
void kill_test(uint64_t seed) {
  std::mt19937_64 rng(seed);
  File file("kill");
  auto* done = static_cast<volatile uint64_t*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  *done = 0;
  const int fields = 7;
  for (int life = 0; life < 25; ++life) {
    const pid_t child = fork();
    if (child == 0) {
      auto store = open_store(file, 32);
      Reply reply;
      for (uint64_t round = *done + 1;; ++round) {
        const std::string text = std::to_string(round) + std::string(round % 700, '.');
        uint64_t hash = store->hash("h");
        {
          Edit edit(*store, reply, "h", hash, store->find("h", hash), Type::hash);
          if (!edit.begin(fields * record_room(10, text.size()))) _exit(1);
          for (int i = 0; i < fields; ++i) {
            const std::string field = "f" + std::to_string(i);
            edit.put(edit.find(field), field, text);
          }
          edit.finish();
        }
        hash = store->hash("l");
        {
          Edit edit(*store, reply, "l", hash, store->find("l", hash), Type::list);
          if (!edit.begin(4 * record_room(0, 20))) _exit(1);
          const std::string number = std::to_string(round);
          edit.push(false, number);
          edit.push(false, number);
          if (edit.size() > 1000) edit.pop(true, 2);
          edit.finish();
        }
        *done = round;
      }
    }
    const uint64_t before = *done;
    while (*done < before + 1 + rng() % 400) usleep(50);
    usleep(static_cast<useconds_t>(rng() % 2000));
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status), "the child ended by itself");
    auto store = open_store(file, 32);
    const uint64_t said = *done;
    Collection h(*store, store->find("h", store->hash("h")));
    CHECK(h.size() == fields, "%u fields", h.size());
    std::set<std::string> values;
    h.each([&](const Record& r, std::string_view) { values.emplace(r.value); });
    CHECK(values.size() == 1, "fields of %zu different rounds", values.size());
    const uint64_t found = std::strtoull(values.begin()->c_str(), nullptr, 10);
    CHECK(found == said || found == said + 1, "round %lu, said %lu", static_cast<unsigned long>(found),
          static_cast<unsigned long>(said));
    CHECK(values.begin()->size() == std::to_string(found).size() + found % 700, "a value is cut");
    Collection l(*store, store->find("l", store->hash("l")));
    const Sequence& places = l.sequence();
    CHECK(places.size() % 2 == 0, "half a change of the list");
    uint64_t last = 0;
    for (size_t i = 0; i < places.size(); i += 2) {
      CHECK(l.value(places[i]) == l.value(places[i + 1]), "a pair that is none");
      const uint64_t number = std::strtoull(std::string(l.value(places[i])).c_str(), nullptr, 10);
      CHECK(i == 0 || number == last + 1, "%lu comes after %lu", static_cast<unsigned long>(number),
            static_cast<unsigned long>(last));
      last = number;
    }
    CHECK(last == said || last == said + 1, "the list ends with %lu", static_cast<unsigned long>(last));
    *done = std::min(found, last);
    if (found != last) {  // killed between the two: bring them to the same round
      Reply reply;
      const uint64_t hash = store->hash("l");
      Edit edit(*store, reply, "l", hash, store->find("l", hash), Type::list);
      CHECK(edit.begin(100), "no room");
      const std::string number = std::to_string(found);
      edit.push(false, number);
      edit.push(false, number);
      edit.finish();
      *done = found;
    }
  }
}

void damage(uint64_t seed) {
  std::mt19937_64 rng(seed);
  uint64_t dropped = 0, kept = 0;
  for (int life = 0; life < 40; ++life) {
    File file("damage");
    Tester tester(rng(), 30);
    const uint64_t keys = 60;
    size_t first = ~size_t{0}, last = 0;
    {
      auto store = open_store(file, 32);
      for (int i = 0; i < 600; ++i) CHECK(tester.change(*store, name_of(rng() % keys)), "no room");
      const char* base = reinterpret_cast<const char*>(&store->stats()) ;
      for (const auto& [key, m] : tester.models) {
        const Entry* entry = store->find(key, store->hash(key));
        const auto from = static_cast<size_t>(reinterpret_cast<const char*>(entry) - base);
        first = std::min(first, from);
        last = std::max(last, from + sizeof(Entry) + entry->key_len() + entry->value_len);
      }
    }
    // The statistics lie behind the header: find the entries' place in the file from the first of them.
    const int fd = open(file.path.c_str(), O_RDWR);
    auto* base = static_cast<char*>(mmap(nullptr, 32 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    const uint64_t stats_offset = reinterpret_cast<const Header*>(base)->stats_offset;
    const int flips = 1 + static_cast<int>(rng() % 600);
    for (int i = 0; i < flips; ++i) {
      char* at = base + stats_offset + first + rng() % (last - first);
      *at = static_cast<char>(rng() % 3 == 0 ? 0xff : *at ^ 1 << rng() % 8);
    }
    munmap(base, 32 << 20);
    close(fd);
    auto store = open_store(file, 32);
    // An expiry is not under a checksum; a key that is found must hold what it held.
    for (uint64_t i = 0; i < keys; ++i) {
      const bool was = tester.models.count(name_of(i)) != 0;
      tester.check(*store, name_of(i), true);
      const bool is = tester.models.count(name_of(i)) != 0;
      dropped += was && !is;
      kept += is;
    }
    const uint64_t evicted = store->stats().evicted_capacity;
    for (int i = 0; i < 200; ++i) CHECK(tester.change(*store, name_of(rng() % keys)), "no room");
    CHECK(store->stats().evicted_capacity == evicted, "evicted");
    for (uint64_t i = 0; i < keys; ++i) tester.check(*store, name_of(i), false);
  }
  CHECK(dropped > 100 && kept > 100, "%lu dropped, %lu kept", static_cast<unsigned long>(dropped),
        static_cast<unsigned long>(kept));
}

void resize() {
  File file("resize");
  Tester tester(7, 500);
  uint64_t mib = 16;
  auto store = open_store(file, mib);
  for (const uint64_t next : {32, 16, 64, 24}) {
    for (int i = 0; i < 2000; ++i) CHECK(tester.change(*store, name_of(tester.rng() % 40)), "no room");
    store.reset();
    store = open_store(file, next);
    for (uint64_t i = 0; i < 40; ++i) tester.check(*store, name_of(i), false);
    mib = next;
  }
  store.reset();
  store = open_store(file, mib);  // checksums are those of the new arena
  for (uint64_t i = 0; i < 40; ++i) tester.check(*store, name_of(i), false);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  if (what == "model") model(seed, 128, false);
  else if (what == "pressure") model(seed, 8, true);
  else if (what == "kill") kill_test(seed);
  else if (what == "damage") damage(seed);
  else if (what == "resize") resize();
  else return 2;
  std::puts("ok");
}
