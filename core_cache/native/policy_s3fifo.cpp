// S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): a small queue of a tenth of the
// bytes, where new keys prove themselves, a main queue, and a ghost of keys that left the small one. Hits only count, in
// the entry; all moving is done at eviction.
//
// With a scorer (the policy "learned") it is not the oldest of the queue that goes but, of the oldest few that have earned
// no second round, the one that is worth least. One that the scorer spares again and again is moved on, so that the few do
// not become always the same.
#include <cmath>

#include "fifo.h"
#include "ghost.h"
#include "policy.h"

namespace predis {
namespace {

constexpr uint8_t kPromoteAt = 2;       // hits in the small queue that earn a place in the main one
constexpr uint64_t kMostSteps = 512;    // entries that one eviction may spare; then even a used one goes
constexpr uint32_t kTail = 12;          // candidates among whom the scorer chooses
constexpr uint32_t kTailWalk = 48;      // entries that are looked at for them
constexpr uint32_t kPatience = 16;      // evictions that pass over the oldest, until it is moved on
constexpr uint8_t kSeldom = 6;          // of an LFU policy's counter: used once or twice
constexpr uint64_t kSmallShare = 10;    // the small queue's share of the bytes: a tenth

class S3Fifo final : public Policy {
 public:
  S3Fifo(Arena& arena, Footprint footprint, const void* context)
      : arena_(arena), footprint_(footprint), context_(context), small_(arena), main_(arena) {}

  void inserted(Entry* entry, uint64_t hash, size_t bytes) override {
    if (ghost_.take(hash)) push_main(entry, bytes);
    // Until it evicts for the first time, a cache has room for all; then the small queue is to have its share already.
    else if (!evicting_ && small_bytes_ * kSmallShare > room_ && room_ > 0) push_main(entry, bytes);
    else push_small(entry, bytes);
  }

  void replaced(Entry* old, Entry* fresh, size_t old_bytes, size_t bytes) override {
    const bool main = old->kind & kFlagMain;
    fresh->kind = static_cast<uint8_t>((fresh->kind & ~kFlagMain) | (main ? kFlagMain : 0));
    if (!queue_of(old).holds(old)) return adopted(fresh, bytes);
    queue_of(old).replace(old->queue_pos, arena_.ref(fresh));
    (main ? main_bytes_ : small_bytes_) += bytes - old_bytes;
  }

  void prefetch_replace(const Entry* entry) const override {
    (entry->kind & kFlagMain ? main_ : small_).prefetch_place(entry->queue_pos);
  }

  void adopted(Entry* entry, size_t bytes) override {
    if (queue_of(entry).holds(entry)) return;
    if (entry->freq > kMaxFreq) entry->freq = entry->freq > kSeldom ? kMaxFreq : 0;  // an LFU policy's counter
    if (entry->kind & kFlagMain) push_main(entry, bytes);
    else push_small(entry, bytes);
  }

  void erased(Entry* entry, size_t bytes) override {
    if (!queue_of(entry).holds(entry)) return;
    queue_of(entry).erase(entry->queue_pos);
    (entry->kind & kFlagMain ? main_bytes_ : small_bytes_) -= bytes;
    entry->queue_pos = 0;
  }

  Entry* victim(const Entry* pin) override {
    evicting_ = true;
    // Each pass over an entry lowers its count or moves it on, so this ends.
    uint64_t spared = 0;
    bool in_small = false;
    for (uint64_t steps = (small_.size() + main_.size() + 1) * (kMaxFreq + 2); steps > 0; --steps) {
      const bool from_small = in_small || main_.size() == 0 || small_bytes_ * kSmallShare >= small_bytes_ + main_bytes_;
      Fifo& queue = from_small && small_.size() > 0 ? small_ : main_;
      in_small = &queue == &small_;
      const Ref ref = queue.oldest();
      if (ref == 0) return nullptr;
      Entry* entry = arena_.at(ref);
      const size_t bytes = footprint_(context_, entry);
      const uint8_t freq = entry->freq;
      const bool used = &queue == &small_ ? freq >= kPromoteAt : freq > 0;
      const bool keep = entry == pin || (used && ++spared < kMostSteps);  // no client waits for a walk over all keys
      if (!keep) return scorer_ ? least_worth(queue, entry, pin) : entry;
      const bool was_small = &queue == &small_;
      erased(entry, bytes);
      entry->freq = was_small || freq == 0 ? 0 : static_cast<uint8_t>((freq > kMaxFreq ? kMaxFreq : freq) - 1);
      push_main(entry, bytes);
    }
    return nullptr;  // only the pinned entry is left
  }

  void set_scorer(std::unique_ptr<Scorer> scorer) override { scorer_ = std::move(scorer); }
  void set_room(uint64_t bytes) override { room_ = bytes; }
  void evicted(const Entry* entry, uint64_t hash) override {
    if (!(entry->kind & kFlagMain)) ghost_.insert(hash, ghost_capacity());
  }

  bool tidy() override {
    const bool small = small_.release(), main = main_.release();
    return ghost_.release() || small || main;
  }
  void clear() override {
    small_.clear();
    main_.clear();
    ghost_.clear();
    small_bytes_ = main_bytes_ = 0;
    evicting_ = false;
  }
  uint64_t bytes() const override { return small_bytes_ + main_bytes_; }
  size_t memory() const override { return sizeof *this + small_.memory() + main_.memory() + ghost_.memory(); }

 private:
  bool used(const Entry* entry) const { return entry->freq >= (entry->kind & kFlagMain ? 1 : kPromoteAt); }

  Entry* least_worth(Fifo& queue, Entry* oldest, const Entry* pin) {
    Entry* candidates[kTail];
    double scores[kTail];
    uint32_t n = 0, walked = 0;
    queue.each([&](Ref ref) {
      Entry* entry = arena_.at(ref);
      if (entry == oldest || (entry != pin && !used(entry))) candidates[n++] = entry;
      return n < kTail && ++walked < kTailWalk;
    });
    scorer_->score({candidates, n}, scores);
    uint32_t least = 0;
    for (uint32_t i = 0; i < n; ++i) {
      if (!std::isfinite(scores[i])) return oldest;  // a model that is out of its mind
      if (scores[i] < scores[least]) least = i;
    }
    uint32_t& passed = &queue == &small_ ? passed_small_ : passed_main_;
    if (candidates[least] == oldest) {
      passed = 0;
    } else if (++passed >= kPatience) {
      passed = 0;
      const size_t bytes = footprint_(context_, oldest);
      erased(oldest, bytes);
      oldest->freq = 0;
      push_main(oldest, bytes);
    }
    return candidates[least];
  }

  Fifo& queue_of(const Entry* entry) { return entry->kind & kFlagMain ? main_ : small_; }
  uint64_t ghost_capacity() const { return (small_.size() + main_.size()) * 9 / 10; }
  void push_small(Entry* entry, size_t bytes) {
    entry->kind &= static_cast<uint8_t>(~kFlagMain);
    small_.push(arena_.ref(entry));
    small_bytes_ += bytes;
  }
  void push_main(Entry* entry, size_t bytes) {
    entry->kind |= kFlagMain;
    main_.push(arena_.ref(entry));
    main_bytes_ += bytes;
  }
  Arena& arena_;
  Footprint footprint_;
  const void* context_;
  Fifo small_, main_;
  Ghost ghost_;
  uint64_t small_bytes_ = 0, main_bytes_ = 0;
  std::unique_ptr<Scorer> scorer_;
  uint32_t passed_small_ = 0, passed_main_ = 0;  // evictions since the queue's oldest was last the one to go
  uint64_t room_ = 0;
  bool evicting_ = false;
};

}  // namespace

std::unique_ptr<Policy> make_s3fifo(Arena& arena, Footprint footprint, const void* context) {
  return std::make_unique<S3Fifo>(arena, footprint, context);
}

}  // namespace predis
