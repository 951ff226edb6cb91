// partitions.h: who owns which part of the memory. A partition is a tenant's keys, or one arm of them while an A/B test of
// policies runs; each has its own policy, so that one never evicts another's keys while that stays within its share.
//
// Without tenants and without arms there is one partition, and none of this costs anything.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "policy.h"
#include "store.h"

namespace predis {

class Partitions {
 public:
  struct Tenant {
    std::string name, prefix;
    uint64_t quota = 0;  // bytes; that of tenant 0, the keys without a tenant, is what the others leave
    uint64_t keys = 0, bytes = 0;
    uint64_t coming = 0;  // bytes set aside for values that are not stored yet
    std::unique_ptr<Policy> arms[2];  // the second only while an A/B test runs
  };
  using Make = std::function<std::unique_ptr<Policy>(uint32_t tenant, uint32_t arm)>;

  explicit Partitions(const std::vector<TenantOptions>& tenants);

  // New policies for all; `second_share` (0 to 1) of the keys, chosen by their hash, belong to arm 1.
  void make_policies(const Make& make, double second_share);
  void retire(std::vector<std::unique_ptr<Policy>>& into) {  // before new ones are made
    for (Tenant& tenant : tenants_)
      for (auto& policy : tenant.arms)
        if (policy) into.push_back(std::move(policy));
  }
  double second_share() const { return arm_limit_ / 65536.0; }

  bool single() const { return single_; }
  uint32_t size() const { return static_cast<uint32_t>(tenants_.size()); }
  Tenant& operator[](size_t tenant) { return tenants_[tenant]; }
  const Tenant& operator[](size_t tenant) const { return tenants_[tenant]; }

  // The tenant of a key: the one with the longest prefix that fits, else 0.
  uint32_t tenant_of(std::string_view key) const {
    return __builtin_expect(lengths_.empty(), 1) ? 0 : search(key);
  }
  uint32_t arm_of(uint64_t hash) const { return (hash >> 24 & 0xffff) < arm_limit_; }
  Policy& of(const Entry* entry, uint64_t hash) {
    return __builtin_expect(single_, 1) ? *first_ : *tenants_[entry->tenant()].arms[arm_of(hash)];
  }
  Policy& first() { return *first_; }

  // Whose policy is to name a victim when the memory is full: that of the tenant `asking` where it has its share already,
  // else that of the keys without a tenant. No tenant makes room for another while that has anything to give.
  Policy& donor(uint32_t asking) { return __builtin_expect(single_, 1) ? *first_ : donor_in(donor_for(asking)); }
  // Of the tenant's arms the one with more than its part.
  Policy& donor_in(uint32_t tenant);

  template <class Visit>
  void each(Visit&& visit) const {
    for (const Tenant& tenant : tenants_)
      for (const auto& policy : tenant.arms)
        if (policy) visit(*policy);
  }

 private:
  uint32_t search(std::string_view key) const;
  uint32_t donor_for(uint32_t asking) const;

  std::vector<Tenant> tenants_;
  std::unordered_map<std::string_view, uint32_t> by_prefix_;
  std::vector<size_t> lengths_;  // of the prefixes, longest first
  Policy* first_ = nullptr;
  uint32_t arm_limit_ = 0;
  bool single_ = true;
};

}  // namespace predis
