// commands_string.h: the string commands that compute the new value from the old one (commands_string_edit.cpp).
#pragma once

#include "command.h"

namespace predis {

void append(Context& ctx);
void setrange(Context& ctx);
void incr(Context& ctx);
void decr(Context& ctx);
void incrby(Context& ctx);
void decrby(Context& ctx);
void incrbyfloat(Context& ctx);

}  // namespace predis
