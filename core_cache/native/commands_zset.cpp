// commands_zset.cpp
#include "command.h"

namespace predis {

std::span<CommandSpec> zset_commands() { return {}; }

}  // namespace predis
