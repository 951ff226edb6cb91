// sha256.h: SHA-256 (FIPS 180-4), for passwords. Small rather than fast: nothing hashes more than a login's password.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace predis {

class Sha256 {
 public:
  Sha256();
  ~Sha256();  // leaves nothing of the text in memory
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::string_view text);
  std::array<uint8_t, 32> finish();  // once

 private:
  void block(const uint8_t* bytes);

  std::array<uint32_t, 8> state_;
  std::array<uint8_t, 64> pending_;
  uint64_t length_ = 0;  // bytes so far
};

constexpr size_t kSha256Hex = 64;

// 64 lower-case hexadecimal digits.
std::string sha256_hex(std::string_view text);

// Takes as long wherever the two differ. They must be of the same length.
bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace predis
