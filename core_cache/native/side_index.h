// side_index.h: what this process keeps beside the logs of big collections, so that their elements are found without
// reading the log. It is derived: made at the first access, and dropped with its entry. Small collections have none.
//
// The memory of one for a million elements takes milliseconds to give back: upkeep does it bit by bit.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "collection_log.h"
#include "member_table.h"
#include "ranking.h"

namespace predis {

class Rewrite;  // collection_rewrite.h

struct SideIndex {
  explicit SideIndex(Type of);
  ~SideIndex();
  Type type;
  MemberTable members;           // hash, set, sorted set: by member
  std::deque<uint32_t> sequence; // list: the elements' places in the log, from left to right
  Ranking ranking;               // sorted set
  uint64_t live = 0;             // bytes of a log with nothing dead in it, without its head, at most
  std::unique_ptr<Rewrite> rewrite;  // of the log, while one is under way
  uint32_t rewrite_from = 0;     // the last one came to nothing: none begins before the log is so long
  size_t counted = 0;            // bytes that SideIndexes counts for it

  size_t bytes() const {
    return sizeof *this + members.bytes() + sequence.size() * sizeof(uint32_t) + ranking.bytes() +
           (rewrite != nullptr ? rewrite_bytes() : 0);
  }
  size_t rewrite_bytes() const;
  void stop_rewrite();  // gives its room back; the rest goes with this
  bool release();       // gives some of its memory back, of no more use from then on; false: little is left
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
  // The memory of large ones is given back by and by: see release().
  void drop(uint64_t version) {
    if (all_.empty()) return;
    const auto found = all_.find(version);
    if (found == all_.end()) return;
    SideIndex& index = *found->second;
    bytes_ -= index.counted;
    last_version_ = 0;
    if (index.counted < kLarge) {
      all_.erase(found);
      return;
    }
    if (index.rewrite != nullptr) index.stop_rewrite();
    if (gone_.size() >= kMostGone) gone_.erase(gone_.begin());  // they come faster than they go
    gone_.insert(all_.extract(found));
  }
  void clear() {
    if (gone_.empty()) gone_.swap(all_);
    else gone_.merge(all_);
    all_.clear();
    rewriting_.clear();
    bytes_ = 0;
    last_version_ = 0;
  }
  // Gives back memory of what was dropped. true: there is more.
  bool release(uint64_t deadline_ns);
  void end() {
    clear();
    gone_.clear();
  }
  void recount(SideIndex& index) {
    const size_t now = index.bytes();
    bytes_ += now - index.counted;
    index.counted = now;
  }
  size_t bytes() const { return bytes_ + all_.size() * 64; }
  size_t size() const { return all_.size(); }

  // Versions of entries whose logs are, or were a moment ago, being written anew.
  std::vector<uint64_t>& rewriting() { return rewriting_; }
  uint64_t rewritten_bytes = 0;  // of logs, ever, in one go or bit by bit

 private:
  static constexpr size_t kLarge = 64 * 1024;  // bytes
  static constexpr size_t kMostGone = 64;

  std::unordered_map<uint64_t, std::unique_ptr<SideIndex>> all_, gone_;
  std::vector<uint64_t> rewriting_;
  uint64_t last_version_ = 0;  // of the one found last, 0 for none
  SideIndex* last_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace predis
