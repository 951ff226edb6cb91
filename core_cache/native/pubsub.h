// pubsub.h: who has subscribed to what, and the way of a message to its subscribers.
//
// The tables own the channels' names; a client keeps views of them. A message is written once and then appended to
// each subscriber's output, which the engine sends at the end of the running batch.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "bytes.h"
#include "text_hash.h"

namespace predis {

class Engine;
struct Client;

struct PatternSubscribers {
  std::string pattern;
  std::vector<Client*> clients;
  std::list<PatternSubscribers>::iterator self;
};

// One client's subscriptions.
struct Subscriptions {
  std::unordered_set<std::string_view> channels, shard_channels;
  std::vector<PatternSubscribers*> patterns;
  size_t bytes = 0;

  size_t plain() const { return channels.size() + patterns.size(); }
  size_t all() const { return plain() + shard_channels.size(); }
};

enum class ChannelKind : uint8_t { plain, shard };

class PubSub {
 public:
  using Channels = std::unordered_map<std::string, std::vector<Client*>, TextHash, std::equal_to<>>;

  explicit PubSub(Engine& engine) : engine_(engine) {}

  // Give false when there was nothing to do.
  bool subscribe(Client& client, std::string_view channel, ChannelKind kind);
  bool unsubscribe(Client& client, std::string_view channel, ChannelKind kind);
  bool subscribe_pattern(Client& client, std::string_view pattern);
  bool unsubscribe_pattern(Client& client, std::string_view pattern);
  void forget(Client& client);  // ends all of its subscriptions, without a word

  // Gives how many subscriptions it reached.
  size_t publish(std::string_view channel, std::string_view message, ChannelKind kind = ChannelKind::plain);

  bool anybody() const { return !channels_.empty() || !patterns_.empty(); }
  const Channels& channels(ChannelKind kind) const { return kind == ChannelKind::plain ? channels_ : shard_channels_; }
  size_t subscribers(std::string_view channel, ChannelKind kind) const;
  size_t patterns() const { return patterns_.size(); }

 private:
  Channels& table(ChannelKind kind) { return kind == ChannelKind::plain ? channels_ : shard_channels_; }
  void note_mode(Client& client);
  void deliver(const std::vector<Client*>& clients);
  void begin_message(size_t parts, std::string_view kind);
  void add_bulk(std::string_view text);

  void drop_if_unused(PatternSubscribers& pattern);

  Engine& engine_;
  Channels channels_, shard_channels_;
  std::list<PatternSubscribers> patterns_;  // in the order in which they came
  std::unordered_map<std::string_view, PatternSubscribers*> by_pattern_;
  Bytes message_;  // the one under way, without its first byte, which depends on the protocol
};

}  // namespace predis
