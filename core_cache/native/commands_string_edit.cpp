// commands_string_edit.cpp: APPEND, SETRANGE and the counters. All keep the key's expiry.

#include <climits>
#include <cmath>

#include "arguments.h"
#include "commands_string.h"
#include "engine.h"
#include "entries.h"

namespace predis {
namespace {

bool fits_or_reply(Context& ctx, int64_t size, size_t more) {
  const int64_t most = ctx.engine.config().max_bulk;
  if (size <= most && static_cast<int64_t>(more) <= most - size) return true;
  ctx.reply.error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
  return false;
}

uint64_t expiry_of(const Entry* entry) { return entry != nullptr ? entry->expire_at() : 0; }

void add_to_integer(Context& ctx, int64_t increment) {
  Entry* old = ctx.store.find(ctx.args[1], ctx.key_hash);
  if (!is_type_or_reply(ctx, old, Type::string)) return;
  int64_t value = 0;
  if (old != nullptr && !int64_or_reply(ctx, old->value(), value)) return;
  if (__builtin_add_overflow(value, increment, &value)) {
    return ctx.reply.error("ERR increment or decrement would overflow");
  }
  const Int64Text text(value);
  const Attributes attributes{.expire_at = expiry_of(old)};
  if (!store_value(ctx, ctx.args[1], ctx.key_hash, old, text.view(), attributes)) return;
  notify(ctx, kNotifyString, "incrby", ctx.args[1]);
  ctx.reply.integer(value);
}

}  // namespace

void append(Context& ctx) {
  const std::string_view added = ctx.args[2];
  Entry* old = ctx.store.find(ctx.args[1], ctx.key_hash);
  if (!is_type_or_reply(ctx, old, Type::string)) return;
  const std::string_view before = old != nullptr ? old->value() : std::string_view();
  const size_t size = before.size() + added.size();
  if (!fits_or_reply(ctx, static_cast<int64_t>(before.size()), added.size())) return;
  const Attributes attributes{.expire_at = expiry_of(old), .encoding = old != nullptr ? kFlagRaw : uint8_t{0}};
  const bool stored = store_value(ctx, ctx.args[1], ctx.key_hash, old, size, attributes, [&](char* out) {
    std::copy(before.begin(), before.end(), out);
    std::copy(added.begin(), added.end(), out + before.size());
  });
  if (!stored) return;
  notify(ctx, kNotifyString, "append", ctx.args[1]);
  ctx.reply.integer(static_cast<int64_t>(size));
}

void setrange(Context& ctx) {
  int64_t offset;
  if (!int64_or_reply(ctx, ctx.args[2], offset)) return;
  if (offset < 0) return ctx.reply.error("ERR offset is out of range");
  const std::string_view part = ctx.args[3];
  Entry* old = ctx.store.find(ctx.args[1], ctx.key_hash);
  if (!is_type_or_reply(ctx, old, Type::string)) return;
  const std::string_view before = old != nullptr ? old->value() : std::string_view();
  if (part.empty()) return ctx.reply.integer(static_cast<int64_t>(before.size()));
  if (!fits_or_reply(ctx, offset, part.size())) return;
  const size_t start = static_cast<size_t>(offset), end = start + part.size();
  const size_t size = std::max(before.size(), end);
  const Attributes attributes{.expire_at = expiry_of(old), .encoding = kFlagRaw};
  const bool stored = store_value(ctx, ctx.args[1], ctx.key_hash, old, size, attributes, [&](char* out) {
    std::copy_n(before.begin(), std::min(before.size(), start), out);
    if (start > before.size()) std::memset(out + before.size(), 0, start - before.size());
    std::copy(part.begin(), part.end(), out + start);
    if (before.size() > end) std::copy(before.begin() + static_cast<ptrdiff_t>(end), before.end(), out + end);
  });
  if (!stored) return;
  notify(ctx, kNotifyString, "setrange", ctx.args[1]);
  ctx.reply.integer(static_cast<int64_t>(size));
}

void incr(Context& ctx) { add_to_integer(ctx, 1); }
void decr(Context& ctx) { add_to_integer(ctx, -1); }

void incrby(Context& ctx) {
  int64_t increment;
  if (int64_or_reply(ctx, ctx.args[2], increment)) add_to_integer(ctx, increment);
}

void decrby(Context& ctx) {
  int64_t decrement;
  if (!int64_or_reply(ctx, ctx.args[2], decrement)) return;
  if (decrement == LLONG_MIN) return ctx.reply.error("ERR decrement would overflow");
  add_to_integer(ctx, -decrement);
}

void incrbyfloat(Context& ctx) {
  Entry* old = ctx.store.find(ctx.args[1], ctx.key_hash);
  if (!is_type_or_reply(ctx, old, Type::string)) return;
  long double value = 0, increment = 0;
  if ((old != nullptr && !parse_long_double(old->value(), value)) || !parse_long_double(ctx.args[2], increment)) {
    return ctx.reply.error(errors::kNotFloat);
  }
  value += increment;
  if (std::isnan(value) || std::isinf(value)) return ctx.reply.error("ERR increment would produce NaN or Infinity");
  const std::string text = format_long_double(value);
  const Attributes attributes{.expire_at = expiry_of(old), .encoding = kFlagEmbstr};
  if (!store_value(ctx, ctx.args[1], ctx.key_hash, old, text, attributes)) return;
  notify(ctx, kNotifyString, "incrbyfloat", ctx.args[1]);
  ctx.reply.bulk(text);
}

}  // namespace predis
