// policy_kind.h: the eviction policies there are.
#pragma once

namespace predis {

enum class PolicyKind {
  lru, s3fifo, noeviction, lfu, learned, random, volatile_lru, volatile_lfu, volatile_random, volatile_ttl
};

// Does it take none but keys with an expiry?
constexpr bool only_volatile(PolicyKind kind) { return kind >= PolicyKind::volatile_lru; }
// Can each key be a victim? Otherwise there may be no room, and writes are refused.
constexpr bool any_may_go(PolicyKind kind) { return kind != PolicyKind::noeviction && !only_volatile(kind); }
// Is Entry::freq a logarithmic counter that time lowers? (uses.h)
constexpr bool is_lfu(PolicyKind kind) { return kind == PolicyKind::lfu || kind == PolicyKind::volatile_lfu; }
// Does it keep S3-FIFO's queues?
constexpr bool has_queues(PolicyKind kind) { return kind == PolicyKind::s3fifo || kind == PolicyKind::learned; }

// Does it look at the keys of one tenant only, when that one needs room? Sampled policies look at all.
constexpr bool fits_tenants(PolicyKind kind) { return has_queues(kind) || kind == PolicyKind::noeviction; }

}  // namespace predis
