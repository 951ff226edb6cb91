// commands_collection.h: what the commands on hashes, sets, lists and sorted sets have in common.
#pragma once

#include <climits>
#include <string>

#include "arguments.h"
#include "collection.h"
#include "engine.h"
#include "entries.h"
#include "glob.h"
#include "notify.h"

namespace predis {

// The key's entry for a command that reads it (counted as a hit or a miss); false, having answered, where it holds
// another type.
inline bool read_or_reply(Context& ctx, Type type, Entry*& entry) {
  entry = find_to_read(ctx, ctx.args[1], ctx.key_hash);
  return is_type_or_reply(ctx, entry, type);
}

// The same for one that changes it.
inline bool write_or_reply(Context& ctx, Type type, Entry*& entry) {
  entry = ctx.store.find(ctx.args[1], ctx.key_hash);
  return is_type_or_reply(ctx, entry, type);
}

// A number between `least` and `most`; answers with `problem`, or Redis' usual errors, and gives false for another.
inline bool ranged_or_reply(Context& ctx, std::string_view text, int64_t least, int64_t most, int64_t& out,
                            std::string_view problem = {}) {
  if (problem.empty() && !int64_or_reply(ctx, text, out)) return false;
  if (parse_int64(text, out) && out >= least && out <= most) return true;
  ctx.reply.error(problem.empty() ? "ERR value is out of range, value must between " + std::to_string(least) + " and " +
                                        std::to_string(most)
                                  : std::string(problem));
  return false;
}

inline bool positive_or_reply(Context& ctx, std::string_view text, int64_t& out) {
  return ranged_or_reply(ctx, text, 0, LONG_MAX, out, "ERR value is out of range, must be positive");
}

inline bool counted_keys_or_reply(Context& ctx, std::string_view text, int64_t& out) {
  return ranged_or_reply(ctx, text, 1, LONG_MAX, out, "ERR numkeys should be greater than 0");
}

inline bool limit_or_reply(Context& ctx, std::string_view text, int64_t& out) {
  return ranged_or_reply(ctx, text, 0, LONG_MAX, out, "ERR LIMIT can't be negative");
}

// Tells of a change, and of the key's end where it was the last.
inline void notify_change(Context& ctx, NotifyClass type, std::string_view event, std::string_view key, bool left) {
  notify(ctx, type, event, key);
  if (!left) notify(ctx, kNotifyGeneric, "del", key);
}

// The head of a list of elements, with a second string each or not: RESP2 has one flat array, RESP3 one of pairs.
inline void reply_pairs_head(Context& ctx, size_t count, bool with_second) {
  ctx.reply.array(with_second && ctx.reply.protocol == 2 ? count * 2 : count);
}

// HDEL, SREM and ZREM: removes args[2 …] and tells of it. Gives how many there were, -1 where an error was answered.
int64_t remove_members(Context& ctx, Entry* entry, Type type, NotifyClass event_class, std::string_view event);

// HRANDFIELD, SRANDMEMBER and ZRANDMEMBER with the count that args[2] gives, if there is one: negative, elements may come
// several times. second(place) writes what follows each where `pairs` asks for it.
template <typename Write>
void reply_random(Context& ctx, const Collection& collection, int64_t count, bool pairs, Write&& second);

// Places of `count` different elements picked at random.
std::vector<uint32_t> pick_places(const Collection& collection, size_t count);

// HSCAN, SSCAN and ZSCAN: write(collection, place) replies with an element, which has `parts` strings.
template <typename Write>
void scan_collection(Context& ctx, Type type, size_t parts, Write&& write) {
  uint64_t cursor;
  if (!parse_cursor(ctx.args[2], cursor)) return ctx.reply.error("ERR invalid cursor");
  Entry* entry;
  if (!read_or_reply(ctx, type, entry)) return;
  if (entry == nullptr) {
    ctx.reply.array(2);
    ctx.reply.bulk("0");
    return ctx.reply.array(0);
  }
  int64_t count = 10;
  std::string_view pattern = "*";
  for (size_t i = 3; i < ctx.args.size(); i += 2) {
    if (i + 1 < ctx.args.size() && is_option(ctx.args[i], "count")) {
      if (!int64_or_reply(ctx, ctx.args[i + 1], count)) return;
      if (count < 1) return ctx.reply.error(errors::kSyntax);
    } else if (i + 1 < ctx.args.size() && is_option(ctx.args[i], "match")) {
      pattern = ctx.args[i + 1];
    } else {
      return ctx.reply.error(errors::kSyntax);
    }
  }
  const Collection collection(ctx.store, entry);
  std::vector<uint32_t> found;
  cursor = collection.walk(cursor, static_cast<size_t>(count), [&](uint32_t place) {
    if (pattern == "*" || glob_matches(pattern, collection.key(place))) found.push_back(place);
  });
  ctx.reply.array(2);
  ctx.reply.bulk(std::to_string(cursor));
  ctx.reply.array(found.size() * parts);
  for (const uint32_t place : found) write(collection, place);
}

template <typename Write>
void reply_random(Context& ctx, const Collection& collection, int64_t count, bool pairs, Write&& second) {
  if (ctx.args.size() == 2) {
    if (collection.size() == 0) return ctx.reply.null();
    return ctx.reply.bulk(collection.key(collection.pick()));
  }
  if (count == 0 || collection.size() == 0) return ctx.reply.array(0);
  const auto reply = [&](uint32_t place) {
    if (pairs && ctx.reply.protocol == 3) ctx.reply.array(2);
    ctx.reply.bulk(collection.key(place));
    if (pairs) second(place);
  };
  if (count < 0) {
    reply_pairs_head(ctx, static_cast<size_t>(-count), pairs);
    // More than a client may be sent is thrown away in any case.
    for (int64_t i = count; i < 0 && !ctx.reply.buffer.overflowed(); ++i) reply(collection.pick());
    return;
  }
  const auto places = static_cast<uint64_t>(count) >= collection.size()
                          ? collection.places()
                          : pick_places(collection, static_cast<size_t>(count));
  reply_pairs_head(ctx, places.size(), pairs);
  for (const uint32_t place : places) reply(place);
}

}  // namespace predis
