// words.h: small helpers for reading arguments.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace predis {

inline char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

// Whether `text` is `word` (given in lower case), in any case.
inline bool is_word(std::string_view text, std::string_view word) {
  if (text.size() != word.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (to_lower(text[i]) != word[i]) return false;
  }
  return true;
}

// Whether `name` is one of the space-separated `names`.
inline bool lists(std::string_view names, std::string_view name) {
  for (size_t at = 0; at < names.size();) {
    const size_t space = names.find(' ', at), end = space < names.size() ? space : names.size();
    if (names.substr(at, end - at) == name) return true;
    at = end + 1;
  }
  return false;
}

inline std::string concat(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (std::string_view part : parts) out += part;
  return out;
}

inline std::string lowered(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = to_lower(c);
  return out;
}

}  // namespace predis
