// reader.h: reads the arena from another process: no locks, no system calls, no writes.
//
// A lookup notes the bucket's sequence number, copies what it needs, and looks at the number again: the same even number
// means that the copy is a value that was current in between. Everything read before that check may be garbage, so every
// length and offset is held against the arena's bounds before it is used.
//
// A cold read waits for memory three times: for the bucket, the entry's head, the value. `get` asks for all of the entry
// as soon as it knows where it lies. Reads of many keys take three steps, each some keys behind the one before: find_bucket()
// asks for the bucket, find_entry() picks the entry out of it and asks for that, take_value() copies the value. So they wait
// for memory's bandwidth and not for its latency. What is not straightforward is left to `get`.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "arena.h"
#include "hash.h"
#include "index.h"
#include "layout.h"

namespace predis {

// refused: there is a value, but copy() did not take it; unavailable: the writer is recovering, or was killed at work.
enum class ReadStatus { hit, miss, refused, unavailable };

// Unix time in ms, as of the last tick of the kernel's timer (1 to 10 ms ago): the cheapest clock there is.
inline uint64_t coarse_ms() {
  timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

class Reader {
 public:
  explicit Reader(const std::string& path);  // throws ArenaError
  ~Reader();
  Reader(const Reader&) = delete;

  uint64_t hash(std::string_view key) const { return hash_bytes(key, seed_[0], seed_[1]); }
  // What was true of the whole index when a key's place was found out.
  struct View {
    uint32_t generation;  // looked at before all else: when it has changed by the end, a bucket's page may be another's
    uint32_t buckets;
  };
  View view() const {
    const uint32_t generation = load_acquire(header_->generation);
    return {generation, load_acquire(header_->buckets)};
  }
  // Where a key is looked for.
  struct Place {
    const Bucket* first;  // nullptr: out of bounds
    View view;
  };
  Place place(uint64_t hash) const {
    const View now = view();
    return {bucket(directory_, bucket_number(hash, now.buckets)), now};
  }

  // A key on its way to its value.
  struct Trail {
    const Bucket* first = nullptr;
    const Entry* entry = nullptr;  // the first one with the key's tag; nullptr: none
    uint32_t seq = 0;              // of the bucket, before that was read
  };
  void find_bucket(Trail& trail, uint64_t hash, View view) const {
    trail.first = bucket(directory_, bucket_number(hash, view.buckets));
    prefetch_far(trail.first);  // of nothing it does nothing
  }
  // `bytes`: how much of the entry is going to be read, as far as one knows. The bucket should be in the cache by now.
  void find_entry(Trail& trail, uint64_t hash, size_t bytes) const {
    trail.entry = nullptr;
    if (!trail.first) return;
    trail.seq = load_acquire(trail.first->seq);
    const uint32_t mask = match_tags(*trail.first, tag_of(hash));
    if (mask == 0) return;
    const uint64_t offset = uint64_t{trail.first->refs[__builtin_ctz(mask)]} << shift_;
    if (offset + sizeof(Entry) > bytes_) return;
    const char* line = base_ + offset;
    trail.entry = reinterpret_cast<const Entry*>(line);
    const char* const end = line + std::min(bytes, kMostPrefetched);
    for (line -= offset & 63; line < end; line += 64) prefetch_far(line);
  }
  // Hands the value to copy(data, size) as get() does. false: it is not as simple as that, and get() has to say what it is.
  template <typename Copy>
  bool take_value(const Trail& trail, std::string_view key, View view, uint64_t now_ms, Copy&& copy) const;

  // Hands the value to copy(data, size), which gives false where it cannot take it. It may be called several times: what it
  // was given last before a hit or a refusal is the value, anything before may be garbage. `now_ms`: see coarse_ms().
  // `ahead`: how much of the entry to fetch at once; 0 where that has been done.
  template <typename Copy>
  ReadStatus get(std::string_view key, uint64_t hash, uint64_t now_ms, size_t ahead, Copy&& copy) const;

  // Whether the cache process has given a sign of life lately. While it has, the arena is the one in use.
  bool in_use(uint64_t now_ms) const {
    return now_ms - load_acquire(stats_->heartbeat_unix_ms) + kLeaseMs <= 2 * kLeaseMs;
  }
  enum class File { same, other, gone };
  // What lies at the path by now: after a start with another size, or with the file removed, it is another arena.
  File at_path() const;
  const std::string& path() const { return path_; }

 private:
  static constexpr uint64_t kLeaseMs = 1000;
  static constexpr size_t kMostPrefetched = 1024;  // from there on the processor notices the stream by itself

  enum class Attempt { hit, miss, refused, disturbed };
  template <typename Copy>
  Attempt attempt(std::string_view key, uint64_t hash, Place at, uint64_t now_ms, size_t ahead, Copy&& copy) const;
  // A split of the bucket before the first look at its number shows in the table's size, one after that in the number.
  bool is_undisturbed(const Bucket& first, uint32_t seq, uint32_t buckets) const {
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&first.seq, __ATOMIC_RELAXED) == seq && load_acquire(header_->buckets) == buckets;
  }
  const Bucket* bucket(const uint32_t* directory, uint32_t number) const {  // nullptr: out of bounds
    if (number / kBucketsPerPage >= pages_) return nullptr;
    const uint32_t page = load_acquire(directory[number / kBucketsPerPage]);
    if (page < first_page_ || page >= pages_) return nullptr;
    return reinterpret_cast<const Bucket*>(base_ + size_t{page} * kPageSize) + number % kBucketsPerPage;
  }

  std::string path_;
  const char* base_ = nullptr;
  uint64_t bytes_ = 0, inode_ = 0, device_ = 0;
  const Header* header_ = nullptr;
  const Stats* stats_ = nullptr;
  // Copies of what does not change, so that no garbage in the file can move them.
  const uint32_t* directory_ = nullptr;
  const uint32_t* overflow_ = nullptr;
  uint64_t seed_[2];
  uint32_t pages_ = 0, first_page_ = 0;
  unsigned shift_ = 0;
};

// memcmp that is inlined for the lengths that keys have.
inline bool same_bytes(const char* a, const char* b, size_t n) {
  if (n > 32 || n < 8) return std::memcmp(a, b, n) == 0;
  uint64_t difference = (load64(a) ^ load64(b)) | (load64(a + n - 8) ^ load64(b + n - 8));
  if (n > 16) difference |= (load64(a + 8) ^ load64(b + 8)) | (load64(a + n - 16) ^ load64(b + n - 16));
  return difference == 0;
}

template <typename Copy>
Reader::Attempt Reader::attempt(std::string_view key, uint64_t hash, Place at, uint64_t now_ms, size_t ahead,
                                Copy&& copy) const {
  const Bucket* const first = at.first;
  if (!first) return Attempt::disturbed;
  const uint32_t seq = load_acquire(first->seq);
  if (seq & 1) return Attempt::disturbed;
  const auto undisturbed = [&] { return is_undisturbed(*first, seq, at.view.buckets); };
  int hops = 0;
  for (const Bucket* b = first; b;) {
    for (uint32_t mask = match_tags(*b, tag_of(hash)); mask; mask &= mask - 1) {
      const uint64_t offset = uint64_t{b->refs[__builtin_ctz(mask)]} << shift_;
      if (offset + sizeof(Entry) + 4 > bytes_) return Attempt::disturbed;
      for (size_t line = 64; line < ahead; line += 64) prefetch(base_ + offset + line);
      Entry head;
      std::memcpy(&head, base_ + offset, sizeof head);
      uint64_t begin = offset + sizeof(Entry), key_len = head.key_len16;
      if (__builtin_expect(head.key_len16 == Entry::kLongKey, 0)) {
        key_len = load32(base_ + begin);
        begin += 4;
      }
      if (begin + key_len + head.value_len > bytes_) return Attempt::disturbed;
      if (key_len != key.size() || !same_bytes(base_ + begin, key.data(), key_len)) continue;
      const uint64_t expires = head.expire_at();
      if (__builtin_expect((expires != 0 && expires < now_ms) || head.type() != Type::string, 0))
        return undisturbed() ? Attempt::miss : Attempt::disturbed;
      const bool taken = copy(base_ + begin + key_len, size_t{head.value_len});
      if (!undisturbed()) return Attempt::disturbed;
      return taken ? Attempt::hit : Attempt::refused;
    }
    const uint32_t next = b->overflow;
    if (next == 0) return undisturbed() ? Attempt::miss : Attempt::disturbed;
    if (++hops > 64) return Attempt::disturbed;
    b = bucket(overflow_, next - 1);
  }
  return Attempt::disturbed;
}

template <typename Copy>
bool Reader::take_value(const Trail& trail, std::string_view key, View view, uint64_t now_ms, Copy&& copy) const {
  if (!trail.entry || ((trail.seq | view.generation) & 1)) return false;
  // Each field is read once: a second look could give another value than the one that was held against the bounds.
  const auto field = [](const auto& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); };
  const Entry& entry = *trail.entry;
  const uint64_t key_len = field(entry.key_len16), size = field(entry.value_len);
  const uint64_t expires = field(entry.expire_and_tenant) & Entry::kExpireMask;
  const char* const begin = entry.payload();
  const bool is_string = (field(entry.kind) & kTypeMask) == static_cast<uint8_t>(Type::string);
  if (key_len != key.size() || key_len == Entry::kLongKey || !is_string || (expires != 0 && expires < now_ms) ||
      static_cast<uint64_t>(begin - base_) + key_len + size > bytes_ ||
      !same_bytes(begin, key.data(), key_len) || !copy(begin + key_len, size_t{size}))
    return false;
  return is_undisturbed(*trail.first, trail.seq, view.buckets) &&
         __atomic_load_n(&header_->generation, __ATOMIC_RELAXED) == view.generation;
}

template <typename Copy>
ReadStatus Reader::get(std::string_view key, uint64_t hash, uint64_t now_ms, size_t ahead, Copy&& copy) const {
  constexpr int kTries = 10000;  // a change takes well under a microsecond; this waits for about a millisecond
  for (int i = 0; i < kTries; ++i) {
    const Place at = place(hash);
    const uint32_t generation = at.view.generation;
    if (generation & 1) return ReadStatus::unavailable;
    const Attempt result = attempt(key, hash, at, now_ms, ahead, copy);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__builtin_expect(result != Attempt::disturbed, 1) &&
        __atomic_load_n(&header_->generation, __ATOMIC_RELAXED) == generation)
      return result == Attempt::hit ? ReadStatus::hit : result == Attempt::miss ? ReadStatus::miss : ReadStatus::refused;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  return ReadStatus::unavailable;
}

}  // namespace predis
