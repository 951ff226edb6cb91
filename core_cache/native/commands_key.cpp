// commands_key.cpp: the commands on keys whatever their type, and the table of all of them.

#include <climits>

#include "arguments.h"
#include "collection_log.h"
#include "commands_key.h"
#include "entries.h"
#include "side_index.h"

namespace predis {
namespace {

void del(Context& ctx) {
  int64_t deleted = 0;
  for_each_key(ctx, 1, 1, [&](size_t i, uint64_t hash) {
    if (Entry* entry = ctx.store.find(ctx.args[i], hash); entry != nullptr) {
      ctx.store.erase(entry, hash);
      notify(ctx, kNotifyGeneric, "del", ctx.args[i]);
      ++deleted;
    }
    return true;
  });
  ctx.reply.integer(deleted);
}

void count_existing(Context& ctx, Touch touch) {
  int64_t existing = 0;
  for_each_key(ctx, 1, 1, [&](size_t i, uint64_t hash) {
    existing += find_to_read(ctx, ctx.args[i], hash, touch) != nullptr;
    return true;
  });
  ctx.reply.integer(existing);
}

void exists(Context& ctx) { count_existing(ctx, Touch::no); }
void touch(Context& ctx) { count_existing(ctx, Touch::yes); }

void type(Context& ctx) {
  const Entry* entry = find_to_read(ctx, ctx.args[1], ctx.key_hash, Touch::no);
  ctx.reply.simple(entry != nullptr ? type_name(entry->type()) : "none");
}

// The same for a collection. Its head lies on a multiple of 8, so that the padding before it differs by the key.
bool copy_collection(Context& ctx, Entry* source, std::string_view key, uint64_t hash, Entry* old) {
  const uint32_t used = head_of(source).used;
  Entry* fresh = ctx.store.prepare(key, log_padding(key.size()) + used, source->type(), source);
  if (fresh == nullptr) {
    ctx.reply.error(errors::kOutOfMemory);
    return false;
  }
  std::memcpy(log_of(fresh), log_of(source), used);
  fresh->kind |= source->kind & kFlagLarge;
  if (source->expire_at() != 0) ctx.store.set_expire_at(fresh, hash, source->expire_at());
  if (old != nullptr) old = ctx.store.find(key, hash);  // it may have been moved or evicted
  ctx.store.commit(fresh, hash, old);
  return true;
}

// Stores the value of `source` with its expiry under another key as well. `old` is what that key holds, or nullptr;
// the two may not both be pinned, so a value that replaces another is copied aside first.
bool copy_entry(Context& ctx, Entry* source, std::string_view key, uint64_t hash, Entry* old) {
  const Attributes attributes{.expire_at = source->expire_at(),
                              .encoding = static_cast<uint8_t>(source->kind & kEncodingFlags)};
  if (source->type() != Type::string) return copy_collection(ctx, source, key, hash, old);
  if (old != nullptr) {
    const std::string value(source->value());
    return store_value(ctx, key, hash, old, value, attributes);
  }
  const std::string_view value = source->value();
  return store_value(ctx, key, hash, nullptr, source, value.size(), attributes,
                     [&](char* out) { std::copy(value.begin(), value.end(), out); });
}

// The new key is made before the old one goes: whenever the process is killed, the value is there under one of them.
void rename_generic(Context& ctx, bool only_new) {
  const std::string_view from = ctx.args[1], to = ctx.args[2];
  if (ctx.store.find(from, ctx.key_hash) == nullptr) return ctx.reply.error(errors::kNoSuchKey);
  if (from != to) {
    const uint64_t to_hash = ctx.store.hash(to);
    Entry* old = ctx.store.find(to, to_hash);
    if (only_new && old != nullptr) return ctx.reply.integer(0);
    // The second find may have erased an expired key, so the first one's pointer is looked up again.
    if (!copy_entry(ctx, ctx.store.find(from, ctx.key_hash), to, to_hash, old)) return;
    Entry* source = ctx.store.find(from, ctx.key_hash);
    if (source != nullptr && source->type() != Type::string) {  // places in the log are the same in the copy
      auto side = ctx.store.side_indexes().take(source->version);
      const Entry* renamed = ctx.store.find(to, to_hash);
      if (side != nullptr && renamed != nullptr) ctx.store.side_indexes().put(renamed->version, std::move(side));
    }
    if (source != nullptr) ctx.store.erase(source, ctx.key_hash);
    if (old != nullptr) notify(ctx, kNotifyNew, "new", to);  // to Redis, what it replaces is deleted first
    notify(ctx, kNotifyGeneric, "rename_from", from);
    notify(ctx, kNotifyGeneric, "rename_to", to);
  } else if (only_new) {
    return ctx.reply.integer(0);
  }
  only_new ? ctx.reply.integer(1) : ctx.reply.ok();
}

void rename(Context& ctx) { rename_generic(ctx, false); }
void renamenx(Context& ctx) { rename_generic(ctx, true); }

bool copy_options_or_reply(Context& ctx, bool& replace) {
  for (size_t i = 3; i < ctx.args.size(); ++i) {
    if (is_option(ctx.args[i], "replace")) {
      replace = true;
    } else if (is_option(ctx.args[i], "db") && i + 1 < ctx.args.size()) {
      int64_t database;
      if (!int64_or_reply(ctx, ctx.args[++i], database)) return false;
      if (database < INT_MIN || database > INT_MAX) {
        ctx.reply.error("ERR value is out of range, value must between -2147483648 and 2147483647");
        return false;
      }
      if (database != 0) {
        ctx.reply.error("ERR DB index is out of range");
        return false;
      }
    } else {
      ctx.reply.error(errors::kSyntax);
      return false;
    }
  }
  return true;
}

void copy(Context& ctx) {
  bool replace = false;
  if (!copy_options_or_reply(ctx, replace)) return;
  const std::string_view from = ctx.args[1], to = ctx.args[2];
  if (from == to) return ctx.reply.error("ERR source and destination objects are the same");
  if (find_to_read(ctx, from, ctx.key_hash) == nullptr) return ctx.reply.integer(0);
  const uint64_t to_hash = ctx.store.hash(to);
  Entry* old = ctx.store.find(to, to_hash);
  if (old != nullptr && !replace) return ctx.reply.integer(0);
  if (!copy_entry(ctx, ctx.store.find(from, ctx.key_hash), to, to_hash, old)) return;
  if (old != nullptr) notify(ctx, kNotifyNew, "new", to);  // to Redis, what it replaces is deleted first
  notify(ctx, kNotifyGeneric, "copy_to", to);
  ctx.reply.integer(1);
}

constexpr std::string_view kRead = "keyspace read slow", kReadFast = "keyspace read fast";
constexpr std::string_view kWriteSlow = "keyspace write slow", kWriteFast = "keyspace write fast";
constexpr std::string_view kPerKey = "O(N) where N is the number of keys.";
constexpr std::string_view kPerByte = "O(N) where N is the length of the value, which is copied.";
constexpr std::string_view kAllKeys = "O(N) where N is the number of keys in the database.";

CommandSpec table[] = {
    {"del", -2, kWrite, 1, -1, 1, "generic", "1.0.0", kPerKey, "Deletes keys.", kWriteSlow, del},
    {"unlink", -2, kWrite | kFast, 1, -1, 1, "generic", "4.0.0", kPerKey, "Deletes keys, as DEL does.", kWriteFast,
     del},
    {"exists", -2, kReadonly | kFast, 1, -1, 1, "generic", "1.0.0", kPerKey,
     "Counts how many of the keys exist; one that is named twice counts twice.", kReadFast, exists},
    {"type", 2, kReadonly | kFast, 1, 1, 1, "generic", "1.0.0", "O(1)", "Gives the type of a key's value.", kReadFast,
     type},
    {"touch", -2, kReadonly | kFast, 1, -1, 1, "generic", "3.2.1", kPerKey,
     "Counts how many of the keys exist and marks them as just used.", kReadFast, touch},
    {"expire", -3, kWrite | kFast, 1, 1, 1, "generic", "1.0.0", "O(1)", "Lets a key expire after seconds.", kWriteFast,
     expire},
    {"pexpire", -3, kWrite | kFast, 1, 1, 1, "generic", "2.6.0", "O(1)", "Lets a key expire after milliseconds.",
     kWriteFast, pexpire},
    {"expireat", -3, kWrite | kFast, 1, 1, 1, "generic", "1.2.0", "O(1)", "Lets a key expire at a Unix time.",
     kWriteFast, expireat},
    {"pexpireat", -3, kWrite | kFast, 1, 1, 1, "generic", "2.6.0", "O(1)",
     "Lets a key expire at a Unix time in milliseconds.", kWriteFast, pexpireat},
    {"expiretime", 2, kReadonly | kFast, 1, 1, 1, "generic", "7.0.0", "O(1)",
     "Gives the Unix time at which a key expires.", kReadFast, expiretime},
    {"pexpiretime", 2, kReadonly | kFast, 1, 1, 1, "generic", "7.0.0", "O(1)",
     "Gives the Unix time in milliseconds at which a key expires.", kReadFast, pexpiretime},
    {"ttl", 2, kReadonly | kFast, 1, 1, 1, "generic", "1.0.0", "O(1)", "Gives the seconds until a key expires.",
     kReadFast, ttl},
    {"pttl", 2, kReadonly | kFast, 1, 1, 1, "generic", "2.6.0", "O(1)", "Gives the milliseconds until a key expires.",
     kReadFast, pttl},
    {"persist", 2, kWrite | kFast, 1, 1, 1, "generic", "2.2.0", "O(1)", "Removes a key's expiry.", kWriteFast, persist},
    {"rename", 3, kWrite, 1, 2, 1, "generic", "1.0.0", kPerByte, "Gives a key another name.", kWriteSlow, rename},
    {"renamenx", 3, kWrite | kFast, 1, 2, 1, "generic", "1.0.0", kPerByte,
     "Gives a key another name unless there is a key of that name.", kWriteFast, renamenx},
    {"copy", -3, kWrite | kDenyOom, 1, 2, 1, "generic", "6.2.0", kPerByte,
     "Stores a key's value and expiry under another key as well.", kWriteSlow, copy},
    {"randomkey", 1, kReadonly, 0, 0, 0, "generic", "1.0.0", "O(1)", "Gives a key picked at random.", kRead, randomkey},
    {"keys", 2, kReadonly, 0, 0, 0, "generic", "1.0.0", kAllKeys, "Gives all keys that match a pattern.",
     "keyspace read slow dangerous", keys},
    {"scan", -2, kReadonly, 0, 0, 0, "generic", "2.8.0", "O(1) for a call, O(N) for a whole walk over N keys.",
     "Walks over the keys in steps, which a cursor joins.", kRead, scan},
};

}  // namespace

std::span<CommandSpec> key_commands() { return table; }

}  // namespace predis
