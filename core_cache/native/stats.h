// stats.h: the latency scale and a clock that costs a few nanoseconds.
//
// The scale is log-linear: four buckets per power of two from 64 ns on, so that a bucket is at most 25 % wide and a
// quantile read from it is at most that far off. Bucket 0 holds what is shorter than 64 ns, bucket 127 what takes
// longer than about 206 s.
#pragma once

#include <bit>
#include <cstdint>
#include <ctime>

#include "layout.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace predis {

constexpr uint64_t kLatencyFloorNs = 64;

// The bucket that a duration in nanoseconds belongs to.
inline uint32_t latency_bucket(uint64_t ns) {
  if (ns < kLatencyFloorNs) return 0;
  const int exponent = 63 - std::countl_zero(ns);
  const uint32_t bucket = 1 + static_cast<uint32_t>(exponent - 6) * 4 + ((ns >> (exponent - 2)) & 3);
  return bucket < kLatencyBuckets ? bucket : kLatencyBuckets - 1;
}

// The first duration in nanoseconds that is over bucket `bucket`; UINT64_MAX for the last one.
inline uint64_t latency_bound_ns(uint32_t bucket) {
  if (bucket + 1 >= kLatencyBuckets) return UINT64_MAX;
  return (uint64_t{4} + (bucket & 3)) << (bucket / 4 + 4);
}

// The quantile (0 … 1) of a histogram in nanoseconds: the upper bound of the bucket that holds it, 0 when empty.
uint64_t latency_quantile_ns(const uint64_t (&counts)[kLatencyBuckets], double quantile);

// Ticks of the cheapest steady clock: the time-stamp counter where it is invariant, the generic timer on aarch64, else
// CLOCK_MONOTONIC in nanoseconds.
class TickClock {
 public:
  TickClock();  // calibrates against CLOCK_MONOTONIC, for a few milliseconds at most
  uint64_t ticks() const {
#if defined(__x86_64__)
    if (__builtin_expect(hardware_, 1)) return __rdtsc();
#elif defined(__aarch64__)
    uint64_t count;
    asm volatile("mrs %0, cntvct_el0" : "=r"(count));
    return count;
#endif
    return monotonic_ns();
  }
  uint64_t to_ns(uint64_t ticks) const {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(ticks) * multiplier_) >> 32);
  }
  uint64_t to_ticks(uint64_t ns) const {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(ns) << 32) / multiplier_);
  }
  static uint64_t monotonic_ns() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
  }

 private:
  bool hardware_ = false;
  uint64_t multiplier_ = uint64_t{1} << 32;  // nanoseconds per tick, 32 fractional bits
};

inline uint64_t unix_us() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

}  // namespace predis
