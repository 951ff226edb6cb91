#include "reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arena.h"
#include "hash.h"
#include "index.h"
#include "store.h"

namespace predis {

Reader::Reader(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw ArenaError("cannot open the arena " + path + ": " + std::strerror(errno));
  struct stat st;
  void* p = MAP_FAILED;
  if (fstat(fd, &st) == 0 && static_cast<uint64_t>(st.st_size) >= kMinCapacity) {
    bytes_ = static_cast<uint64_t>(st.st_size);
    p = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd, 0);
  }
  ::close(fd);
  if (p == MAP_FAILED) throw ArenaError("cannot map the arena " + path);
  base_ = static_cast<const char*>(p);
  header_ = reinterpret_cast<const Header*>(base_);
  if (load_acquire(header_->magic) != kMagic || header_->layout_version != kLayoutVersion ||
      header_->capacity != bytes_ || uint64_t{header_->pages} * kPageSize != bytes_) {
    munmap(p, bytes_);
    throw ArenaError("the file " + path + " is not an arena that this build reads");
  }
}

Reader::~Reader() { munmap(const_cast<char*>(base_), bytes_); }

const Bucket* Reader::bucket(const uint32_t* directory, uint32_t number) const {
  if (number / kBucketsPerPage >= header_->pages) return nullptr;
  const uint32_t page = load_acquire(directory[number / kBucketsPerPage]);
  if (page < header_->first_page || page >= header_->pages) return nullptr;
  return reinterpret_cast<const Bucket*>(base_ + size_t{page} * kPageSize) + number % kBucketsPerPage;
}

Reader::Attempt Reader::attempt(std::string_view key, uint64_t hash, uint64_t now_ms, std::string& value) const {
  const auto* directory = reinterpret_cast<const uint32_t*>(base_ + header_->directory_offset);
  const auto* overflow = reinterpret_cast<const uint32_t*>(base_ + header_->overflow_offset);
  const uint32_t buckets = load_acquire(header_->buckets);
  const Bucket* first = bucket(directory, bucket_number(hash, buckets));
  if (!first) return Attempt::disturbed;
  const uint32_t seq = load_acquire(first->seq);
  if (seq & 1) return Attempt::disturbed;
  const auto undisturbed = [&] {
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&first->seq, __ATOMIC_RELAXED) == seq && load_acquire(header_->buckets) == buckets;
  };
  const unsigned shift = header_->unit_shift;
  int hops = 0;
  for (const Bucket* b = first; b;) {
    for (uint32_t mask = match_tags(*b, tag_of(hash)); mask; mask &= mask - 1) {
      const uint64_t offset = uint64_t{b->refs[__builtin_ctz(mask)]} << shift;
      if (offset + sizeof(Entry) + 4 > bytes_) return Attempt::disturbed;
      const auto* entry = reinterpret_cast<const Entry*>(base_ + offset);
      Entry head;
      std::memcpy(&head, entry, sizeof head);
      uint64_t at = offset + sizeof(Entry), key_len = head.key_len16;
      if (head.key_len16 == Entry::kLongKey) {
        key_len = load32(base_ + at);
        at += 4;
      }
      if (at + key_len + head.value_len > bytes_) return Attempt::disturbed;
      if (key_len != key.size() || std::memcmp(base_ + at, key.data(), key_len) != 0) continue;
      value.assign(base_ + at + key_len, head.value_len);
      if (!undisturbed()) return Attempt::disturbed;
      return head.expire_at() != 0 && head.expire_at() < now_ms ? Attempt::miss : Attempt::hit;
    }
    const uint32_t next = b->overflow;
    if (next == 0) return undisturbed() ? Attempt::miss : Attempt::disturbed;
    if (++hops > 64) return Attempt::disturbed;
    b = bucket(overflow, next - 1);
  }
  return Attempt::disturbed;
}

ReadStatus Reader::get(std::string_view key, uint64_t now_ms, std::string& value) const {
  constexpr int kTries = 10000;  // a change takes well under a microsecond; this waits for milliseconds
  const uint64_t hash = hash_bytes(key, header_->hash_seed[0], header_->hash_seed[1]);
  for (int i = 0; i < kTries; ++i) {
    const uint32_t generation = load_acquire(header_->generation);
    if (generation & 1) return ReadStatus::unavailable;
    const Attempt result = attempt(key, hash, now_ms, value);
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
