// commands_bit.h: the handlers of bit commands that stand in another file than their table, and what they share.
#pragma once

#include <cstdint>
#include <string_view>

#include "entries.h"

namespace predis {

void bitfield(Context&);     // commands_bitfield.cpp
void bitfield_ro(Context&);  // commands_bitfield.cpp
void lcs(Context&);          // commands_lcs.cpp

// Reads the number of a bit, which must lie in a string of proto-max-bulk-len bytes; answers with an error and gives
// false for any other. "#n" means the n-th field of `width` bits where that is not 0.
bool bit_position_or_reply(Context& ctx, std::string_view argument, unsigned width, uint64_t& position);

// Whether OBJECT ENCODING says "raw" already. Redis turns every string that a bit command is about to write into that,
// also where no bit changes in the end; here that takes a new entry, as the flag is under the entry's checksum.
inline bool is_raw(const Entry& entry) { return (entry.kind & kFlagRaw) != 0 || entry.value_len > kLongestEmbstr; }

}  // namespace predis
