// entries.h: looking up and storing values, with what Redis counts on the way. Shared by the data commands.
#pragma once

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "command.h"
#include "notify.h"

namespace predis {

// The flags of an Entry that say how Redis would encode the value; they belong to the value and travel with it.
constexpr uint8_t kEncodingFlags = kFlagRaw | kFlagEmbstr;
constexpr uint32_t kLongestEmbstr = 44;  // bytes; a longer string is "raw" whatever its flags

enum class Touch { no, yes };

// Finds a key for a command that reads it: counts a hit or a miss and, unless told otherwise, tells the policy.
inline Entry* find_to_read(Context& ctx, std::string_view key, uint64_t hash, Touch touch = Touch::yes) {
  Entry* entry = ctx.store.find(key, hash);
  if (__builtin_expect(ctx.store.testing(), 0)) ctx.store.count_in_test(hash, entry != nullptr);
  if (entry == nullptr) {
    ++ctx.store.stats().keyspace_misses;
    notify(ctx, kNotifyMiss, "keymiss", key);
  } else {
    ++ctx.store.stats().keyspace_hits;
    if (touch == Touch::yes) ctx.store.touch(entry);
  }
  return entry;
}

// For commands of one type: answers WRONGTYPE and gives false where the key holds another. nullptr (no key) is all right.
inline bool is_type_or_reply(Context& ctx, const Entry* entry, Type type) {
  if (__builtin_expect(entry == nullptr || entry->type() == type, 1)) return true;
  ctx.reply.error(errors::kWrongType);
  return false;
}

// The name that TYPE gives.
inline std::string_view type_name(Type type) {
  constexpr std::string_view kNames[] = {"string", "list", "set", "zset", "hash"};
  return kNames[static_cast<size_t>(type)];
}

// What a stored value has besides its bytes.
struct Attributes {
  uint64_t expire_at = 0;  // Unix time in ms, 0 for never
  uint8_t encoding = 0;    // kEncodingFlags
};

// An expiry that the arena can hold: it has 48 bits, enough until the year 10889. Later ones become that.
inline uint64_t storable_expiry(int64_t unix_ms) {
  return unix_ms <= 0 ? 1 : std::min(static_cast<uint64_t>(unix_ms), Entry::kExpireMask);
}

// Stores a value of `size` bytes that `fill(char*)` writes, in place of `old` (what find gave for the key just now) or,
// where that is nullptr, as a new key. The fill may read `pinned`: `old`, the source of a copy to a new key, or nothing.
// Answers with an error and gives false when there is no room for the value.
template <class Fill>
bool store_value(Context& ctx, std::string_view key, uint64_t hash, Entry* old, Entry* pinned, size_t size,
                 Attributes attributes, Fill&& fill) {
  Entry* fresh = ctx.store.prepare(key, size, Type::string, pinned);
  if (fresh == nullptr) {
    ctx.reply.error(errors::kOutOfMemory);
    return false;
  }
  fill(fresh->value_data());
  fresh->kind |= attributes.encoding;
  if (attributes.expire_at != 0) ctx.store.set_expire_at(fresh, hash, attributes.expire_at);
  if (old != nullptr && pinned != old) old = ctx.store.find(key, hash);  // it may have been moved or evicted
  ctx.store.commit(fresh, hash, old);  // counts as a use of the key: no touch() is needed
  return true;
}

template <class Fill>
bool store_value(Context& ctx, std::string_view key, uint64_t hash, Entry* old, size_t size, Attributes attributes,
                 Fill&& fill) {
  return store_value(ctx, key, hash, old, old, size, attributes, std::forward<Fill>(fill));
}

// A value over this share of the memory may need the room of the one that it replaces.
constexpr uint64_t kBigShare = 16;

constexpr size_t kLargeCopy = 64 * 1024;  // a value over this may lie where it belongs already

inline bool store_value(Context& ctx, std::string_view key, uint64_t hash, Entry* old, std::string_view value,
                        Attributes attributes = {}) {
  const bool may_evict_old =
      value.size() > ctx.store.max_memory() / kBigShare && any_may_go(ctx.store.policy());
  return store_value(ctx, key, hash, old, may_evict_old ? nullptr : old, value.size(), attributes, [&](char* out) {
    if (value.size() > kLargeCopy) ctx.store.fill(out, value, ctx.client.landing.get());
    else if (!value.empty()) std::memcpy(out, value.data(), value.size());
  });
}

// Calls visit(index, hash) for a command's keys args[first], args[first + step], … in turn, until it gives false.
// The memory that their lookups need is fetched ahead for a group of keys, so that its latency is paid once.
template <class Visit>
void for_each_key(Context& ctx, size_t first, size_t step, Visit&& visit) {
  constexpr size_t kGroup = 16;
  const Args args = ctx.args;
  if (args.size() <= first + step) {
    visit(first, ctx.key_hash);
    return;
  }
  uint64_t hashes[kGroup];
  for (size_t start = first; start < args.size(); start += kGroup * step) {
    const size_t count = std::min(kGroup, (args.size() - start + step - 1) / step);
    for (size_t i = 0; i < count; ++i) {
      hashes[i] = ctx.store.hash(args[start + i * step]);
      ctx.store.prefetch_bucket(hashes[i]);
    }
    for (size_t i = 0; i < count; ++i) ctx.store.prefetch_entry(hashes[i]);
    for (size_t i = 0; i < count; ++i) {
      if (!visit(start + i * step, hashes[i])) return;
    }
  }
}

}  // namespace predis
