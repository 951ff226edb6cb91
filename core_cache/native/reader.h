// reader.h: reads the arena from another process: no locks, no system calls, no writes.
//
// A lookup notes the bucket's sequence number, copies what it needs, and looks at the number again: the same even number
// means that the copy is a value that was current in between. Everything read before that check may be garbage, so every
// length and offset is held against the arena's bounds before it is used.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "layout.h"

namespace predis {

enum class ReadStatus { hit, miss, unavailable };  // unavailable: the writer is recovering, or was killed at work

class Reader {
 public:
  explicit Reader(const std::string& path);  // throws ArenaError
  ~Reader();
  Reader(const Reader&) = delete;

  // Copies the value to `value`. `now_ms` is Unix time in ms: entries that have expired by then are misses.
  ReadStatus get(std::string_view key, uint64_t now_ms, std::string& value) const;

 private:
  enum class Attempt { hit, miss, disturbed };
  Attempt attempt(std::string_view key, uint64_t hash, uint64_t now_ms, std::string& value) const;
  const Bucket* bucket(const uint32_t* directory, uint32_t number) const;  // nullptr: out of bounds

  const char* base_ = nullptr;
  uint64_t bytes_ = 0;
  const Header* header_ = nullptr;
};

}  // namespace predis
