// collection_tester.h: what the tests of collections have in common: a model of what they hold, and random changes of both.
#pragma once

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

#include "../../../core_cache/native/collection.h"
#include "check.h"

using namespace predis;

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

}  // namespace
