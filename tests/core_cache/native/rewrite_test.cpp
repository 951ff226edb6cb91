// Tests of long logs of collections, which are written anew bit by bit (collection_rewrite.h), under the sanitizers; run by
// tests/core_cache/test_store.py.
//
//   rewrite_test long SEED     random changes, of which none moves many bytes; the arena is opened anew now and then
//   rewrite_test crowded SEED  the same where the room for a log is others'
//   rewrite_test growth        very many elements come, change and go: no turn of the event loop moves many bytes
//   rewrite_test killed SEED   a child that writes logs anew is killed: what it said is there
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../../../core_cache/native/arena.h"
#include "../../../core_cache/native/collection_rewrite.h"
#include "collection_tester.h"

namespace {

// Bytes of logs that one change may have moved: as many as it calls for, or a short log in one go.
uint64_t most_moved(size_t room) { return 4 * kLongLog + 40 * room; }

// Random changes of a few long collections; every change is a turn of the event loop.
void long_logs(uint64_t seed, bool crowded) {
  File file("long");
  const uint64_t mib = crowded ? 24 : 256;
  auto store = open_store(file, mib);
  Tester tester(seed, seed % 2 ? 4000 : 30000);
  uint64_t moved = 0, under_way = 0, in_full_swing = 0, published = 0;
  for (int step = 0; step < 60000; ++step) {
    const std::string key = name_of(tester.rng() % 4);
    const auto op = tester.rng() % 10000;
    store->set_now(1800000000000 + static_cast<uint64_t>(step));
    const uint64_t before = store->side_indexes().rewritten_bytes;
    if (op < 9800) {
      tester.room = 0;
      CHECK(tester.change(*store, key) || crowded, "no room");
      const uint64_t now = store->side_indexes().rewritten_bytes - before;
      CHECK(crowded || now <= most_moved(tester.room), "a change for %zu bytes moved %lu", tester.room,
            static_cast<unsigned long>(now));
      moved += now;
      under_way += !store->side_indexes().rewriting().empty();
      if (crowded && op % 2 == 0) put_string(*store, "s" + std::to_string(tester.rng() % 8000), tester.rng() % 12000);
    } else if (op < 9950) {
      if (op % 8 == 0) tester.check(*store, key, crowded);
    } else if (op < 9953) {
      if (Entry* entry = store->find(key, store->hash(key))) store->erase(entry, store->hash(key));
      tester.models.erase(key);
    } else if (op < 9958) {
      in_full_swing += !store->side_indexes().rewriting().empty();
      store.reset();
      store = open_store(file, mib);
      for (uint64_t i = 0; i < 4; ++i) tester.check(*store, name_of(i), crowded);
    } else if (op == 9958 && tester.rng() % 4 == 0) {
      store->clear();
      tester.models.clear();
      check_gauges(*store);
    } else if (op == 9959) {
      CHECK(store->set_max_memory((mib - tester.rng() % 4) << 20), "the limit");
    } else if (op < 9990) {
      const auto version = [&](uint64_t i) {
        const Entry* entry = store->find(name_of(i), store->hash(name_of(i)));
        return entry != nullptr ? entry->version : 0;
      };
      const uint64_t was[] = {version(0), version(1), version(2), version(3)};
      store->upkeep(op % 2 != 0 ? 200 : 50000);
      for (uint64_t i = 0; i < 4; ++i) {
        if (version(i) == 0 || version(i) == was[i]) continue;
        ++published;
        tester.check(*store, name_of(i), crowded);
      }
    }
  }
  for (uint64_t i = 0; i < 4; ++i) tester.check(*store, name_of(i), crowded);
  while (store->upkeep(10000)) {}
  for (uint64_t i = 0; i < 4; ++i) tester.check(*store, name_of(i), crowded);
  check_gauges(*store);
  const uint64_t evicted = store->stats().evicted_capacity;
  std::printf("%lu bytes moved, %lu changes while logs were written anew, %lu published in upkeep, %lu keys evicted\n",
              static_cast<unsigned long>(moved), static_cast<unsigned long>(under_way),
              static_cast<unsigned long>(published), static_cast<unsigned long>(evicted));
  CHECK(under_way > 2000 && in_full_swing > 0, "nothing was written anew bit by bit");
  CHECK(crowded || published > 0, "upkeep finished nothing");
  CHECK((evicted > 1000) == crowded, "pressure");
}

// As many commands as fit into what one read brings are one turn.
void growth() {
  constexpr uint64_t kElements = 200'000, kAtOnce = 500;
  for (const Type type : {Type::hash, Type::set, Type::list, Type::zset}) {
    File file("growth");
    auto store = open_store(file, 512);
    Reply reply;
    const uint64_t hash = store->hash("c");
    uint64_t most = 0;
    const auto change = [&](uint64_t i, bool remove) {
      Entry* entry = store->find("c", hash);
      Edit edit(*store, reply, "c", hash, entry, type);
      const std::string name = "member:" + std::to_string(i);
      const auto score = static_cast<double>(i % 1000);
      char bytes[8];
      std::memcpy(bytes, &score, 8);
      if (remove) {
        CHECK(edit.begin_removal(kRemoveRoom), "no room");
        type == Type::list ? edit.pop(true, 1) : edit.remove(edit.find(name));
      } else {
        CHECK(edit.begin(record_room(name.size(), 8)), "no room");
        type == Type::list ? edit.push(false, name) : edit.put(edit.find(name), name, {bytes, 8});
      }
      edit.finish();
    };
    for (int round = 0; round < 3; ++round) {
      for (uint64_t i = 0; i < kElements; i += kAtOnce) {
        const uint64_t before = store->side_indexes().rewritten_bytes;
        store->set_now(1800000000000 + i);
        for (uint64_t k = i; k < i + kAtOnce; ++k) {
          if (round != 0 && type != Type::zset) change(k, true);
          change(k, false);
        }
        most = std::max(most, store->side_indexes().rewritten_bytes - before);
        if (i % 20000 == 0) store->upkeep(100);
      }
    }
    const Collection collection(*store, store->find("c", hash));
    CHECK(collection.size() == kElements, "%u elements", collection.size());
    std::printf("%lu bytes moved in the worst turn\n", static_cast<unsigned long>(most));
    CHECK(most <= 1 << 20, "%lu bytes moved in one turn", static_cast<unsigned long>(most));
  }
}

// Each round changes a few elements of long collections. What they hold after a round is known from its number.
class Rounds {
 public:
  static constexpr uint64_t kNames = 6000, kPerRound = 3, kLength = 20000;

  static std::string text(uint64_t round) { return std::to_string(round) + std::string(round % 90, '.'); }
  static std::string name(uint64_t i) { return "name" + std::to_string(i % kNames); }

  static bool play(Store& store, const char* key, uint64_t round) {
    Reply reply;
    const uint64_t hash = store.hash(key);
    const Type type = *key == 'h' ? Type::hash : *key == 's' ? Type::set : *key == 'l' ? Type::list : Type::zset;
    Edit edit(store, reply, key, hash, store.find(key, hash), type);
    if (!edit.begin(2 * kPerRound * record_room(20, 110))) return false;
    for (uint64_t i = round * kPerRound; i < (round + 1) * kPerRound; ++i) {
      if (type == Type::list) {
        edit.push(false, text(i));
        continue;
      }
      const auto score = static_cast<double>(round);
      char bytes[8];
      std::memcpy(bytes, &score, 8);
      const uint32_t at = edit.find(name(i));
      if (at == 0 || type != Type::set) edit.put(at, name(i), type == Type::zset ? std::string_view(bytes, 8) : text(round));
      // Half a lap later it goes, so that half of the names are there.
      if (const uint32_t old = edit.find(name(i + kNames / 2))) edit.remove(old);
    }
    if (type == Type::list && edit.size() > kLength) edit.pop(true, edit.size() - kLength);
    return edit.finish();
  }

  // Whether it is what `round` has left.
  static bool is_after(Store& store, const char* key, uint64_t round) {
    Entry* entry = store.find(key, store.hash(key));
    const uint64_t end = (round + 1) * kPerRound;
    Collection c(store, entry);
    if (*key == 'l') {
      const uint64_t first = end - std::min(end - kPerRound, kLength);
      const Sequence& places = c.sequence();
      for (size_t i = 0; i < places.size(); ++i)
        if (c.value(places[i]) != text(first + i)) return false;
      return places.size() == end - first;
    }
    const uint64_t first = end - std::min(end - kPerRound, kNames / 2);
    for (uint64_t i = first; i < end; ++i) {
      const uint32_t at = c.find(name(i));
      if (at == 0) return false;
      if (*key == 'h' && c.value(at) != text(i / kPerRound)) return false;
      if (*key == 'z' && c.score(at) != static_cast<double>(i / kPerRound)) return false;
    }
    return c.size() == end - first;
  }
};

void killed(uint64_t seed) {
  std::mt19937_64 rng(seed);
  File file("killed");
  struct Said {
    volatile uint64_t rounds[4], rewriting;
  };
  auto* said = static_cast<Said*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  constexpr const char* kKeys[] = {"hash", "set", "list", "zset"};
  uint64_t in_full_swing = 0;
  for (int life = 0; life < 40; ++life) {
    const pid_t child = fork();
    if (child == 0) {
      auto store = open_store(file, 64);
      for (uint64_t n = 0;; ++n) {
        store->set_now(realtime_ms());
        for (int k = 0; k < 4; ++k) {
          if (!Rounds::play(*store, kKeys[k], said->rounds[k] + 1)) _exit(1);
          said->rounds[k] = said->rounds[k] + 1;
        }
        if (n % 64 == 0) store->upkeep(50);
        said->rewriting = store->side_indexes().rewriting().size();
      }
    }
    const uint64_t before = said->rounds[0];
    while (said->rounds[0] < before + (life == 0 ? 9000 : 1) + rng() % 3000) usleep(50);
    for (int i = 0; i < 20000 && said->rewriting == 0; ++i) usleep(20);
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status), "the child ended by itself");
    in_full_swing += said->rewriting != 0;
    auto store = open_store(file, 64);
    for (int k = 0; k < 4; ++k) {
      if (!Rounds::is_after(*store, kKeys[k], said->rounds[k])) {
        CHECK(Rounds::is_after(*store, kKeys[k], said->rounds[k] + 1), "%s is not what round %lu has left", kKeys[k],
              static_cast<unsigned long>(said->rounds[k]));
        said->rounds[k] = said->rounds[k] + 1;
      }
    }
  }
  CHECK(in_full_swing > 20, "only %lu of 40 kills came while a log was written anew", static_cast<unsigned long>(in_full_swing));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  if (what == "long") long_logs(seed, false);
  else if (what == "crowded") long_logs(seed, true);
  else if (what == "growth") growth();
  else if (what == "killed") killed(seed);
  else return 2;
  std::puts("ok");
}
