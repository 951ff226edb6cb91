#include "stats.h"

#include <cmath>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace predis {

uint64_t latency_quantile_ns(const uint64_t (&counts)[kLatencyBuckets], double quantile) {
  uint64_t total = 0;
  for (uint64_t count : counts) total += count;
  if (total == 0) return 0;
  auto rank = static_cast<uint64_t>(std::ceil(quantile * static_cast<double>(total)));
  if (rank == 0) rank = 1;
  uint64_t seen = 0;
  for (uint32_t i = 0; i < kLatencyBuckets; ++i) {
    seen += counts[i];
    if (seen >= rank) return i + 1 == kLatencyBuckets ? latency_bound_ns(i - 1) : latency_bound_ns(i);
  }
  return latency_bound_ns(kLatencyBuckets - 2);
}

TickClock::TickClock() {
#if defined(__x86_64__)
  unsigned a, b, c, d;
  hardware_ = __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & (1u << 8)) != 0;  // invariant TSC
  if (!hardware_) return;
  // Two readings at least 5 ms apart: off by less than one part in ten thousand.
  const uint64_t ns_start = monotonic_ns();
  const uint64_t start = __rdtsc();
  uint64_t ns_end;
  do {
    ns_end = monotonic_ns();
  } while (ns_end - ns_start < 5'000'000);
  const uint64_t end = __rdtsc();
  multiplier_ = static_cast<uint64_t>((static_cast<unsigned __int128>(ns_end - ns_start) << 32) / (end - start));
#elif defined(__aarch64__)
  hardware_ = true;
  uint64_t frequency;
  asm volatile("mrs %0, cntfrq_el0" : "=r"(frequency));
  multiplier_ = static_cast<uint64_t>((static_cast<unsigned __int128>(1'000'000'000) << 32) / frequency);
#endif
}

}  // namespace predis
