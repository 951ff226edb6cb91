// commands_zset.cpp: the commands on members of sorted sets, and the table of all of them.
#include "commands_zset.h"

#include <cerrno>
#include <cmath>

namespace predis {

bool parse_double(std::string_view text, double& out) {
  const std::string terminated(text);
  if (text.empty() || std::isspace(static_cast<unsigned char>(text[0]))) return false;
  char* end = nullptr;
  errno = 0;
  const double value = std::strtod(terminated.c_str(), &end);
  if (end != terminated.c_str() + text.size() || std::isnan(value)) return false;
  if (errno == ERANGE && (std::isinf(value) || value == 0)) return false;
  out = value;
  return true;
}

void put_score(Context& ctx, Edit& edit, uint32_t at, std::string_view member, double score) {
  if (score == 0 && !edit.large()) score = 0;  // the compact encoding knows no -0
  edit.put(at, member, ScoreBytes(score).view());
  const ServerConfig& config = ctx.engine.config();
  if (at == 0 && !edit.large() &&
      (edit.size() > static_cast<uint64_t>(config.zset_max_entries) ||
       member.size() > static_cast<uint64_t>(config.zset_max_value))) {
    edit.set_large();
  }
}

void store_scored(Context& ctx, std::string_view key, const std::vector<Scored>& members, std::string_view event) {
  Entry* old = ctx.store.find(key, ctx.key_hash);
  if (members.empty()) {
    if (old != nullptr) {
      ctx.store.erase(old, ctx.key_hash);
      notify(ctx, kNotifyGeneric, "del", key);
    }
    return ctx.reply.integer(0);
  }
  size_t room = 0;
  for (const Scored& scored : members) room += score_room(scored.member);
  Edit edit(ctx, key, ctx.key_hash, nullptr, Type::zset);
  edit.replace(old);
  if (!edit.begin(room)) return;
  for (const Scored& scored : members) put_score(ctx, edit, 0, scored.member, scored.score);
  edit.finish();
  notify(ctx, kNotifyZset, event, key);
  ctx.reply.integer(static_cast<int64_t>(members.size()));
}

void reply_scored(Context& ctx, std::string_view member, double score, bool scores) {
  if (scores && ctx.reply.protocol == 3) ctx.reply.array(2);
  ctx.reply.bulk(member);
  if (scores) ctx.reply.dbl(score);
}

namespace {

constexpr Type kZset = Type::zset;

struct AddOptions {
  bool nx = false, xx = false, gt = false, lt = false, ch = false, incr = false;
};

bool add_option(std::string_view text, AddOptions& options) {
  const std::pair<std::string_view, bool*> known[] = {{"nx", &options.nx}, {"xx", &options.xx}, {"gt", &options.gt},
                                                      {"lt", &options.lt}, {"ch", &options.ch}, {"incr", &options.incr}};
  for (const auto& [name, flag] : known) {
    if (is_option(text, name)) return *flag = true;
  }
  return false;
}

const char* conflict(const AddOptions& o, size_t pairs) {
  if (o.nx && o.xx) return "ERR XX and NX options at the same time are not compatible";
  if ((o.gt && o.nx) || (o.lt && o.nx) || (o.gt && o.lt)) {
    return "ERR GT, LT, and/or NX options at the same time are not compatible";
  }
  if (o.incr && pairs > 1) return "ERR INCR option supports a single increment-element pair";
  return nullptr;
}

void add_generic(Context& ctx, AddOptions options, size_t first) {
  const Args args = ctx.args;
  if (args.size() == first || (args.size() - first) % 2 != 0) return ctx.reply.error(errors::kSyntax);
  const size_t pairs = (args.size() - first) / 2;
  if (const char* problem = conflict(options, pairs)) return ctx.reply.error(problem);
  std::vector<double> scores(pairs);
  size_t room = 0;
  for (size_t i = 0; i < pairs; ++i) {
    if (!parse_double(args[first + 2 * i], scores[i])) return ctx.reply.error(errors::kNotFloat);
    room += score_room(args[first + 2 * i + 1]);
  }
  Entry* entry;
  if (!write_or_reply(ctx, kZset, entry)) return;
  if (entry == nullptr && options.xx) return options.incr ? ctx.reply.null() : ctx.reply.integer(0);
  Edit edit(ctx, args[1], ctx.key_hash, entry, kZset);
  int64_t added = 0, updated = 0;
  bool processed = false;
  double score = 0;
  for (size_t i = 0; i < pairs; ++i) {
    const std::string_view member = args[first + 2 * i + 1];
    uint32_t at = edit.find(member);
    score = scores[i];
    if (at != 0) {
      if (options.nx) continue;
      const double current = edit.score(at);
      if (options.incr) score += current;
      if (std::isnan(score)) return ctx.reply.error("ERR resulting score is not a number (NaN)");
      if ((options.lt && score >= current) || (options.gt && score <= current)) continue;
      processed = true;
      if (score == current) continue;
      ++updated;
    } else {
      if (options.xx) continue;
      processed = true;
      ++added;
    }
    if (!edit.begun()) {
      if (!edit.begin(room)) return;
      at = edit.find(member);
    }
    put_score(ctx, edit, at, member, score);
  }
  if (edit.begun()) edit.finish();
  if (added + updated != 0) notify(ctx, kNotifyZset, options.incr ? "zincr" : "zadd", args[1]);
  if (options.incr) return processed ? ctx.reply.dbl(score) : ctx.reply.null();
  ctx.reply.integer(options.ch ? added + updated : added);
}

void zadd(Context& ctx) {
  AddOptions options;
  size_t first = 2;
  while (first < ctx.args.size() && add_option(ctx.args[first], options)) ++first;
  add_generic(ctx, options, first);
}

void zincrby(Context& ctx) { add_generic(ctx, {.incr = true}, 2); }

void zrem(Context& ctx) {
  Entry* entry;
  if (!write_or_reply(ctx, kZset, entry)) return;
  const int64_t removed = remove_members(ctx, entry, kZset, kNotifyZset, "zrem");
  if (removed >= 0) ctx.reply.integer(removed);
}

void zcard(Context& ctx) {
  Entry* entry;
  if (read_or_reply(ctx, kZset, entry)) ctx.reply.integer(entry != nullptr ? head_of(entry).count : 0);
}

void reply_score(Context& ctx, const Collection& zset, std::string_view member) {
  const uint32_t at = zset.find(member);
  at != 0 ? ctx.reply.dbl(zset.score(at)) : ctx.reply.null();
}

void zscore(Context& ctx) {
  Entry* entry;
  if (read_or_reply(ctx, kZset, entry)) reply_score(ctx, Collection(ctx.store, entry), ctx.args[2]);
}

void zmscore(Context& ctx) {
  Entry* entry;
  if (!read_or_reply(ctx, kZset, entry)) return;
  const Collection zset(ctx.store, entry);
  ctx.reply.array(ctx.args.size() - 2);
  for (const std::string_view member : ctx.args.subspan(2)) reply_score(ctx, zset, member);
}

void rank_generic(Context& ctx, bool reverse) {
  Entry* entry;
  if (!read_or_reply(ctx, kZset, entry)) return;
  Collection zset(ctx.store, entry);
  const uint32_t at = zset.find(ctx.args[2]);
  if (at == 0) return ctx.reply.null();
  const size_t rank = zset.ranking().rank(zset.score(at), ctx.args[2], zset.log());
  ctx.reply.integer(static_cast<int64_t>(reverse ? zset.size() - 1 - rank : rank));
}

void zrank(Context& ctx) { rank_generic(ctx, false); }
void zrevrank(Context& ctx) { rank_generic(ctx, true); }

// Removes the least or greatest members and replies with them; `nested`: as pairs. false: an error is to be answered.
bool pop_scored(Context& ctx, std::string_view key, uint64_t hash, Entry* entry, bool least, size_t count, bool nested) {
  bool left = false;
  {
    Edit edit(ctx, key, hash, entry, kZset);
    const bool all = count == edit.size();
    if (!all && !edit.begin_removal(count * kRemoveRoom)) return false;
    std::vector<uint32_t> places;
    edit.ranking().each(least ? 0 : edit.size() - 1, count, !least,
                        [&](const Ranking::Item& item) { places.push_back(item.place); });
    for (const uint32_t place : places) {
      if (nested) ctx.reply.array(2);
      ctx.reply.bulk(edit.key(place));
      ctx.reply.dbl(edit.score(place));
      if (!all) edit.remove(place);
    }
    if (all) ctx.store.erase(entry, hash);
    else left = edit.finish();
  }
  notify_change(ctx, kNotifyZset, least ? "zpopmin" : "zpopmax", key, left);
  return true;
}

void pop_generic(Context& ctx, bool least) {
  const bool counted = ctx.args.size() == 3;
  int64_t count = 1;
  if (ctx.args.size() > 3) return ctx.reply.error(errors::kSyntax);
  if (counted && !positive_or_reply(ctx, ctx.args[2], count)) return;
  Entry* entry;
  if (!write_or_reply(ctx, kZset, entry)) return;
  if (entry == nullptr || count == 0) return ctx.reply.array(0);
  const size_t start = ctx.reply.buffer.size();
  const auto number = static_cast<size_t>(std::min<int64_t>(count, head_of(entry).count));
  const bool nested = counted && ctx.reply.protocol == 3;
  ctx.reply.array(nested ? number : number * 2);
  if (pop_scored(ctx, ctx.args[1], ctx.key_hash, entry, least, number, nested)) return;
  ctx.reply.buffer.truncate(start);
  ctx.reply.error(errors::kOutOfMemory);
}

void zpopmin(Context& ctx) { pop_generic(ctx, true); }
void zpopmax(Context& ctx) { pop_generic(ctx, false); }

void zmpop(Context& ctx) {
  const Args args = ctx.args;
  int64_t keys, count = -1;
  if (!counted_keys_or_reply(ctx, args[1], keys)) return;
  if (keys >= static_cast<int64_t>(args.size()) - 2) return ctx.reply.error(errors::kSyntax);
  const auto side = 2 + static_cast<size_t>(keys);
  const bool least = is_option(args[side], "min");
  if (!least && !is_option(args[side], "max")) return ctx.reply.error(errors::kSyntax);
  for (size_t i = side + 1; i < args.size(); i += 2) {
    if (!is_option(args[i], "count") || i + 1 == args.size() || count != -1) return ctx.reply.error(errors::kSyntax);
    if (!ranged_or_reply(ctx, args[i + 1], 1, LONG_MAX, count, "ERR count should be greater than 0")) return;
  }
  if (count == -1) count = 1;
  for (const std::string_view key : args.subspan(2, static_cast<size_t>(keys))) {
    const uint64_t hash = ctx.store.hash(key);
    Entry* entry = ctx.store.find(key, hash);
    if (entry == nullptr) continue;
    if (!is_type_or_reply(ctx, entry, kZset)) return;
    const size_t start = ctx.reply.buffer.size();
    const auto number = static_cast<size_t>(std::min<int64_t>(count, head_of(entry).count));
    ctx.reply.array(2);
    ctx.reply.bulk(key);
    ctx.reply.array(number);
    if (pop_scored(ctx, key, hash, entry, least, number, true)) return;
    ctx.reply.buffer.truncate(start);
    return ctx.reply.error(errors::kOutOfMemory);
  }
  ctx.reply.null_array();
}

void zrandmember(Context& ctx) {
  int64_t count = 0;
  bool scores = false;
  if (ctx.args.size() > 2) {
    if (!ranged_or_reply(ctx, ctx.args[2], -LONG_MAX, LONG_MAX, count)) return;
    scores = ctx.args.size() == 4 && is_option(ctx.args[3], "withscores");
    if (ctx.args.size() > 4 || (ctx.args.size() == 4 && !scores)) return ctx.reply.error(errors::kSyntax);
    if (scores && (count < -LONG_MAX / 2 || count > LONG_MAX / 2)) {
      return ctx.reply.error("ERR value is out of range");
    }
  }
  Entry* entry;
  if (!read_or_reply(ctx, kZset, entry)) return;
  Collection zset(ctx.store, entry);
  if (count > 0 && zset.size() != 0 && static_cast<uint64_t>(count) >= zset.size()) {  // all, from the greatest down
    reply_pairs_head(ctx, zset.size(), scores);
    return zset.ranking().each(zset.size() - 1, zset.size(), true, [&](const Ranking::Item& item) {
      reply_scored(ctx, zset.key(item.place), item.score, scores);
    });
  }
  reply_random(ctx, zset, count, scores, [&](uint32_t at) { ctx.reply.dbl(zset.score(at)); });
}

// ZSCAN gives scores as text in either protocol.
void reply_score_text(Context& ctx, double score) {
  const int protocol = std::exchange(ctx.reply.protocol, 2);
  ctx.reply.dbl(score);
  ctx.reply.protocol = protocol;
}

void zscan(Context& ctx) {
  scan_collection(ctx, kZset, 2, [&](const Collection& zset, uint32_t place) {
    ctx.reply.bulk(zset.key(place));
    reply_score_text(ctx, zset.score(place));
  });
}

constexpr std::string_view kGroup = "sorted-set";
constexpr std::string_view kReadFast = "read sortedset fast", kReadSlow = "read sortedset slow";
constexpr std::string_view kWriteFast = "write sortedset fast", kWriteSlow = "write sortedset slow";
constexpr uint32_t kRead = kReadonly | kFast, kAdd = kWrite | kDenyOom;
constexpr std::string_view kLog = "O(log(N)) where N is the number of members.";
constexpr std::string_view kPerMember = "O(M*log(N)) where M is the number of members named, N that of the set.";
constexpr std::string_view kRange = "O(log(N)+M) where N is the number of members and M that of the reply.";
constexpr std::string_view kCount = "O(log(N)) where N is the number of members.";
constexpr std::string_view kRemove = "O(M*log(N)) where N is the number of members and M that of the removed ones.";
constexpr std::string_view kCombine = "O(N*log(N)) where N is the number of members of all sets.";

CommandSpec table[] = {
    {"zadd", -4, kAdd | kFast, 1, 1, 1, kGroup, "1.2.0", kPerMember, "Adds members with scores, or changes scores.",
     kWriteFast, zadd},
    {"zincrby", 4, kAdd | kFast, 1, 1, 1, kGroup, "1.2.0", kLog, "Adds to the score of a member.", kWriteFast, zincrby},
    {"zscore", 3, kRead, 1, 1, 1, kGroup, "1.2.0", "O(1)", "Gives the score of a member.", kReadFast, zscore},
    {"zmscore", -3, kRead, 1, 1, 1, kGroup, "6.2.0", "O(N) where N is the number of members named.",
     "Gives the scores of several members.", kReadFast, zmscore},
    {"zcard", 2, kRead, 1, 1, 1, kGroup, "1.2.0", "O(1)", "Counts the members.", kReadFast, zcard},
    {"zcount", 4, kRead, 1, 1, 1, kGroup, "2.0.0", kCount, "Counts the members with scores in a range.", kReadFast,
     zcount},
    {"zlexcount", 4, kRead, 1, 1, 1, kGroup, "2.8.9", kCount, "Counts the members in a range of names.", kReadFast,
     zlexcount},
    {"zrange", -4, kReadonly, 1, 1, 1, kGroup, "1.2.0", kRange, "Gives members in a range of ranks, scores or names.",
     kReadSlow, zrange},
    {"zrangestore", -5, kAdd, 1, 2, 1, kGroup, "6.2.0", kRange,
     "Stores members in a range of ranks, scores or names.", kWriteSlow, zrangestore},
    {"zrangebyscore", -4, kReadonly, 1, 1, 1, kGroup, "1.0.5", kRange, "Gives members with scores in a range.",
     kReadSlow, zrangebyscore},
    {"zrevrange", -4, kReadonly, 1, 1, 1, kGroup, "1.2.0", kRange, "Gives members in a range of ranks, greatest first.",
     kReadSlow, zrevrange},
    {"zrevrangebyscore", -4, kReadonly, 1, 1, 1, kGroup, "2.2.0", kRange,
     "Gives members with scores in a range, greatest first.", kReadSlow, zrevrangebyscore},
    {"zrangebylex", -4, kReadonly, 1, 1, 1, kGroup, "2.8.9", kRange, "Gives members in a range of names.", kReadSlow,
     zrangebylex},
    {"zrevrangebylex", -4, kReadonly, 1, 1, 1, kGroup, "2.8.9", kRange,
     "Gives members in a range of names, greatest first.", kReadSlow, zrevrangebylex},
    {"zrank", 3, kRead, 1, 1, 1, kGroup, "2.0.0", kLog, "Gives the rank of a member, least score first.", kReadFast,
     zrank},
    {"zrevrank", 3, kRead, 1, 1, 1, kGroup, "2.0.0", kLog, "Gives the rank of a member, greatest score first.",
     kReadFast, zrevrank},
    {"zrem", -3, kWrite | kFast, 1, 1, 1, kGroup, "1.2.0", kPerMember, "Removes members; with the last the key goes.",
     kWriteFast, zrem},
    {"zremrangebyrank", 4, kWrite, 1, 1, 1, kGroup, "2.0.0", kRemove, "Removes the members in a range of ranks.",
     kWriteSlow, zremrangebyrank},
    {"zremrangebyscore", 4, kWrite, 1, 1, 1, kGroup, "1.2.0", kRemove, "Removes the members with scores in a range.",
     kWriteSlow, zremrangebyscore},
    {"zremrangebylex", 4, kWrite, 1, 1, 1, kGroup, "2.8.9", kRemove, "Removes the members in a range of names.",
     kWriteSlow, zremrangebylex},
    {"zpopmin", -2, kWrite | kFast, 1, 1, 1, kGroup, "5.0.0", kRemove,
     "Removes the members with the least scores and gives them.", kWriteFast, zpopmin},
    {"zpopmax", -2, kWrite | kFast, 1, 1, 1, kGroup, "5.0.0", kRemove,
     "Removes the members with the greatest scores and gives them.", kWriteFast, zpopmax},
    {"zmpop", -4, kWrite | kMovableKeys, 0, 0, 0, kGroup, "7.0.0", kRemove,
     "Removes members from the first of several sets that has any, and gives them.", kWriteSlow, zmpop},
    {"zrandmember", -2, kReadonly, 1, 1, 1, kGroup, "6.2.0", "O(N) where N is the number of members in the reply.",
     "Gives members picked at random.", kReadSlow, zrandmember},
    {"zunion", -3, kReadonly | kMovableKeys, 0, 0, 0, kGroup, "6.2.0", kCombine, "Gives the members of any of the sets.",
     kReadSlow, zunion},
    {"zinter", -3, kReadonly | kMovableKeys, 0, 0, 0, kGroup, "6.2.0", kCombine, "Gives the members of all of the sets.",
     kReadSlow, zinter},
    {"zdiff", -3, kReadonly | kMovableKeys, 0, 0, 0, kGroup, "6.2.0", kCombine,
     "Gives the members of the first set that none of the others has.", kReadSlow, zdiff},
    {"zunionstore", -4, kAdd | kMovableKeys, 1, 1, 1, kGroup, "2.0.0", kCombine,
     "Stores the members of any of the sets.", kWriteSlow, zunionstore},
    {"zinterstore", -4, kAdd | kMovableKeys, 1, 1, 1, kGroup, "2.0.0", kCombine,
     "Stores the members of all of the sets.", kWriteSlow, zinterstore},
    {"zdiffstore", -4, kAdd | kMovableKeys, 1, 1, 1, kGroup, "6.2.0", kCombine,
     "Stores the members of the first set that none of the others has.", kWriteSlow, zdiffstore},
    {"zintercard", -3, kReadonly | kMovableKeys, 0, 0, 0, kGroup, "7.0.0", kCombine,
     "Counts the members of all of the sets.", kReadSlow, zintercard},
    {"zscan", -3, kReadonly, 1, 1, 1, kGroup, "2.8.0", "O(1) for a call, O(N) for a whole walk over N members.",
     "Walks over the members in steps, which a cursor joins.", kReadSlow, zscan},
};

}  // namespace

std::span<CommandSpec> zset_commands() { return table; }

}  // namespace predis
