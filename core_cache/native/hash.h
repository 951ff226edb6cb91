// hash.h: keyed 64-bit hash of a key: 128-bit multiplications folded to 64 bits, 16 bytes a step, in the manner of
// wyhash (Wang Yi, 2019). The seed is random per arena, so that nobody can prepare keys that collide.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace predis {

inline uint64_t fold_multiply(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t load64(const char* p) {
  uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}

inline uint64_t load32(const char* p) {
  uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}

inline uint64_t hash_bytes(std::string_view key, uint64_t seed0, uint64_t seed1) {
  constexpr uint64_t k0 = 0x9e3779b97f4a7c15, k1 = 0xd1b54a32d192ed03;
  const char* p = key.data();
  size_t n = key.size();
  uint64_t h = seed0 ^ fold_multiply(n ^ k0, seed1 ^ k1);
  while (n > 16) {
    h = fold_multiply(load64(p) ^ h, load64(p + 8) ^ k1);
    p += 16;
    n -= 16;
  }
  uint64_t a = 0, b = 0;
  if (n >= 8) {  // two reads that overlap cover 8 to 16 bytes
    a = load64(p);
    b = load64(p + n - 8);
  } else if (n >= 4) {
    a = load32(p);
    b = load32(p + n - 4);
  } else if (n > 0) {
    a = static_cast<uint8_t>(p[0]) | static_cast<uint64_t>(static_cast<uint8_t>(p[n / 2])) << 8 |
        static_cast<uint64_t>(static_cast<uint8_t>(p[n - 1])) << 16;
  }
  return fold_multiply(fold_multiply(a ^ h, b ^ seed1) ^ k0, h ^ k1);
}

}  // namespace predis
