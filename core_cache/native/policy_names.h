// policy_names.h: what the policies are called: short on our command line, long in CONFIG and INFO as in Redis.
#pragma once

#include <string>
#include <string_view>

#include "policy_kind.h"

namespace predis {

struct PolicyName {
  PolicyKind kind;
  std::string_view name;    // as in --policy
  std::string_view config;  // as in maxmemory-policy
};

inline constexpr PolicyName kPolicyNames[] = {
    {PolicyKind::s3fifo, "s3fifo", "allkeys-s3fifo"},
    {PolicyKind::learned, "learned", "allkeys-learned"},
    {PolicyKind::lru, "lru", "allkeys-lru"},
    {PolicyKind::lfu, "lfu", "allkeys-lfu"},
    {PolicyKind::random, "random", "allkeys-random"},
    {PolicyKind::volatile_lru, "volatile-lru", "volatile-lru"},
    {PolicyKind::volatile_lfu, "volatile-lfu", "volatile-lfu"},
    {PolicyKind::volatile_random, "volatile-random", "volatile-random"},
    {PolicyKind::volatile_ttl, "volatile-ttl", "volatile-ttl"},
    {PolicyKind::noeviction, "noeviction", "noeviction"},
};

inline bool parse_policy(std::string_view text, PolicyKind& kind) {
  for (const PolicyName& p : kPolicyNames) {
    if (text != p.name) continue;
    kind = p.kind;
    return true;
  }
  return false;
}
inline std::string_view config_name(PolicyKind kind) {
  for (const PolicyName& p : kPolicyNames)
    if (p.kind == kind) return p.config;
  return {};
}
inline std::string policy_list() {
  std::string list;
  for (const PolicyName& p : kPolicyNames) list += (list.empty() ? "" : ", ") + std::string(p.name);
  return list;
}

}  // namespace predis
