// Tests of collections in the store against a model, under the sanitizers; run by tests/core_cache/test_store.py.
//
//   collection_test model SEED    random changes of all kinds, reopening the arena now and then
//   collection_test pressure SEED the same in a cache that is too small: what is there is right, and moves do no harm
//   collection_test kill SEED     a child changes many fields at once and is killed: all of a change is there, or nothing
//   collection_test damage SEED   bytes of the arena are changed between two lives: a collection is right, or gone
//   collection_test resize        the arena's size changes between two lives
//   collection_test long SEED     logs of megabytes, which are written anew bit by bit: no change moves many bytes
//   collection_test crowded SEED  the same where the room for that is others'
//   collection_test growth        very many elements come, change and go: no turn moves many bytes
//   collection_test killed SEED   a child that writes long logs anew is killed: what it said is there
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "../../../core_cache/native/arena.h"
#include "../../../core_cache/native/collection_rewrite.h"

using namespace predis;

#define CHECK(condition, ...)                                                              \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      std::fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                 \
      std::fprintf(stderr, __VA_ARGS__);                                                   \
      std::fprintf(stderr, "\n");                                                          \
      std::abort();                                                                        \
    }                                                                                      \
  } while (false)

namespace {

using Hash = std::map<std::string, std::string>;
using Set = std::set<std::string>;
using List = std::deque<std::string>;
using Zset = std::map<std::string, double>;
using Model = std::variant<Hash, Set, List, Zset>;
using Models = std::map<std::string, Model>;

struct File {
  std::string path;
  explicit File(const char* name) : path("/dev/shm/predis-test-" + std::to_string(getpid()) + "-" + name) {}
  ~File() { unlink(path.c_str()); }
};

std::unique_ptr<Store> open_store(const File& file, uint64_t mib, PolicyKind policy = PolicyKind::s3fifo) {
  StoreOptions options;
  options.path = file.path;
  options.capacity = mib << 20;
  options.policy = policy;
  return std::make_unique<Store>(options);
}

Type type_of(const Model& model) {
  constexpr Type kTypes[] = {Type::hash, Type::set, Type::list, Type::zset};
  return kTypes[model.index()];
}
size_t size_of(const Model& model) {
  return std::visit([](const auto& m) { return m.size(); }, model);
}

class Tester {
 public:
  Tester(uint64_t seed, size_t span) : rng(seed), span_(span) {}
  std::mt19937_64 rng;
  Models models;
  Reply reply;
  size_t room = 0;  // that the last change asked for

  std::string member() { return "m" + std::to_string(rng() % span_) + std::string(rng() % 3 == 0 ? 20 : 0, 'x'); }
  std::string value() {
    const size_t size = rng() % 50 == 0 ? rng() % 9000 : rng() % 30;
    return std::to_string(++made_) + ":" + std::string(size, static_cast<char>('a' + rng() % 26));
  }

  // One random command on a collection. false: there was no room, and nothing has changed.
  bool change(Store& store, const std::string& key) {
    const uint64_t hash = store.hash(key);
    Entry* entry = store.find(key, hash);
    auto known = models.find(key);
    if (entry == nullptr) {
      if (known != models.end()) models.erase(known);  // evicted
      const uint64_t pick = rng() % 4;
      Model fresh = pick == 0 ? Model(Hash()) : pick == 1 ? Model(Set()) : pick == 2 ? Model(List()) : Model(Zset());
      known = models.emplace(key, fresh).first;
    }
    Model& next = known->second;
    Edit edit(store, reply, key, hash, entry, type_of(next));  // its begin() fails, or all goes well
    const int changes = 1 + static_cast<int>(rng() % (rng() % 10 == 0 ? 60 : 5));
    const bool shrink = rng() % 4 == 0;
    std::vector<std::string> values;
    for (int i = 0; i < changes; ++i) values.push_back(value());
    room = 0;
    for (const std::string& v : values) room += record_room(40, v.size()) + kRemoveRoom;
    if (entry == nullptr && shrink) {
      models.erase(known);
      return true;
    }
    if (!edit.begin(room)) {
      if (entry == nullptr) models.erase(known);
      return false;
    }
    for (const std::string& v : values) {
      if (auto* h = std::get_if<Hash>(&next)) {
        const std::string field = member();
        const uint32_t at = edit.find(field);
        CHECK((at != 0) == (h->count(field) != 0), "field %s of %s", field.c_str(), key.c_str());
        if (!shrink) edit.put(at, field, v), (*h)[field] = v;
        else if (at != 0) edit.remove(at), h->erase(field);
      } else if (auto* s = std::get_if<Set>(&next)) {
        const std::string name = member();
        const uint32_t at = edit.find(name);
        CHECK((at != 0) == (s->count(name) != 0), "member %s of %s", name.c_str(), key.c_str());
        if (!shrink && at == 0) edit.put(0, name, {}), s->insert(name);
        else if (shrink && at != 0) edit.remove(at), s->erase(name);
      } else if (auto* z = std::get_if<Zset>(&next)) {
        const std::string name = member();
        const uint32_t at = edit.find(name);
        CHECK((at != 0) == (z->count(name) != 0), "member %s of %s", name.c_str(), key.c_str());
        const double score = static_cast<double>(rng() % 20) - 5;
        char bytes[8];
        std::memcpy(bytes, &score, 8);
        if (!shrink) edit.put(at, name, {bytes, 8}), (*z)[name] = score;
        else if (at != 0) edit.remove(at), z->erase(name);
      } else {
        change_list(edit, std::get<List>(next), v, shrink);
      }
    }
    if (rng() % 50 == 0) edit.set_large();
    const bool left = edit.finish();
    CHECK(left == (size_of(next) != 0), "%s: %zu left", key.c_str(), size_of(next));
    if (!left) models.erase(known);
    return true;
  }

  void change_list(Edit& edit, List& list, const std::string& v, bool shrink) {
    const auto size = static_cast<uint32_t>(list.size());
    const auto index = static_cast<uint32_t>(size != 0 ? rng() % size : 0);
    const auto at = list.begin() + index;
    if (!shrink) {
      switch (rng() % 5) {
        case 0: edit.push(true, v), list.push_front(v); break;
        case 1: case 2: edit.push(false, v), list.push_back(v); break;
        case 3: if (size != 0) edit.set(index, v), *at = v; break;
        default: edit.insert(index, v), list.insert(at, v); break;
      }
    } else if (size != 0) {
      const auto number = static_cast<uint32_t>(rng() % std::min<uint64_t>(size - index, 4) + 1);
      switch (rng() % 3) {
        case 0: edit.erase(index, number), list.erase(at, at + number); break;
        case 1: edit.pop(true, 1), list.pop_front(); break;
        default: edit.pop(false, 1), list.pop_back(); break;
      }
    }
  }

  void check(Store& store, const std::string& key, bool may_be_gone) {
    Entry* entry = store.find(key, store.hash(key));
    const auto known = models.find(key);
    if (entry == nullptr) {
      CHECK(may_be_gone || known == models.end(), "%s is lost", key.c_str());
      if (known != models.end()) models.erase(known);
      return;
    }
    CHECK(known != models.end(), "%s is back", key.c_str());
    const Model& model = known->second;
    CHECK(entry->type() == type_of(model), "%s has another type", key.c_str());
    Collection collection(store, entry);
    CHECK(collection.size() == size_of(model), "%s: %u, not %zu", key.c_str(), collection.size(), size_of(model));
    if (const auto* h = std::get_if<Hash>(&model)) {
      Hash found;
      collection.each([&](const Record& r, std::string_view field) { found[std::string(field)] = r.value; });
      CHECK(found == *h, "%s differs", key.c_str());
      for (const auto& [field, v] : *h) CHECK(collection.value(collection.find(field)) == v, "field %s", field.c_str());
    } else if (const auto* s = std::get_if<Set>(&model)) {
      Set found;
      collection.each([&](const Record&, std::string_view member) { found.emplace(member); });
      CHECK(found == *s, "%s differs", key.c_str());
      for (const auto& member : *s) CHECK(collection.find(member) != 0, "member %s", member.c_str());
      CHECK(s->count(std::string(collection.key(collection.pick()))) == 1, "a member that is none");
    } else if (const auto* z = std::get_if<Zset>(&model)) {
      std::vector<std::pair<double, std::string>> expected, found;
      for (const auto& [name, score] : *z) {
        expected.emplace_back(score, name);
        CHECK(collection.score(collection.find(name)) == score, "member %s", name.c_str());
      }
      std::sort(expected.begin(), expected.end());
      const Ranking& ranking = collection.ranking();
      ranking.each(0, ranking.size(), false, [&](const Ranking::Item& item) {
        found.emplace_back(item.score, collection.key(item.place));
      });
      CHECK(found == expected, "%s differs", key.c_str());
      for (size_t i = 0; i < expected.size(); i += 7) {
        CHECK(ranking.rank(expected[i].first, expected[i].second, collection.log()) == i, "rank %zu", i);
      }
      found.clear();
      ranking.each(ranking.size() - 1, ranking.size(), true, [&](const Ranking::Item& item) {
        found.emplace_back(item.score, collection.key(item.place));
      });
      std::reverse(found.begin(), found.end());
      CHECK(found == expected, "%s differs when read from the end", key.c_str());
    } else {
      List found;
      for (const uint32_t place : collection.sequence()) found.emplace_back(collection.value(place));
      CHECK(found == std::get<List>(model), "%s differs", key.c_str());
    }
  }

 private:
  size_t span_;
  uint64_t made_ = 0;
};

std::string name_of(uint64_t i) { return "key" + std::string(i % 9, '-') + std::to_string(i); }

bool put_string(Store& store, const std::string& key, size_t size) {
  const uint64_t hash = store.hash(key);
  Entry* old = store.find(key, hash);
  Entry* fresh = store.prepare(key, size, Type::string, old);
  if (fresh == nullptr) return false;
  std::memset(fresh->value_data(), 's', size);
  store.commit(fresh, hash, old);
  return true;
}

void check_gauges(Store& store) {
  store.refresh_gauges();
  const Stats& s = store.stats();
  CHECK(s.collection_index_bytes < (uint64_t{1} << 32), "the side indexes' bytes went below zero");
  CHECK(s.keys != 0 || store.side_indexes().size() == 0, "side indexes of keys that are gone");
}

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
    } else if (op < 9954) {
      in_full_swing += !store->side_indexes().rewriting().empty();
      store.reset();
      store = open_store(file, mib);
      for (uint64_t i = 0; i < 4; ++i) tester.check(*store, name_of(i), crowded);
    } else if (op == 9955 && tester.rng() % 4 == 0) {
      store->clear();
      tester.models.clear();
      check_gauges(*store);
    } else if (op == 9956) {
      CHECK(store->set_max_memory((mib - tester.rng() % 4) << 20), "the limit");
    } else if (op < 9990) {
      Entry* entry = store->find(key, store->hash(key));
      const uint64_t version = entry != nullptr ? entry->version : 0;
      store->upkeep(200);
      entry = store->find(key, store->hash(key));
      if (entry != nullptr && entry->version != version) ++published, tester.check(*store, key, crowded);
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
  else if (what == "long") long_logs(seed, false);
  else if (what == "crowded") long_logs(seed, true);
  else if (what == "growth") growth();
  else if (what == "killed") killed(seed);
  else return 2;
  std::puts("ok");
}
