// commands_hash.cpp: the commands on hashes.
#include <cmath>

#include "commands_collection.h"

namespace predis {
namespace {

constexpr Type kHash = Type::hash;

// Redis' limits of its compact encoding, which decide about the order of replies and what OBJECT ENCODING says.
void note_size(Context& ctx, Edit& edit, std::string_view field, std::string_view value) {
  const ServerConfig& config = ctx.engine.config();
  const auto most = static_cast<size_t>(config.hash_max_value);
  if (field.size() > most || value.size() > most || edit.size() > static_cast<uint64_t>(config.hash_max_entries)) {
    edit.set_large();
  }
}

void put_field(Context& ctx, Edit& edit, uint32_t at, std::string_view field, std::string_view value) {
  edit.put(at, field, value);
  if (!edit.large()) note_size(ctx, edit, field, value);
}

// Stores one field; answers and gives false where there is no room.
bool store_field(Context& ctx, Entry* entry, std::string_view field, std::string_view value) {
  Edit edit(ctx, ctx.args[1], ctx.key_hash, entry, kHash);
  if (!edit.begin(record_room(field.size(), value.size()))) return false;
  put_field(ctx, edit, edit.find(field), field, value);
  return edit.finish();
}

void set_fields(Context& ctx, std::string_view command, bool count_new) {
  const Args args = ctx.args;
  if (args.size() % 2 != 0) return reply_wrong_arity(ctx, command);
  Entry* entry;
  if (!write_or_reply(ctx, kHash, entry)) return;
  size_t all = entry != nullptr ? head_of(entry).used : 0;
  for (const std::string_view arg : args.subspan(2)) all += arg.size() + kRecordMost;
  size_t room = 0;
  for (size_t i = 2; i < args.size(); i += 2) room += record_room(args[i].size(), args[i + 1].size(), all < 0x4000);
  Edit edit(ctx, args[1], ctx.key_hash, entry, kHash);
  if (!edit.begin(room)) return;
  int64_t created = 0;
  for (size_t i = 2; i < args.size(); i += 2) {
    const uint32_t at = edit.find(args[i]);
    created += at == 0;
    put_field(ctx, edit, at, args[i], args[i + 1]);
  }
  edit.finish();
  notify(ctx, kNotifyHash, "hset", args[1]);
  count_new ? ctx.reply.integer(created) : ctx.reply.ok();
}

void hset(Context& ctx) { set_fields(ctx, "hset", true); }
void hmset(Context& ctx) { set_fields(ctx, "hmset", false); }

void hsetnx(Context& ctx) {
  Entry* entry;
  if (!write_or_reply(ctx, kHash, entry)) return;
  if (Collection(ctx.store, entry).find(ctx.args[2]) != 0) return ctx.reply.integer(0);
  if (!store_field(ctx, entry, ctx.args[2], ctx.args[3])) return;
  notify(ctx, kNotifyHash, "hset", ctx.args[1]);
  ctx.reply.integer(1);
}

void reply_value(Context& ctx, const Collection& hash, uint32_t at) {
  at != 0 ? ctx.reply.bulk(hash.value(at)) : ctx.reply.null();
}

void hget(Context& ctx) {
  Entry* entry;
  if (!read_or_reply(ctx, kHash, entry)) return;
  const Collection hash(ctx.store, entry);
  reply_value(ctx, hash, hash.find(ctx.args[2]));
}

void hmget(Context& ctx) {
  Entry* entry;
  if (!read_or_reply(ctx, kHash, entry)) return;
  const Collection hash(ctx.store, entry);
  const Args fields = ctx.args.subspan(2);
  for (const std::string_view field : fields) hash.prefetch(field);
  ctx.reply.array(fields.size());
  for (const std::string_view field : fields) reply_value(ctx, hash, hash.find(field));
}

void reply_all(Context& ctx, bool fields, bool values) {
  Entry* entry;
  if (!read_or_reply(ctx, kHash, entry)) return;
  const Collection hash(ctx.store, entry);
  fields && values ? ctx.reply.map(hash.size()) : ctx.reply.array(hash.size());
  hash.each([&](const Record& record, std::string_view field) {
    if (fields) ctx.reply.bulk(field);
    if (values) ctx.reply.bulk(record.value);
  });
}

void hgetall(Context& ctx) { reply_all(ctx, true, true); }
void hkeys(Context& ctx) { reply_all(ctx, true, false); }
void hvals(Context& ctx) { reply_all(ctx, false, true); }

void hlen(Context& ctx) {
  Entry* entry;
  if (read_or_reply(ctx, kHash, entry)) ctx.reply.integer(entry != nullptr ? head_of(entry).count : 0);
}

void hexists(Context& ctx) {
  Entry* entry;
  if (!read_or_reply(ctx, kHash, entry)) return;
  ctx.reply.integer(Collection(ctx.store, entry).find(ctx.args[2]) != 0);
}

void hstrlen(Context& ctx) {
  Entry* entry;
  if (!read_or_reply(ctx, kHash, entry)) return;
  const Collection hash(ctx.store, entry);
  const uint32_t at = hash.find(ctx.args[2]);
  ctx.reply.integer(at != 0 ? static_cast<int64_t>(hash.value(at).size()) : 0);
}

void hdel(Context& ctx) {
  Entry* entry;
  if (!write_or_reply(ctx, kHash, entry)) return;
  const int64_t deleted = remove_members(ctx, entry, kHash, kNotifyHash, "hdel");
  if (deleted >= 0) ctx.reply.integer(deleted);
}

void hincrby(Context& ctx) {
  int64_t increment, value = 0;
  if (!int64_or_reply(ctx, ctx.args[3], increment)) return;
  Entry* entry;
  if (!write_or_reply(ctx, kHash, entry)) return;
  {
    const Collection hash(ctx.store, entry);
    const uint32_t at = hash.find(ctx.args[2]);
    if (at != 0 && !parse_int64(hash.value(at), value)) return ctx.reply.error("ERR hash value is not an integer");
  }
  if (__builtin_add_overflow(value, increment, &value)) {
    return ctx.reply.error("ERR increment or decrement would overflow");
  }
  if (!store_field(ctx, entry, ctx.args[2], Int64Text(value).view())) return;
  notify(ctx, kNotifyHash, "hincrby", ctx.args[1]);
  ctx.reply.integer(value);
}

void hincrbyfloat(Context& ctx) {
  long double increment, value = 0;
  if (!parse_long_double(ctx.args[3], increment)) return ctx.reply.error(errors::kNotFloat);
  if (std::isinf(increment)) return ctx.reply.error("ERR value is NaN or Infinity");
  Entry* entry;
  if (!write_or_reply(ctx, kHash, entry)) return;
  {
    const Collection hash(ctx.store, entry);
    const uint32_t at = hash.find(ctx.args[2]);
    if (at != 0 && !parse_long_double(hash.value(at), value)) return ctx.reply.error("ERR hash value is not a float");
  }
  value += increment;
  if (std::isnan(value) || std::isinf(value)) return ctx.reply.error("ERR increment would produce NaN or Infinity");
  const std::string text = format_long_double(value);
  if (!store_field(ctx, entry, ctx.args[2], text)) return;
  notify(ctx, kNotifyHash, "hincrbyfloat", ctx.args[1]);
  ctx.reply.bulk(text);
}

void hrandfield(Context& ctx) {
  int64_t count = 0;
  bool with_values = false;
  if (ctx.args.size() > 2) {
    if (!ranged_or_reply(ctx, ctx.args[2], -LONG_MAX, LONG_MAX, count)) return;
    with_values = ctx.args.size() == 4 && is_option(ctx.args[3], "withvalues");
    if (ctx.args.size() > 4 || (ctx.args.size() == 4 && !with_values)) return ctx.reply.error(errors::kSyntax);
    if (with_values && (count < -LONG_MAX / 2 || count > LONG_MAX / 2)) {
      return ctx.reply.error("ERR value is out of range");
    }
  }
  Entry* entry;
  if (!read_or_reply(ctx, kHash, entry)) return;
  const Collection hash(ctx.store, entry);
  reply_random(ctx, hash, count, with_values, [&](uint32_t at) { ctx.reply.bulk(hash.value(at)); });
}

void hscan(Context& ctx) {
  scan_collection(ctx, kHash, 2, [&](const Collection& hash, uint32_t place) {
    ctx.reply.bulk(hash.key(place));
    ctx.reply.bulk(hash.value(place));
  });
}

constexpr std::string_view kGroup = "hash";
constexpr std::string_view kReadFast = "read hash fast", kReadSlow = "read hash slow", kWriteFast = "write hash fast";
constexpr uint32_t kRead = kReadonly | kFast, kAdd = kWrite | kDenyOom | kFast;
constexpr std::string_view kPerField = "O(N) where N is the number of fields named.";
constexpr std::string_view kAllFields = "O(N) where N is the number of fields of the hash.";

CommandSpec table[] = {
    {"hset", -4, kAdd, 1, 1, 1, kGroup, "2.0.0", kPerField, "Sets fields of a hash.", kWriteFast, hset},
    {"hmset", -4, kAdd, 1, 1, 1, kGroup, "2.0.0", kPerField, "Sets fields of a hash: the old name of HSET.", kWriteFast,
     hmset},
    {"hsetnx", 4, kAdd, 1, 1, 1, kGroup, "2.0.0", "O(1)", "Sets a field that the hash does not have.", kWriteFast,
     hsetnx},
    {"hget", 3, kRead, 1, 1, 1, kGroup, "2.0.0", "O(1)", "Gives the value of a field.", kReadFast, hget},
    {"hmget", -3, kRead, 1, 1, 1, kGroup, "2.0.0", kPerField, "Gives the values of several fields.", kReadFast, hmget},
    {"hgetall", 2, kReadonly, 1, 1, 1, kGroup, "2.0.0", kAllFields, "Gives all fields with their values.", kReadSlow,
     hgetall},
    {"hkeys", 2, kReadonly, 1, 1, 1, kGroup, "2.0.0", kAllFields, "Gives the names of all fields.", kReadSlow, hkeys},
    {"hvals", 2, kReadonly, 1, 1, 1, kGroup, "2.0.0", kAllFields, "Gives the values of all fields.", kReadSlow, hvals},
    {"hlen", 2, kRead, 1, 1, 1, kGroup, "2.0.0", "O(1)", "Counts the fields.", kReadFast, hlen},
    {"hexists", 3, kRead, 1, 1, 1, kGroup, "2.0.0", "O(1)", "Tells whether a hash has a field.", kReadFast, hexists},
    {"hdel", -3, kWrite | kFast, 1, 1, 1, kGroup, "2.0.0", kPerField, "Removes fields; with the last the key goes.",
     kWriteFast, hdel},
    {"hincrby", 4, kAdd, 1, 1, 1, kGroup, "2.0.0", "O(1)", "Adds to the integer in a field.", kWriteFast, hincrby},
    {"hincrbyfloat", 4, kAdd, 1, 1, 1, kGroup, "2.6.0", "O(1)", "Adds to the decimal number in a field.", kWriteFast,
     hincrbyfloat},
    {"hstrlen", 3, kRead, 1, 1, 1, kGroup, "3.2.0", "O(1)", "Gives the length of a field's value.", kReadFast, hstrlen},
    {"hrandfield", -2, kReadonly, 1, 1, 1, kGroup, "6.2.0", "O(N) where N is the number of fields in the reply.",
     "Gives fields picked at random.", kReadSlow, hrandfield},
    {"hscan", -3, kReadonly, 1, 1, 1, kGroup, "2.8.0", "O(1) for a call, O(N) for a whole walk over N fields.",
     "Walks over the fields in steps, which a cursor joins.", kReadSlow, hscan},
};

}  // namespace

std::span<CommandSpec> hash_commands() { return table; }

}  // namespace predis
