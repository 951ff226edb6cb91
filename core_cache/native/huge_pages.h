// huge_pages.h: has the kernel put the arena's memory into pages of 2 MiB, so that random reads seldom wait for page tables.
//
// A file system in memory gives pages of 4 KiB unless it was mounted otherwise. MADV_COLLAPSE (Linux 6.1) puts what 512 of
// them hold into a large one, for all processes that map the file, local readers included. That takes some tenths of a
// millisecond, so a thread of its own does it, at a pace that leaves the engine nine tenths of the time, and only where all
// 512 are in use: no memory is taken for it. Whoever touches such pages meanwhile waits for as long.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace predis {

constexpr size_t kHugePage = size_t{2} << 20;

// Maps a file from its beginning at an address that huge pages can be mapped at. MAP_FAILED, with errno, when it cannot.
void* map_for_huge_pages(size_t bytes, int protection, int fd);

class HugePages {
 public:
  // `base` is where map_for_huge_pages() put the file of `fd`, whose `bytes` stay mapped for as long as this lives.
  HugePages(char* base, size_t bytes, int fd);
  ~HugePages();
  HugePages(const HugePages&) = delete;

  uint64_t collapsed_bytes() const { return __atomic_load_n(&collapsed_bytes_, __ATOMIC_RELAXED); }

 private:
  void run();
  bool look_through();  // false: the kernel cannot do it
  bool is_in_use(size_t block) const;
  bool pause(uint64_t nanoseconds);  // false: it is to end

  char* const base_;
  const size_t blocks_;
  int fd_;
  std::vector<bool> done_;
  uint64_t collapsed_bytes_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace predis
