// commands_hash.cpp
#include "command.h"

namespace predis {

std::span<CommandSpec> hash_commands() { return {}; }

}  // namespace predis
