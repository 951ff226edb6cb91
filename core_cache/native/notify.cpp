// notify.cpp: keyspace notifications: events become messages of the channels __keyspace@0__:KEY and __keyevent@0__:EVENT.
#include "notify.h"

#include <array>
#include <string>

#include "words.h"

namespace predis {

namespace {

constexpr uint32_t kAll = kNotifyGeneric | kNotifyString | kNotifyList | kNotifySet | kNotifyHash | kNotifyZset |
                          kNotifyExpired | kNotifyEvicted | kNotifyStream | kNotifyModule;

// In the order in which Redis shows them.
constexpr std::pair<char, uint32_t> kInAll[] = {
    {'g', kNotifyGeneric}, {'$', kNotifyString},  {'l', kNotifyList},    {'s', kNotifySet},
    {'h', kNotifyHash},    {'z', kNotifyZset},    {'x', kNotifyExpired}, {'e', kNotifyEvicted},
    {'t', kNotifyStream},  {'d', kNotifyModule},  {'n', kNotifyNew},
};
constexpr std::pair<char, uint32_t> kOthers[] = {
    {'K', kNotifyKeyspace}, {'E', kNotifyKeyevent}, {'m', kNotifyMiss}};

}  // namespace

bool parse_notify_classes(std::string_view text, uint32_t& classes) {
  uint32_t found = 0;
  for (char letter : text) {
    uint32_t meaning = letter == 'A' ? kAll : 0;
    for (const auto& [name, bit] : kInAll) meaning |= name == letter ? bit : 0;
    for (const auto& [name, bit] : kOthers) meaning |= name == letter ? bit : 0;
    if (meaning == 0) return false;
    found |= meaning;
  }
  classes = found;
  return true;
}

// Where all classes of 'A' are on, Redis shows that alone, and leaves out 'n', which is not one of them.
std::string notify_classes_text(uint32_t classes) {
  std::string text;
  if ((classes & kAll) == kAll) {
    text = "A";
  } else {
    for (const auto& [name, bit] : kInAll) {
      if (classes & bit) text += name;
    }
  }
  for (const auto& [name, bit] : kOthers) {
    if (classes & bit) text += name;
  }
  return text;
}

void publish_event(Engine& engine, NotifyClass, std::string_view event, std::string_view key) {
  if (!engine.pubsub.anybody()) return;
  const uint32_t classes = notify_classes(engine);
  if (classes & kNotifyKeyspace) engine.pubsub.publish(concat({"__keyspace@0__:", key}), event);
  if (classes & kNotifyKeyevent) engine.pubsub.publish(concat({"__keyevent@0__:", event}), key);
}

}  // namespace predis
