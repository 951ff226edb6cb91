// Least recently used, approximated by sampling as Redis does: a pool of the 16 oldest entries seen so far, topped up with
// one random bucket (about six entries) per eviction. Costs nothing per hit and no memory per key.
#include <algorithm>

#include "policy.h"

namespace predis {
namespace {

class Lru final : public Policy {
 public:
  Lru(Arena& arena, Index& index, const uint32_t* clock) : arena_(arena), index_(index), clock_(clock) {}

  void inserted(Entry* entry, uint64_t, size_t) override { entry->queue_pos = 0; }
  void replaced(Entry*, Entry* fresh, size_t, size_t) override { fresh->queue_pos = 0; }
  void adopted(Entry* entry, size_t) override { entry->queue_pos = 0; }
  void erased(Entry*, size_t) override {}
  void evicted(const Entry*, uint64_t) override {}
  void clear() override { size_ = 0; }
  size_t memory() const override { return sizeof *this; }

  Entry* victim(const Entry* pin) override {
    // A bucket can be empty, and in a small or nearly empty table many are.
    for (uint32_t tries = 0, most = index_.buckets() * 4; tries < most; ++tries) {
      sample();
      while (size_ > 0) {
        const Candidate c = pool_[--size_];
        Entry* entry = arena_.at(c.ref);
        if (entry->version == c.version && entry->access == c.access && entry != pin) return entry;
      }
    }
    // Only where nearly all is gone: take whatever there is.
    Entry* any = nullptr;
    for (uint32_t b = 0; b < index_.buckets() && !any; ++b)
      index_.each_in(b, [&](Ref ref) { if (arena_.at(ref) != pin) any = arena_.at(ref); });
    return any;
  }

 private:
  struct Candidate {
    uint32_t age, access;
    Ref ref;
    uint64_t version;
  };
  static constexpr int kPool = 16;

  void sample() {
    const auto number = static_cast<uint32_t>((static_cast<unsigned __int128>(random()) * index_.buckets()) >> 64);
    index_.each_in(number, [&](Ref ref) { prefetch(arena_.at(ref)); });
    index_.each_in(number, [&](Ref ref) {
      const Entry* entry = arena_.at(ref);
      const Candidate c{*clock_ - entry->access, entry->access, ref, entry->version};
      for (int i = 0; i < size_; ++i)
        if (pool_[i].ref == ref) return;
      if (size_ == kPool && c.age <= pool_[0].age) return;
      if (size_ == kPool) std::move(pool_ + 1, pool_ + size_--, pool_);
      int at = size_++;
      for (; at > 0 && pool_[at - 1].age > c.age; --at) pool_[at] = pool_[at - 1];
      pool_[at] = c;  // oldest last
    });
  }
  uint64_t random() {  // splitmix64 (Steele et al., 2014)
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }

  Arena& arena_;
  Index& index_;
  const uint32_t* clock_;
  Candidate pool_[kPool];
  int size_ = 0;
  uint64_t state_ = 1;
};

}  // namespace

std::unique_ptr<Policy> make_lru(Arena& arena, Index& index, const uint32_t* clock) {
  return std::make_unique<Lru>(arena, index, clock);
}

}  // namespace predis
