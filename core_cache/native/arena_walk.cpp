#include "arena_walk.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "checksum.h"
#include "collection_log.h"
#include "index.h"
#include "store.h"

namespace predis {

ArenaWalk::ArenaWalk(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw ArenaError("cannot open the arena " + path + ": " + std::strerror(errno));
  struct stat st;
  void* p = MAP_FAILED;
  if (fstat(fd, &st) == 0 && static_cast<uint64_t>(st.st_size) >= kMinCapacity) {
    bytes_ = static_cast<uint64_t>(st.st_size);
    p = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd, 0);
  }
  ::close(fd);
  if (p == MAP_FAILED) throw ArenaError("the arena " + path + " cannot be read, or not yet");
  base_ = static_cast<const char*>(p);
  header_ = reinterpret_cast<const Header*>(base_);
  pages_ = header_->pages;
  first_page_ = header_->first_page;
  shift_ = header_->unit_shift;
  const uint64_t directories = uint64_t{pages_} * sizeof(uint32_t);
  if (load_acquire(header_->magic) != kMagic || header_->layout_version != kLayoutVersion ||
      header_->check != header_check(*header_) || header_->capacity != bytes_ ||
      uint64_t{pages_} * kPageSize != bytes_ || shift_ > 12 || (header_->directory_offset | header_->overflow_offset) % 64 != 0 ||
      header_->directory_offset + directories > bytes_ ||
      header_->overflow_offset + directories > bytes_) {
    munmap(p, bytes_);
    throw ArenaError("the file " + path + " is not an arena that this build reads");
  }
  directory_ = reinterpret_cast<const uint32_t*>(base_ + header_->directory_offset);
  overflow_ = reinterpret_cast<const uint32_t*>(base_ + header_->overflow_offset);
}

ArenaWalk::~ArenaWalk() { munmap(const_cast<char*>(base_), bytes_); }

const Bucket* ArenaWalk::bucket(const uint32_t* directory, uint32_t number) const {
  if (number / kBucketsPerPage >= pages_) return nullptr;
  const uint32_t page = load_acquire(directory[number / kBucketsPerPage]);
  if (page < first_page_ || page >= pages_) return nullptr;
  return reinterpret_cast<const Bucket*>(base_ + size_t{page} * kPageSize) + number % kBucketsPerPage;
}

// Calls visit(offset, tag) for each used slot; what it reads counts only when the whole attempt was undisturbed.
template <typename Visit>
ArenaWalk::Attempt ArenaWalk::each_slot(uint32_t number, Visit&& visit) const {
  const Bucket* first = bucket(directory_, number);
  if (!first) return Attempt::disturbed;
  const uint32_t seq = load_acquire(first->seq);
  if (seq & 1) return Attempt::disturbed;
  Attempt result = Attempt::absent;
  int hops = 0;
  for (const Bucket* b = first; b && result == Attempt::absent;) {
    for (int i = 0; i < Bucket::kSlots && result == Attempt::absent; ++i) {
      if (b->tags[i] == 0) continue;
      const uint64_t offset = uint64_t{b->refs[i]} << shift_;
      result = offset + sizeof(Entry) + 4 > bytes_ ? Attempt::disturbed : visit(offset, b->tags[i]);
    }
    if (b->overflow == 0) break;
    if (++hops > 64 || !(b = bucket(overflow_, b->overflow - 1))) result = Attempt::disturbed;
  }
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  return __atomic_load_n(&first->seq, __ATOMIC_RELAXED) == seq ? result : Attempt::disturbed;
}

template <typename Try>
bool ArenaWalk::retried(Try&& once) const {
  for (int i = 0; i < 200'000; ++i) {
    const Attempt result = once();
    if (result != Attempt::disturbed) return result == Attempt::done;
    if (generation() & 1) break;
    if (i % 64 == 63) sched_yield();
  }
  throw ArenaError("the cache does not let go of a part of its arena: it was killed, or starts anew");
}

void ArenaWalk::keys_of(uint32_t number, std::vector<std::string>& keys) const {
  retried([&] {
    keys.clear();
    return each_slot(number, [&](uint64_t offset, uint8_t) {
      Entry head;
      std::memcpy(&head, base_ + offset, sizeof head);
      uint64_t at = offset + sizeof(Entry), length = head.key_len16;
      if (head.key_len16 == Entry::kLongKey) {
        length = load32(base_ + at);
        at += 4;
      }
      if (at + length > bytes_) return Attempt::disturbed;
      keys.emplace_back(base_ + at, length);
      return Attempt::absent;  // go on
    });
  });
}

ArenaWalk::Attempt ArenaWalk::copy_from(uint64_t offset, std::string_view key, CopiedEntry& into) const {
  std::memcpy(&into.head, base_ + offset, sizeof into.head);
  const Entry& head = into.head;
  uint64_t at = offset + sizeof(Entry), length = head.key_len16;
  if (head.key_len16 == Entry::kLongKey) {
    length = load32(base_ + at);
    at += 4;
  }
  if (at + length + head.value_len > bytes_) return Attempt::disturbed;
  if (length != key.size() || std::memcmp(base_ + at, key.data(), length) != 0) return Attempt::absent;
  at += length;
  if (head.type() == Type::string) {
    into.value.assign(base_ + at, head.value_len);
    return Attempt::done;
  }
  // `used` first: what it covers changes no more, but for marks that are made anew on loading.
  const size_t padding = log_padding(key.size());
  if (head.value_len < padding + kLogHead) return Attempt::disturbed;
  const char* log = base_ + at + padding;
  const uint64_t word = __atomic_load_n(reinterpret_cast<const uint64_t*>(log), __ATOMIC_ACQUIRE);
  const auto used = static_cast<uint32_t>(word);
  if (used < kLogHead || used > head.value_len - padding) return Attempt::disturbed;
  into.value.assign(log, used);
  std::memcpy(into.value.data(), &word, sizeof word);
  return Attempt::done;
}

bool ArenaWalk::copy(std::string_view key, CopiedEntry& into) const {
  const uint64_t hash = hash_bytes(key, header_->hash_seed[0], header_->hash_seed[1]);
  into.key = key;
  return retried([&] {
    const uint32_t count = buckets();
    const Attempt result = each_slot(bucket_number(hash, count), [&](uint64_t offset, uint8_t tag) {
      return tag == tag_of(hash) ? copy_from(offset, key, into) : Attempt::absent;
    });
    return buckets() == count ? result : Attempt::disturbed;
  });
}

}  // namespace predis
