#include "local_reads.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "stats.h"
#include "store.h"

namespace predis {
namespace {

constexpr uint64_t kMostReads = uint64_t{1} << 32;  // more than a slot can gain between two looks

std::string because() { return std::string(": ") + std::strerror(errno); }

template <typename Call>
auto retried(Call&& call) {
  decltype(call()) result;
  do result = call();
  while (result < 0 && errno == EINTR);
  return result;
}

bool read_all(int fd, void* to, size_t size, uint64_t from) {
  return retried([&] { return pread(fd, to, size, static_cast<off_t>(from)); }) == static_cast<ssize_t>(size);
}

}  // namespace

std::string local_reads_path(const std::string& arena_path) {
  constexpr std::string_view kSuffix = ".arena";
  const bool has_it = arena_path.size() > kSuffix.size() && arena_path.ends_with(kSuffix);
  return arena_path.substr(0, arena_path.size() - (has_it ? kSuffix.size() : 0)) + ".readers";
}

LocalReads::LocalReads(const std::string& arena_path, int64_t group) {
  const std::string path = local_reads_path(arena_path);
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  const auto fail = [&](const std::string& what) {
    if (fd_ >= 0) ::close(fd_);
    throw ArenaError("the file " + path + " for local readers " + what);
  };
  if (fd_ < 0) fail("cannot be opened" + because() + ": remove it");
  struct stat st;
  if (fstat(fd_, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink > 1)
    fail("is not a plain file of ours: remove it");
  if ((group >= 0 && fchown(fd_, static_cast<uid_t>(-1), static_cast<gid_t>(group)) != 0) ||
      fchmod(fd_, group >= 0 ? 0660 : 0600) != 0)
    fail("cannot be opened to the group of its readers" + because());
  const LocalReadsHeader header{kLocalReadsMagic, kReaderSlots, kReaderRing};
  // Sparse: a slot's pages come with its reader. Those of readers that are attached already stay as they are.
  if ((static_cast<uint64_t>(st.st_size) != kLocalReadsBytes && ftruncate(fd_, kLocalReadsBytes) != 0) ||
      retried([&] { return pwrite(fd_, &header, sizeof header, 0); }) != static_cast<ssize_t>(sizeof header))
    fail("cannot be written" + because());
  read_heads();
  seen_ = heads_;
}

LocalReads::~LocalReads() { ::close(fd_); }

void LocalReads::read_heads() {
  if (!read_all(fd_, heads_.data(), sizeof heads_, kSlotHeadsOffset)) heads_ = seen_;  // cut short: nothing is new
}

void LocalReads::collect(Store& store, uint64_t budget_us) {
  const uint64_t deadline = TickClock::monotonic_ns() + budget_us * 1000;
  read_heads();
  uint64_t hits = 0, misses = 0;
  for (uint32_t slot = 0; slot < kReaderSlots; ++slot) {
    const auto gained = [](uint64_t now, uint64_t& before) {
      const uint64_t more = now - before;
      before = now;
      return more < kMostReads ? more : 0;  // somebody wrote what no reader writes
    };
    hits += gained(heads_[slot].hits, seen_[slot].hits);
    misses += gained(heads_[slot].misses, seen_[slot].misses);
  }
  Stats& stats = store.stats();
  stats.keyspace_hits += hits;
  stats.keyspace_misses += misses;
  stats.local_read_hits += hits;
  stats.local_read_misses += misses;
  for (uint32_t i = 0; i < kReaderSlots; ++i) {
    const uint32_t slot = (next_slot_ + i) % kReaderSlots;
    if (heads_[slot].written == seen_[slot].written || touch(store, slot, deadline)) continue;
    next_slot_ = slot + 1;  // a reader that keeps us busy all by itself does not keep the others out
    return;
  }
}

bool LocalReads::touch(Store& store, uint32_t slot, uint64_t deadline_ns) {
  uint64_t& seen = seen_[slot].written;
  const uint64_t written = heads_[slot].written;
  if (written - seen > kReaderRing) seen = written - kReaderRing;
  while (seen != written) {
    if (TickClock::monotonic_ns() >= deadline_ns) return false;
    const uint64_t first = seen % kReaderRing;
    const uint64_t count = std::min({written - seen, uint64_t{hashes_.size()}, kReaderRing - first});
    if (!read_all(fd_, hashes_.data(), count * sizeof(uint64_t), kRingsOffset + slot * kRingBytes + first * sizeof(uint64_t)))
      break;
    store.touch_hashes(hashes_.data(), count);
    seen += count;
  }
  seen = written;
  return true;
}

uint64_t ReadSlot::forks_so_far = 0;

ReadSlot::ReadSlot(const std::string& arena_path) {
  static const bool watching = pthread_atfork(nullptr, nullptr, [] { ++forks_so_far; }) == 0;
  forks_ = forks_so_far;
  char* real = realpath(arena_path.c_str(), nullptr);  // the data directory has a link to the arena
  if (real == nullptr || !watching) {
    std::free(real);
    return;
  }
  const std::string arena = real;
  std::free(real);
  fd_ = ::open(local_reads_path(arena).c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  struct stat mine, its;
  LocalReadsHeader header;
  const bool usable = fd_ >= 0 && fstat(fd_, &mine) == 0 && stat(arena.c_str(), &its) == 0 && S_ISREG(mine.st_mode) &&
                      mine.st_uid == its.st_uid && static_cast<uint64_t>(mine.st_size) == kLocalReadsBytes &&
                      read_all(fd_, &header, sizeof header, 0) && header.magic == kLocalReadsMagic &&
                      header.slots == kReaderSlots && header.ring == kReaderRing;
  if (usable && take()) return;
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool ReadSlot::take() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_len = 1;
  uint32_t slot = 0;
  for (; slot < kReaderSlots; ++slot) {
    lock.l_start = static_cast<off_t>(kSlotHeadsOffset + slot * sizeof(SlotHead));
    if (fcntl(fd_, F_OFD_SETLK, &lock) == 0) break;
    if (errno != EAGAIN && errno != EACCES) return false;
  }
  if (slot == kReaderSlots) return false;
  // With memory set aside, no store into the map can fail for want of it.
  const auto ring = static_cast<off_t>(kRingsOffset + slot * kRingBytes);
  if (fallocate(fd_, 0, kSlotHeadsOffset, kRingsOffset - kSlotHeadsOffset) != 0 || fallocate(fd_, 0, ring, kRingBytes) != 0)
    return false;
  void* map = mmap(nullptr, kLocalReadsBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (map == MAP_FAILED) return false;
  map_ = map;
  head_ = reinterpret_cast<SlotHead*>(static_cast<char*>(map) + lock.l_start);
  ring_ = reinterpret_cast<uint64_t*>(static_cast<char*>(map) + ring);
  mask_ = kReaderRing - 1;
  __atomic_store_n(&head_->pid, static_cast<uint64_t>(getpid()), __ATOMIC_RELAXED);
  return true;
}

ReadSlot::~ReadSlot() {
  if (map_ != nullptr) munmap(map_, kLocalReadsBytes);
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace predis
