// notify.h: keyspace notifications: commands say what they did to a key, and who has asked for it hears of it.
#pragma once

#include <string_view>

#include "engine.h"

namespace predis {

// Classes of events, with the letters of notify-keyspace-events.
enum NotifyClass : uint32_t {
  kNotifyKeyspace = 1,   // K
  kNotifyKeyevent = 2,   // E
  kNotifyGeneric = 4,    // g: DEL, EXPIRE, RENAME, …
  kNotifyString = 8,     // $
  kNotifyList = 16,      // l
  kNotifySet = 32,       // s
  kNotifyHash = 64,      // h
  kNotifyZset = 128,     // z
  kNotifyExpired = 256,  // x
  kNotifyEvicted = 512,  // e
  kNotifyStream = 1024,  // t
  kNotifyMiss = 2048,    // m
  kNotifyModule = 4096,  // d
  kNotifyNew = 8192,     // n
};

void publish_event(Engine& engine, NotifyClass event_class, std::string_view event, std::string_view key);
// What notify-keyspace-events asks for, 0 for nothing.
inline uint32_t notify_classes(const Engine& engine) { return engine.config().notify_classes; }

// "KEA" and the like, as Redis reads and shows them. parse: false for a letter that means nothing.
bool parse_notify_classes(std::string_view text, uint32_t& classes);
std::string notify_classes_text(uint32_t classes);

// To be called by every command after it has changed a key, with Redis' name for the event ("set", "hset", "del", …).
inline void notify(Context& ctx, NotifyClass event_class, std::string_view event, std::string_view key) {
  if (__builtin_expect((notify_classes(ctx.engine) & event_class) != 0, 0)) {
    publish_event(ctx.engine, event_class, event, key);
  }
}

}  // namespace predis
