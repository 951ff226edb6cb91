// commands_collection.cpp: what the commands on collections have in common.
#include "commands_collection.h"

#include <unordered_set>

namespace predis {

int64_t remove_members(Context& ctx, Entry* entry, Type type, NotifyClass event_class, std::string_view event) {
  if (entry == nullptr) return 0;
  const Args members = ctx.args.subspan(2);
  const std::string_view key = ctx.args[1];
  Edit edit(ctx, key, ctx.key_hash, entry, type);
  size_t i = 0;
  while (i < members.size() && edit.find(members[i]) == 0) ++i;
  if (i == members.size()) return 0;
  int64_t removed = 0;
  bool left = false;
  if (edit.size() == 1) {  // needs no room, which there may not be
    ctx.store.erase(entry, ctx.key_hash);
    removed = 1;
  } else {
    if (!edit.begin_removal((members.size() - i) * kRemoveRoom)) return -1;
    for (; i < members.size() && edit.size() != 0; ++i) {
      const uint32_t at = edit.find(members[i]);
      if (at == 0) continue;
      edit.remove(at);
      ++removed;
    }
    left = edit.finish();
  }
  notify_change(ctx, event_class, event, key, left);
  return removed;
}

std::vector<uint32_t> pick_places(const Collection& collection, size_t count) {
  std::vector<uint32_t> places;
  if (count * 4 > collection.size()) {  // shuffles the first ones into place
    places = collection.places();
    for (size_t i = 0; i < count; ++i) std::swap(places[i], places[i + random64() % (places.size() - i)]);
    places.resize(count);
    return places;
  }
  std::unordered_set<uint32_t> seen;
  while (places.size() < count) {
    const uint32_t place = collection.pick();
    if (seen.insert(place).second) places.push_back(place);
  }
  return places;
}

}  // namespace predis
