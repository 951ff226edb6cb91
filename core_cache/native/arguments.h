// arguments.h: reading a command's arguments; what is wrong with one is answered with Redis' own error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "command.h"
#include "numbers.h"

namespace predis {

// Whether an argument is this option, in any case. `lower` is written in lower case.
inline bool is_option(std::string_view argument, std::string_view lower) {
  if (argument.size() != lower.size()) return false;
  for (size_t i = 0; i < lower.size(); ++i) {
    const char c = argument[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c) != lower[i]) return false;
  }
  return true;
}

// Reads an integer, or answers with an error and gives false.
inline bool int64_or_reply(Context& ctx, std::string_view argument, int64_t& out) {
  if (parse_int64(argument, out)) return true;
  ctx.reply.error(errors::kNotInteger);
  return false;
}

inline void reply_invalid_expire(Context& ctx, std::string_view command) {
  ctx.reply.error("ERR invalid expire time in '" + std::string(command) + "' command");
}

inline void reply_wrong_arity(Context& ctx, std::string_view command) {
  ctx.reply.error("ERR wrong number of arguments for '" + std::string(command) + "' command");
}

}  // namespace predis
