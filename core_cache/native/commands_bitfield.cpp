// commands_bitfield.cpp: BITFIELD and BITFIELD_RO, which treat a string as an array of integers of any width.

#include <algorithm>
#include <optional>
#include <vector>

#include "arguments.h"
#include "bits.h"
#include "commands_bit.h"
#include "entries.h"
#include "notify.h"

namespace predis {
namespace {

using Wide = __int128;  // holds the sum of any two integers of 64 bits

enum class Overflow { wrap, sat, fail };

struct Field {
  bool is_signed = false;
  unsigned width = 0;  // bits
  uint64_t position = 0;

  Wide least() const { return is_signed ? -(Wide{1} << (width - 1)) : 0; }
  Wide most() const { return (Wide{1} << (is_signed ? width - 1 : width)) - 1; }

  // The integer that these bits stand for.
  int64_t value_of(uint64_t bits) const {
    if (!is_signed || width == 64) return static_cast<int64_t>(bits);
    const uint64_t sign = uint64_t{1} << (width - 1);
    return static_cast<int64_t>(((bits & ((sign << 1) - 1)) ^ sign) - sign);
  }
  int64_t read(std::string_view bytes) const { return value_of(read_field(bytes, position, width)); }
};

struct Operation {
  enum class Kind { get, set, incrby } kind;
  Field field;
  Overflow overflow;
  int64_t operand = 0;
};

struct Plan {
  std::vector<Operation> operations;
  bool writes = false;
  uint64_t last_written = 0;  // the highest bit that is written
};

bool type_or_reply(Context& ctx, std::string_view text, Field& field) {
  text = text.substr(0, text.find('\0'));
  int64_t width = 0;
  field.is_signed = text.starts_with('i');
  const bool valid = (field.is_signed || text.starts_with('u')) && parse_int64(text.substr(1), width) && width >= 1 &&
                     width <= (field.is_signed ? 64 : 63);
  field.width = static_cast<unsigned>(width);
  if (!valid) {
    ctx.reply.error("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.");
  }
  return valid;
}

bool overflow_or_reply(Context& ctx, std::string_view word, Overflow& overflow) {
  if (is_option(word, "wrap")) {
    overflow = Overflow::wrap;
  } else if (is_option(word, "sat")) {
    overflow = Overflow::sat;
  } else if (is_option(word, "fail")) {
    overflow = Overflow::fail;
  } else {
    ctx.reply.error("ERR Invalid OVERFLOW type specified");
    return false;
  }
  return true;
}

// Reads all of a command's operations before any is done; answers with an error and gives false for a wrong one.
bool plan_or_reply(Context& ctx, Plan& plan) {
  using Kind = Operation::Kind;
  const Args args = ctx.args;
  Overflow overflow = Overflow::wrap;
  for (size_t i = 2; i < args.size();) {
    const size_t more = args.size() - i - 1;
    if (is_option(args[i], "overflow") && more >= 1) {
      if (!overflow_or_reply(ctx, args[i + 1], overflow)) return false;
      i += 2;
      continue;
    }
    Operation operation{Kind::get, {}, overflow};
    if (is_option(args[i], "set") && more >= 3) {
      operation.kind = Kind::set;
    } else if (is_option(args[i], "incrby") && more >= 3) {
      operation.kind = Kind::incrby;
    } else if (!is_option(args[i], "get") || more < 2) {
      ctx.reply.error(errors::kSyntax);
      return false;
    }
    Field& field = operation.field;
    if (!type_or_reply(ctx, args[i + 1], field)) return false;
    if (!bit_position_or_reply(ctx, args[i + 2], field.width, field.position)) return false;
    i += 3;
    if (operation.kind != Kind::get) {
      plan.writes = true;
      plan.last_written = std::max(plan.last_written, field.position + field.width - 1);
      if (!int64_or_reply(ctx, args[i++], operation.operand)) return false;
    }
    plan.operations.push_back(operation);
  }
  return true;
}

// What is stored in place of a number that may be out of the field's range; none where the operation fails.
std::optional<int64_t> fitted(const Field& field, Wide number, Overflow overflow) {
  if (number >= field.least() && number <= field.most()) return static_cast<int64_t>(number);
  if (overflow == Overflow::fail) return std::nullopt;
  if (overflow == Overflow::wrap) {
    const auto bits = static_cast<uint64_t>(number);
    return field.value_of(field.width == 64 ? bits : bits & ((uint64_t{1} << field.width) - 1));
  }
  return static_cast<int64_t>(number < field.least() ? field.least() : field.most());
}

struct Outcome {
  bool written = false;  // some number was written, be it the one that stood there before
  bool changed = false;  // some number is another one now
};

// Does the operations on `bytes`, answering each.
Outcome apply(Context& ctx, const Plan& plan, char* bytes, size_t size) {
  using Kind = Operation::Kind;
  Outcome outcome;
  for (const Operation& operation : plan.operations) {
    const Field& field = operation.field;
    const int64_t old = field.read({bytes, size});
    if (operation.kind == Kind::get) {
      ctx.reply.integer(old);
      continue;
    }
    // A negative number to SET in an unsigned field is a huge one.
    const Wide number = operation.kind == Kind::incrby ? Wide{old} + operation.operand
                        : field.is_signed              ? Wide{operation.operand}
                                                       : Wide{static_cast<uint64_t>(operation.operand)};
    const std::optional<int64_t> fresh = fitted(field, number, operation.overflow);
    if (!fresh) {
      ctx.reply.null();
      continue;
    }
    write_field(bytes, field.position, field.width, static_cast<uint64_t>(*fresh));
    outcome.written = true;
    outcome.changed |= *fresh != old;
    ctx.reply.integer(operation.kind == Kind::set ? old : *fresh);
  }
  return outcome;
}

void read_only(Context& ctx, const Plan& plan) {
  const Entry* entry = find_to_read(ctx, ctx.args[1], ctx.key_hash);
  if (!is_type_or_reply(ctx, entry, Type::string)) return;
  const std::string_view value = entry != nullptr ? entry->value() : std::string_view();
  ctx.reply.array(plan.operations.size());
  for (const Operation& operation : plan.operations) ctx.reply.integer(operation.field.read(value));
}

}  // namespace

void bitfield_ro(Context& ctx) {
  Plan plan;
  if (!plan_or_reply(ctx, plan)) return;
  if (plan.writes) return ctx.reply.error("ERR BITFIELD_RO only supports the GET subcommand");
  read_only(ctx, plan);
}

void bitfield(Context& ctx) {
  Plan plan;
  if (!plan_or_reply(ctx, plan)) return;
  if (!plan.writes) return read_only(ctx, plan);
  Entry* old = ctx.store.find(ctx.args[1], ctx.key_hash);
  if (!is_type_or_reply(ctx, old, Type::string)) return;
  const std::string_view before = old != nullptr ? old->value() : std::string_view();
  const size_t size = std::max<size_t>(before.size(), (plan.last_written >> 3) + 1);
  Entry* fresh = ctx.store.prepare(ctx.args[1], size, Type::string, old);
  if (fresh == nullptr) return ctx.reply.error(errors::kOutOfMemory);
  char* bytes = fresh->value_data();
  std::copy(before.begin(), before.end(), bytes);
  std::memset(bytes + before.size(), 0, size - before.size());
  ctx.reply.array(plan.operations.size());
  const Outcome outcome = apply(ctx, plan, bytes, size);
  const bool longer = size != before.size();
  const bool changes = outcome.changed || longer;
  if (!changes && is_raw(*old)) {
    ctx.store.abandon(fresh);
    ctx.store.touch(old);
    return;
  }
  fresh->kind |= kFlagRaw;
  if (old != nullptr && old->expire_at() != 0) ctx.store.set_expire_at(fresh, ctx.key_hash, old->expire_at());
  ctx.store.commit(fresh, ctx.key_hash, old);
  // Where every operation failed, Redis has still lengthened the string, but tells nobody.
  if (changes && outcome.written) notify(ctx, kNotifyString, "setbit", ctx.args[1]);
}

}  // namespace predis
