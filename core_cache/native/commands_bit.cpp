// commands_bit.cpp: SETBIT, GETBIT, BITCOUNT, BITPOS and BITOP, and the table of all commands on bits.
//
// As with all strings, a changed value is written anew beside the old one: a SETBIT costs as much as its string is
// long.

#include "commands_bit.h"

#include <algorithm>
#include <string>
#include <vector>

#include "arguments.h"
#include "bits.h"
#include "engine.h"
#include "entries.h"
#include "notify.h"

namespace predis {

bool bit_position_or_reply(Context& ctx, std::string_view argument, unsigned width, uint64_t& position) {
  const bool in_fields = width != 0 && argument.starts_with('#');
  int64_t number;
  const bool valid = parse_int64(argument.substr(in_fields), number);
  // Redis' multiplication wraps round, so a product over 2^64 is a valid position again.
  if (valid && in_fields) number = static_cast<int64_t>(static_cast<uint64_t>(number) * width);
  if (!valid || number < 0 || (number >> 3) >= ctx.engine.config().max_bulk) {
    ctx.reply.error("ERR bit offset is not an integer or out of range");
    return false;
  }
  position = static_cast<uint64_t>(number);
  return true;
}

namespace {

// --- SETBIT and GETBIT

void setbit(Context& ctx) {
  uint64_t position;
  int64_t bit;
  if (!bit_position_or_reply(ctx, ctx.args[2], 0, position)) return;
  if (!parse_int64(ctx.args[3], bit) || (bit & ~int64_t{1}) != 0) {
    return ctx.reply.error("ERR bit is not an integer or out of range");
  }
  Entry* old = ctx.store.find(ctx.args[1], ctx.key_hash);
  if (!is_type_or_reply(ctx, old, Type::string)) return;
  const std::string_view before = old != nullptr ? old->value() : std::string_view();
  const bool was = bit_at(before, position), is = bit != 0;
  const size_t size = std::max<size_t>(before.size(), (position >> 3) + 1);
  const bool changes = size != before.size() || was != is;
  if (!changes && is_raw(*old)) {
    ctx.store.touch(old);
    return ctx.reply.integer(was);
  }
  const Attributes attributes{.expire_at = old != nullptr ? old->expire_at() : 0, .encoding = kFlagRaw};
  const bool stored = store_value(ctx, ctx.args[1], ctx.key_hash, old, size, attributes, [&](char* out) {
    std::copy(before.begin(), before.end(), out);
    std::memset(out + before.size(), 0, size - before.size());
    set_bit(out, position, is);
  });
  if (!stored) return;
  if (changes) notify(ctx, kNotifyString, "setbit", ctx.args[1]);
  ctx.reply.integer(was);
}

void getbit(Context& ctx) {
  uint64_t position;
  if (!bit_position_or_reply(ctx, ctx.args[2], 0, position)) return;
  const Entry* entry = find_to_read(ctx, ctx.args[1], ctx.key_hash);
  if (!is_type_or_reply(ctx, entry, Type::string)) return;
  ctx.reply.integer(entry != nullptr && bit_at(entry->value(), position));
}

// --- BITCOUNT and BITPOS

struct Range {
  int64_t first = 0, last = 0;  // bits, in the string unless it is empty
  bool empty() const { return first > last; }
};

// BYTE or BIT, or answers with an error and gives false.
bool unit_or_reply(Context& ctx, std::string_view word, bool& in_bits) {
  in_bits = is_option(word, "bit");
  if (in_bits || is_option(word, "byte")) return true;
  ctx.reply.error(errors::kSyntax);
  return false;
}

// What a first and a last byte or bit mean in a string of `size` bytes: from its end where they are negative.
Range resolve(int64_t first, int64_t last, bool in_bits, size_t size) {
  const int64_t length = static_cast<int64_t>(in_bits ? size * 8 : size);
  if (first < 0) first = std::max<int64_t>(first + length, 0);
  if (last < 0) last = std::max<int64_t>(last + length, 0);
  last = std::min(last, length - 1);
  if (first > last) return {1, 0};
  return in_bits ? Range{first, last} : Range{first * 8, last * 8 + 7};
}

Range whole(size_t size) { return {0, static_cast<int64_t>(size) * 8 - 1}; }

void bitcount(Context& ctx) {
  const Entry* entry = find_to_read(ctx, ctx.args[1], ctx.key_hash);
  if (!is_type_or_reply(ctx, entry, Type::string)) return;
  if (entry == nullptr) return ctx.reply.integer(0);  // whatever the other arguments are
  const std::string_view value = entry->value();
  const size_t count = ctx.args.size();
  Range range = whole(value.size());
  if (count == 4 || count == 5) {
    int64_t first, last;
    bool in_bits = false;
    if (!int64_or_reply(ctx, ctx.args[2], first) || !int64_or_reply(ctx, ctx.args[3], last)) return;
    if (first < 0 && last < 0 && first > last) return ctx.reply.integer(0);  // even where the unit is none
    if (count == 5 && !unit_or_reply(ctx, ctx.args[4], in_bits)) return;
    range = resolve(first, last, in_bits, value.size());
  } else if (count != 2) {
    return ctx.reply.error(errors::kSyntax);
  }
  if (range.empty()) return ctx.reply.integer(0);
  ctx.reply.integer(static_cast<int64_t>(
      count_bits(value, static_cast<uint64_t>(range.first), static_cast<uint64_t>(range.last))));
}

void bitpos(Context& ctx) {
  int64_t bit;
  if (!int64_or_reply(ctx, ctx.args[2], bit)) return;
  if (bit != 0 && bit != 1) return ctx.reply.error("ERR The bit argument must be 1 or 0.");
  const Entry* entry = find_to_read(ctx, ctx.args[1], ctx.key_hash);
  if (!is_type_or_reply(ctx, entry, Type::string)) return;
  if (entry == nullptr) return ctx.reply.integer(bit == 1 ? -1 : 0);
  const std::string_view value = entry->value();
  const size_t count = ctx.args.size();
  const bool has_end = count >= 5;
  Range range = whole(value.size());
  if (count >= 4 && count <= 6) {
    int64_t first, last = -1;
    bool in_bits = false;
    if (!int64_or_reply(ctx, ctx.args[3], first)) return;
    if (count == 6 && !unit_or_reply(ctx, ctx.args[5], in_bits)) return;
    if (has_end && !int64_or_reply(ctx, ctx.args[4], last)) return;
    range = resolve(first, last, in_bits, value.size());
  } else if (count != 3) {
    return ctx.reply.error(errors::kSyntax);
  }
  if (range.empty()) return ctx.reply.integer(-1);
  const uint64_t last = static_cast<uint64_t>(range.last);
  const uint64_t found = find_bit(value, bit == 1, static_cast<uint64_t>(range.first), last);
  // A string without an end that was asked for goes on in zeros.
  ctx.reply.integer(found > last && (bit == 1 || has_end) ? -1 : static_cast<int64_t>(found));
}

// --- BITOP

bool operation_or_reply(Context& ctx, BitOperation& operation) {
  static constexpr std::pair<std::string_view, BitOperation> kNames[] = {
      {"and", BitOperation::band}, {"or", BitOperation::bor}, {"xor", BitOperation::bxor}, {"not", BitOperation::bnot}};
  for (const auto& [name, value] : kNames) {
    if (!is_option(ctx.args[1], name)) continue;
    operation = value;
    if (value != BitOperation::bnot || ctx.args.size() == 4) return true;
    ctx.reply.error("ERR BITOP NOT must be called with a single source key.");
    return false;
  }
  ctx.reply.error(errors::kSyntax);
  return false;
}

// The values of args[3 …]. Looked up twice: the first time may erase expired keys, and then no pointer holds any more.
bool sources_or_reply(Context& ctx, std::vector<std::string_view>& values) {
  const Args keys = ctx.args.subspan(3);
  std::vector<uint64_t> hashes;
  for (std::string_view key : keys) {
    hashes.push_back(ctx.store.hash(key));
    if (!is_type_or_reply(ctx, find_to_read(ctx, key, hashes.back()), Type::string)) return false;
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    const Entry* entry = ctx.store.find(keys[i], hashes[i]);
    values.push_back(entry != nullptr ? entry->value() : std::string_view());
  }
  return true;
}

// Shorter sources count as filled up with zeros.
std::string combined(BitOperation operation, const std::vector<std::string_view>& sources, size_t size) {
  std::string result(size, '\0');
  std::copy(sources[0].begin(), sources[0].end(), result.begin());
  if (operation == BitOperation::bnot) combine_bits(operation, result.data(), nullptr, size);
  for (std::string_view source : std::span(sources).subspan(1)) {
    combine_bits(operation, result.data(), source.data(), source.size());
    if (operation == BitOperation::band) std::memset(result.data() + source.size(), 0, size - source.size());
  }
  return result;
}

void bitop(Context& ctx) {
  BitOperation operation;
  std::vector<std::string_view> sources;
  if (!operation_or_reply(ctx, operation) || !sources_or_reply(ctx, sources)) return;
  size_t size = 0;
  for (std::string_view source : sources) size = std::max(size, source.size());
  const std::string_view target = ctx.args[2];
  if (size != 0) {
    const std::string result = combined(operation, sources, size);  // storing may evict or move the sources
    Entry* old = ctx.store.find(target, ctx.key_hash);
    if (!store_value(ctx, target, ctx.key_hash, old, result, {.encoding = kFlagRaw})) return;
    notify(ctx, kNotifyString, "set", target);
  } else if (Entry* old = ctx.store.find(target, ctx.key_hash)) {
    ctx.store.erase(old, ctx.key_hash);
    notify(ctx, kNotifyGeneric, "del", target);
  }
  ctx.reply.integer(static_cast<int64_t>(size));
}

constexpr std::string_view kReadFast = "read bitmap fast", kReadSlow = "read bitmap slow";
constexpr std::string_view kWriteSlow = "write bitmap slow";
constexpr std::string_view kCopies = "O(N) where N is the length of the string, which is written anew.";
constexpr std::string_view kPerByte = "O(N) where N is the length of the string.";

CommandSpec table[] = {
    {"setbit", 4, kWrite | kDenyOom, 1, 1, 1, "bitmap", "2.2.0", kCopies,
     "Sets or clears a bit and gives the one before.", kWriteSlow, setbit},
    {"getbit", 3, kReadonly | kFast, 1, 1, 1, "bitmap", "2.2.0", "O(1)", "Gives a bit.", kReadFast, getbit},
    {"bitcount", -2, kReadonly, 1, 1, 1, "bitmap", "2.6.0", kPerByte, "Counts the bits that are set.", kReadSlow,
     bitcount},
    {"bitpos", -3, kReadonly, 1, 1, 1, "bitmap", "2.8.7", kPerByte, "Finds the first bit that is set, or that is not.",
     kReadSlow, bitpos},
    {"bitop", -4, kWrite | kDenyOom, 2, -1, 1, "bitmap", "2.6.0", "O(N) where N is the length of the longest string.",
     "Combines strings bit by bit and stores the result.", kWriteSlow, bitop},
    {"bitfield", -2, kWrite | kDenyOom, 1, 1, 1, "bitmap", "3.2.0", kCopies,
     "Reads, sets and counts up integers of any width in a string.", kWriteSlow, bitfield},
    {"bitfield_ro", -2, kReadonly | kFast, 1, 1, 1, "bitmap", "6.0.0", "O(1) for each integer.",
     "Reads integers of any width from a string.", kReadFast, bitfield_ro},
    {"lcs", -3, kReadonly, 1, 2, 1, "string", "7.0.0", "O(N*M) where N and M are the lengths of the strings.",
     "Finds the longest common subsequence of two strings.", "read string slow", lcs},
};

}  // namespace

std::span<CommandSpec> bit_commands() { return table; }

}  // namespace predis
