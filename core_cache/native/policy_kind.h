// policy_kind.h: the eviction policies there are.
#pragma once

namespace predis {

enum class PolicyKind { lru, s3fifo, noeviction };

}  // namespace predis
