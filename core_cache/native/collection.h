// collection.h: reading and changing hashes, sets, lists and sorted sets; collection_log.h tells how they are stored.
//
// A Collection is a look at one entry, good until the next call that can allocate in the store. An Edit gathers the changes
// of one command: begin() finds the room for all of them, or nothing is changed; then records are appended out of sight,
// and finish() makes them count at once. Strings handed to an Edit may lie in the collection itself. A Writer is what
// appends them, to the log of an Edit or to one that takes its place later (collection_rewrite.h).
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "collection_log.h"
#include "command.h"
#include "side_index.h"

namespace predis {

uint64_t random64();  // for picking elements; not secret

using Sequence = std::deque<uint32_t>;  // places in the log

class Collection {
 public:
  Collection(Store& store, Entry* entry);  // nullptr: an empty one
  Collection(const Collection&) = delete;

  bool exists() const { return entry_ != nullptr; }
  uint32_t size() const { return count_; }
  bool large() const { return entry_ != nullptr && (entry_->kind & kFlagLarge) != 0; }
  Record record(uint32_t place) const { return read_record(log_, place); }
  std::string_view value(uint32_t place) const { return read_record(log_, place).value; }
  std::string_view key(uint32_t place) const { return key_of(log_, read_record(log_, place)); }

  // --- hash, set, sorted set
  uint32_t find(std::string_view member) const;  // the element's place, 0 for none
  void prefetch(std::string_view member) const {
    if (side_ != nullptr) side_->members.prefetch(hash_of(member));
  }
  // Calls visit(record, key) for each element. While the encoding is compact: in the order of insertion, or, in sets,
  // of the numbers or scores.
  template <typename Visit>
  void each(Visit&& visit) const;
  std::vector<uint32_t> places() const;  // of all elements, in the order of each()
  uint32_t pick() const;  // the place of an element picked at random; there is one
  // One step of HSCAN and the like: visits the places of about `count` elements; gives the next cursor, 0 at the end.
  template <typename Visit>
  uint64_t walk(uint64_t cursor, size_t count, Visit&& visit) const;

  // --- sorted set
  double score(uint32_t place) const { return score_of(value(place)); }
  const Ranking& ranking();
  const char* log() const { return log_; }  // that a Ranking needs to compare members

  // --- list
  Sequence& sequence();  // the elements' places from left to right

 protected:
  uint32_t hash_of(std::string_view member) const { return static_cast<uint32_t>(store_.hash(member) >> 32); }
  std::unique_ptr<SideIndex> make_side() const;
  void replay(Sequence& into) const;
  void rank_all(Ranking& into) const;

  Store& store_;
  Entry* entry_;
  Type type_ = Type::string;
  char* log_ = nullptr;
  uint32_t used_ = kLogHead, count_ = 0, dead_ = 0;
  SideIndex* side_ = nullptr;
  std::optional<Sequence> replayed_;
  std::optional<Ranking> ranked_;
};

// Appends records to a log. There must be room for them: see record_room().
class Writer : public Collection {
 public:
  // --- hash, set, sorted set: `at` is what find() gives for the member
  void put(uint32_t at, std::string_view member, std::string_view value);  // value is ignored for a set
  void remove(uint32_t at);

  // --- list
  void push(bool left, std::string_view value);
  void pop(bool left, uint32_t number);
  void set(uint32_t index, std::string_view value);
  void insert(uint32_t index, std::string_view value);
  void erase(uint32_t index, uint32_t number);

 protected:
  Writer(Store& store, Entry* entry) : Collection(store, entry), seed_(store.log_seed()) {}
  uint32_t append(Op op, uint32_t x, uint32_t y, std::string_view key, std::string_view value);
  Sequence* live_sequence();  // where a list has one at hand
  void bury(uint32_t place);
  void note_live(int64_t bytes) {
    if (side_ != nullptr) side_->live += static_cast<uint64_t>(bytes);
  }

  std::unique_ptr<SideIndex> made_;  // a side index that is not yet registered
  LogSeed seed_;
};

class Edit : public Writer {
 public:
  Edit(Store& store, Reply& reply, std::string_view key, uint64_t hash, Entry* entry, Type type);
  Edit(Context& ctx, std::string_view key, uint64_t hash, Entry* entry, Type type)
      : Edit(ctx.store, ctx.reply, key, hash, entry, type) {}
  ~Edit();  // takes changes back that were not finished: memory has run out

  // Finds room for records of so many bytes (record_room() each) and answers with an error where there is none. Places
  // that were found before it are good no longer.
  bool begin(size_t bytes);
  bool begin_removal(size_t bytes);  // which may use memory that is kept for it
  bool begun() const { return begun_; }
  // Instead of changing what the key holds: puts the new collection in its place, whatever it is. nullptr: a new key.
  // keep_expiry: what it is now goes on to expire when the old one would have.
  void replace(Entry* old, bool keep_expiry = false) {
    old_ = old;
    keep_expiry_ = keep_expiry;
  }

  void set_large(bool large = true);  // Redis would not keep it in its compact encoding

  // Makes the changes count. false: nothing is left in the collection, and its key is gone.
  bool finish();
  Entry* entry() const { return entry_; }  // after finish(), where that gave true

 private:
  bool fits(size_t bytes) const { return entry_ != nullptr && log_capacity(entry_) - used_ >= bytes; }
  bool take_rewrite(size_t bytes);
  bool relocate(size_t bytes, bool compact);
  size_t compact_size() const;
  uint32_t write_compact(char* to, SideIndex* side) const;

  Reply& reply_;
  std::string_view name_;
  uint64_t hash_;
  Entry* old_;              // what is in force until finish(), be it of another type (see replace())
  Entry* fresh_ = nullptr;  // what it will be replaced by, nullptr: the log is appended to in place
  bool begun_ = false, large_ = false, keep_expiry_ = false;
};

constexpr size_t number_room(size_t value) { return value < 0x80 ? 1 : value < 0x4000 ? 2 : 5; }
// The bytes of a record, at most. `tight`: the log stays below 16 KiB, so that places in it are short.
constexpr size_t record_room(size_t key_len, size_t value_len, bool tight = false) {
  const size_t places = tight ? 4 : 10, name = number_room(key_len) + key_len;
  return kRecordFixed + (name > places ? name : places) + number_room(value_len) + value_len;
}
constexpr size_t kRemoveRoom = kRecordFixed + 10;
// What an element takes up in a log with nothing dead in it, at most. A list has no keys, a set no values.
constexpr size_t live_room(Type type, size_t key_len, size_t value_len) {
  return kRecordFixed + (type == Type::list ? 0 : number_room(key_len) + key_len) +
         (type == Type::set ? 0 : number_room(value_len) + value_len);
}

template <typename Visit>
void Collection::each(Visit&& visit) const {
  if (large() || count_ == 0) {
    for (uint32_t at = kLogHead; at < used_;) {
      const Record r = read_record(log_, at);
      if (!r.dead && r.is_element()) visit(r, key_of(log_, r));
      at = r.end;
    }
    return;
  }
  for (const uint32_t place : places()) {
    const Record r = read_record(log_, place);
    visit(r, key_of(log_, r));
  }
}

template <typename Visit>
uint64_t Collection::walk(uint64_t cursor, size_t count, Visit&& visit) const {
  if (side_ != nullptr && large()) return side_->members.walk(cursor, count, visit);
  for (const uint32_t place : places()) visit(place);
  return 0;
}

}  // namespace predis
