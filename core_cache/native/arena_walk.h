// arena_walk.h: visits the entries of an arena from another process than the writer's: no locks, no writes.
//
// The keys of a bucket are copied under its sequence lock, then each entry is looked up by its key and copied under the
// lock once more, as a reader does (see reader.h). The table may grow meanwhile: a bucket is split into itself and one
// with a higher number, which comes later, so that no entry is missed; one may be seen twice.
#pragma once

#include <string>
#include <vector>

#include "arena.h"
#include "layout.h"

namespace predis {

struct CopiedEntry {
  Entry head;
  std::string key, value;  // value: of a collection, its log up to `used`, with head and without padding
};

class ArenaWalk {
 public:
  explicit ArenaWalk(const std::string& path);  // throws ArenaError
  ~ArenaWalk();
  ArenaWalk(const ArenaWalk&) = delete;

  const Header& header() const { return *header_; }
  uint32_t generation() const { return load_acquire(header_->generation); }
  uint32_t buckets() const { return load_acquire(header_->buckets); }
  // The keys of a bucket, in `keys`. Throws ArenaError when the writer does not let go of it: it was killed at work.
  void keys_of(uint32_t bucket, std::vector<std::string>& keys) const;
  // Copies the entry of a key; false when it is not there any more.
  bool copy(std::string_view key, CopiedEntry& into) const;

 private:
  enum class Attempt { done, absent, disturbed };
  const Bucket* bucket(const uint32_t* directory, uint32_t number) const;
  template <typename Visit>
  Attempt each_slot(uint32_t number, Visit&& visit) const;
  Attempt copy_from(uint64_t offset, std::string_view key, CopiedEntry& into) const;
  template <typename Try>
  bool retried(Try&& once) const;

  const char* base_ = nullptr;
  uint64_t bytes_ = 0;
  const Header* header_ = nullptr;
  const uint32_t *directory_ = nullptr, *overflow_ = nullptr;
  uint32_t pages_ = 0, first_page_ = 0;
  unsigned shift_ = 0;
};

}  // namespace predis
