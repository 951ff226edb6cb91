// acl_table.h: the commands and categories that access rules can name. All of Redis 7.0's commands are known to rules,
// those that this server lacks too, so that an ACL file of a Redis keeps its meaning here.
#pragma once

#include <bitset>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "command.h"

namespace predis {

constexpr size_t kAclSlots = 1024;
constexpr size_t kFutureCommands = kAclSlots - 1;  // set by +@all: commands that are not known yet are allowed as well
using CommandSet = std::bitset<kAclSlots>;

// A command or subcommand as rules see it.
struct AclCommand {
  std::string name;  // lower case; subcommands as "client|id"
  uint16_t id;       // CommandSpec::id where the server has the command
  uint32_t categories;
  bool subcommand;
  std::vector<const AclCommand*> subcommands;  // by name
};

struct AclCategory {
  std::string_view name;
  uint32_t bit;
  CommandSet members;
  CommandSet reach;  // what +@name allows: a container brings all its subcommands along
};

std::span<const AclCategory> acl_categories();                // in Redis' order
const AclCategory* find_acl_category(std::string_view name);  // any case
const AclCommand* find_acl_command(std::string_view name);    // any case, "client|id" too
std::span<const AclCommand* const> acl_top_commands();        // no subcommands; by name

}  // namespace predis
