// text_hash.h: lets a hash table of strings be asked with a string_view, without making a string.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace predis {

struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

}  // namespace predis
