// commands_bit.cpp
#include "command.h"

namespace predis {

std::span<CommandSpec> bit_commands() { return {}; }

}  // namespace predis
