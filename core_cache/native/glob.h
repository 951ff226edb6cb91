// glob.h: Redis' glob-style patterns, as KEYS and SCAN MATCH have them.
//
//   *       any bytes, or none          [a-c]  one of these bytes; the ends may stand in either order
//   ?       any one byte                [^a]   one byte that is none of these
//   \x      the byte x, taken literally
//
// A class that is never closed ends with the pattern. An empty text is matched by the empty pattern alone: not even by
// "*" (KEYS and SCAN let "*" pass without asking here, as Redis does). Bytes compare as signed, since Redis' do.
//
// The match goes back to the last star only, which is enough: what stood before it has been matched at the earliest
// place possible. So the cost is at most pattern × text steps, and hostile patterns such as "*a*a*a*b" stay cheap.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>

namespace predis {

namespace glob_detail {

// Matches the class that starts at pattern[at], just behind '['. Moves `at` behind the class.
inline bool class_matches(std::string_view pattern, size_t& at, signed char c) {
  const auto byte = [&](size_t i) { return static_cast<signed char>(pattern[i]); };
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  bool found = false;
  for (; at < pattern.size() && pattern[at] != ']'; ++at) {
    const size_t left = pattern.size() - at;
    if (pattern[at] == '\\' && left >= 2) {
      ++at;
      found |= byte(at) == c;
    } else if (left >= 3 && pattern[at + 1] == '-') {
      signed char low = byte(at), high = byte(at + 2);
      if (low > high) std::swap(low, high);
      found |= low <= c && c <= high;
      at += 2;
    } else {
      found |= byte(at) == c;
    }
  }
  if (at < pattern.size()) ++at;  // the ']'
  return found != negated;
}

// Matches one byte against the element of the pattern at `at` (not a star). Moves `at` behind the element.
inline bool element_matches(std::string_view pattern, size_t& at, char c) {
  const char first = pattern[at++];
  if (first == '?') return true;
  if (first == '[') return class_matches(pattern, at, static_cast<signed char>(c));
  if (first == '\\' && at < pattern.size()) return pattern[at++] == c;
  return first == c;
}

}  // namespace glob_detail

inline bool glob_matches(std::string_view pattern, std::string_view text) {
  if (text.empty()) return pattern.empty();
  constexpr size_t kNone = static_cast<size_t>(-1);
  size_t p = 0, t = 0;
  size_t star = kNone, star_text = 0;  // behind the last star; where the text went on when it was met
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = ++p;
      star_text = t;
      if (star == pattern.size()) return true;
      continue;
    }
    if (p < pattern.size() && glob_detail::element_matches(pattern, p, text[t])) {
      ++t;
    } else if (star != kNone) {
      p = star;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace predis
