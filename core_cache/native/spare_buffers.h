// spare_buffers.h: the memory of large input buffers, kept a moment for the next large value.
//
// To have pages and to give them back takes the kernel longer than to fill them: about 0.2 ms for a megabyte. The next value
// that is as large finds them here; when none comes, they go back a few at a time.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "bytes.h"

namespace predis {

class SpareBuffers {
 public:
  static constexpr size_t kLeast = 256 * 1024;  // bytes; what is smaller is no trouble to malloc
  static constexpr size_t kMuch = 8 << 20;      // is given back though it be of use
  static constexpr size_t kMost = 128 << 20;    // a buffer beyond that goes back at once

  // Takes over the memory of a buffer that is not needed any more.
  void give(Bytes& buffer) {
    buffer.clear();
    if (buffer.capacity() >= kLeast && total() + buffer.capacity() <= kMost) {
      Bytes& smallest = *std::min_element(spares_.begin(), spares_.end(), smaller);
      if (smallest.capacity() < buffer.capacity()) smallest.swap(buffer);
    }
    if (buffer.capacity() != 0) buffer.shrink_to(0);
  }

  // Gives a buffer that is to grow to `known` bytes more memory at once, where there is some.
  void lend(Bytes& buffer, size_t known) {
    if (known < kLeast || buffer.capacity() >= kLeast) return;
    Bytes& kept = largest();
    if (kept.capacity() == 0) return;
    used_ = true;
    kept.append(buffer.view());
    kept.swap(buffer);
    kept.clear();
    kept.shrink_to(0);
  }

  // Gives some memory back to the system, unless it was of use since the last time; true: there is more than is of use.
  bool trim() {
    const bool much = total() > kMuch;
    if (total() == 0 || (std::exchange(used_, false) && !much)) return false;
    Bytes& spare = largest();
    const size_t slice = much ? 4 * kLeast : kLeast;
    spare.shrink_to(spare.capacity() < kLeast + slice ? 0 : spare.capacity() - slice);
    return total() > kMuch;
  }

  size_t total() const {
    size_t sum = 0;
    for (const Bytes& spare : spares_) sum += spare.capacity();
    return sum;
  }

 private:
  static bool smaller(const Bytes& a, const Bytes& b) { return a.capacity() < b.capacity(); }
  Bytes& largest() { return *std::max_element(spares_.begin(), spares_.end(), smaller); }

  std::array<Bytes, 16> spares_;
  bool used_ = false;
};

}  // namespace predis
