// commands_string.cpp: the string commands, as Redis 7.0 has them. GET, SET and their kin are in here; the commands
// that compute a new value from the old one (APPEND, INCR, …) are in commands_string_edit.cpp.
//
// Values are never changed in place: the new one is written beside the old one and published, so that a reader in
// another process, or a restart after a crash, finds one or the other.

#include "commands_string.h"

#include <climits>

#include "arguments.h"
#include "entries.h"

namespace predis {
namespace {

// What SET and GETEX can be told.
struct Options {
  bool nx = false, xx = false, get = false, keep_ttl = false, persist = false;
  bool seconds = false;   // EX, EXAT
  bool absolute = false;  // EXAT, PXAT
  enum class Time { none, ex, px, exat, pxat } time = Time::none;
  std::string_view time_text;
};

// An option may be given twice, the last time counts; but a second kind of expiry is an error.
bool set_time(Options& options, Options::Time time) {
  if (options.keep_ttl || options.persist) return false;
  if (options.time != Options::Time::none && options.time != time) return false;
  options.time = time;
  options.seconds = time == Options::Time::ex || time == Options::Time::exat;
  options.absolute = time == Options::Time::exat || time == Options::Time::pxat;
  return true;
}

bool time_option(std::string_view argument, Options::Time& time) {
  if (is_option(argument, "ex")) {
    time = Options::Time::ex;
  } else if (is_option(argument, "px")) {
    time = Options::Time::px;
  } else if (is_option(argument, "exat")) {
    time = Options::Time::exat;
  } else if (is_option(argument, "pxat")) {
    time = Options::Time::pxat;
  } else {
    return false;
  }
  return true;
}

bool set_option(std::string_view argument, Options& options) {
  if (is_option(argument, "nx")) {
    options.nx = true;
    return !options.xx;
  }
  if (is_option(argument, "xx")) {
    options.xx = true;
    return !options.nx;
  }
  if (is_option(argument, "get")) return options.get = true;
  if (is_option(argument, "keepttl")) {
    options.keep_ttl = true;
    return options.time == Options::Time::none;
  }
  return false;
}

bool getex_option(std::string_view argument, Options& options) {
  if (!is_option(argument, "persist")) return false;
  options.persist = true;
  return options.time == Options::Time::none;
}

// Reads args[first …]; answers with an error and gives false where they are not right.
bool parse_options(Context& ctx, size_t first, bool (*other_option)(std::string_view, Options&), Options& options) {
  const Args args = ctx.args;
  for (size_t i = first; i < args.size(); ++i) {
    Options::Time time;
    bool understood;
    if (time_option(args[i], time)) {
      understood = i + 1 < args.size() && set_time(options, time);
      if (understood) options.time_text = args[++i];
    } else {
      understood = other_option(args[i], options);
    }
    if (!understood) {
      ctx.reply.error(errors::kSyntax);
      return false;
    }
  }
  return true;
}

// The Unix time in ms that a time to live or a point in time means; answers with an error and gives false for one that
// is not positive or does not fit.
bool expiry_or_reply(Context& ctx, std::string_view command, std::string_view text, bool seconds, bool absolute,
                     int64_t& unix_ms) {
  int64_t value;
  if (!int64_or_reply(ctx, text, value)) return false;
  const int64_t base = absolute ? 0 : static_cast<int64_t>(ctx.store.now_ms());
  if (value <= 0 || (seconds && value > LLONG_MAX / 1000) || (seconds ? value * 1000 : value) > LLONG_MAX - base) {
    reply_invalid_expire(ctx, command);
    return false;
  }
  unix_ms = (seconds ? value * 1000 : value) + base;
  return true;
}

bool expiry_or_reply(Context& ctx, std::string_view command, const Options& options, int64_t& unix_ms) {
  return expiry_or_reply(ctx, command, options.time_text, options.seconds, options.absolute, unix_ms);
}

// --- reading

void get(Context& ctx) {
  const Entry* entry = find_to_read(ctx, ctx.args[1], ctx.key_hash);
  if (!is_type_or_reply(ctx, entry, Type::string)) return;
  entry != nullptr ? ctx.reply.bulk(entry->value()) : ctx.reply.null();
}

void mget(Context& ctx) {
  ctx.reply.array(ctx.args.size() - 1);
  for_each_key(ctx, 1, 1, [&](size_t i, uint64_t hash) {
    const Entry* entry = find_to_read(ctx, ctx.args[i], hash);
    entry != nullptr && entry->type() == Type::string ? ctx.reply.bulk(entry->value()) : ctx.reply.null();
    return true;
  });
}

void strlen(Context& ctx) {
  const Entry* entry = find_to_read(ctx, ctx.args[1], ctx.key_hash);
  if (is_type_or_reply(ctx, entry, Type::string)) ctx.reply.integer(entry != nullptr ? entry->value_len : 0);
}

void getrange(Context& ctx) {
  int64_t start, end;
  if (!int64_or_reply(ctx, ctx.args[2], start) || !int64_or_reply(ctx, ctx.args[3], end)) return;
  const Entry* entry = find_to_read(ctx, ctx.args[1], ctx.key_hash);
  if (!is_type_or_reply(ctx, entry, Type::string)) return;
  const std::string_view value = entry != nullptr ? entry->value() : std::string_view();
  const int64_t length = static_cast<int64_t>(value.size());
  // Without this, an end before a start that both lie before the string would give its first byte.
  if (start < 0 && end < 0 && start > end) return ctx.reply.bulk({});
  if (start < 0) start = std::max<int64_t>(start + length, 0);
  if (end < 0) end = std::max<int64_t>(end + length, 0);
  end = std::min(end, length - 1);
  if (start > end) return ctx.reply.bulk({});
  ctx.reply.bulk(value.substr(static_cast<size_t>(start), static_cast<size_t>(end - start + 1)));
}

void getdel(Context& ctx) {
  Entry* entry = find_to_read(ctx, ctx.args[1], ctx.key_hash);
  if (entry == nullptr) return ctx.reply.null();
  if (!is_type_or_reply(ctx, entry, Type::string)) return;
  ctx.reply.bulk(entry->value());
  ctx.store.erase(entry, ctx.key_hash);
  notify(ctx, kNotifyGeneric, "del", ctx.args[1]);
}

void getex(Context& ctx) {
  Options options;
  if (!parse_options(ctx, 2, getex_option, options)) return;
  Entry* entry = find_to_read(ctx, ctx.args[1], ctx.key_hash);
  if (entry == nullptr) return ctx.reply.null();
  if (!is_type_or_reply(ctx, entry, Type::string)) return;
  int64_t unix_ms = 0;
  const bool timed = options.time != Options::Time::none;
  if (timed && !expiry_or_reply(ctx, "getex", options, unix_ms)) return;
  ctx.reply.bulk(entry->value());
  if (timed && unix_ms <= static_cast<int64_t>(ctx.store.now_ms())) {
    ctx.store.erase(entry, ctx.key_hash);
    notify(ctx, kNotifyGeneric, "del", ctx.args[1]);
  } else if (timed) {
    ctx.store.set_expire_at(entry, ctx.key_hash, storable_expiry(unix_ms));
    notify(ctx, kNotifyGeneric, "expire", ctx.args[1]);
  } else if (options.persist && entry->expire_at() != 0) {
    ctx.store.set_expire_at(entry, ctx.key_hash, 0);
    notify(ctx, kNotifyGeneric, "persist", ctx.args[1]);
  }
}

// --- writing

void set(Context& ctx) {
  const std::string_view key = ctx.args[1], value = ctx.args[2];
  if (ctx.args.size() == 3) {
    if (!store_value(ctx, key, ctx.key_hash, ctx.store.find(key, ctx.key_hash), value)) return;
    notify(ctx, kNotifyString, "set", key);
    return ctx.reply.ok();
  }
  Options options;
  if (!parse_options(ctx, 3, set_option, options)) return;
  Attributes attributes;
  if (options.time != Options::Time::none) {
    int64_t unix_ms;
    if (!expiry_or_reply(ctx, "set", options, unix_ms)) return;
    attributes.expire_at = storable_expiry(unix_ms);
  }
  const size_t reply_start = ctx.reply.buffer.size();
  Entry* old = options.get ? find_to_read(ctx, key, ctx.key_hash, Touch::no) : ctx.store.find(key, ctx.key_hash);
  if (options.get && !is_type_or_reply(ctx, old, Type::string)) return;
  if (options.get) old != nullptr ? ctx.reply.bulk(old->value()) : ctx.reply.null();
  if ((options.nx && old != nullptr) || (options.xx && old == nullptr)) {
    if (!options.get) ctx.reply.null();
    return;
  }
  if (old != nullptr && options.keep_ttl) attributes.expire_at = old->expire_at();
  const size_t reply_end = ctx.reply.buffer.size();
  if (store_value(ctx, key, ctx.key_hash, old, value, attributes)) {
    notify(ctx, kNotifyString, "set", key);
    if (options.time != Options::Time::none) notify(ctx, kNotifyGeneric, "expire", key);
    if (!options.get) ctx.reply.ok();
  } else if (reply_end > reply_start) {  // the old value is in the reply already, the error stands behind it
    ctx.reply.buffer.truncate(reply_start);
    ctx.reply.error(errors::kOutOfMemory);
  }
}

void getset(Context& ctx) {
  const size_t reply_start = ctx.reply.buffer.size();
  Entry* old = find_to_read(ctx, ctx.args[1], ctx.key_hash, Touch::no);
  if (!is_type_or_reply(ctx, old, Type::string)) return;
  old != nullptr ? ctx.reply.bulk(old->value()) : ctx.reply.null();
  if (store_value(ctx, ctx.args[1], ctx.key_hash, old, ctx.args[2])) {
    return notify(ctx, kNotifyString, "set", ctx.args[1]);
  }
  ctx.reply.buffer.truncate(reply_start);
  ctx.reply.error(errors::kOutOfMemory);
}

void setnx(Context& ctx) {
  if (ctx.store.find(ctx.args[1], ctx.key_hash) != nullptr) return ctx.reply.integer(0);
  if (!store_value(ctx, ctx.args[1], ctx.key_hash, nullptr, ctx.args[2])) return;
  notify(ctx, kNotifyString, "set", ctx.args[1]);
  ctx.reply.integer(1);
}

void set_with_time_to_live(Context& ctx, std::string_view command, bool seconds) {
  int64_t unix_ms;
  if (!expiry_or_reply(ctx, command, ctx.args[2], seconds, false, unix_ms)) return;
  Entry* old = ctx.store.find(ctx.args[1], ctx.key_hash);
  const Attributes attributes{.expire_at = storable_expiry(unix_ms)};
  if (!store_value(ctx, ctx.args[1], ctx.key_hash, old, ctx.args[3], attributes)) return;
  notify(ctx, kNotifyString, "set", ctx.args[1]);
  notify(ctx, kNotifyGeneric, "expire", ctx.args[1]);
  ctx.reply.ok();
}

void setex(Context& ctx) { set_with_time_to_live(ctx, "setex", true); }
void psetex(Context& ctx) { set_with_time_to_live(ctx, "psetex", false); }

// Where nothing may be evicted: finds the room for all pairs first, so that none is stored if it is not enough.
bool set_all_or_none(Context& ctx) {
  const size_t pairs = ctx.args.size() / 2;
  std::vector<Entry*> prepared;
  if (ctx.store.reserve_inserts(pairs)) for_each_key(ctx, 1, 2, [&](size_t i, uint64_t) {
    const std::string_view value = ctx.args[i + 1];
    Entry* fresh = ctx.store.prepare(ctx.args[i], value.size());
    if (fresh == nullptr) return false;
    if (!value.empty()) std::memcpy(fresh->value_data(), value.data(), value.size());
    prepared.push_back(fresh);
    return true;
  });
  if (prepared.size() != pairs) {
    for (Entry* fresh : prepared) ctx.store.abandon(fresh);
    ctx.reply.error(errors::kOutOfMemory);
    return false;
  }
  for_each_key(ctx, 1, 2, [&](size_t i, uint64_t hash) {
    ctx.store.commit(prepared[i / 2], hash, ctx.store.find(ctx.args[i], hash));
    notify(ctx, kNotifyString, "set", ctx.args[i]);
    return true;
  });
  return true;
}

// Stores all pairs. One that finds no room, for which others could not be evicted, stops it with an error.
bool set_pairs(Context& ctx) {
  if (!any_may_go(ctx.store.policy())) return set_all_or_none(ctx);
  bool stored = true;
  for_each_key(ctx, 1, 2, [&](size_t i, uint64_t hash) {
    stored = store_value(ctx, ctx.args[i], hash, ctx.store.find(ctx.args[i], hash), ctx.args[i + 1]);
    if (stored) notify(ctx, kNotifyString, "set", ctx.args[i]);
    return stored;
  });
  return stored;
}

void mset(Context& ctx) {
  if (ctx.args.size() % 2 == 0) return reply_wrong_arity(ctx, "mset");
  if (set_pairs(ctx)) ctx.reply.ok();
}

void msetnx(Context& ctx) {
  if (ctx.args.size() % 2 == 0) return reply_wrong_arity(ctx, "msetnx");
  bool free = true;
  for_each_key(ctx, 1, 2, [&](size_t i, uint64_t hash) {
    free = ctx.store.find(ctx.args[i], hash) == nullptr;
    return free;
  });
  if (!free) return ctx.reply.integer(0);
  if (set_pairs(ctx)) ctx.reply.integer(1);
}

constexpr std::string_view kReadFast = "read string fast", kReadSlow = "read string slow";
constexpr std::string_view kWriteFast = "write string fast", kWriteSlow = "write string slow";
constexpr std::string_view kPerKey = "O(N) where N is the number of keys.";
constexpr std::string_view kPerByte = "O(N) where N is the length of the reply.";
constexpr std::string_view kCopies = "O(N) where N is the length of the new value, which is written anew.";

CommandSpec table[] = {
    {"get", 2, kReadonly | kFast, 1, 1, 1, "string", "1.0.0", "O(1)", "Gives the value of a key.", kReadFast, get},
    {"set", -3, kWrite | kDenyOom, 1, 1, 1, "string", "1.0.0", "O(1)",
     "Stores a value under a key; options say when, for how long, and whether to give the old one.", kWriteSlow, set},
    {"getset", 3, kWrite | kDenyOom | kFast, 1, 1, 1, "string", "1.0.0", "O(1)",
     "Stores a value and gives the one before.", kWriteFast, getset},
    {"getdel", 2, kWrite | kFast, 1, 1, 1, "string", "6.2.0", "O(1)", "Gives a key's value and deletes the key.",
     kWriteFast, getdel},
    {"getex", -2, kWrite | kFast, 1, 1, 1, "string", "6.2.0", "O(1)",
     "Gives a key's value and sets or removes its expiry.", kWriteFast, getex},
    {"mget", -2, kReadonly | kFast, 1, -1, 1, "string", "1.0.0", kPerKey, "Gives the values of several keys.",
     kReadFast, mget},
    {"mset", -3, kWrite | kDenyOom, 1, -1, 2, "string", "1.0.1", kPerKey, "Stores several keys with their values.",
     kWriteSlow, mset},
    {"msetnx", -3, kWrite | kDenyOom, 1, -1, 2, "string", "1.0.1", kPerKey,
     "Stores several keys with their values unless one of the keys exists.", kWriteSlow, msetnx},
    {"setnx", 3, kWrite | kDenyOom | kFast, 1, 1, 1, "string", "1.0.0", "O(1)",
     "Stores a value under a key that does not exist.", kWriteFast, setnx},
    {"setex", 4, kWrite | kDenyOom, 1, 1, 1, "string", "2.0.0", "O(1)",
     "Stores a value for a number of seconds.", kWriteSlow, setex},
    {"psetex", 4, kWrite | kDenyOom, 1, 1, 1, "string", "2.6.0", "O(1)",
     "Stores a value for a number of milliseconds.", kWriteSlow, psetex},
    {"strlen", 2, kReadonly | kFast, 1, 1, 1, "string", "2.2.0", "O(1)", "Gives the length of a value in bytes.",
     kReadFast, strlen},
    {"getrange", 4, kReadonly, 1, 1, 1, "string", "2.4.0", kPerByte, "Gives a part of a value.", kReadSlow, getrange},
    {"substr", 4, kReadonly, 1, 1, 1, "string", "1.0.0", kPerByte, "Gives a part of a value: the old name of GETRANGE.",
     kReadSlow, getrange},
    {"append", 3, kWrite | kDenyOom | kFast, 1, 1, 1, "string", "2.0.0", kCopies, "Adds to the end of a value.",
     kWriteFast, append},
    {"setrange", 4, kWrite | kDenyOom, 1, 1, 1, "string", "2.2.0", kCopies,
     "Overwrites a part of a value from an offset on; a gap is filled with zero bytes.", kWriteSlow, setrange},
    {"incr", 2, kWrite | kDenyOom | kFast, 1, 1, 1, "string", "1.0.0", "O(1)", "Adds one to an integer.", kWriteFast,
     incr},
    {"decr", 2, kWrite | kDenyOom | kFast, 1, 1, 1, "string", "1.0.0", "O(1)", "Takes one from an integer.", kWriteFast,
     decr},
    {"incrby", 3, kWrite | kDenyOom | kFast, 1, 1, 1, "string", "1.0.0", "O(1)", "Adds to an integer.", kWriteFast,
     incrby},
    {"decrby", 3, kWrite | kDenyOom | kFast, 1, 1, 1, "string", "1.0.0", "O(1)", "Takes from an integer.", kWriteFast,
     decrby},
    {"incrbyfloat", 3, kWrite | kDenyOom | kFast, 1, 1, 1, "string", "2.6.0", "O(1)", "Adds to a decimal number.",
     kWriteFast, incrbyfloat},
};

}  // namespace

std::span<CommandSpec> string_commands() { return table; }

}  // namespace predis
