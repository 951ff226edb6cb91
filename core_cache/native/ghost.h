// ghost.h: which keys were evicted lately: about 11 bytes each, no keys, no lists. (S3-FIFO, Yang et al., SOSP 2023)
//
// A table of fingerprints in buckets of one cache line, which grows as the index does: by splitting one bucket at a time
// (linear hashing, Litwin, 1980), so that nobody waits for a rehash. It is a queue of the evicted by segments: each slot
// says in which segment it came, each segment how many of its keys are still there. A key that comes back leaves the
// queue; where more than the capacity are in it, the oldest segment, a part in 64 of all, is forgotten. Its slots are
// not looked for: they are found to be too old when somebody comes by.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "index.h"

namespace predis {

class Ghost {
 public:
  // Remembers the hash as the newest of at most `capacity`.
  void insert(uint64_t hash, uint64_t capacity) {
    if (capacity == 0) return;
    if (buckets_ == 0) segments_.assign(kMostSegments, 0);
    if (live_ >= uint64_t{buckets_} * kKeysPerBucket) grow();
    const uint32_t print = fingerprint(hash);
    put(bucket(bucket_number(print, buckets_)), print, newest_);
    if (++filled_ >= capacity / kSegments) next_segment();
    while (live_ > capacity) {
      if (newest_ == oldest_) next_segment();
      forget_segment();
    }
  }
  // Was it evicted lately? Forgets it.
  bool take(uint64_t hash) {
    if (buckets_ == 0) return false;
    const uint32_t print = fingerprint(hash);
    Bucket& b = bucket(bucket_number(print, buckets_));
    for (int i = 0; i < kWays; ++i) {
      if (b.prints[i] != print) continue;
      const bool known = !dead(b.segments[i]);
      remove(b, i);
      return known;
    }
    return false;
  }
  void prefetch_key(uint64_t hash) const {
    if (buckets_ != 0) prefetch(&bucket(bucket_number(fingerprint(hash), buckets_)));
  }
  uint64_t size() const { return live_; }
  size_t memory() const { return (chunks_.size() + retired_.size()) * sizeof(Chunk) + segments_.size() * 4; }

  // Constant time: the memory is kept for the next keys, or given back by release().
  void clear() {
    if (retired_.empty()) retired_.swap(chunks_);
    for (; !chunks_.empty(); chunks_.pop_back()) retired_.push_back(std::move(chunks_.back()));
    segments_.clear();
    buckets_ = 0;
    live_ = filled_ = 0;
    newest_ = oldest_ = 0;
  }
  // Gives back some of the memory that clear() has left; true when there is more.
  bool release() {
    for (int i = 0; i < 16 && !retired_.empty(); ++i) retired_.pop_back();
    return !retired_.empty();
  }

 private:
  static constexpr int kWays = 10;
  static constexpr uint32_t kKeysPerBucket = 6;    // with more, too many a bucket would have to drop what it still needs
  static constexpr uint32_t kSegments = 64;        // of a full queue whose keys do not come back
  static constexpr uint32_t kMostSegments = 1024;  // so a key is forgotten after 16 times the capacity at the latest
  static constexpr uint32_t kSpan = 1024;          // buckets in a chunk
  struct alignas(64) Bucket {
    uint32_t prints[kWays];  // 0: empty
    uint16_t segments[kWays];
  };
  static_assert(sizeof(Bucket) == 64);
  struct Chunk {
    Bucket buckets[kSpan];
  };

  static uint32_t fingerprint(uint64_t hash) {
    // Mixed: the arms of a test share out the keys by some of the hash's bits, the index by others.
    const auto print = static_cast<uint32_t>(hash * 0x9e3779b97f4a7c15 >> 32);
    return print ? print : 1;
  }
  Bucket& bucket(uint32_t number) const { return chunks_[number / kSpan]->buckets[number % kSpan]; }
  uint16_t age(uint16_t segment) const { return static_cast<uint16_t>(newest_ - segment); }
  bool dead(uint16_t segment) const { return age(segment) > static_cast<uint16_t>(newest_ - oldest_); }
  uint32_t& count(uint16_t segment) { return segments_[segment % kMostSegments]; }

  void remove(Bucket& b, int i) {
    if (!dead(b.segments[i])) {
      --count(b.segments[i]);
      --live_;
    }
    b.prints[i] = 0;
  }
  // In the place of the same key, else of none, of a forgotten one, or of the oldest.
  void put(Bucket& b, uint32_t print, uint16_t segment) {
    int at = 0;
    uint32_t best = 0;
    for (int i = 0; i < kWays; ++i) {
      const uint32_t rank = b.prints[i] == print ? 0x30000u : b.prints[i] == 0 ? 0x20000u : age(b.segments[i]);
      if (rank >= best) {
        best = rank;
        at = i;
      }
    }
    if (b.prints[at] != 0) remove(b, at);
    b.prints[at] = print;
    b.segments[at] = segment;
    ++count(segment);
    ++live_;
  }
  void next_segment() {
    filled_ = 0;
    if (static_cast<uint16_t>(newest_ - oldest_) + 1u >= kMostSegments) forget_segment();
    count(++newest_) = 0;
  }
  void forget_segment() {
    live_ -= count(oldest_);
    count(oldest_++) = 0;
  }

  void grow() {
    if (buckets_ % kSpan == 0) add_chunk();
    const uint32_t fresh = buckets_++;
    if (fresh == 0) return;
    const uint32_t high = ~0u >> __builtin_clz(fresh);  // the bucket that is split has the same number without the top bit
    Bucket& from = bucket(fresh & high >> 1);
    Bucket& to = bucket(fresh);
    int moved = 0;
    for (int i = 0; i < kWays; ++i) {
      if (from.prints[i] == 0 || bucket_number(from.prints[i], buckets_) != fresh) continue;
      to.prints[moved] = from.prints[i];
      to.segments[moved++] = from.segments[i];
      from.prints[i] = 0;
    }
  }
  void add_chunk() {
    if (retired_.empty()) {
      chunks_.push_back(std::make_unique<Chunk>());
      return;
    }
    chunks_.push_back(std::move(retired_.back()));
    retired_.pop_back();
    std::memset(static_cast<void*>(chunks_.back().get()), 0, sizeof(Chunk));
  }

  std::vector<std::unique_ptr<Chunk>> chunks_, retired_;
  std::vector<uint32_t> segments_;  // of each segment, how many of its keys are still known
  uint32_t buckets_ = 0;
  uint64_t live_ = 0, filled_ = 0;  // keys that are known; how many came in the newest segment
  uint16_t newest_ = 0, oldest_ = 0;
};

}  // namespace predis
