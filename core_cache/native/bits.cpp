#include "bits.h"

#include <bit>
#include <cstring>

namespace predis {
namespace {

inline uint64_t load(const char* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

inline void store(char* at, uint64_t word) { std::memcpy(at, &word, sizeof word); }

#if defined(__x86_64__)
// The instruction is younger than the baseline that this file is compiled for. Four sums at a time, so that one
// addition need not wait for the one before.
__attribute__((target("popcnt"))) uint64_t count_with_instruction(const char* at, size_t size) {
  auto count = [](uint64_t word) __attribute__((target("popcnt"), always_inline)) {
    return static_cast<uint64_t>(__builtin_popcountll(word));
  };
  uint64_t a = 0, b = 0, c = 0, d = 0, rest = 0;
  for (; size >= 32; at += 32, size -= 32) {
    a += count(load(at));
    b += count(load(at + 8));
    c += count(load(at + 16));
    d += count(load(at + 24));
  }
  for (; size >= 8; at += 8, size -= 8) a += count(load(at));
  if (size != 0) std::memcpy(&rest, at, size);
  return a + b + c + d + count(rest);
}
#endif

uint64_t count_plainly(const char* at, size_t size) {
  uint64_t sum = 0, rest = 0;
  for (; size >= 8; at += 8, size -= 8) sum += static_cast<uint64_t>(std::popcount(load(at)));
  if (size != 0) std::memcpy(&rest, at, size);
  return sum + static_cast<uint64_t>(std::popcount(rest));
}

// The bits of a byte from bit `from` to bit `to` (0 is the highest).
inline unsigned byte_mask(unsigned from, unsigned to) { return (0xffu >> from) & (0xffu << (7 - to)) & 0xffu; }

template <class Combine>
void combine(char* into, const char* other, size_t size, Combine&& operation) {
  size_t i = 0;
  for (; size - i >= 32; i += 32) {
    for (size_t j = i; j < i + 32; j += 8) store(into + j, operation(load(into + j), load(other + j)));
  }
  for (; i < size; ++i) {
    into[i] = static_cast<char>(operation(static_cast<unsigned char>(into[i]), static_cast<unsigned char>(other[i])));
  }
}

}  // namespace

uint64_t count_bits(std::string_view bytes) {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("popcnt");
  if (has_instruction) return count_with_instruction(bytes.data(), bytes.size());
#endif
  return count_plainly(bytes.data(), bytes.size());
}

uint64_t count_bits(std::string_view bytes, uint64_t first, uint64_t last) {
  const uint64_t first_byte = first >> 3, last_byte = last >> 3;
  auto byte = [&](uint64_t i) { return static_cast<unsigned>(static_cast<unsigned char>(bytes[i])); };
  uint64_t outside = static_cast<uint64_t>(std::popcount(byte(first_byte) & ~byte_mask(first & 7, 7)));
  outside += static_cast<uint64_t>(std::popcount(byte(last_byte) & ~byte_mask(0, last & 7)));
  return count_bits(bytes.substr(first_byte, last_byte - first_byte + 1)) - outside;
}

uint64_t find_bit(std::string_view bytes, bool value, uint64_t first, uint64_t last) {
  const uint64_t flip = value ? 0 : ~uint64_t{0};  // turned so that a 1 is what is looked for
  const uint64_t end = (last >> 3) + 1;
  uint64_t at = first >> 3;
  auto wanted = [&](uint64_t i) { return (static_cast<unsigned char>(bytes[i]) ^ flip) & 0xff; };
  auto found = [&](uint64_t i, uint64_t byte) {
    const uint64_t position = i * 8 + static_cast<uint64_t>(std::countl_zero(static_cast<uint8_t>(byte)));
    return position <= last ? position : last + 1;
  };
  if (const uint64_t byte = wanted(at) & byte_mask(first & 7, 7)) return found(at, byte);
  ++at;
  while (end - at >= 8 && (load(bytes.data() + at) ^ flip) == 0) at += 8;
  for (; at < end; ++at) {
    if (const uint64_t byte = wanted(at)) return found(at, byte);
  }
  return last + 1;
}

uint64_t read_field(std::string_view bytes, uint64_t position, unsigned width) {
  const uint64_t first = position >> 3;
  const unsigned skipped = position & 7, touched = (skipped + width + 7) / 8;
  unsigned __int128 read = 0;
  for (unsigned i = 0; i < touched; ++i) {
    read = read << 8 | (first + i < bytes.size() ? static_cast<unsigned char>(bytes[first + i]) : 0u);
  }
  const uint64_t value = static_cast<uint64_t>(read >> (touched * 8 - skipped - width));
  return width == 64 ? value : value & ((uint64_t{1} << width) - 1);
}

void write_field(char* bytes, uint64_t position, unsigned width, uint64_t value) {
  const unsigned skipped = position & 7, touched = (skipped + width + 7) / 8;
  const unsigned behind = touched * 8 - skipped - width;
  const unsigned __int128 ones = (static_cast<unsigned __int128>(1) << width) - 1;
  unsigned __int128 mask = ones << behind, field = (value & ones) << behind;
  char* at = bytes + (position >> 3);
  for (unsigned i = touched; i-- > 0; mask >>= 8, field >>= 8) {
    const auto old = static_cast<unsigned char>(at[i]);
    at[i] = static_cast<char>((old & ~static_cast<unsigned>(mask)) | static_cast<unsigned char>(field));
  }
}

void combine_bits(BitOperation operation, char* into, const char* other, size_t size) {
  switch (operation) {
    case BitOperation::band:
      return combine(into, other, size, [](uint64_t a, uint64_t b) { return a & b; });
    case BitOperation::bor:
      return combine(into, other, size, [](uint64_t a, uint64_t b) { return a | b; });
    case BitOperation::bxor:
      return combine(into, other, size, [](uint64_t a, uint64_t b) { return a ^ b; });
    case BitOperation::bnot:
      return combine(into, into, size, [](uint64_t a, uint64_t) { return ~a; });
  }
}

}  // namespace predis
