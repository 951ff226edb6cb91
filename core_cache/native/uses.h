// uses.h: how uses of an entry are counted in Entry::freq, which one byte must do for.
//
// Most policies ask only whether a key was used a few times since they last looked: the count ends at 3. With an LFU
// policy it is Redis' counter instead: it starts at 5, goes up with a probability that falls as it rises (log_factor), so
// that 255 stands for about a million uses, and goes down by one per decay_minutes without a use.
#pragma once

#include <cstdint>

#include "layout.h"

namespace predis {

constexpr uint8_t kMaxFreq = 3;

class Uses {
 public:
  void set_logarithmic(bool on) { limit_ = on ? 256 : kMaxFreq; }
  bool logarithmic() const { return limit_ != kMaxFreq; }
  uint8_t initial() const { return logarithmic() ? kLfuInitial : 0; }

  // Counts one; `tick` is now. The caller brings Entry::access up to date afterwards.
  void count(Entry* entry, uint32_t tick) {
    if (entry->freq >= limit_) return;
    if (__builtin_expect(logarithmic(), 0)) entry->freq = raised(decayed(*entry, tick));
    else ++entry->freq;
  }
  // The logarithmic counter as it is now.
  uint8_t decayed(const Entry& entry, uint32_t tick) const {
    if (decay_minutes == 0) return entry.freq;
    const uint64_t periods = (minute(tick) - minute(entry.access)) / decay_minutes;
    return periods >= entry.freq ? 0 : static_cast<uint8_t>(entry.freq - periods);
  }

  uint64_t epoch_unix_ms = 0;  // what ticks count from
  uint32_t log_factor = 10, decay_minutes = 1;

 private:
  static constexpr uint8_t kLfuInitial = 5;

  // Whole minutes of Unix time, so that a decay comes when the clock's minute changes, as in Redis.
  uint64_t minute(uint32_t tick) const { return (epoch_unix_ms + (uint64_t{tick} << 4)) / 60'000; }
  uint8_t raised(uint8_t count) {
    if (count == 255) return count;
    random_ = random_ * 6364136223846793005 + 1442695040888963407;
    const uint64_t over = count > kLfuInitial ? count - kLfuInitial : 0;
    return (random_ >> 32) * (over * log_factor + 1) < uint64_t{1} << 32 ? static_cast<uint8_t>(count + 1) : count;
  }

  uint32_t limit_ = kMaxFreq;
  uint64_t random_ = 0x853c49e6748fea9b;
};

}  // namespace predis
