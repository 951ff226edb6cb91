// commands_list.cpp: the commands on lists.
#include "commands_collection.h"

namespace predis {
namespace {

constexpr Type kList = Type::list;

uint64_t magnitude(int64_t number) {
  return number < 0 ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
}

size_t push_room(std::string_view value) { return kRecordFixed + number_room(value.size()) + value.size(); }

void push_generic(Context& ctx, bool left, bool only_existing) {
  Entry* entry;
  if (!write_or_reply(ctx, kList, entry)) return;
  if (entry == nullptr && only_existing) return ctx.reply.integer(0);
  const Args values = ctx.args.subspan(2);
  size_t room = 0;
  for (const std::string_view value : values) room += push_room(value);
  Edit edit(ctx, ctx.args[1], ctx.key_hash, entry, kList);
  if (!edit.begin(room)) return;
  for (const std::string_view value : values) edit.push(left, value);
  edit.finish();
  notify(ctx, kNotifyList, left ? "lpush" : "rpush", ctx.args[1]);
  ctx.reply.integer(edit.size());
}

void lpush(Context& ctx) { push_generic(ctx, true, false); }
void rpush(Context& ctx) { push_generic(ctx, false, false); }
void lpushx(Context& ctx) { push_generic(ctx, true, true); }
void rpushx(Context& ctx) { push_generic(ctx, false, true); }

// Removes elements from one end, replying with each. Gives false where an error was answered instead.
bool pop_elements(Context& ctx, std::string_view key, uint64_t hash, Entry* entry, bool left, uint32_t count) {
  bool more = false;
  {
    Edit edit(ctx, key, hash, entry, kList);
    const bool all = count == edit.size();
    if (!all && !edit.begin_removal(kRemoveRoom)) return false;
    const Sequence& places = edit.sequence();
    for (uint32_t i = 0; i < count; ++i) {
      ctx.reply.bulk(edit.value(left ? places[i] : places[places.size() - 1 - i]));
    }
    if (all) {
      ctx.store.erase(entry, hash);
    } else {
      edit.pop(left, count);
      more = edit.finish();
    }
  }
  notify_change(ctx, kNotifyList, left ? "lpop" : "rpop", key, more);
  return true;
}

void pop_generic(Context& ctx, std::string_view command, bool left) {
  const bool counted = ctx.args.size() == 3;
  int64_t count = 1;
  if (ctx.args.size() > 3) return reply_wrong_arity(ctx, command);
  if (counted && !positive_or_reply(ctx, ctx.args[2], count)) return;
  Entry* entry;
  if (!write_or_reply(ctx, kList, entry)) return;
  if (entry == nullptr) return counted ? ctx.reply.null_array() : ctx.reply.null();
  if (count == 0) return ctx.reply.array(0);
  const size_t start = ctx.reply.buffer.size();
  const auto number = static_cast<uint32_t>(std::min<int64_t>(count, head_of(entry).count));
  if (counted) ctx.reply.array(number);
  if (pop_elements(ctx, ctx.args[1], ctx.key_hash, entry, left, number)) return;
  ctx.reply.buffer.truncate(start);
  ctx.reply.error(errors::kOutOfMemory);
}

void lpop(Context& ctx) { pop_generic(ctx, "lpop", true); }
void rpop(Context& ctx) { pop_generic(ctx, "rpop", false); }

void llen(Context& ctx) {
  Entry* entry;
  if (read_or_reply(ctx, kList, entry)) ctx.reply.integer(entry != nullptr ? head_of(entry).count : 0);
}

// The first and the last index that a range means in a list of this length; false: none.
bool clip_range(int64_t& start, int64_t& end, int64_t length) {
  if (start < 0) start = std::max<int64_t>(start + length, 0);
  if (end < 0) end += length;
  end = std::min(end, length - 1);
  return start <= end && start < length;
}

void lrange(Context& ctx) {
  int64_t start, end;
  if (!int64_or_reply(ctx, ctx.args[2], start) || !int64_or_reply(ctx, ctx.args[3], end)) return;
  Entry* entry;
  if (!read_or_reply(ctx, kList, entry)) return;
  Collection list(ctx.store, entry);
  if (!clip_range(start, end, list.size())) return ctx.reply.array(0);
  const Sequence& places = list.sequence();
  ctx.reply.array(static_cast<size_t>(end - start + 1));
  for (auto i = static_cast<size_t>(start); i <= static_cast<size_t>(end); ++i) ctx.reply.bulk(list.value(places[i]));
}

// An index from either end; false where there is no such element.
bool element_index(int64_t& index, int64_t length) {
  if (index < 0) index += length;
  return index >= 0 && index < length;
}

void lindex(Context& ctx) {
  Entry* entry;
  int64_t index;
  if (!read_or_reply(ctx, kList, entry)) return;
  if (entry == nullptr) return ctx.reply.null();
  if (!int64_or_reply(ctx, ctx.args[2], index)) return;
  Collection list(ctx.store, entry);
  if (!element_index(index, list.size())) return ctx.reply.null();
  ctx.reply.bulk(list.value(list.sequence()[static_cast<size_t>(index)]));
}

void lset(Context& ctx) {
  Entry* entry;
  int64_t index;
  if (!write_or_reply(ctx, kList, entry)) return;
  if (entry == nullptr) return ctx.reply.error(errors::kNoSuchKey);
  if (!int64_or_reply(ctx, ctx.args[2], index)) return;
  if (!element_index(index, head_of(entry).count)) return ctx.reply.error("ERR index out of range");
  Edit edit(ctx, ctx.args[1], ctx.key_hash, entry, kList);
  if (!edit.begin(push_room(ctx.args[3]) + kRemoveRoom)) return;
  edit.set(static_cast<uint32_t>(index), ctx.args[3]);
  edit.finish();
  notify(ctx, kNotifyList, "lset", ctx.args[1]);
  ctx.reply.ok();
}

void linsert(Context& ctx) {
  const bool after = is_option(ctx.args[2], "after");
  if (!after && !is_option(ctx.args[2], "before")) return ctx.reply.error(errors::kSyntax);
  Entry* entry;
  if (!write_or_reply(ctx, kList, entry)) return;
  if (entry == nullptr) return ctx.reply.integer(0);
  Edit edit(ctx, ctx.args[1], ctx.key_hash, entry, kList);
  uint32_t index = 0;
  for (const uint32_t place : edit.sequence()) {
    if (edit.value(place) == ctx.args[3]) break;
    ++index;
  }
  if (index == edit.size()) return ctx.reply.integer(-1);
  if (!edit.begin(push_room(ctx.args[4]) + kRemoveRoom)) return;
  edit.insert(index + after, ctx.args[4]);
  edit.finish();
  notify(ctx, kNotifyList, "linsert", ctx.args[1]);
  ctx.reply.integer(edit.size());
}

// Writes the list anew without the elements at these ascending indexes: dearer than erasing a few, cheaper than many.
bool keep_others(Context& ctx, Entry* entry, const std::vector<uint32_t>& removed) {
  Collection list(ctx.store, entry);
  const Sequence& places = list.sequence();
  Edit edit(ctx, ctx.args[1], ctx.key_hash, nullptr, kList);
  edit.replace(entry, true);
  const auto each_kept = [&](auto&& visit) {
    size_t next = 0;
    for (uint32_t i = 0; i < places.size(); ++i) {
      if (next < removed.size() && removed[next] == i) ++next;
      else visit(list.value(places[i]));
    }
  };
  size_t room = 0;
  each_kept([&](std::string_view value) { room += push_room(value); });
  if (!edit.begin(room)) return false;
  each_kept([&](std::string_view value) { edit.push(false, value); });
  return edit.finish();
}

void lrem(Context& ctx) {
  constexpr size_t kFew = 32;
  int64_t count;
  if (!int64_or_reply(ctx, ctx.args[2], count)) return;
  Entry* entry;
  if (!write_or_reply(ctx, kList, entry)) return;
  if (entry == nullptr) return ctx.reply.integer(0);
  std::vector<uint32_t> removed;
  bool left = false;
  {
    Edit edit(ctx, ctx.args[1], ctx.key_hash, entry, kList);
    const Sequence& places = edit.sequence();
    const uint64_t most = count == 0 ? ~uint64_t{0} : magnitude(count);
    const auto size = static_cast<uint32_t>(places.size());
    for (uint32_t i = 0; i < size && removed.size() < most; ++i) {
      const uint32_t index = count < 0 ? size - 1 - i : i;
      if (edit.value(places[index]) == ctx.args[3]) removed.push_back(index);
    }
    if (removed.empty()) return ctx.reply.integer(0);
    std::sort(removed.begin(), removed.end());
    if (removed.size() == size) {
      ctx.store.erase(entry, ctx.key_hash);
    } else if (removed.size() <= kFew) {
      if (!edit.begin_removal(removed.size() * kRemoveRoom)) return;
      for (size_t i = removed.size(); i-- > 0;) edit.erase(removed[i], 1);
      left = edit.finish();
    }
  }
  if (removed.size() > kFew && ctx.store.find(ctx.args[1], ctx.key_hash) == entry) {
    left = keep_others(ctx, entry, removed);
    if (!left) return;
  }
  notify_change(ctx, kNotifyList, "lrem", ctx.args[1], left);
  ctx.reply.integer(static_cast<int64_t>(removed.size()));
}

void ltrim(Context& ctx) {
  int64_t start, end;
  if (!int64_or_reply(ctx, ctx.args[2], start) || !int64_or_reply(ctx, ctx.args[3], end)) return;
  Entry* entry;
  if (!write_or_reply(ctx, kList, entry)) return;
  if (entry == nullptr) return ctx.reply.ok();
  const int64_t length = head_of(entry).count;
  bool left = true;
  if (!clip_range(start, end, length)) {
    ctx.store.erase(entry, ctx.key_hash);
    left = false;
  } else if (start > 0 || end < length - 1) {
    Edit edit(ctx, ctx.args[1], ctx.key_hash, entry, kList);
    if (!edit.begin_removal(2 * kRemoveRoom)) return;
    if (start > 0) edit.pop(true, static_cast<uint32_t>(start));
    if (end < length - 1) edit.pop(false, static_cast<uint32_t>(length - 1 - end));
    edit.finish();
  }
  notify_change(ctx, kNotifyList, "ltrim", ctx.args[1], left);
  ctx.reply.ok();
}

void lpos(Context& ctx) {
  const Args args = ctx.args;
  int64_t rank = 1, count = -1, most = 0;
  for (size_t i = 3; i < args.size(); i += 2) {
    const bool more = i + 1 < args.size();
    if (more && is_option(args[i], "rank")) {
      if (!int64_or_reply(ctx, args[i + 1], rank)) return;
      if (rank == 0) {
        return ctx.reply.error(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to "
            "start from the end of the list");
      }
    } else if (more && is_option(args[i], "count")) {
      if (!ranged_or_reply(ctx, args[i + 1], 0, LONG_MAX, count, "ERR COUNT can't be negative")) return;
    } else if (more && is_option(args[i], "maxlen")) {
      if (!ranged_or_reply(ctx, args[i + 1], 0, LONG_MAX, most, "ERR MAXLEN can't be negative")) return;
    } else {
      return ctx.reply.error(errors::kSyntax);
    }
  }
  Entry* entry;
  if (!read_or_reply(ctx, kList, entry)) return;
  Collection list(ctx.store, entry);
  std::vector<size_t> found;
  const Sequence& places = list.sequence();
  const size_t length = most == 0 ? places.size() : std::min(places.size(), static_cast<size_t>(most));
  const size_t wanted = count < 0 ? 1 : count == 0 ? SIZE_MAX : static_cast<size_t>(count);
  uint64_t skip = rank == LONG_MIN ? 0 : magnitude(rank) - 1;  // the least counts as -1, an overflow of Redis'
  for (size_t i = 0; i < length && found.size() < wanted; ++i) {
    const size_t index = rank < 0 ? places.size() - 1 - i : i;
    if (list.value(places[index]) != args[2]) continue;
    if (skip != 0) --skip;
    else found.push_back(index);
  }
  if (count < 0) return found.empty() ? ctx.reply.null() : ctx.reply.integer(static_cast<int64_t>(found[0]));
  ctx.reply.array(found.size());
  for (const size_t index : found) ctx.reply.integer(static_cast<int64_t>(index));
}

// The element is in one of the two lists whenever the process is killed: it is pushed before it is popped.
void move_generic(Context& ctx, bool from_left, bool to_left) {
  const std::string_view from = ctx.args[1], to = ctx.args[2];
  const uint64_t to_hash = ctx.store.hash(to);
  Entry* target = ctx.store.find(to, to_hash);
  Entry* source = ctx.store.find(from, ctx.key_hash);
  if (source == nullptr) return ctx.reply.null();
  if (!is_type_or_reply(ctx, source, kList) || !is_type_or_reply(ctx, target, kList)) return;
  std::string value;
  {
    Collection list(ctx.store, source);
    const Sequence& places = list.sequence();
    value = list.value(from_left ? places.front() : places.back());
  }
  bool left = true;
  if (from == to) {
    Edit edit(ctx, from, ctx.key_hash, source, kList);
    if (!edit.begin(kRemoveRoom + push_room(value))) return;
    edit.pop(from_left, 1);
    edit.push(to_left, value);
    edit.finish();
  } else {
    Edit edit(ctx, to, to_hash, target, kList);
    if (!edit.begin(push_room(value))) return;
    edit.push(to_left, value);
    edit.finish();
    source = ctx.store.find(from, ctx.key_hash);  // it may have been moved, or evicted
    if (source != nullptr && head_of(source).count == 1) {
      ctx.store.erase(source, ctx.key_hash);
      left = false;
    } else if (source != nullptr) {
      Edit popping(ctx, from, ctx.key_hash, source, kList);
      if (!popping.begin_removal(kRemoveRoom)) return;
      popping.pop(from_left, 1);
      popping.finish();
    }
  }
  notify(ctx, kNotifyList, to_left ? "lpush" : "rpush", to);
  notify_change(ctx, kNotifyList, from_left ? "lpop" : "rpop", from, left);
  ctx.reply.bulk(value);
}

bool side_or_reply(Context& ctx, std::string_view text, bool& left) {
  left = is_option(text, "left");
  if (left || is_option(text, "right")) return true;
  ctx.reply.error(errors::kSyntax);
  return false;
}

void lmove(Context& ctx) {
  bool from_left, to_left;
  if (side_or_reply(ctx, ctx.args[3], from_left) && side_or_reply(ctx, ctx.args[4], to_left)) {
    move_generic(ctx, from_left, to_left);
  }
}

void rpoplpush(Context& ctx) { move_generic(ctx, false, true); }

void lmpop(Context& ctx) {
  const Args args = ctx.args;
  int64_t keys, count = -1;
  bool left;
  if (!counted_keys_or_reply(ctx, args[1], keys)) return;
  if (keys >= static_cast<int64_t>(args.size()) - 2) return ctx.reply.error(errors::kSyntax);
  const auto side = 2 + static_cast<size_t>(keys);
  if (!side_or_reply(ctx, args[side], left)) return;
  for (size_t i = side + 1; i < args.size(); i += 2) {
    if (!is_option(args[i], "count") || i + 1 == args.size() || count != -1) return ctx.reply.error(errors::kSyntax);
    if (!ranged_or_reply(ctx, args[i + 1], 1, LONG_MAX, count, "ERR count should be greater than 0")) return;
  }
  if (count == -1) count = 1;
  for (const std::string_view key : args.subspan(2, static_cast<size_t>(keys))) {
    const uint64_t hash = ctx.store.hash(key);
    Entry* entry = ctx.store.find(key, hash);
    if (entry == nullptr) continue;
    if (!is_type_or_reply(ctx, entry, kList)) return;
    const size_t start = ctx.reply.buffer.size();
    const auto number = static_cast<uint32_t>(std::min<int64_t>(count, head_of(entry).count));
    ctx.reply.array(2);
    ctx.reply.bulk(key);
    ctx.reply.array(number);
    if (pop_elements(ctx, key, hash, entry, left, number)) return;
    ctx.reply.buffer.truncate(start);
    return ctx.reply.error(errors::kOutOfMemory);
  }
  ctx.reply.null_array();
}

constexpr std::string_view kGroup = "list";
constexpr std::string_view kReadSlow = "read list slow", kWriteFast = "write list fast", kWriteSlow = "write list slow";
constexpr uint32_t kAdd = kWrite | kDenyOom;
constexpr std::string_view kPerValue = "O(N) where N is the number of elements named.";
constexpr std::string_view kWhole = "O(N) where N is the length of the list.";

CommandSpec table[] = {
    {"lpush", -3, kAdd | kFast, 1, 1, 1, kGroup, "1.0.0", kPerValue, "Adds elements to the left end of a list.",
     kWriteFast, lpush},
    {"rpush", -3, kAdd | kFast, 1, 1, 1, kGroup, "1.0.0", kPerValue, "Adds elements to the right end of a list.",
     kWriteFast, rpush},
    {"lpushx", -3, kAdd | kFast, 1, 1, 1, kGroup, "2.2.0", kPerValue,
     "Adds elements to the left end of a list that exists.", kWriteFast, lpushx},
    {"rpushx", -3, kAdd | kFast, 1, 1, 1, kGroup, "2.2.0", kPerValue,
     "Adds elements to the right end of a list that exists.", kWriteFast, rpushx},
    {"lpop", -2, kWrite | kFast, 1, 1, 1, kGroup, "1.0.0", "O(N) where N is the number of elements in the reply.",
     "Removes elements from the left end and gives them.", kWriteFast, lpop},
    {"rpop", -2, kWrite | kFast, 1, 1, 1, kGroup, "1.0.0", "O(N) where N is the number of elements in the reply.",
     "Removes elements from the right end and gives them.", kWriteFast, rpop},
    {"llen", 2, kReadonly | kFast, 1, 1, 1, kGroup, "1.0.0", "O(1)", "Counts the elements.", "read list fast", llen},
    {"lrange", 4, kReadonly, 1, 1, 1, kGroup, "1.0.0", "O(N) where N is the number of elements in the reply.",
     "Gives the elements between two positions.", kReadSlow, lrange},
    {"lindex", 3, kReadonly, 1, 1, 1, kGroup, "1.0.0", "O(1)", "Gives the element at a position.", kReadSlow, lindex},
    {"lset", 4, kAdd, 1, 1, 1, kGroup, "1.0.0", "O(1)", "Replaces the element at a position.", kWriteSlow, lset},
    {"lrem", 4, kWrite, 1, 1, 1, kGroup, "1.0.0", kWhole, "Removes elements that equal a value.", kWriteSlow, lrem},
    {"ltrim", 4, kWrite, 1, 1, 1, kGroup, "1.0.0", "O(N) where N is the number of elements removed.",
     "Removes all elements but those between two positions.", kWriteSlow, ltrim},
    {"linsert", 5, kAdd, 1, 1, 1, kGroup, "2.2.0", kWhole, "Inserts an element before or after another.", kWriteSlow,
     linsert},
    {"lpos", -3, kReadonly, 1, 1, 1, kGroup, "6.0.6", kWhole, "Gives the positions of elements that equal a value.",
     kReadSlow, lpos},
    {"lmove", 5, kAdd, 1, 2, 1, kGroup, "6.2.0", "O(1)", "Moves an element from one end of a list to one of another.",
     kWriteSlow, lmove},
    {"rpoplpush", 3, kAdd, 1, 2, 1, kGroup, "1.2.0", "O(1)",
     "Moves the right end of a list to the left end of another.", kWriteSlow, rpoplpush},
    {"lmpop", -4, kWrite | kMovableKeys, 0, 0, 0, kGroup, "7.0.0",
     "O(N+M) where N is the number of keys and M that of the elements in the reply.",
     "Removes elements from the first of several lists that has any, and gives them.", kWriteSlow, lmpop},
};

}  // namespace

std::span<CommandSpec> list_commands() { return table; }

}  // namespace predis
