// Policies that look at a few random entries and take the one that is worth least, as Redis does: lru, lfu, random, and
// the same among the keys with an expiry. A pool keeps the least worth seen so far; each eviction tops it up with a sample.
// Of all keys the sample is some buckets of the index, which costs nothing per hit and no memory per key. Keys with an
// expiry can be few among many, so that they are kept in a queue (4 bytes each) from which the sample is taken.
#include <algorithm>

#include "fifo.h"
#include "policy.h"
#include "policy_scores.h"

namespace predis {
namespace {

class Sampled final : public Policy {
 public:
  Sampled(const PolicyHost& host, std::unique_ptr<Scorer> scorer, bool only_volatile)
      : host_(host), scorer_(std::move(scorer)), volatile_(host.arena), only_volatile_(only_volatile) {}

  void inserted(Entry* entry, uint64_t, size_t) override {
    entry->queue_pos = 0;
    if (only_volatile_ && entry->expire_at() != 0) volatile_.push(host_.arena.ref(entry));
  }
  void replaced(Entry* old, Entry* fresh, size_t, size_t bytes) override {
    fresh->queue_pos = 0;
    if (!only_volatile_) return;
    if (fresh->expire_at() != 0 && volatile_.holds(old)) return volatile_.replace(old->queue_pos, host_.arena.ref(fresh));
    erased(old, bytes);
    expiry_changed(fresh);
  }
  void adopted(Entry* entry, size_t) override {
    if (!only_volatile_) entry->queue_pos = 0;
    expiry_changed(entry);
  }
  void expiry_changed(Entry* entry) override {
    if (!only_volatile_ || volatile_.holds(entry) == (entry->expire_at() != 0)) return;
    if (entry->expire_at() != 0) return volatile_.push(host_.arena.ref(entry));
    volatile_.erase(entry->queue_pos);
    entry->queue_pos = 0;
  }
  void erased(Entry* entry, size_t) override {
    if (only_volatile_ && volatile_.holds(entry)) volatile_.erase(entry->queue_pos);
  }
  void evicted(const Entry*, uint64_t) override {}
  void clear() override {
    size_ = 0;
    volatile_.clear();
  }
  bool tidy() override { return volatile_.release(); }
  size_t memory() const override { return sizeof *this + volatile_.memory(); }

  Entry* victim(const Entry* pin) override {
    // A bucket can be empty, and in a small or nearly empty table many are.
    for (uint32_t tries = 0, most = 64 + host_.index.buckets() * 4; tries < most; ++tries) {
      if (!sample()) return nullptr;
      if (!scorer_) {
        if (Entry* entry = any_of_sample(pin)) return entry;
        continue;
      }
      top_up();
      while (size_ > 0) {
        const Candidate c = pool_[--size_];
        Entry* entry = host_.arena.at(c.ref);
        if (entry->version != c.version || entry == pin) continue;
        // What was used since, or got a later expiry, is worth more than it was.
        double score;
        const Entry* one = entry;
        scorer_->score({&one, 1}, &score);
        if (score <= c.score && !(only_volatile_ && entry->expire_at() == 0)) return entry;
      }
    }
    return only_volatile_ ? nullptr : any(pin);
  }

 private:
  struct Candidate {
    double score;
    uint64_t version;
    Ref ref;
  };
  static constexpr int kPool = 16;
  static constexpr uint32_t kSample = 10;      // entries, or a few more: whole buckets
  static constexpr uint32_t kMostBuckets = 64;  // in a nearly empty table
  static constexpr uint32_t kMostSampled = 48;

  // Fills sample_; false: there is nothing to take from.
  bool sample() {
    sampled_ = 0;
    const auto add = [&](Ref ref) {
      if (sampled_ == kMostSampled) return;
      sample_[sampled_++] = host_.arena.at(ref);
      prefetch(host_.arena.at(ref));
    };
    if (only_volatile_) return volatile_.sample(random(), kSample, add);
    // Keys lie in the buckets by their hash: neighbours are as good a sample as any, and cheaper to come by.
    const uint32_t buckets = host_.index.buckets();
    auto at = static_cast<uint32_t>((static_cast<unsigned __int128>(random()) * buckets) >> 64);
    for (uint32_t looked = 0; sampled_ < kSample && looked < kMostBuckets; ++looked) {
      host_.index.each_in(at, add);
      if (++at == buckets) at = 0;
    }
    return true;
  }
  // Puts what is worth little into the pool, which is sorted: the least last.
  void top_up() {
    double scores[kMostSampled];
    scorer_->score({sample_, sampled_}, scores);
    for (uint32_t k = 0; k < sampled_; ++k) {
      const Candidate c{scores[k], sample_[k]->version, host_.arena.ref(sample_[k])};
      if (size_ == kPool && c.score >= pool_[0].score) continue;
      int at = 0;
      for (; at < size_; ++at)
        if (pool_[at].ref == c.ref) break;
      if (at < size_) std::move(pool_ + at + 1, pool_ + size_--, pool_ + at);  // its score may be an old one
      if (size_ == kPool) std::move(pool_ + 1, pool_ + size_--, pool_);
      for (at = size_++; at > 0 && pool_[at - 1].score < c.score; --at) pool_[at] = pool_[at - 1];
      pool_[at] = c;
    }
  }
  Entry* any_of_sample(const Entry* pin) {
    if (sampled_ == 0) return nullptr;
    Entry* entry = host_.arena.at(host_.arena.ref(sample_[random() % sampled_]));
    return entry != pin ? entry : nullptr;
  }
  Entry* any(const Entry* pin) {  // only where nearly all is gone
    Entry* found = nullptr;
    for (uint32_t b = 0; b < host_.index.buckets() && !found; ++b) {
      host_.index.each_in(b, [&](Ref ref) {
        if (host_.arena.at(ref) != pin) found = host_.arena.at(ref);
      });
    }
    return found;
  }
  uint64_t random() {  // splitmix64 (Steele et al., 2014)
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }

  const PolicyHost host_;
  std::unique_ptr<Scorer> scorer_;  // none: by chance
  Fifo volatile_;
  const bool only_volatile_;
  Candidate pool_[kPool];
  int size_ = 0;
  const Entry* sample_[kMostSampled];
  uint32_t sampled_ = 0;
  uint64_t state_ = 1;
};

}  // namespace

std::unique_ptr<Policy> make_sampled(const PolicyHost& host, PolicyKind kind) {
  std::unique_ptr<Scorer> scorer;
  if (is_lfu(kind)) scorer = std::make_unique<LfuScorer>(host);
  else if (kind == PolicyKind::volatile_ttl) scorer = std::make_unique<TtlScorer>();
  else if (kind != PolicyKind::random && kind != PolicyKind::volatile_random) scorer = std::make_unique<LruScorer>(host);
  return std::make_unique<Sampled>(host, std::move(scorer), only_volatile(kind));
}

}  // namespace predis
