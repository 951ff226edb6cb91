// bits.h: strings read as arrays of bits, as Redis numbers them: bit 0 is the highest bit of the first byte.
//
// Counting, searching and combining go over the string in words of 64 bits; single fields of up to 64 bits are read and
// written through the (at most nine) bytes that they touch. Bits behind the end of a string read as 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace predis {

// How many bits are set.
uint64_t count_bits(std::string_view bytes);

// How many of the bits [first, last] are set; both must lie in the string.
uint64_t count_bits(std::string_view bytes, uint64_t first, uint64_t last);

// The first of the bits [first, last] that has this value, or last + 1; both must lie in the string.
uint64_t find_bit(std::string_view bytes, bool value, uint64_t first, uint64_t last);

inline bool bit_at(std::string_view bytes, uint64_t position) {
  const uint64_t byte = position >> 3;
  return byte < bytes.size() && ((static_cast<unsigned char>(bytes[byte]) >> (7 - (position & 7))) & 1) != 0;
}

inline void set_bit(char* bytes, uint64_t position, bool value) {
  const auto mask = static_cast<unsigned char>(0x80 >> (position & 7));
  auto& byte = reinterpret_cast<unsigned char&>(bytes[position >> 3]);
  byte = static_cast<unsigned char>(value ? byte | mask : byte & ~mask);
}

// The unsigned number in the `width` (1 … 64) bits from `position` on, the first of them its highest.
uint64_t read_field(std::string_view bytes, uint64_t position, unsigned width);

// The other way round; the whole field must lie in the string. Higher bits of `value` are left out.
void write_field(char* bytes, uint64_t position, unsigned width, uint64_t value);

enum class BitOperation { band, bor, bxor, bnot };

// into[i] = into[i] OP other[i] for `size` bytes (not bnot: that one turns `into` round and reads nothing else).
void combine_bits(BitOperation operation, char* into, const char* other, size_t size);

}  // namespace predis
