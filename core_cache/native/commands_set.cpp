// commands_set.cpp
#include "command.h"

namespace predis {

std::span<CommandSpec> set_commands() { return {}; }

}  // namespace predis
