// fifo.h: a queue of entries, oldest first, from which any can be taken out or swapped in constant time.
//
// Chunks of 1,024 references, linked oldest to newest. An entry remembers its place (Entry::queue_pos: chunk and index),
// so the queue costs 4 bytes a key and an overwrite changes one of them, where a linked list would touch two neighbours
// in cold memory. Chunks that deletions have left sparse are joined with their neighbour, so holes stay bounded.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "arena.h"

namespace predis {

class Fifo {
 public:
  explicit Fifo(Arena& arena) : arena_(arena) { chunks_.emplace_back(); }  // chunk 0 stays unused: position 0 is "none"

  void push(Ref ref) {  // as the newest; sets the entry's queue_pos
    if (newest_ == 0 || chunks_[newest_]->end == kSpan) append();
    Chunk& c = *chunks_[newest_];
    arena_.at(ref)->queue_pos = newest_ << kBits | c.end;
    c.refs[c.end++] = ref;
    ++c.live;
    ++size_;
  }
  // Is the entry in this queue? Its queue_pos may be a leftover of another policy or of another life of the process.
  bool holds(const Entry* entry) const {
    const uint32_t id = entry->queue_pos >> kBits, i = entry->queue_pos & (kSpan - 1);
    return id < chunks_.size() && chunks_[id] && i < chunks_[id]->end && chunks_[id]->refs[i] == arena_.ref(entry);
  }
  void prefetch_place(uint32_t pos) const {
    const uint32_t id = pos >> kBits;
    if (id < chunks_.size() && chunks_[id]) prefetch(&chunks_[id]->refs[pos & (kSpan - 1)]);
  }
  void replace(uint32_t pos, Ref ref) {
    chunks_[pos >> kBits]->refs[pos & (kSpan - 1)] = ref;
    arena_.at(ref)->queue_pos = pos;
  }
  void erase(uint32_t pos) {
    const uint32_t id = pos >> kBits;
    Chunk& c = *chunks_[id];
    c.refs[pos & (kSpan - 1)] = 0;
    --size_;
    if (--c.live < kSpan / 4) thin(id);
  }
  Ref oldest() const {  // 0 when empty
    if (size_ == 0) return 0;
    Chunk& c = *chunks_[oldest_];
    while (c.refs[c.begin] == 0) ++c.begin;
    if (c.begin + 8 < c.end) prefetch(arena_.at(c.refs[c.begin + 8]));  // its turn comes soon
    return c.refs[c.begin];
  }
  // Calls visit(Ref) from the oldest on until it gives false.
  template <typename Visit>
  void each(Visit&& visit) const {
    for (uint32_t id = oldest_; id != 0; id = chunks_[id]->next)
      for (uint32_t i = chunks_[id]->begin; i < chunks_[id]->end; ++i)
        if (const Ref ref = chunks_[id]->refs[i]; ref != 0 && !visit(ref)) return;
  }

  // Calls visit(Ref) for at most `count` neighbours from a random place on; false when the queue is empty.
  template <typename Visit>
  bool sample(uint64_t random, uint32_t count, Visit&& visit) const {
    if (size_ == 0) return false;
    const auto span = static_cast<uint32_t>(chunks_.size() - 1);
    for (auto id = static_cast<uint32_t>(random % span);; id = (id + 1) % span) {
      const Chunk* c = chunks_[id + 1].get();
      if (c == nullptr || c->live == 0) continue;
      const uint32_t places = c->end - c->begin;
      auto at = static_cast<uint32_t>((random >> 32) % places);
      for (uint32_t i = 0; i < places && count > 0; ++i, at = at + 1 < places ? at + 1 : 0) {
        if (const Ref ref = c->refs[c->begin + at]) {
          visit(ref);
          --count;
        }
      }
      return true;
    }
  }

  uint64_t size() const { return size_; }
  size_t memory() const { return (in_use_ + retired_.size()) * sizeof(Chunk); }
  // Constant time: the memory is kept for the next entries, or given back by release().
  void clear() {
    for (auto& chunk : retired_) chunks_.push_back(std::move(chunk));
    chunks_.swap(retired_);
    chunks_.clear();
    chunks_.emplace_back();
    free_.clear();
    oldest_ = newest_ = 0;
    size_ = in_use_ = 0;
  }
  // Gives back some of the memory that clear() has left; true when there is more.
  bool release() {
    for (int i = 0; i < 64 && !retired_.empty(); ++i) retired_.pop_back();
    return !retired_.empty();
  }

 private:
  static constexpr uint32_t kBits = 10, kSpan = 1 << kBits;
  struct Chunk {
    uint32_t begin = 0, end = 0, live = 0;
    uint32_t next = 0, prev = 0;
    Ref refs[kSpan];
  };

  std::unique_ptr<Chunk> make_chunk() {
    while (!retired_.empty()) {
      auto chunk = std::move(retired_.back());
      retired_.pop_back();
      if (!chunk) continue;  // a place that was empty
      chunk->begin = chunk->end = chunk->live = chunk->next = chunk->prev = 0;  // refs count from begin to end only
      return chunk;
    }
    return std::make_unique<Chunk>();
  }
  void append() {
    uint32_t id;
    if (!free_.empty()) {
      id = free_.back();
      free_.pop_back();
      chunks_[id] = make_chunk();
    } else {
      id = static_cast<uint32_t>(chunks_.size());
      chunks_.push_back(make_chunk());
    }
    ++in_use_;
    chunks_[id]->prev = newest_;
    if (newest_) chunks_[newest_]->next = id;
    else oldest_ = id;
    newest_ = id;
  }
  void drop(uint32_t id) {
    Chunk& c = *chunks_[id];
    (c.prev ? chunks_[c.prev]->next : oldest_) = c.next;
    (c.next ? chunks_[c.next]->prev : newest_) = c.prev;
    chunks_[id].reset();
    free_.push_back(id);
    --in_use_;
  }
  void thin(uint32_t id) {
    Chunk& c = *chunks_[id];
    if (c.live == 0) return drop(id);
    const uint32_t next = c.next;  // the newest chunk is still being filled, it joins nobody
    if (next == 0 || next == newest_ || c.live + chunks_[next]->live > kSpan / 2) return;
    Chunk& into = *chunks_[next];
    Ref kept[kSpan / 2];
    uint32_t n = 0;
    for (Chunk* from : {&c, &into})
      for (uint32_t i = from->begin; i < from->end; ++i)
        if (from->refs[i]) kept[n++] = from->refs[i];
    into.begin = 0;
    into.end = into.live = n;
    for (uint32_t i = 0; i < n; ++i) {
      into.refs[i] = kept[i];
      arena_.at(kept[i])->queue_pos = next << kBits | i;
    }
    c.live = 0;
    drop(id);
  }

  Arena& arena_;
  std::vector<std::unique_ptr<Chunk>> chunks_, retired_;
  std::vector<uint32_t> free_;
  uint32_t oldest_ = 0, newest_ = 0;
  uint64_t size_ = 0;
  size_t in_use_ = 0;
};

}  // namespace predis
