#include "reply.h"

#include <charconv>
#include <cmath>

namespace predis {

namespace {

// "00" … "99", two digits at a time.
struct Pairs {
  char text[200];
  constexpr Pairs() : text() {
    for (int i = 0; i < 100; ++i) {
      text[2 * i] = static_cast<char>('0' + i / 10);
      text[2 * i + 1] = static_cast<char>('0' + i % 10);
    }
  }
};
constexpr Pairs kPairs;

}  // namespace

char* write_decimal(char* out, uint64_t value) {
  if (value < 10) {
    *out = static_cast<char>('0' + value);
    return out + 1;
  }
  if (value < 100) {
    std::memcpy(out, kPairs.text + 2 * value, 2);
    return out + 2;
  }
  char digits[20];
  char* at = digits + sizeof digits;
  while (value >= 100) {
    at -= 2;
    std::memcpy(at, kPairs.text + 2 * (value % 100), 2);
    value /= 100;
  }
  if (value >= 10) {
    at -= 2;
    std::memcpy(at, kPairs.text + 2 * value, 2);
  } else {
    *--at = static_cast<char>('0' + value);
  }
  const size_t length = static_cast<size_t>(digits + sizeof digits - at);
  std::memcpy(out, at, length);
  return out + length;
}

void Reply::number(char type, int64_t value) {
  char* start = buffer.room(24);
  char* p = start;
  *p++ = type;
  uint64_t magnitude = static_cast<uint64_t>(value);
  if (value < 0) {
    *p++ = '-';
    magnitude = 0 - magnitude;
  }
  p = write_decimal(p, magnitude);
  *p++ = '\r';
  *p++ = '\n';
  buffer.advance(static_cast<size_t>(p - start));
}

void Reply::bulk(std::string_view value) {
  char* start = buffer.room(value.size() + 28);
  char* p = start;
  *p++ = '$';
  p = write_decimal(p, value.size());
  *p++ = '\r';
  *p++ = '\n';
  if (!value.empty()) std::memcpy(p, value.data(), value.size());
  p += value.size();
  *p++ = '\r';
  *p++ = '\n';
  buffer.advance(static_cast<size_t>(p - start));
}

void Reply::error(std::string_view text) {
  failed = true;
  error_code.assign(text.substr(0, text.find(' ')));
  buffer.push_back('-');
  for (char c : text) buffer.push_back(c == '\r' || c == '\n' ? ' ' : c);
  buffer.append("\r\n");
}

void Reply::null_array() { buffer.append(protocol == 3 ? "_\r\n" : "*-1\r\n"); }

void Reply::boolean(bool value) {
  if (protocol == 3) {
    buffer.append(value ? "#t\r\n" : "#f\r\n");
  } else {
    integer(value ? 1 : 0);
  }
}

void Reply::dbl(double value) {
  char text[64];
  std::string_view view;
  if (std::isnan(value)) {
    view = "nan";
  } else if (std::isinf(value)) {
    view = value > 0 ? "inf" : "-inf";
  } else {
    // Redis prints doubles with 17 significant digits.
    auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::general, 17).ptr;
    view = {text, static_cast<size_t>(end - text)};
  }
  if (protocol == 3) {
    buffer.push_back(',');
    buffer.append(view);
    buffer.append("\r\n");
  } else {
    bulk(view);
  }
}

void Reply::verbatim(std::string_view format, std::string_view text) {
  if (protocol != 3) return bulk(text);
  number('=', static_cast<int64_t>(text.size() + 4));
  buffer.append(format.substr(0, 3));
  buffer.push_back(':');
  buffer.append(text);
  buffer.append("\r\n");
}

}  // namespace predis
