// commands_set.cpp: the commands on one set, and the table of all of them.
#include "commands_set.h"

namespace predis {

void add_member(Context& ctx, Edit& edit, std::string_view member) {
  edit.put(0, member, {});
  if (!edit.large() &&
      (!is_intset_member(member) || edit.size() > static_cast<uint64_t>(ctx.engine.config().set_max_intset))) {
    edit.set_large();
  }
}

namespace {

constexpr Type kSet = Type::set;

void sadd(Context& ctx) {
  Entry* entry;
  if (!write_or_reply(ctx, kSet, entry)) return;
  const Args members = ctx.args.subspan(2);
  Edit edit(ctx, ctx.args[1], ctx.key_hash, entry, kSet);
  size_t first = 0;
  while (first < members.size() && edit.find(members[first]) != 0) ++first;
  if (first == members.size()) return ctx.reply.integer(0);
  size_t room = 0;
  for (size_t i = first; i < members.size(); ++i) {
    room += kRecordFixed + number_room(members[i].size()) + members[i].size();
  }
  if (!edit.begin(room)) return;
  int64_t added = 0;
  for (size_t i = first; i < members.size(); ++i) {
    if (edit.find(members[i]) != 0) continue;
    add_member(ctx, edit, members[i]);
    ++added;
  }
  edit.finish();
  notify(ctx, kNotifySet, "sadd", ctx.args[1]);
  ctx.reply.integer(added);
}

void srem(Context& ctx) {
  Entry* entry;
  if (!write_or_reply(ctx, kSet, entry)) return;
  const int64_t removed = remove_members(ctx, entry, kSet, kNotifySet, "srem");
  if (removed >= 0) ctx.reply.integer(removed);
}

void sismember(Context& ctx) {
  Entry* entry;
  if (!read_or_reply(ctx, kSet, entry)) return;
  ctx.reply.integer(Collection(ctx.store, entry).find(ctx.args[2]) != 0);
}

void smismember(Context& ctx) {
  Entry* entry;
  if (!read_or_reply(ctx, kSet, entry)) return;
  const Collection set(ctx.store, entry);
  const Args members = ctx.args.subspan(2);
  for (const std::string_view member : members) set.prefetch(member);
  ctx.reply.array(members.size());
  for (const std::string_view member : members) ctx.reply.integer(set.find(member) != 0);
}

void scard(Context& ctx) {
  Entry* entry;
  if (read_or_reply(ctx, kSet, entry)) ctx.reply.integer(entry != nullptr ? head_of(entry).count : 0);
}

void smembers(Context& ctx) {
  Entry* entry;
  if (!read_or_reply(ctx, kSet, entry)) return;
  const Collection set(ctx.store, entry);
  ctx.reply.set(set.size());
  each_member(set, [&](std::string_view member) { ctx.reply.bulk(member); });
}

// The member is in one of the two sets whenever the process is killed: it is added before it is removed.
void smove(Context& ctx) {
  const std::string_view from = ctx.args[1], to = ctx.args[2], member = ctx.args[3];
  const uint64_t to_hash = ctx.store.hash(to);
  Entry* target = ctx.store.find(to, to_hash);
  Entry* source = ctx.store.find(from, ctx.key_hash);
  if (source == nullptr) return ctx.reply.integer(0);
  if (!is_type_or_reply(ctx, source, kSet) || !is_type_or_reply(ctx, target, kSet)) return;
  if (Collection(ctx.store, source).find(member) == 0) return ctx.reply.integer(0);
  if (from == to) return ctx.reply.integer(1);
  bool added = false;
  {
    Edit edit(ctx, to, to_hash, target, kSet);
    if (edit.find(member) == 0) {
      if (!edit.begin(record_room(member.size(), 0))) return;
      add_member(ctx, edit, member);
      edit.finish();
      added = true;
    }
  }
  bool left = true;
  source = ctx.store.find(from, ctx.key_hash);  // it may have been moved, or evicted
  if (source != nullptr) {
    Edit edit(ctx, from, ctx.key_hash, source, kSet);
    if (edit.size() == 1) {
      ctx.store.erase(source, ctx.key_hash);
      left = false;
    } else {
      if (!edit.begin_removal(kRemoveRoom)) return;
      edit.remove(edit.find(member));
      left = edit.finish();
    }
  }
  notify_change(ctx, kNotifySet, "srem", from, left);
  if (added) notify(ctx, kNotifySet, "sadd", to);
  ctx.reply.integer(1);
}

// Whether a set of these members would begin as an intset.
bool fits_intset(Context& ctx, const Collection& set) {
  bool integers = set.size() <= static_cast<uint64_t>(ctx.engine.config().set_max_intset);
  if (integers) set.each([&](const Record&, std::string_view member) { integers &= is_intset_member(member); });
  return integers;
}

void spop(Context& ctx) {
  if (ctx.args.size() > 3) return ctx.reply.error(errors::kSyntax);
  int64_t count = 1;
  const bool counted = ctx.args.size() == 3;
  if (counted && !positive_or_reply(ctx, ctx.args[2], count)) return;
  Entry* entry;
  if (!write_or_reply(ctx, kSet, entry)) return;
  if (entry == nullptr) return counted ? ctx.reply.set(0) : ctx.reply.null();
  if (count == 0) return ctx.reply.set(0);
  const std::string_view key = ctx.args[1];
  bool left = true;
  {
    const Collection set(ctx.store, entry);
    if (static_cast<uint64_t>(count) >= set.size()) {
      if (counted) {
        ctx.reply.set(set.size());
        ++ctx.store.stats().keyspace_hits;  // Redis answers with a union of the one set
      }
      each_member(set, [&](std::string_view member) { ctx.reply.bulk(member); });
      ctx.store.erase(entry, ctx.key_hash);
      left = false;
    }
  }
  if (left) {
    Edit edit(ctx, key, ctx.key_hash, entry, kSet);
    if (!edit.begin_removal(static_cast<size_t>(count) * kRemoveRoom)) return;
    if (counted) ctx.reply.set(static_cast<size_t>(count));
    for (const uint32_t place : pick_places(edit, static_cast<size_t>(count))) {
      ctx.reply.bulk(edit.key(place));
      edit.remove(place);
    }
    // Redis makes a new set of what is left where that is little.
    if (counted && edit.large() && edit.size() * 5 <= static_cast<uint64_t>(count)) {
      edit.set_large(!fits_intset(ctx, edit));
    }
    edit.finish();
  }
  notify_change(ctx, kNotifySet, "spop", key, left);
}

void srandmember(Context& ctx) {
  if (ctx.args.size() > 3) return ctx.reply.error(errors::kSyntax);
  int64_t count = 0;
  if (ctx.args.size() == 3 && !ranged_or_reply(ctx, ctx.args[2], -LONG_MAX, LONG_MAX, count)) return;
  Entry* entry;
  if (!read_or_reply(ctx, kSet, entry)) return;
  const Collection set(ctx.store, entry);
  if (count > 0 && static_cast<uint64_t>(count) >= set.size() && set.size() > 0) {
    ctx.reply.array(set.size());
    return each_member(set, [&](std::string_view member) { ctx.reply.bulk(member); });
  }
  reply_random(ctx, set, count, false, [](uint32_t) {});
}

void sscan(Context& ctx) {
  scan_collection(ctx, kSet, 1, [&](const Collection& set, uint32_t place) { ctx.reply.bulk(set.key(place)); });
}

constexpr std::string_view kGroup = "set";
constexpr std::string_view kReadFast = "read set fast", kReadSlow = "read set slow";
constexpr std::string_view kWriteFast = "write set fast", kWriteSlow = "write set slow";
constexpr uint32_t kRead = kReadonly | kFast;
constexpr std::string_view kPerMember = "O(N) where N is the number of members named.";
constexpr std::string_view kAllMembers = "O(N) where N is the number of members.";
constexpr std::string_view kInter = "O(N*M) where N is the size of the smallest set and M the number of sets.";
constexpr std::string_view kAllSets = "O(N) where N is the number of members of all sets.";

CommandSpec table[] = {
    {"sadd", -3, kWrite | kDenyOom | kFast, 1, 1, 1, kGroup, "1.0.0", kPerMember, "Adds members to a set.", kWriteFast,
     sadd},
    {"srem", -3, kWrite | kFast, 1, 1, 1, kGroup, "1.0.0", kPerMember, "Removes members; with the last the key goes.",
     kWriteFast, srem},
    {"sismember", 3, kRead, 1, 1, 1, kGroup, "1.0.0", "O(1)", "Tells whether a set has a member.", kReadFast,
     sismember},
    {"smismember", -3, kRead, 1, 1, 1, kGroup, "6.2.0", kPerMember, "Tells which of several members a set has.",
     kReadFast, smismember},
    {"scard", 2, kRead, 1, 1, 1, kGroup, "1.0.0", "O(1)", "Counts the members.", kReadFast, scard},
    {"smembers", 2, kReadonly, 1, 1, 1, kGroup, "1.0.0", kAllMembers, "Gives all members.", kReadSlow, smembers},
    {"spop", -2, kWrite | kFast, 1, 1, 1, kGroup, "1.0.0", "O(N) where N is the number of members in the reply.",
     "Removes members picked at random and gives them.", kWriteFast, spop},
    {"srandmember", -2, kReadonly, 1, 1, 1, kGroup, "1.0.0", "O(N) where N is the number of members in the reply.",
     "Gives members picked at random.", kReadSlow, srandmember},
    {"smove", 4, kWrite | kFast, 1, 2, 1, kGroup, "1.0.0", "O(1)", "Moves a member from one set to another.",
     kWriteFast, smove},
    {"sinter", -2, kReadonly, 1, -1, 1, kGroup, "1.0.0", kInter, "Gives the members that all of the sets have.",
     kReadSlow, sinter},
    {"sinterstore", -3, kWrite | kDenyOom, 1, -1, 1, kGroup, "1.0.0", kInter,
     "Stores the members that all of the sets have.", kWriteSlow, sinterstore},
    {"sintercard", -3, kReadonly | kMovableKeys, 0, 0, 0, kGroup, "7.0.0", kInter,
     "Counts the members that all of the sets have.", kReadSlow, sintercard},
    {"sunion", -2, kReadonly, 1, -1, 1, kGroup, "1.0.0", kAllSets, "Gives the members that any of the sets has.",
     kReadSlow, sunion},
    {"sunionstore", -3, kWrite | kDenyOom, 1, -1, 1, kGroup, "1.0.0", kAllSets,
     "Stores the members that any of the sets has.", kWriteSlow, sunionstore},
    {"sdiff", -2, kReadonly, 1, -1, 1, kGroup, "1.0.0", kAllSets,
     "Gives the members of the first set that none of the others has.", kReadSlow, sdiff},
    {"sdiffstore", -3, kWrite | kDenyOom, 1, -1, 1, kGroup, "1.0.0", kAllSets,
     "Stores the members of the first set that none of the others has.", kWriteSlow, sdiffstore},
    {"sscan", -3, kReadonly, 1, 1, 1, kGroup, "2.8.0", "O(1) for a call, O(N) for a whole walk over N members.",
     "Walks over the members in steps, which a cursor joins.", kReadSlow, sscan},
};

}  // namespace

std::span<CommandSpec> set_commands() { return table; }

}  // namespace predis
