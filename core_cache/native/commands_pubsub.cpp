// commands_pubsub.cpp
#include "command.h"

namespace predis {

std::span<CommandSpec> pubsub_commands() { return {}; }

}  // namespace predis
