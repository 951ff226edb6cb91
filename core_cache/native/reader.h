// reader.h: reads the arena from another process: no locks, no system calls, no writes.
//
// A lookup notes the bucket's sequence number, copies what it needs, and looks at the number again: the same even number
// means that the copy is a value that was current in between. Everything read before that check may be garbage, so every
// length and offset is held against the arena's bounds before it is used.
#pragma once

#include <time.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "arena.h"
#include "hash.h"
#include "index.h"
#include "layout.h"

namespace predis {

enum class ReadStatus { hit, miss, unavailable };  // unavailable: the writer is recovering, or was killed at work

class Reader {
 public:
  explicit Reader(const std::string& path);  // throws ArenaError
  ~Reader();
  Reader(const Reader&) = delete;

  uint64_t hash(std::string_view key) const { return hash_bytes(key, header_->hash_seed[0], header_->hash_seed[1]); }
  void prefetch_bucket(uint64_t hash) const {
    if (const Bucket* b = first_bucket(hash)) prefetch(b);
  }
  void prefetch_entry(uint64_t hash) const;

  // Hands the value to copy(data, size), which gives false where it cannot take it (a miss). It may be called several
  // times: what it took last before a hit is the value, anything before may be garbage.
  template <typename Copy>
  ReadStatus get(std::string_view key, uint64_t hash, Copy&& copy) const;

  // Whether the file at the path is another one by now: the cache was started anew with another size.
  bool replaced() const;

 private:
  enum class Attempt { hit, miss, disturbed };
  template <typename Copy>
  Attempt attempt(std::string_view key, uint64_t hash, Copy&& copy) const;
  const Bucket* bucket(const uint32_t* directory, uint32_t number) const {  // nullptr: out of bounds
    if (number / kBucketsPerPage >= pages_) return nullptr;
    const uint32_t page = load_acquire(directory[number / kBucketsPerPage]);
    if (page < first_page_ || page >= pages_) return nullptr;
    return reinterpret_cast<const Bucket*>(base_ + size_t{page} * kPageSize) + number % kBucketsPerPage;
  }
  const Bucket* first_bucket(uint64_t hash) const {
    return bucket(directory_, bucket_number(hash, load_acquire(header_->buckets)));
  }

  std::string path_;
  const char* base_ = nullptr;
  uint64_t bytes_ = 0, inode_ = 0;
  const Header* header_ = nullptr;
  // Copies of what does not change, so that no garbage in the file can move them.
  const uint32_t* directory_ = nullptr;
  const uint32_t* overflow_ = nullptr;
  uint32_t pages_ = 0, first_page_ = 0;
  unsigned shift_ = 0;
};

template <typename Copy>
Reader::Attempt Reader::attempt(std::string_view key, uint64_t hash, Copy&& copy) const {
  const uint32_t buckets = load_acquire(header_->buckets);
  const Bucket* first = bucket(directory_, bucket_number(hash, buckets));
  if (!first) return Attempt::disturbed;
  const uint32_t seq = load_acquire(first->seq);
  if (seq & 1) return Attempt::disturbed;
  const auto undisturbed = [&] {
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&first->seq, __ATOMIC_RELAXED) == seq && load_acquire(header_->buckets) == buckets;
  };
  int hops = 0;
  for (const Bucket* b = first; b;) {
    for (uint32_t mask = match_tags(*b, tag_of(hash)); mask; mask &= mask - 1) {
      const uint64_t offset = uint64_t{b->refs[__builtin_ctz(mask)]} << shift_;
      if (offset + sizeof(Entry) + 4 > bytes_) return Attempt::disturbed;
      Entry head;
      std::memcpy(&head, base_ + offset, sizeof head);
      uint64_t at = offset + sizeof(Entry), key_len = head.key_len16;
      if (head.key_len16 == Entry::kLongKey) {
        key_len = load32(base_ + at);
        at += 4;
      }
      if (at + key_len + head.value_len > bytes_) return Attempt::disturbed;
      if (key_len != key.size() || std::memcmp(base_ + at, key.data(), key_len) != 0) continue;
      if (__builtin_expect(head.type() != Type::string, 0)) return undisturbed() ? Attempt::miss : Attempt::disturbed;
      if (const uint64_t expires = head.expire_at()) {
        timespec now;
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        const auto now_ms = static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
        if (expires < now_ms) return undisturbed() ? Attempt::miss : Attempt::disturbed;
      }
      const bool taken = copy(base_ + at + key_len, size_t{head.value_len});
      if (!undisturbed()) return Attempt::disturbed;
      return taken ? Attempt::hit : Attempt::miss;
    }
    const uint32_t next = b->overflow;
    if (next == 0) return undisturbed() ? Attempt::miss : Attempt::disturbed;
    if (++hops > 64) return Attempt::disturbed;
    b = bucket(overflow_, next - 1);
  }
  return Attempt::disturbed;
}

template <typename Copy>
ReadStatus Reader::get(std::string_view key, uint64_t hash, Copy&& copy) const {
  constexpr int kTries = 10000;  // a change takes well under a microsecond; this waits for some milliseconds
  for (int i = 0; i < kTries; ++i) {
    const uint32_t generation = load_acquire(header_->generation);
    if (generation & 1) return ReadStatus::unavailable;
    const Attempt result = attempt(key, hash, copy);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (result != Attempt::disturbed && __atomic_load_n(&header_->generation, __ATOMIC_RELAXED) == generation)
      return result == Attempt::hit ? ReadStatus::hit : ReadStatus::miss;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  return ReadStatus::unavailable;
}

}  // namespace predis
