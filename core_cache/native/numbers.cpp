#include "numbers.h"

#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace predis {
namespace {

constexpr size_t kLongDoubleChars = 5 * 1024;  // Redis' MAX_LONG_DOUBLE_CHARS: room for any finite one, written out

}  // namespace

bool parse_int64(std::string_view text, int64_t& out) {
  if (text.empty() || text.size() > 20) return false;
  const bool negative = text[0] == '-';
  const std::string_view digits = text.substr(negative);
  if (digits.empty() || digits.size() > 19) return false;
  if (digits[0] == '0') {
    if (text.size() != 1) return false;
    out = 0;
    return true;
  }
  uint64_t magnitude = 0;  // 19 digits stay below 2^64
  for (const char c : digits) {
    const unsigned digit = static_cast<unsigned char>(c) - unsigned{'0'};
    if (digit > 9) return false;
    magnitude = magnitude * 10 + digit;
  }
  if (magnitude > static_cast<uint64_t>(INT64_MAX) + negative) return false;
  out = static_cast<int64_t>(negative ? 0 - magnitude : magnitude);
  return true;
}

bool parse_long_double(std::string_view text, long double& out) {
  if (text.empty() || text.size() >= kLongDoubleChars) return false;
  char buffer[kLongDoubleChars];
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  if (std::isspace(static_cast<unsigned char>(buffer[0]))) return false;
  char* end = nullptr;
  errno = 0;
  const long double value = std::strtold(buffer, &end);
  if (end != buffer + text.size() || std::isnan(value)) return false;
  if (errno == ERANGE && (std::isinf(value) || value == 0)) return false;
  out = value;
  return true;
}

Int64Text::Int64Text(int64_t value) {
  const auto done = std::to_chars(digits_.data(), digits_.data() + digits_.size(), value);
  size_ = static_cast<size_t>(done.ptr - digits_.data());
}

std::string format_long_double(long double value) {
  char buffer[kLongDoubleChars];
  const int length = std::snprintf(buffer, sizeof buffer, "%.17Lf", value);
  std::string_view text(buffer, static_cast<size_t>(length));
  text = text.substr(0, text.find_last_not_of('0') + 1);  // there is always a '.', so this cuts decimals only
  if (text.back() == '.') text.remove_suffix(1);
  return text == "-0" ? "0" : std::string(text);
}

bool parse_cursor(std::string_view text, uint64_t& out) {
  const std::string terminated(text);
  if (std::isspace(static_cast<unsigned char>(terminated.c_str()[0]))) return false;
  char* end = nullptr;
  errno = 0;
  const unsigned long value = std::strtoul(terminated.c_str(), &end, 10);
  if (*end != '\0' || errno == ERANGE) return false;
  out = value;
  return true;
}

}  // namespace predis
