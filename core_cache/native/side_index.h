// side_index.h: what this process keeps beside the logs of big collections, so that their elements are found without
// reading the log. It is derived: made at the first access, and dropped with its entry. Small collections have none.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>

#include "collection_log.h"
#include "member_table.h"
#include "ranking.h"

namespace predis {

struct SideIndex {
  explicit SideIndex(Type of) : type(of) {}
  Type type;
  MemberTable members;           // hash, set, sorted set: by member
  std::deque<uint32_t> sequence; // list: the elements' places in the log, from left to right
  Ranking ranking;               // sorted set
  size_t counted = 0;            // bytes that SideIndexes counts for it

  size_t bytes() const { return sizeof *this + members.bytes() + sequence.size() * sizeof(uint32_t) + ranking.bytes(); }
};

// Whether a collection has a side index: reading its log from end to end would take too long.
constexpr bool wants_index(uint32_t used, uint32_t count) { return count > 64 || used > 4096; }

// All side indexes, by their entries' versions: a move keeps the version, a rewrite has a new one.
class SideIndexes {
 public:
  SideIndex* find(uint64_t version) {
    if (version == last_version_) return last_;
    const auto found = all_.find(version);
    if (found == all_.end()) return nullptr;
    last_version_ = version;
    return last_ = found->second.get();
  }
  void put(uint64_t version, std::unique_ptr<SideIndex> index) {
    SideIndex& added = *index;
    all_[version] = std::move(index);
    last_version_ = 0;
    recount(added);
  }
  std::unique_ptr<SideIndex> take(uint64_t version) {
    const auto found = all_.find(version);
    if (found == all_.end()) return nullptr;
    std::unique_ptr<SideIndex> index = std::move(found->second);
    bytes_ -= index->counted;
    index->counted = 0;
    all_.erase(found);
    last_version_ = 0;
    return index;
  }
  void drop(uint64_t version) {
    if (!all_.empty()) take(version);
  }
  void clear() {
    all_.clear();
    bytes_ = 0;
    last_version_ = 0;
  }
  void recount(SideIndex& index) {
    const size_t now = index.bytes();
    bytes_ += now - index.counted;
    index.counted = now;
  }
  size_t bytes() const { return bytes_ + all_.size() * 64; }
  size_t size() const { return all_.size(); }

 private:
  std::unordered_map<uint64_t, std::unique_ptr<SideIndex>> all_;
  uint64_t last_version_ = 0;  // of the one found last, 0 for none
  SideIndex* last_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace predis
