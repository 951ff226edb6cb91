// command_keys.h: which arguments of a command are keys, and what the command does with each. COMMAND tells clients, and
// access rules ask before a command runs.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "command.h"

namespace predis {

// What a key pattern of an access rule may allow.
enum KeyAccess : uint8_t { kReadKey = 1, kWriteKey = 2, kAnyKey = kReadKey | kWriteKey };

// Where some of a command's keys stand, as COMMAND INFO prints it.
struct KeySpec {
  enum Find : uint8_t {
    range,    // from `begin` to `last`, every `step`-th; a negative `last` counts from the end, another from `begin`
    counted,  // at `begin` stands how many follow
    unknown,  // the arguments must be read to find them
  };
  std::string_view flags;  // space-separated, as Redis names them
  Find find = range;
  int begin = 1, last = 0, step = 1;
  std::string_view notes = {};
  uint8_t access = 0;     // KeyAccess that the flags stand for, found at start
  bool variable = false;  // the options decide, found at start
  bool channel = false;   // Redis' "not_key": what stands there is a channel; found at start
};

std::span<const KeySpec> key_specs(const CommandSpec& spec);

struct KeyArgument {
  uint32_t index;          // in the command
  uint8_t access;          // KeyAccess that touching it needs; 0: any will do
  std::string_view flags;  // as in COMMAND GETKEYSANDFLAGS
};

// Whether a command of this kind can have keys at all.
bool has_keys(const CommandSpec& spec);

// Appends the keys of a whole command in Redis' order. False, with nothing appended, when the arguments make no sense.
bool find_keys(const CommandSpec& spec, Args args, std::vector<KeyArgument>& found);

}  // namespace predis
