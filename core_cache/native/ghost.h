// ghost.h: which keys were evicted lately: 8 bytes each, no keys, no lists.
//
// A table of (fingerprint, stamp) in buckets of eight. The stamp counts insertions, so "among the last N evicted" is one
// subtraction, and the oldest of a full bucket makes room. (S3-FIFO, Yang et al., SOSP 2023, section 4.3.)
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace predis {

class Ghost {
 public:
  // Remembers the hash as the newest of the last `capacity`.
  void insert(uint64_t hash, uint64_t capacity) {
    if (capacity * 2 > size_) grow(capacity * 2);
    if (size_ == 0) return;
    put({fingerprint(hash), ++clock_});
  }
  // Was it evicted among the last `capacity`? Forgets it.
  bool take(uint64_t hash, uint64_t capacity) {
    if (size_ == 0) return false;
    const uint32_t fp = fingerprint(hash);
    Slot* bucket = bucket_of(fp);
    for (int i = 0; i < kWays; ++i)
      if (bucket[i].fingerprint == fp) {
        const bool known = clock_ - bucket[i].stamp < capacity;
        bucket[i] = Slot{};
        return known;
      }
    return false;
  }
  void clear() {
    slots_.reset();
    size_ = 0;
  }
  size_t memory() const { return size_ * sizeof(Slot); }

 private:
  static constexpr int kWays = 8;
  struct Slot {
    uint32_t fingerprint = 0;  // 0: empty
    uint32_t stamp = 0;
  };
  static uint32_t fingerprint(uint64_t hash) {
    const auto fp = static_cast<uint32_t>(hash >> 24);
    return fp ? fp : 1;
  }
  Slot* bucket_of(uint32_t fp) { return &slots_[(fp & (size_ / kWays - 1)) * kWays]; }
  void put(Slot slot) {
    Slot* bucket = bucket_of(slot.fingerprint);
    Slot* oldest = bucket;
    for (int i = 0; i < kWays; ++i) {
      if (bucket[i].fingerprint == 0 || bucket[i].fingerprint == slot.fingerprint) {
        bucket[i] = slot;
        return;
      }
      if (clock_ - bucket[i].stamp > clock_ - oldest->stamp) oldest = &bucket[i];
    }
    *oldest = slot;
  }
  void grow(uint64_t wanted) {
    size_t size = 1024;
    while (size < wanted) size *= 2;
    // calloc: zeroed page by page as it is touched, where a vector would hold up every client for a large table.
    Slots old(static_cast<Slot*>(std::calloc(size, sizeof(Slot))));
    if (!old) throw std::bad_alloc();
    old.swap(slots_);
    std::swap(size, size_);
    for (size_t i = 0; i < size; ++i)
      if (old[i].fingerprint) put(old[i]);
  }

  struct Free {
    void operator()(Slot* slots) const { std::free(slots); }
  };
  using Slots = std::unique_ptr<Slot[], Free>;
  Slots slots_;
  size_t size_ = 0;
  uint32_t clock_ = 0;
};

}  // namespace predis
