// commands_transaction.cpp
#include "command.h"

namespace predis {

std::span<CommandSpec> transaction_commands() { return {}; }

}  // namespace predis
