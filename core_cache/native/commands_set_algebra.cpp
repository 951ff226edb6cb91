// commands_set_algebra.cpp: SINTER, SUNION, SDIFF and their kin.
#include <deque>
#include <unordered_set>

#include "commands_set.h"

namespace predis {
namespace {

using Members = std::vector<std::string_view>;

// The sets at args[first], …: none of them is changed while they are looked at.
class Sets {
 public:
  // Answers with an error and gives false where one is no set. Counts hits and misses.
  bool open(Context& ctx, Args keys) {
    for (const std::string_view key : keys) {
      Entry* entry = find_to_read(ctx, key, ctx.store.hash(key));
      if (!is_type_or_reply(ctx, entry, Type::set)) return false;
      sets_.emplace_back(ctx.store, entry);
    }
    return true;
  }
  const std::deque<Collection>& all() const { return sets_; }

 private:
  std::deque<Collection> sets_;
};

// Calls visit(member) for each member that all sets have, until it gives false.
template <typename Visit>
void intersect(const Sets& sets, Visit&& visit) {
  std::vector<const Collection*> order;
  for (const Collection& set : sets.all()) order.push_back(&set);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->size() < b->size(); });
  if (order[0]->size() == 0) return;
  bool more = true;
  each_member(*order[0], [&](std::string_view member) {
    if (!more) return;
    for (size_t i = 1; i < order.size(); ++i) {
      if (order[i] != order[0] && order[i]->find(member) == 0) return;
    }
    more = visit(member);
  });
}

Members intersection(Context&, const Sets& sets) {
  Members found;
  intersect(sets, [&](std::string_view member) {
    found.push_back(member);
    return true;
  });
  return found;
}

Members difference(Context&, const Sets& sets) {
  Members found;
  each_member(sets.all()[0], [&](std::string_view member) {
    for (size_t i = 1; i < sets.all().size(); ++i) {
      if (sets.all()[i].find(member) != 0) return;
    }
    found.push_back(member);
  });
  return found;
}

Members union_of(Context& ctx, const Sets& sets) {
  const auto hash = [&ctx](std::string_view member) { return static_cast<size_t>(ctx.store.hash(member)); };
  std::unordered_set<std::string_view, decltype(hash)> seen(16, hash);
  Members found;
  for (const Collection& set : sets.all()) {
    each_member(set, [&](std::string_view member) {
      if (seen.insert(member).second) found.push_back(member);
    });
  }
  return found;
}

using Combine = Members (*)(Context&, const Sets&);

// Redis gathers a union and a difference in a set of their own, which is an intset while it can be one.
void order_as_intset(Context& ctx, Members& members) {
  if (members.size() > static_cast<uint64_t>(ctx.engine.config().set_max_intset)) return;
  if (!std::all_of(members.begin(), members.end(), is_intset_member)) return;
  std::sort(members.begin(), members.end(), [](std::string_view a, std::string_view b) {
    int64_t x = 0, y = 0;
    return parse_int64(a, x), parse_int64(b, y), x < y;
  });
}

void reply_combined(Context& ctx, Combine combine) {
  Sets sets;
  if (!sets.open(ctx, ctx.args.subspan(1))) return;
  Members found = combine(ctx, sets);
  order_as_intset(ctx, found);
  ctx.reply.set(found.size());
  for (const std::string_view member : found) ctx.reply.bulk(member);
}

void store_combined(Context& ctx, Combine combine, std::string_view event) {
  const std::string_view key = ctx.args[1];
  std::string bytes;  // copies: the sets may be moved or evicted to make room for the result
  std::vector<size_t> ends;
  {
    Sets sets;
    if (!sets.open(ctx, ctx.args.subspan(2))) return;
    Members found = combine(ctx, sets);
    order_as_intset(ctx, found);
    for (const std::string_view member : found) ends.push_back((bytes += member).size());
  }
  Entry* old = ctx.store.find(key, ctx.key_hash);
  if (ends.empty()) {
    if (old != nullptr) {
      ctx.store.erase(old, ctx.key_hash);
      notify(ctx, kNotifyGeneric, "del", key);
    }
    return ctx.reply.integer(0);
  }
  size_t room = bytes.size();
  for (size_t i = 0, start = 0; i < ends.size(); start = ends[i++]) room += kRecordFixed + number_room(ends[i] - start);
  Edit edit(ctx, key, ctx.key_hash, nullptr, Type::set);
  edit.replace(old);
  if (!edit.begin(room)) return;
  for (size_t i = 0, start = 0; i < ends.size(); start = ends[i++]) {
    add_member(ctx, edit, std::string_view(bytes).substr(start, ends[i] - start));
  }
  edit.finish();
  notify(ctx, kNotifySet, event, key);
  ctx.reply.integer(static_cast<int64_t>(ends.size()));
}

}  // namespace

void sinter(Context& ctx) { reply_combined(ctx, intersection); }
void sunion(Context& ctx) { reply_combined(ctx, union_of); }
void sdiff(Context& ctx) { reply_combined(ctx, difference); }
void sinterstore(Context& ctx) { store_combined(ctx, intersection, "sinterstore"); }
void sunionstore(Context& ctx) { store_combined(ctx, union_of, "sunionstore"); }
void sdiffstore(Context& ctx) { store_combined(ctx, difference, "sdiffstore"); }

void sintercard(Context& ctx) {
  const Args args = ctx.args;
  int64_t keys, limit = 0;
  if (!counted_keys_or_reply(ctx, args[1], keys)) return;
  if (keys > static_cast<int64_t>(args.size()) - 2) {
    return ctx.reply.error("ERR Number of keys can't be greater than number of args");
  }
  for (size_t i = 2 + static_cast<size_t>(keys); i < args.size(); i += 2) {
    if (!is_option(args[i], "limit") || i + 1 == args.size()) return ctx.reply.error(errors::kSyntax);
    if (!limit_or_reply(ctx, args[i + 1], limit)) return;
  }
  Sets sets;
  if (!sets.open(ctx, args.subspan(2, static_cast<size_t>(keys)))) return;
  int64_t found = 0;
  intersect(sets, [&](std::string_view) { return ++found != limit; });
  ctx.reply.integer(found);
}

}  // namespace predis
