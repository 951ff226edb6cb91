#include "partitions.h"

#include <algorithm>
#include <functional>

namespace predis {

Partitions::Partitions(const std::vector<TenantOptions>& tenants) {
  tenants_ = std::vector<Tenant>(tenants.size() + 1);
  for (size_t i = 0; i < tenants.size(); ++i) {
    Tenant& tenant = tenants_[i + 1];
    tenant.name = tenants[i].name;
    tenant.prefix = tenants[i].prefix;
    tenant.quota = tenants[i].quota;
    by_prefix_.emplace(tenant.prefix, static_cast<uint32_t>(i + 1));
    lengths_.push_back(tenant.prefix.size());
  }
  std::sort(lengths_.begin(), lengths_.end(), std::greater<>());
  lengths_.erase(std::unique(lengths_.begin(), lengths_.end()), lengths_.end());
}

void Partitions::make_policies(const Make& make, double second_share) {
  arm_limit_ = static_cast<uint32_t>(second_share * 65536);
  single_ = tenants_.size() == 1 && arm_limit_ == 0;
  for (uint32_t i = 0; i < size(); ++i) {
    tenants_[i].arms[0] = make(i, 0);
    tenants_[i].arms[1] = arm_limit_ != 0 ? make(i, 1) : nullptr;
  }
  first_ = tenants_[0].arms[0].get();
}

uint32_t Partitions::search(std::string_view key) const {
  for (const size_t length : lengths_) {
    if (length > key.size()) continue;
    const auto found = by_prefix_.find(key.substr(0, length));
    if (found != by_prefix_.end()) return found->second;
  }
  return 0;
}

Policy& Partitions::donor_in(uint32_t tenant) {
  const auto& arms = tenants_[tenant].arms;
  if (!arms[1]) return *arms[0];
  // An arm's part of the memory is its part of the keys, however well or badly its policy does.
  const double first = static_cast<double>(arms[0]->bytes()) * second_share();
  const double second = static_cast<double>(arms[1]->bytes()) * (1 - second_share());
  return second > first ? *arms[1] : *arms[0];
}

uint32_t Partitions::donor_for(uint32_t asking) const {
  const Tenant& own = tenants_[asking];
  const bool has_its_share = own.bytes >= own.quota - own.quota / 8;
  if (own.keys != 0 && (asking == 0 || has_its_share)) return asking;
  if (tenants_[0].keys != 0) return 0;
  if (own.keys != 0) return asking;
  double most = -1;
  uint32_t found = 0;
  for (uint32_t i = 0; i < size(); ++i) {
    const Tenant& tenant = tenants_[i];
    const double used = static_cast<double>(tenant.bytes) / static_cast<double>(std::max<uint64_t>(tenant.quota, 1));
    if (tenant.keys == 0 || used <= most) continue;
    most = used;
    found = i;
  }
  return found;
}

}  // namespace predis
