// policy_scores.h: what the sampled policies find an entry worth.
#pragma once

#include "policy.h"

namespace predis {

class HostScorer : public Scorer {
 public:
  explicit HostScorer(const PolicyHost& host) : host_(host) {}

 protected:
  const PolicyHost host_;
};

// The longer unused, the less. (lru)
class LruScorer final : public HostScorer {
 public:
  using HostScorer::HostScorer;
  void score(std::span<const Entry* const> entries, double* scores) override {
    for (const Entry* entry : entries) *scores++ = static_cast<double>(host_.accessed_ms(*entry));
  }
};

// The less used, the less; of those that are used as little, the longer unused. (lfu)
class LfuScorer final : public HostScorer {
 public:
  using HostScorer::HostScorer;
  void score(std::span<const Entry* const> entries, double* scores) override {
    constexpr double kOne = static_cast<double>(uint64_t{1} << 42);  // more than any time in ms, until the year 2109
    for (const Entry* entry : entries) {
      *scores++ = kOne * host_.uses.decayed(*entry, host_.tick) + static_cast<double>(host_.accessed_ms(*entry));
    }
  }
};

// The sooner it expires, the less. (volatile-ttl)
class TtlScorer final : public Scorer {
 public:
  void score(std::span<const Entry* const> entries, double* scores) override {
    for (const Entry* entry : entries) *scores++ = static_cast<double>(entry->expire_at());
  }
};

}  // namespace predis
