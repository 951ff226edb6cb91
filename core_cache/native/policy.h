// policy.h: which entry to evict next. Hits are not told to the policy: Store::touch counts them in the entry.
//
// A policy nominates a few candidates and a scorer says what each is worth; the one that is worth least goes. The sampled
// policies nominate by chance, the queues of S3-FIFO nominate their oldest.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "arena.h"
#include "index.h"
#include "policy_kind.h"
#include "uses.h"

namespace predis {

// What a policy may ask of the store that it belongs to.
struct PolicyHost {
  Arena& arena;
  Index& index;
  const uint32_t& tick;
  const uint64_t& now_ms;
  const Uses& uses;

  // Unix time in ms of the last access.
  uint64_t accessed_ms(const Entry& entry) const { return now_ms - (uint64_t{tick - entry.access} << 4); }
};

// What an entry is worth keeping. Scores of one scorer stay comparable as time passes, unless the entry is used.
class Scorer {
 public:
  virtual ~Scorer() = default;
  virtual void score(std::span<const Entry* const> entries, double* scores) = 0;
};

class Policy {
 public:
  virtual ~Policy() = default;
  virtual void inserted(Entry* entry, uint64_t hash, size_t bytes) = 0;
  virtual void replaced(Entry* old, Entry* fresh, size_t old_bytes, size_t bytes) = 0;  // an overwrite or a move
  virtual void prefetch_replace(const Entry*) const {}  // what replaced() or erased() of the entry will touch
  virtual void adopted(Entry* entry, size_t bytes) = 0;  // present before the policy was; none that it knows is taken twice
  virtual void expiry_changed(Entry*) {}  // it has got an expiry or lost it
  virtual void erased(Entry* entry, size_t bytes) = 0;
  // The next to go, but not `pin`; nullptr when there is none. The caller erases it and says so with evicted().
  virtual Entry* victim(const Entry* pin) = 0;
  virtual void evicted(const Entry* entry, uint64_t hash) = 0;  // before erased()
  virtual void clear() = 0;  // takes no longer for many entries than for few; what is left to do is done by tidy()
  virtual bool tidy() { return false; }  // a small piece of what is left to do; true: there is more
  virtual void set_scorer(std::unique_ptr<Scorer>) {}  // says which of its few candidates goes; nullptr: the policy does
  virtual void set_room(uint64_t) {}  // about how many bytes of entries there will be at most; 0: unknown
  virtual size_t memory() const = 0;  // bytes of its own
  virtual uint64_t bytes() const { return 0; }  // of the entries that it keeps, where it has queues
};

// Footprint of an entry: the policy's queues are measured in bytes.
using Footprint = size_t (*)(const void* context, const Entry* entry);

// Any policy but those with queues.
std::unique_ptr<Policy> make_sampled(const PolicyHost& host, PolicyKind kind);
std::unique_ptr<Policy> make_s3fifo(Arena& arena, Footprint footprint, const void* context);

}  // namespace predis
