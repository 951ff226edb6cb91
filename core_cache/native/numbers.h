// numbers.h: numbers in values and arguments, read and written exactly as Redis does.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace predis {

// Reads a decimal 64-bit integer in its one canonical spelling: no spaces, no plus sign, no leading zeros, no "-0".
// False, with `out` untouched, for anything else and for what does not fit.
bool parse_int64(std::string_view text, int64_t& out);

// Whether Redis would store this string as an integer (OBJECT ENCODING "int").
inline bool is_canonical_int64(std::string_view text) {
  int64_t ignored;
  return parse_int64(text, ignored);
}

// Reads a floating-point number in any spelling of C's strtold (hexadecimal and "inf" included), but without spaces
// around it. False for NaN, for numbers that overflow or underflow to zero, and for 5,120 bytes and more.
bool parse_long_double(std::string_view text, long double& out);

// A decimal integer, kept in place: as many bytes as the longest one has.
class Int64Text {
 public:
  explicit Int64Text(int64_t value);
  std::string_view view() const { return {digits_.data(), size_}; }

 private:
  std::array<char, 20> digits_;
  size_t size_;
};

// "%.17Lf" without trailing zeros, and never "-0": how INCRBYFLOAT stores its result. The value must be finite.
std::string format_long_double(long double value);

// strtoul() on the whole text, which is how Redis reads SCAN's cursor: signs and the empty string are allowed.
bool parse_cursor(std::string_view text, uint64_t& out);

}  // namespace predis
