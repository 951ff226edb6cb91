// commands_key.h: the commands on keys of any type that live in files of their own; commands_key.cpp has the table.
#pragma once

#include "command.h"

namespace predis {

// commands_expire.cpp
void expire(Context& ctx);
void pexpire(Context& ctx);
void expireat(Context& ctx);
void pexpireat(Context& ctx);
void ttl(Context& ctx);
void pttl(Context& ctx);
void expiretime(Context& ctx);
void pexpiretime(Context& ctx);
void persist(Context& ctx);

// commands_scan.cpp
void keys(Context& ctx);
void scan(Context& ctx);
void randomkey(Context& ctx);

}  // namespace predis
