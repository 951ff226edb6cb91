// local_reads.h: how the cache learns of reads that never reach it: a small file beside the arena, which local readers
// may write and only they do.
//
//   LocalReadsHeader (a page) | SlotHead[kSlots] | hashes[kSlots][kRing]
//
// A reader takes a slot, counts its hits and misses there and leaves the hashes of the keys that it hit in the slot's
// ring: a few plain stores per read. Upkeep collects what was added: counters into the statistics, hashes as uses of
// their keys for the eviction policy. Whoever reads faster than it collects overwrites hashes: a sample remains, which is
// what a policy needs. A slot is taken by a lock on its head's first byte; the kernel drops it when the process ends,
// however it ends. The numbers of a slot go on where its last owner left them.
//
// The cache trusts nothing in here. It never maps the file (somebody might cut it short), but reads it into memory of its
// own, with bounds for how much it takes in, and a hash is only ever looked up.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

namespace predis {

class Store;
struct Stats;

constexpr uint64_t kLocalReadsMagic = 0x3130646552647250;  // "PrdRed01"
constexpr uint32_t kReaderSlots = 256;
constexpr uint32_t kReaderRing = 4096;  // hashes, a power of two

struct LocalReadsHeader {
  uint64_t magic;
  uint32_t slots, ring;
};

struct alignas(64) SlotHead {
  uint64_t hits, misses;
  uint64_t written;  // hashes put into the ring so far
  uint64_t pid;      // of the owner, for people
};
static_assert(sizeof(SlotHead) == 64);

constexpr uint64_t kSlotHeadsOffset = 4096;
constexpr uint64_t kRingsOffset = kSlotHeadsOffset + kReaderSlots * sizeof(SlotHead);
constexpr uint64_t kRingBytes = kReaderRing * sizeof(uint64_t);
constexpr uint64_t kLocalReadsBytes = kRingsOffset + kReaderSlots * kRingBytes;

// Beside "….arena" lies "….readers".
std::string local_reads_path(const std::string& arena_path);

// The cache process' side.
class LocalReads {
 public:
  // Opens the file beside the arena or makes it, closed to others unless a group is given (-1: none), whose members may
  // then write it. Throws ArenaError.
  LocalReads(const std::string& arena_path, int64_t group);
  ~LocalReads();
  LocalReads(const LocalReads&) = delete;

  // Counts what readers have done since the last call. Looks at hashes for `budget_us` at most; what is left over comes next.
  void collect(Store& store, uint64_t budget_us);

 private:
  void read_heads();
  bool touch(Store& store, uint32_t slot, uint64_t deadline_ns);  // false: the time is over

  int fd_ = -1;
  uint32_t next_slot_ = 0;  // where looking at hashes begins, so that each slot has its turn
  std::array<SlotHead, kReaderSlots> heads_{};  // as they are
  std::array<SlotHead, kReaderSlots> seen_{};   // as far as they are counted
  std::array<uint64_t, 512> hashes_;
};

// A reader's side. Where the file may not be written, or all slots are taken, reads are not counted.
class ReadSlot {
 public:
  explicit ReadSlot(const std::string& arena_path);
  ~ReadSlot();
  ReadSlot(const ReadSlot&) = delete;

  // Nobody else writes the slot, so there is nothing to be atomic about but the visibility of whole words.
  void hit(uint64_t hash) {
    const uint64_t at = head_->written;
    __atomic_store_n(&ring_[at & mask_], hash, __ATOMIC_RELAXED);
    __atomic_store_n(&head_->written, at + 1, __ATOMIC_RELEASE);
  }
  void count(uint64_t hits, uint64_t misses) {
    __atomic_store_n(&head_->hits, head_->hits + hits, __ATOMIC_RELAXED);
    __atomic_store_n(&head_->misses, head_->misses + misses, __ATOMIC_RELAXED);
  }
  bool counts() const { return map_ != nullptr; }
  // A child process has its parent's slot in its hands, and must take one of its own.
  bool inherited() const { return forks_ != forks_so_far; }
  static uint64_t forks_so_far;  // that this process is away from the first one

 private:
  bool take();

  int fd_ = -1;
  void* map_ = nullptr;
  uint64_t forks_;
  SlotHead nowhere_{};  // where reads go that nobody counts
  uint64_t no_ring_ = 0;
  SlotHead* head_ = &nowhere_;
  uint64_t* ring_ = &no_ring_;
  uint64_t mask_ = 0;
};

}  // namespace predis
