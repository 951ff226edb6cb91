// commands_expire.cpp: setting, reading and removing a key's expiry.

#include <climits>

#include "arguments.h"
#include "commands_key.h"
#include "entries.h"

namespace predis {
namespace {

struct Conditions {
  bool nx = false, xx = false, gt = false, lt = false;
};

bool conditions_or_reply(Context& ctx, Conditions& when) {
  for (const std::string_view argument : ctx.args.subspan(3)) {
    if (is_option(argument, "nx")) {
      when.nx = true;
    } else if (is_option(argument, "xx")) {
      when.xx = true;
    } else if (is_option(argument, "gt")) {
      when.gt = true;
    } else if (is_option(argument, "lt")) {
      when.lt = true;
    } else {
      // Redis prints the option as a C string, so it ends at a zero byte.
      ctx.reply.error("ERR Unsupported option " + std::string(argument.substr(0, argument.find('\0'))));
      return false;
    }
  }
  if (when.nx && (when.xx || when.gt || when.lt)) {
    ctx.reply.error("ERR NX and XX, GT or LT options at the same time are not compatible");
    return false;
  }
  if (when.gt && when.lt) {
    ctx.reply.error("ERR GT and LT options at the same time are not compatible");
    return false;
  }
  return true;
}

// Whether a key with the expiry `current` (0: never, which counts as later than any) may get `unix_ms`.
bool allowed(const Conditions& when, int64_t current, int64_t unix_ms) {
  if (when.nx && current != 0) return false;
  if (when.xx && current == 0) return false;
  if (when.gt && (current == 0 || unix_ms <= current)) return false;
  if (when.lt && current != 0 && unix_ms >= current) return false;
  return true;
}

// EXPIRE and its kin: the time is in seconds or milliseconds, from now on or as Unix time. It may be negative; a key
// whose time has come is deleted at once.
void expire_generic(Context& ctx, std::string_view command, bool seconds, bool absolute) {
  Conditions conditions;
  if (!conditions_or_reply(ctx, conditions)) return;
  const int64_t now = static_cast<int64_t>(ctx.store.now_ms());
  int64_t unix_ms;
  if (!int64_or_reply(ctx, ctx.args[2], unix_ms)) return;
  if ((seconds && __builtin_mul_overflow(unix_ms, 1000, &unix_ms)) ||
      (!absolute && __builtin_add_overflow(unix_ms, now, &unix_ms))) {
    return reply_invalid_expire(ctx, command);
  }
  Entry* entry = ctx.store.find(ctx.args[1], ctx.key_hash);
  if (entry != nullptr) ctx.store.touch(entry);
  if (entry == nullptr || !allowed(conditions, static_cast<int64_t>(entry->expire_at()), unix_ms)) {
    return ctx.reply.integer(0);
  }
  if (unix_ms <= now) {
    ctx.store.erase(entry, ctx.key_hash);
    notify(ctx, kNotifyGeneric, "del", ctx.args[1]);
  } else {
    ctx.store.set_expire_at(entry, ctx.key_hash, storable_expiry(unix_ms));
    notify(ctx, kNotifyGeneric, "expire", ctx.args[1]);
  }
  ctx.reply.integer(1);
}

void time_generic(Context& ctx, bool seconds, bool absolute) {
  const Entry* entry = find_to_read(ctx, ctx.args[1], ctx.key_hash, Touch::no);
  if (entry == nullptr) return ctx.reply.integer(-2);
  const int64_t expire_at = static_cast<int64_t>(entry->expire_at());
  if (expire_at == 0) return ctx.reply.integer(-1);
  const int64_t now = static_cast<int64_t>(ctx.store.now_ms());
  const int64_t time = absolute ? expire_at : std::max<int64_t>(expire_at - now, 0);
  ctx.reply.integer(seconds ? (time + 500) / 1000 : time);
}

}  // namespace

void expire(Context& ctx) { expire_generic(ctx, "expire", true, false); }
void pexpire(Context& ctx) { expire_generic(ctx, "pexpire", false, false); }
void expireat(Context& ctx) { expire_generic(ctx, "expireat", true, true); }
void pexpireat(Context& ctx) { expire_generic(ctx, "pexpireat", false, true); }

void ttl(Context& ctx) { time_generic(ctx, true, false); }
void pttl(Context& ctx) { time_generic(ctx, false, false); }
void expiretime(Context& ctx) { time_generic(ctx, true, true); }
void pexpiretime(Context& ctx) { time_generic(ctx, false, true); }

void persist(Context& ctx) {
  Entry* entry = ctx.store.find(ctx.args[1], ctx.key_hash);
  if (entry == nullptr || entry->expire_at() == 0) return ctx.reply.integer(0);
  ctx.store.set_expire_at(entry, ctx.key_hash, 0);
  notify(ctx, kNotifyGeneric, "persist", ctx.args[1]);
  ctx.reply.integer(1);
}

}  // namespace predis
