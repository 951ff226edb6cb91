#include "huge_pages.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>

namespace predis {

namespace {

#ifndef MADV_COLLAPSE
constexpr int MADV_COLLAPSE = 25;  // of Linux 6.1; older C libraries do not know it
#endif

constexpr uint64_t kMillisecond = 1'000'000, kShortest = 100 * kMillisecond, kLongest = 5000 * kMillisecond;
constexpr uint64_t kDuty = 9;             // pauses are so many times as long as the work
constexpr int kLooksUntilAgain = 12;      // after so many looks without news, all is looked at again: parts may have been given back

uint64_t nanoseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

void* map_for_huge_pages(size_t bytes, int protection, int fd) {
  void* const room = mmap(nullptr, bytes + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return MAP_FAILED;
  char* const begin = static_cast<char*>(room);
  char* const aligned = begin + (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
  void* const base = mmap(aligned, bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0);
  const int why = errno;
  if (base == MAP_FAILED) {
    munmap(room, bytes + kHugePage);
    errno = why;
    return MAP_FAILED;
  }
  if (aligned != begin) munmap(begin, static_cast<size_t>(aligned - begin));
  constexpr size_t kSmallPage = 4096;
  char* const end = aligned + (bytes + kSmallPage - 1) / kSmallPage * kSmallPage;
  if (end < begin + bytes + kHugePage) munmap(end, static_cast<size_t>(begin + bytes + kHugePage - end));
  return base;
}

HugePages::HugePages(char* base, size_t bytes, int fd)
    : base_(base), blocks_(bytes / kHugePage), fd_(-1), done_(blocks_, false) {
  // A description of its own: looking for holes moves the offset.
  fd_ = ::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0 || blocks_ == 0) return;
  sigset_t all, before;
  sigfillset(&all);  // signals are the other threads'
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread(&HugePages::run, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

HugePages::~HugePages() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (fd_ >= 0) ::close(fd_);
}

bool HugePages::pause(uint64_t nanoseconds) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, std::chrono::nanoseconds(nanoseconds), [this] { return stopping_; });
}

void HugePages::run() {
  pthread_setname_np(pthread_self(), "huge pages");
  uint64_t wait = kShortest;
  int without_news = 0;
  while (pause(wait)) {
    const uint64_t before = collapsed_bytes_;
    if (!look_through()) return;
    const bool news = collapsed_bytes_ != before;
    wait = news ? kShortest : std::min(2 * wait, kLongest);
    without_news = news ? 0 : without_news + 1;
    if (without_news == kLooksUntilAgain) {
      std::fill(done_.begin(), done_.end(), false);
      __atomic_store_n(&collapsed_bytes_, uint64_t{0}, __ATOMIC_RELAXED);
      without_news = 0;
    }
  }
}

bool HugePages::is_in_use(size_t block) const {
  const auto begin = static_cast<off_t>(block * kHugePage);
  return lseek(fd_, begin, SEEK_HOLE) >= begin + static_cast<off_t>(kHugePage);
}

bool HugePages::look_through() {
  for (size_t block = 0; block < blocks_; ++block) {
    if (done_[block] || !is_in_use(block)) continue;
    const uint64_t began = nanoseconds();
    const int status = madvise(base_ + block * kHugePage, kHugePage, MADV_COLLAPSE);
    const int why = errno;
    if (status == 0) {
      done_[block] = true;
      __atomic_fetch_add(&collapsed_bytes_, kHugePage, __ATOMIC_RELAXED);
    } else if (why == EINVAL) {
      return false;  // an older kernel, or huge pages are forbidden here
    } else if (why == ENOMEM) {
      return pause(kLongest);  // memory is too fragmented just now
    }
    if (!pause(kDuty * (nanoseconds() - began))) return true;
  }
  return true;
}

}  // namespace predis
