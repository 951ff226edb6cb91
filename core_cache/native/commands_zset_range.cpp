// commands_zset_range.cpp: ranges of ranks, scores and names in sorted sets.
#include <cmath>
#include <optional>

#include "commands_zset.h"

namespace predis {
namespace {

constexpr Type kZset = Type::zset;

enum class By { rank, score, lex, any };
enum class Order { rising, falling, any };

// One end of a range of scores or names.
struct Bound {
  double score = 0;
  std::string_view name;
  int infinite = 0;  // names: -1 before all, 1 behind all
  bool exclusive = false;
};

bool parse_score_bound(std::string_view text, Bound& bound) {
  bound.exclusive = !text.empty() && text[0] == '(';
  const std::string number(bound.exclusive ? text.substr(1) : text);
  char* end = nullptr;
  bound.score = std::strtod(number.c_str(), &end);  // Redis takes spaces before it, and nothing, for 0
  return *end == '\0' && !std::isnan(bound.score);
}

bool parse_name_bound(std::string_view text, Bound& bound) {
  if (text == "-" || text == "+") {
    bound.infinite = text == "-" ? -1 : 1;
    return true;
  }
  if (text.empty() || (text[0] != '(' && text[0] != '[')) return false;
  bound.exclusive = text[0] == '(';
  bound.name = text.substr(1);
  return true;
}

bool bounds_or_reply(Context& ctx, By by, std::string_view low, std::string_view high, Bound& from, Bound& to) {
  const auto parse = by == By::score ? parse_score_bound : parse_name_bound;
  if (parse(low, from) && parse(high, to)) return true;
  ctx.reply.error(by == By::score ? "ERR min or max is not a float" : "ERR min or max not valid string range item");
  return false;
}

struct Slice {
  size_t first = 0, count = 0;  // ranks, rising
};

// How many members lie before a bound: before those that equal it, or behind them.
size_t count_before(Collection& zset, By by, const Bound& bound, bool equal_too) {
  if (by == By::score) {
    return zset.ranking().count([&](const Ranking::Item& item) {
      return equal_too ? item.score <= bound.score : item.score < bound.score;
    });
  }
  if (bound.infinite != 0) return bound.infinite < 0 ? 0 : zset.size();
  return zset.ranking().count([&](const Ranking::Item& item) {
    const std::string_view name = zset.key(item.place);
    return equal_too ? name <= bound.name : name < bound.name;
  });
}

Slice slice_between(Collection& zset, By by, const Bound& from, const Bound& to) {
  if (zset.size() == 0) return {};
  const size_t first = count_before(zset, by, from, from.exclusive);
  const size_t end = count_before(zset, by, to, !to.exclusive);
  return end > first ? Slice{first, end - first} : Slice{};
}

Slice slice_of_ranks(int64_t start, int64_t end, int64_t size) {
  if (start < 0) start = std::max<int64_t>(start + size, 0);
  if (end < 0) end += size;
  if (start > end || start >= size) return {};
  end = std::min(end, size - 1);
  return {static_cast<size_t>(start), static_cast<size_t>(end - start + 1)};
}

// ZRANGE in all its names. `first`: where the key stands; the range and the options follow it.
void range_generic(Context& ctx, size_t first, bool store, By by, Order order) {
  const Args args = ctx.args;
  bool scores = false;
  int64_t offset = 0, limit = -1;
  for (size_t i = first + 3; i < args.size(); ++i) {
    if (!store && is_option(args[i], "withscores")) {
      scores = true;
    } else if (is_option(args[i], "limit") && i + 2 < args.size()) {
      if (!int64_or_reply(ctx, args[i + 1], offset) || !int64_or_reply(ctx, args[i + 2], limit)) return;
      i += 2;
    } else if (order == Order::any && is_option(args[i], "rev")) {
      order = Order::falling;
    } else if (by == By::any && is_option(args[i], "bylex")) {
      by = By::lex;
    } else if (by == By::any && is_option(args[i], "byscore")) {
      by = By::score;
    } else {
      return ctx.reply.error(errors::kSyntax);
    }
  }
  if (by == By::any) by = By::rank;
  const bool falling = order == Order::falling;
  if (limit != -1 && by == By::rank) {
    return ctx.reply.error("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
  }
  if (scores && by == By::lex) {
    return ctx.reply.error("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
  }
  std::string_view low = args[first + 1], high = args[first + 2];
  if (falling && by != By::rank) std::swap(low, high);
  Bound from, to;
  int64_t start = 0, end = 0;
  if (by == By::rank) {
    if (!int64_or_reply(ctx, low, start) || !int64_or_reply(ctx, high, end)) return;
  } else if (!bounds_or_reply(ctx, by, low, high, from, to)) {
    return;
  }
  Entry* entry = find_to_read(ctx, args[first], first == 1 ? ctx.key_hash : ctx.store.hash(args[first]));
  if (!is_type_or_reply(ctx, entry, kZset)) return;
  std::vector<Scored> copies;
  {
    Collection zset(ctx.store, entry);
    Slice slice;
    if (by == By::rank) {
      slice = slice_of_ranks(start, end, zset.size());
      if (falling) slice.first = zset.size() - slice.first - slice.count;
    } else {
      slice = slice_between(zset, by, from, to);
      const uint64_t skipped = offset < 0 ? slice.count : std::min<uint64_t>(static_cast<uint64_t>(offset), slice.count);
      const uint64_t most = limit < 0 ? slice.count : static_cast<uint64_t>(limit);
      const size_t count = static_cast<size_t>(std::min<uint64_t>(slice.count - skipped, most));
      slice.first = falling ? slice.first + (slice.count - skipped - count) : slice.first + skipped;
      slice.count = count;
    }
    if (!store) reply_pairs_head(ctx, slice.count, scores);
    if (slice.count != 0) {
      const size_t begin = falling ? slice.first + slice.count - 1 : slice.first;
      zset.ranking().each(begin, slice.count, falling, [&](const Ranking::Item& item) {
        if (store) copies.push_back({std::string(zset.key(item.place)), item.score});
        else reply_scored(ctx, zset.key(item.place), item.score, scores);
      });
    }
  }
  if (store) store_scored(ctx, args[1], copies, "zrangestore");
}

void count_generic(Context& ctx, By by) {
  Bound from, to;
  if (!bounds_or_reply(ctx, by, ctx.args[2], ctx.args[3], from, to)) return;
  Entry* entry;
  if (!read_or_reply(ctx, kZset, entry)) return;
  Collection zset(ctx.store, entry);
  ctx.reply.integer(static_cast<int64_t>(slice_between(zset, by, from, to).count));
}

void remove_generic(Context& ctx, By by, std::string_view event) {
  const std::string_view key = ctx.args[1];
  Bound from, to;
  int64_t start = 0, end = 0;
  if (by == By::rank) {
    if (!int64_or_reply(ctx, ctx.args[2], start) || !int64_or_reply(ctx, ctx.args[3], end)) return;
  } else if (!bounds_or_reply(ctx, by, ctx.args[2], ctx.args[3], from, to)) {
    return;
  }
  Entry* entry;
  if (!write_or_reply(ctx, kZset, entry)) return;
  if (entry == nullptr) return ctx.reply.integer(0);
  Slice slice;
  bool left = false;
  {
    Edit edit(ctx, key, ctx.key_hash, entry, kZset);
    slice = by == By::rank ? slice_of_ranks(start, end, edit.size()) : slice_between(edit, by, from, to);
    if (slice.count == 0) return ctx.reply.integer(0);
    if (slice.count == edit.size()) {
      ctx.store.erase(entry, ctx.key_hash);
    } else {
      if (!edit.begin_removal(slice.count * kRemoveRoom)) return;
      std::vector<uint32_t> places;
      edit.ranking().each(slice.first, slice.count, false,
                          [&](const Ranking::Item& item) { places.push_back(item.place); });
      for (const uint32_t place : places) edit.remove(place);
      left = edit.finish();
    }
  }
  notify_change(ctx, kNotifyZset, event, key, left);
  ctx.reply.integer(static_cast<int64_t>(slice.count));
}

}  // namespace

void zrange(Context& ctx) { range_generic(ctx, 1, false, By::any, Order::any); }
void zrangestore(Context& ctx) { range_generic(ctx, 2, true, By::any, Order::any); }
void zrangebyscore(Context& ctx) { range_generic(ctx, 1, false, By::score, Order::rising); }
void zrangebylex(Context& ctx) { range_generic(ctx, 1, false, By::lex, Order::rising); }
void zrevrange(Context& ctx) { range_generic(ctx, 1, false, By::rank, Order::falling); }
void zrevrangebyscore(Context& ctx) { range_generic(ctx, 1, false, By::score, Order::falling); }
void zrevrangebylex(Context& ctx) { range_generic(ctx, 1, false, By::lex, Order::falling); }
void zcount(Context& ctx) { count_generic(ctx, By::score); }
void zlexcount(Context& ctx) { count_generic(ctx, By::lex); }
void zremrangebyrank(Context& ctx) { remove_generic(ctx, By::rank, "zremrangebyrank"); }
void zremrangebyscore(Context& ctx) { remove_generic(ctx, By::score, "zremrangebyscore"); }
void zremrangebylex(Context& ctx) { remove_generic(ctx, By::lex, "zremrangebylex"); }

}  // namespace predis
