// member_table.h: finds the elements of one big collection: 32-bit hash of the member → place in the log. It lives in
// this process' memory only and is made anew from the log when it is needed.
//
// Extendible hashing (Fagin et al., 1979): a directory, by the hash's upper bits, of segments with linear probing. A full
// segment doubles, and from kMostSlots on is split in two, so that no insert waits for a rehash of the whole. A walk
// goes by ascending hashes, an order that neither growth nor a new table for the same log disturbs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#include "heap_pages.h"

namespace predis {

class MemberTable {
 public:
  struct Slot {
    uint32_t hash, at;  // at 0: empty
  };

  MemberTable() {
    directory_.push_back(make(kFewestSlots, 0));
    segments_.push_back(directory_[0]);
  }
  ~MemberTable() {
    for (Segment* s : segments_) std::free(s);
  }
  MemberTable(const MemberTable&) = delete;

  size_t size() const { return size_; }
  size_t bytes() const { return bytes_ + (directory_.capacity() + segments_.capacity()) * sizeof(Segment*); }

  // The slot with this hash for whose place `same(at)` holds; nullptr for none.
  template <typename Same>
  Slot* find(uint32_t hash, Same&& same) const {
    Segment& s = segment(hash);
    for (uint32_t i = hash & s.mask; s.slots()[i].at != 0; i = (i + 1) & s.mask) {
      Slot& slot = s.slots()[i];
      if (slot.hash == hash && same(slot.at)) return &slot;
    }
    return nullptr;
  }
  void prefetch(uint32_t hash) const {
    Segment& s = segment(hash);
    __builtin_prefetch(&s.slots()[hash & s.mask]);
  }

  void insert(uint32_t hash, uint32_t at) {
    Segment* s = &segment(hash);
    while (s->count >= s->mask - s->mask / 4) {
      grow(s, hash);
      s = &segment(hash);
    }
    put(*s, {hash, at});
    ++size_;
  }

  // Gives memory back, of which the table is of no more use. false: there is none left.
  bool release() {
    constexpr size_t kAtOnce = 16;
    for (size_t i = 0; i < kAtOnce && !segments_.empty(); ++i) {
      give_pages_back(segments_.back(), bytes_of(segments_.back()->mask + 1));
      std::free(segments_.back());
      segments_.pop_back();
    }
    return !segments_.empty();
  }

  void erase(Slot* slot) {
    Segment& s = segment(slot->hash);
    uint32_t hole = static_cast<uint32_t>(slot - s.slots());
    // Those behind the hole move up where that brings them no further than home.
    for (uint32_t i = (hole + 1) & s.mask; s.slots()[i].at != 0; i = (i + 1) & s.mask) {
      const uint32_t home = s.slots()[i].hash & s.mask;
      if (((i - home) & s.mask) < ((i - hole) & s.mask)) continue;
      s.slots()[hole] = s.slots()[i];
      hole = i;
    }
    s.slots()[hole] = {0, 0};
    --s.count;
    --size_;
  }

  // The place of an element picked by `random()`, a function that gives 64 random bits. There is one.
  template <typename Random>
  uint32_t pick(Random&& random) const {
    for (;;) {
      const uint64_t r = random();
      const Segment& s = *segments_[(r >> 32) % segments_.size()];
      // Segments of different sizes come only one at a time, so each slot is as likely as any other.
      const Slot& slot = s.slots()[static_cast<uint32_t>(r) & s.mask];
      if (slot.at != 0) return slot.at;
      if (s.count * 16 < s.mask) {  // nearly empty: as good as anything is the next one
        for (uint32_t i = 0; i <= s.mask; ++i) {
          const Slot& next = s.slots()[(static_cast<uint32_t>(r) + i) & s.mask];
          if (next.at != 0) return next.at;
        }
      }
    }
  }

  // Visits the places of about `count` elements whose hashes are at least `from`, in the order of their hashes; gives the
  // hash to go on from, 0 at the end.
  template <typename Visit>
  uint64_t walk(uint64_t from, size_t count, Visit&& visit) const {
    std::vector<Slot> found;
    while (from <= 0xffffffff) {
      const Segment& s = segment(static_cast<uint32_t>(from));
      found.clear();
      for (uint32_t i = 0; i <= s.mask; ++i)
        if (s.slots()[i].at != 0 && s.slots()[i].hash >= from) found.push_back(s.slots()[i]);
      uint32_t limit = 0xffffffff;
      if (count < found.size()) {
        const auto last = found.begin() + static_cast<ptrdiff_t>(count) - 1;
        std::nth_element(found.begin(), last, found.end(), [](Slot a, Slot b) { return a.hash < b.hash; });
        limit = last->hash;
      }
      uint64_t next = ~uint64_t{0};
      for (const Slot& slot : found) {
        if (slot.hash <= limit) visit(slot.at);
        else next = std::min<uint64_t>(next, slot.hash);
      }
      if (next != ~uint64_t{0}) return next;
      // The first hash behind this segment.
      const uint64_t length = uint64_t{1} << (32 - s.depth);
      from = (from & ~(length - 1)) + length;
      if (found.size() >= count) break;
      count -= found.size();
    }
    return from > 0xffffffff ? 0 : from;
  }

 private:
  static constexpr uint32_t kFewestSlots = 64, kMostSlots = 2048;
  static constexpr unsigned kDeepest = 22;

  struct Segment {
    uint32_t mask, count;
    uint32_t depth;  // how many upper bits of the hash all of its elements share
    uint32_t reserved;
    Slot* slots() { return reinterpret_cast<Slot*>(this + 1); }
    const Slot* slots() const { return reinterpret_cast<const Slot*>(this + 1); }
  };

  static size_t bytes_of(uint32_t slots) { return sizeof(Segment) + slots * sizeof(Slot); }
  Segment* make(uint32_t slots, uint32_t depth) {
    auto* s = static_cast<Segment*>(std::calloc(1, bytes_of(slots)));
    if (s == nullptr) throw std::bad_alloc();
    s->mask = slots - 1;
    s->depth = depth;
    bytes_ += bytes_of(slots);
    return s;
  }
  size_t place(uint32_t hash) const { return depth_ == 0 ? 0 : hash >> (32 - depth_); }
  Segment& segment(uint32_t hash) const { return *directory_[place(hash)]; }

  static void put(Segment& s, Slot slot) {
    uint32_t i = slot.hash & s.mask;
    while (s.slots()[i].at != 0) i = (i + 1) & s.mask;
    s.slots()[i] = slot;
    ++s.count;
  }

  void grow(Segment* s, uint32_t hash) {
    const uint32_t slots = s->mask + 1;
    const bool split = slots >= kMostSlots && s->depth < kDeepest;
    const auto which = static_cast<size_t>(std::find(segments_.begin(), segments_.end(), s) - segments_.begin());
    if (!split) {
      Segment* bigger = make(slots * 2, s->depth);
      for (uint32_t i = 0; i < slots; ++i)
        if (s->slots()[i].at != 0) put(*bigger, s->slots()[i]);
      replace(hash, s->depth, bigger, bigger);
      segments_[which] = bigger;
    } else {
      if (s->depth == depth_) {
        std::vector<Segment*> twice(directory_.size() * 2);
        for (size_t i = 0; i < twice.size(); ++i) twice[i] = directory_[i / 2];
        directory_.swap(twice);
        ++depth_;
      }
      Segment* low = make(slots, s->depth + 1);
      Segment* high = make(slots, s->depth + 1);
      const uint32_t bit = uint32_t{1} << (31 - s->depth);
      for (uint32_t i = 0; i < slots; ++i)
        if (s->slots()[i].at != 0) put(s->slots()[i].hash & bit ? *high : *low, s->slots()[i]);
      replace(hash, s->depth, low, high);
      segments_[which] = low;
      segments_.push_back(high);
    }
    bytes_ -= bytes_of(slots);
    std::free(s);
  }

  // Puts two segments in the place of the one that has the first `depth` bits of the hash.
  void replace(uint32_t hash, uint32_t depth, Segment* low, Segment* high) {
    const size_t length = size_t{1} << (depth_ - depth);
    const size_t first = place(hash) & ~(length - 1);
    for (size_t i = 0; i < length; ++i) directory_[first + i] = i < length / 2 ? low : high;
    if (length == 1) directory_[first] = low;
  }

  std::vector<Segment*> directory_;  // by the upper depth_ bits of the hash
  std::vector<Segment*> segments_;   // each once
  unsigned depth_ = 0;
  size_t size_ = 0, bytes_ = 0;
};

}  // namespace predis
