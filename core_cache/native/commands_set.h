// commands_set.h: the set commands that combine several sets; commands_set.cpp has the table.
#pragma once

#include "commands_collection.h"

namespace predis {

// Redis keeps a set of integers only as an intset, up to set-max-intset-entries of them; what has once outgrown that stays
// a hash table.
inline bool is_intset_member(std::string_view member) { return is_canonical_int64(member); }

// Adds a member that is not there, for which begin() has found room.
void add_member(Context& ctx, Edit& edit, std::string_view member);

// Calls visit(member) for all members: those of an intset in ascending order.
template <typename Visit>
void each_member(const Collection& set, Visit&& visit) {
  set.each([&](const Record&, std::string_view member) { visit(member); });
}

// commands_set_algebra.cpp
void sinter(Context& ctx);
void sinterstore(Context& ctx);
void sintercard(Context& ctx);
void sunion(Context& ctx);
void sunionstore(Context& ctx);
void sdiff(Context& ctx);
void sdiffstore(Context& ctx);

}  // namespace predis
