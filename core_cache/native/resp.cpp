#include "resp.h"

#include <climits>
#include <cstring>

namespace predis {

namespace {

enum class Line { ok, more, bad, too_long };

// A number as Redis reads it: no sign but '-', no leading zeros, nothing else.
bool strict_number(const char* at, const char* end, int64_t& value) {
  const bool negative = at < end && *at == '-';
  if (negative) ++at;
  if (at == end || end - at > 19) return false;
  if (*at == '0') {
    value = 0;
    return !negative && end - at == 1;
  }
  uint64_t sum = 0;
  for (; at < end; ++at) {
    const unsigned digit = static_cast<unsigned char>(*at) - '0';
    if (digit > 9) return false;
    sum = sum * 10 + digit;  // 19 digits fit
  }
  if (sum > static_cast<uint64_t>(INT64_MAX)) return false;
  value = negative ? -static_cast<int64_t>(sum) : static_cast<int64_t>(sum);
  return true;
}

// Reads "<number>\r\n" at [at, end), which stands behind the type's byte. ok: `at` is behind the line.
inline Line read_number(const char*& at, const char* end, int64_t& value) {
  // The usual case: a few digits and the line's end are there.
  const char* p = at;
  uint64_t sum = 0;
  while (p < end && static_cast<unsigned char>(*p - '0') < 10 && p - at < 10) {
    sum = sum * 10 + static_cast<uint64_t>(*p++ - '0');
  }
  if (end - p >= 2 && *p == '\r' && p != at && (*at != '0' || p == at + 1)) {
    value = static_cast<int64_t>(sum);
    at = p + 2;
    return Line::ok;
  }
  const void* found = end == at ? nullptr : std::memchr(at, '\r', static_cast<size_t>(end - at));
  if (found == nullptr) return static_cast<size_t>(end - at) >= kMaxInline ? Line::too_long : Line::more;
  const char* line_end = static_cast<const char*>(found);
  // As if the line had come byte by byte: the end of one that is too long is not waited for.
  if (static_cast<size_t>(line_end - at) >= kMaxInline) return Line::too_long;
  if (end - line_end < 2) return Line::more;
  if (!strict_number(at, line_end, value)) return Line::bad;
  at = line_end + 2;
  return Line::ok;
}

// The array's header behind '*'. count <= 0 is an empty command.
inline Parse read_count(const char*& at, const char* end, const ParseLimits& limits, int64_t& count,
                        std::string& problem) {
  switch (read_number(at, end, count)) {
    case Line::more:
      return Parse::incomplete;
    case Line::too_long:
      problem = "Protocol error: too big mbulk count string";
      return Parse::error;
    case Line::bad:
      problem = "Protocol error: invalid multibulk length";
      return Parse::error;
    case Line::ok:
      break;
  }
  if (__builtin_expect(count > INT_MAX, 0)) {
    problem = "Protocol error: invalid multibulk length";
    return Parse::error;
  }
  if (__builtin_expect(count > 10 && !limits.authenticated, 0)) {
    problem = "Protocol error: unauthenticated multibulk length";
    return Parse::error;
  }
  return Parse::complete;
}

// A bulk's header with its '$'.
inline Parse read_bulk_header(const char*& at, const char* end, const ParseLimits& limits, int64_t& length,
                              std::string& problem) {
  if (at == end) return Parse::incomplete;
  const char type = *at;
  const char* p = at + 1;
  Line line = Line::bad;
  if (__builtin_expect(type == '$', 1)) {
    line = read_number(p, end, length);
  } else {
    // Redis looks for the line's end first, which may be here already, and only then at the type.
    const void* found = std::memchr(at, '\r', static_cast<size_t>(end - at));
    const char* line_end = found == nullptr ? end : static_cast<const char*>(found);
    if (static_cast<size_t>(line_end - at) > kMaxInline) {
      line = Line::too_long;
    } else if (end - line_end < 2) {
      line = Line::more;
    } else {
      problem = "Protocol error: expected '$', got '";
      problem += type;
      problem += '\'';
      return Parse::error;
    }
  }
  if (line == Line::more) return Parse::incomplete;
  if (line == Line::too_long) {
    problem = "Protocol error: too big bulk count string";
    return Parse::error;
  }
  if (line == Line::bad || length < 0 || length > limits.max_bulk) {
    problem = "Protocol error: invalid bulk length";
    return Parse::error;
  }
  if (__builtin_expect(length > 16384 && !limits.authenticated, 0)) {
    problem = "Protocol error: unauthenticated bulk length";
    return Parse::error;
  }
  at = p;
  return Parse::complete;
}

Parse parse_inline(char*& at, char* end, std::vector<std::string_view>& args, std::string& problem) {
  void* found = std::memchr(at, '\n', static_cast<size_t>(end - at));
  const char* known_end = found == nullptr ? end : static_cast<char*>(found);
  if (static_cast<size_t>(known_end - at) > kMaxInline) {
    problem = "Protocol error: too big inline request";
    return Parse::error;
  }
  if (found == nullptr) return Parse::incomplete;
  char* line_end = static_cast<char*>(found);
  char* next = line_end + 1;
  if (line_end > at && line_end[-1] == '\r') --line_end;
  if (!split_inline(at, line_end, args)) {
    problem = "Protocol error: unbalanced quotes in request";
    return Parse::error;
  }
  at = next;
  return Parse::complete;
}

}  // namespace

Parse parse_command(char*& at, char* end, const ParseLimits& limits, std::vector<std::string_view>& args,
                    std::string& problem) {
  if (at == end) return Parse::incomplete;
  if (*at != '*') return parse_inline(at, end, args, problem);
  const char* p = at + 1;
  int64_t count;
  if (Parse result = read_count(p, end, limits, count, problem); result != Parse::complete) return result;
  const size_t before = args.size();
  for (int64_t i = 0; i < count; ++i) {
    int64_t length;
    Parse result = read_bulk_header(p, end, limits, length, problem);
    if (result == Parse::complete && end - p < length + 2) result = Parse::incomplete;
    if (__builtin_expect(result != Parse::complete, 0)) {
      args.resize(before);
      return result;
    }
    args.emplace_back(p, static_cast<size_t>(length));
    p += length + 2;
  }
  at = const_cast<char*>(p);
  return Parse::complete;
}

void PartialCommand::reset() {
  if (spans_.capacity() > 64) {
    std::vector<Span>().swap(spans_);
  } else {
    spans_.clear();
  }
  position_ = 0;
  left_ = 0;
  bulk_length_ = -1;
}

Parse PartialCommand::resume(char* base, size_t size, const ParseLimits& limits, std::vector<std::string_view>& args,
                             size_t& length, std::string& problem) {
  if (size == 0) return Parse::incomplete;
  if (base[0] != '*') {
    char* at = base;
    const Parse result = parse_inline(at, base + size, args, problem);
    length = static_cast<size_t>(at - base);
    if (result != Parse::incomplete) reset();
    return result;
  }
  const char* end = base + size;
  if (position_ == 0) {
    const char* p = base + 1;
    if (Parse result = read_count(p, end, limits, left_, problem); result != Parse::complete) return result;
    position_ = static_cast<size_t>(p - base);
  }
  while (left_ > 0) {
    if (bulk_length_ < 0) {
      const char* p = base + position_;
      int64_t announced;
      const Parse result = read_bulk_header(p, end, limits, announced, problem);
      if (result != Parse::complete) return result;
      position_ = static_cast<size_t>(p - base);
      bulk_length_ = announced;
    }
    const auto bulk = static_cast<size_t>(bulk_length_);
    if (size - position_ < bulk + 2) return Parse::incomplete;
    spans_.push_back({position_, bulk});
    position_ += bulk + 2;
    bulk_length_ = -1;
    --left_;
  }
  args.reserve(args.size() + spans_.size());
  for (const Span& span : spans_) args.emplace_back(base + span.offset, span.length);
  length = position_;
  reset();
  return Parse::complete;
}

namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool split_inline(char* at, char* end, std::vector<std::string_view>& args) {
  for (;;) {
    while (at < end && is_space(*at)) ++at;
    if (at == end) return true;
    char* const start = at;
    char* out = at;
    char quote = 0;
    for (;;) {
      if (at == end) {
        if (quote != 0) return false;
        break;
      }
      char c = *at;
      if (quote == '"') {
        if (c == '\\' && end - at >= 4 && at[1] == 'x' && hex_digit(at[2]) >= 0 && hex_digit(at[3]) >= 0) {
          *out++ = static_cast<char>(hex_digit(at[2]) * 16 + hex_digit(at[3]));
          at += 4;
          continue;
        }
        if (c == '\\' && end - at >= 2) {
          c = at[1];
          switch (c) {
            case 'n': c = '\n'; break;
            case 'r': c = '\r'; break;
            case 't': c = '\t'; break;
            case 'b': c = '\b'; break;
            case 'a': c = '\a'; break;
            default: break;
          }
          *out++ = c;
          at += 2;
          continue;
        }
      } else if (quote == '\'') {
        if (c == '\\' && end - at >= 2 && at[1] == '\'') {
          *out++ = '\'';
          at += 2;
          continue;
        }
      } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        break;  // \v and \f part words only where a word begins, as in Redis
      } else if (c == '"' || c == '\'') {
        quote = c;
        ++at;
        continue;
      }
      if (quote != 0 && c == quote) {
        // A closing quote ends the argument.
        if (at + 1 < end && !is_space(at[1])) return false;
        ++at;
        break;
      }
      *out++ = c;
      ++at;
    }
    args.emplace_back(start, static_cast<size_t>(out - start));
  }
}

}  // namespace predis
