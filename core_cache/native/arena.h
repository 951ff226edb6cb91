// arena.h: the shared-memory file: made, checked, locked and mapped.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "huge_pages.h"
#include "layout.h"

namespace predis {

inline uint64_t load_acquire(const uint64_t& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }
inline uint32_t load_acquire(const uint32_t& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }
inline void store_release(uint64_t& word, uint64_t value) { __atomic_store_n(&word, value, __ATOMIC_RELEASE); }
inline void store_release(uint32_t& word, uint32_t value) { __atomic_store_n(&word, value, __ATOMIC_RELEASE); }
inline void store_release(uint8_t& word, uint8_t value) { __atomic_store_n(&word, value, __ATOMIC_RELEASE); }

// A function that only prefetches has no effect in the eyes of GCC, which then drops the calls to it: the empty asm keeps it.
inline void prefetch(const void* p) {
  __builtin_prefetch(p);
  asm volatile("");
}

// The same into the second-level cache only: about twice as many lines can be on their way at once.
inline void prefetch_far(const void* p) {
  __builtin_prefetch(p, 0, 1);
  asm volatile("");
}

uint64_t realtime_ms();  // Unix time in ms

constexpr uint64_t kMinCapacity = 8 * 1024 * 1024;

// The writer's mapping. Holds an exclusive flock on the file: there is never a second writer.
class Arena {
 public:
  // Opens `path` or makes it with `capacity` bytes. An arena of another capacity is opened as it is (see capacity()). Its
  // mode is 0600, or 0640 for a group of readers (-1: none). Throws ArenaError with a sentence that says what is wrong and
  // what to do.
  Arena(const std::string& path, uint64_t capacity, int64_t readers_group = -1);
  ~Arena();
  Arena(const Arena&) = delete;

  bool fresh() const { return fresh_; }  // made just now, nothing to recover
  uint64_t capacity() const { return header().capacity; }
  const std::string& path() const { return path_; }

  Header& header() const { return *reinterpret_cast<Header*>(base_); }
  Stats& stats() const { return *reinterpret_cast<Stats*>(base_ + header().stats_offset); }
  PageDesc* descs() const { return reinterpret_cast<PageDesc*>(base_ + header().descs_offset); }
  uint32_t* directory() const { return reinterpret_cast<uint32_t*>(base_ + header().directory_offset); }
  uint32_t* overflow_directory() const { return reinterpret_cast<uint32_t*>(base_ + header().overflow_offset); }

  char* base() const { return base_; }
  char* page(uint32_t number) const { return base_ + size_t{number} * kPageSize; }
  uint32_t page_of(const void* p) const {
    return static_cast<uint32_t>(static_cast<size_t>(static_cast<const char*>(p) - base_) / kPageSize);
  }
  Entry* at(Ref ref) const { return reinterpret_cast<Entry*>(base_ + (size_t{ref} << unit_shift_)); }
  Ref ref(const void* p) const {
    return static_cast<Ref>(static_cast<size_t>(static_cast<const char*>(p) - base_) >> unit_shift_);
  }
  size_t unit() const { return size_t{1} << unit_shift_; }

  // Has the file system set memory aside for these pages: false when it has none, where a write would raise SIGBUS.
  bool reserve(uint32_t first_page, uint32_t pages);
  void release(uint32_t first_page, uint32_t pages);  // gives the memory back to the system
  void rename(const std::string& path);
  void use_huge_pages();  // from now on, by and by; see huge_pages.h

 private:
  void create(uint64_t capacity);
  void check() const;
  void map(uint64_t bytes);

  std::string path_;
  int fd_ = -1;
  char* base_ = nullptr;
  uint64_t mapped_ = 0;
  unsigned unit_shift_ = 4;
  bool fresh_ = false;
  std::unique_ptr<HugePages> huge_pages_;
};

}  // namespace predis
