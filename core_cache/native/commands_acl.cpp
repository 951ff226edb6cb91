// commands_acl.cpp
#include "command.h"

namespace predis {

std::span<CommandSpec> acl_commands() { return {}; }

}  // namespace predis
