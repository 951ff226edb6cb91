// access_log.h: a sample of the accesses to keys, in a ring in shared memory, for the agent to learn from.
//
// Keys are sampled by their hash, all accesses to a key or none: so the distances between two uses of a key stay true. The
// test costs nothing that was not there: a lookup looks whether the hash's top byte is 0 anyway (such a tag would mean an
// empty slot); only then, once in 256, does it look further. What it finds is noted, and after each batch of commands the
// notes, if there are any, become events.
//
// The ring file: a page with the header, then `capacity` events of `event_bytes` each. The writer overwrites the oldest and
// stores `written` last. A reader copies events behind its place, then looks at `written` again: what it may have been
// overtaken in (all up to `written - capacity`, that one included) is lost to it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "layout.h"

namespace predis {

constexpr uint64_t kAccessLogMagic = 0x31636341736964;  // "disAcc1"
constexpr uint32_t kAccessLogEvents = 1 << 20;
constexpr size_t kAccessLogKeyBytes = 96;  // of a key in plain text; longer ones are cut

enum class AccessOp : uint8_t { read = 0, write = 1, remove = 2, other = 3 };

struct AccessEvent {
  uint64_t key_hash;  // keyed with the arena's seed: who has not got that cannot tell the key
  uint64_t unix_ms;
  uint32_t value_bytes;  // after the command; of a read the value's that was found
  uint32_t ttl_seconds;  // 0: none
  uint16_t command;      // CommandSpec::id
  uint16_t tenant;
  AccessOp op;
  uint8_t found;         // whether the key was there before
  uint16_t key_bytes;    // of the key that follow in the event, where keys are logged in plain text
};
static_assert(sizeof(AccessEvent) == 32);

struct AccessLogHeader {
  uint64_t magic;
  uint32_t capacity, event_bytes;
  double rate;
  alignas(64) uint64_t written;  // events since the file was made
};

// What lookups note. `limit` is the share of the hashes with top byte 0, in parts of 65,536, that are sampled.
struct AccessSample {
  static constexpr uint32_t kMost = 256;  // more in one batch are not noted
  struct Note {
    uint64_t hash, expire_at;
    uint32_t value_bytes;
    uint16_t tenant;
    bool found;
  };
  uint32_t limit = 0;
  uint32_t count = 0;
  Note notes[kMost];

  bool wants(uint64_t hash) const { return hash >> 56 == 0 && (hash >> 40 & 0xffff) < limit; }
  void note(uint64_t hash, const Entry* entry) {
    if (!wants(hash) || count == kMost) return;
    if (entry == nullptr) notes[count++] = {hash, 0, 0, 0, false};
    else notes[count++] = {hash, entry->expire_at(), entry->value_len, static_cast<uint16_t>(entry->tenant()), true};
  }
};

constexpr double kMostAccessRate = 1.0 / 256;

class AccessLog {
 public:
  // Opens or makes the ring beside the arena; the events of an earlier process stay in it. Throws ArenaError.
  AccessLog(const std::string& arena_path, double rate, bool plain_keys);
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;

  void append(const AccessEvent& event, std::string_view key);
  bool plain_keys() const { return header_->event_bytes > sizeof(AccessEvent); }

 private:
  AccessLogHeader* header_ = nullptr;
  char* events_ = nullptr;
  size_t bytes_ = 0;
};

std::string access_log_path(const std::string& arena_path);

}  // namespace predis
