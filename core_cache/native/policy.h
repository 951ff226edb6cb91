// policy.h: which entry to evict next. Hits are not told to the policy: Store::touch counts them in the entry.
#pragma once

#include <cstdint>
#include <memory>

#include "arena.h"
#include "index.h"

namespace predis {

constexpr uint8_t kMaxFreq = 3;

class Policy {
 public:
  virtual ~Policy() = default;
  virtual void inserted(Entry* entry, uint64_t hash, size_t bytes) = 0;
  virtual void replaced(Entry* old, Entry* fresh, size_t old_bytes, size_t bytes) = 0;  // an overwrite or a move
  virtual void prefetch_replace(const Entry*) const {}  // what replaced() or erased() of the entry will touch
  virtual void adopted(Entry* entry, size_t bytes) = 0;  // present before the policy was; none that it knows is taken twice
  virtual void erased(Entry* entry, size_t bytes) = 0;
  // The next to go, but not `pin`; nullptr when there is none. The caller erases it and says so with evicted().
  virtual Entry* victim(const Entry* pin) = 0;
  virtual void evicted(const Entry* entry, uint64_t hash) = 0;  // before erased()
  virtual void clear() = 0;
  virtual void set_room(uint64_t) {}  // about how many bytes of entries there will be at most; 0: unknown
  virtual size_t memory() const = 0;  // bytes of its own
};

// Footprint of an entry: the policy's queues are measured in bytes.
using Footprint = size_t (*)(const void* context, const Entry* entry);

std::unique_ptr<Policy> make_lru(Arena& arena, Index& index, const uint32_t* clock);
std::unique_ptr<Policy> make_s3fifo(Arena& arena, Footprint footprint, const void* context);

}  // namespace predis
