#include "pubsub.h"

#include <algorithm>

#include "engine.h"
#include "glob.h"

namespace predis {

namespace {
constexpr size_t kOverhead = 96;       // bytes of tables for one subscription, about
constexpr size_t kKeepMessage = 65536;  // bytes kept for the next message

std::unordered_set<std::string_view>& names_of(Client& client, ChannelKind kind) {
  return kind == ChannelKind::plain ? client.subscriptions.channels : client.subscriptions.shard_channels;
}
}  // namespace

void PubSub::note_mode(Client& client) {
  if (client.subscriptions.all() != 0) {
    client.modes |= kSubscriber;
  } else {
    client.modes &= static_cast<uint8_t>(~kSubscriber);
  }
}

bool PubSub::subscribe(Client& client, std::string_view channel, ChannelKind kind) {
  auto& names = names_of(client, kind);
  if (names.contains(channel)) return false;
  Channels& channels = table(kind);
  auto found = channels.find(channel);
  if (found == channels.end()) found = channels.emplace(channel, std::vector<Client*>()).first;
  found->second.push_back(&client);
  names.insert(found->first);
  client.subscriptions.bytes += channel.size() + kOverhead;
  note_mode(client);
  return true;
}

bool PubSub::unsubscribe(Client& client, std::string_view channel, ChannelKind kind) {
  auto& names = names_of(client, kind);
  if (names.erase(channel) == 0) return false;
  client.subscriptions.bytes -= channel.size() + kOverhead;
  Channels& channels = table(kind);
  const auto found = channels.find(channel);
  std::erase(found->second, &client);
  if (found->second.empty()) channels.erase(found);  // `channel` may have been a view of its name
  note_mode(client);
  return true;
}

bool PubSub::subscribe_pattern(Client& client, std::string_view pattern) {
  auto found = by_pattern_.find(pattern);
  if (found == by_pattern_.end()) {
    patterns_.push_back({std::string(pattern), {}, {}});
    patterns_.back().self = std::prev(patterns_.end());
    found = by_pattern_.emplace(patterns_.back().pattern, &patterns_.back()).first;
  }
  PatternSubscribers& subscribers = *found->second;
  auto& own = client.subscriptions.patterns;
  if (std::find(own.begin(), own.end(), &subscribers) != own.end()) return false;
  own.push_back(&subscribers);
  subscribers.clients.push_back(&client);
  client.subscriptions.bytes += pattern.size() + kOverhead;
  note_mode(client);
  return true;
}

bool PubSub::unsubscribe_pattern(Client& client, std::string_view pattern) {
  const auto found = by_pattern_.find(pattern);
  if (found == by_pattern_.end()) return false;
  PatternSubscribers& subscribers = *found->second;
  if (std::erase(client.subscriptions.patterns, &subscribers) == 0) return false;
  client.subscriptions.bytes -= pattern.size() + kOverhead;
  std::erase(subscribers.clients, &client);
  drop_if_unused(subscribers);
  note_mode(client);
  return true;
}

void PubSub::drop_if_unused(PatternSubscribers& pattern) {
  if (!pattern.clients.empty()) return;
  by_pattern_.erase(pattern.pattern);
  patterns_.erase(pattern.self);
}

void PubSub::forget(Client& client) {
  for (ChannelKind kind : {ChannelKind::plain, ChannelKind::shard}) {
    auto& names = names_of(client, kind);
    while (!names.empty()) unsubscribe(client, *names.begin(), kind);
  }
  // One by one from the front, each search would go over all that are left.
  std::vector<PatternSubscribers*> patterns;
  patterns.swap(client.subscriptions.patterns);
  for (PatternSubscribers* pattern : patterns) {
    std::erase(pattern->clients, &client);
    drop_if_unused(*pattern);
  }
  client.subscriptions.bytes = 0;
  note_mode(client);
}

size_t PubSub::subscribers(std::string_view channel, ChannelKind kind) const {
  const Channels& table = channels(kind);
  const auto found = table.find(channel);
  return found == table.end() ? 0 : found->second.size();
}

void PubSub::begin_message(size_t parts, std::string_view kind) {
  message_.clear();
  message_.push_back(static_cast<char>('0' + parts));
  message_.append("\r\n");
  add_bulk(kind);
}

void PubSub::add_bulk(std::string_view text) {
  char length[24];
  char* const end = write_decimal(length, text.size());
  message_.push_back('$');
  message_.append({length, static_cast<size_t>(end - length)});
  message_.append("\r\n");
  message_.append(text);
  message_.append("\r\n");
}

void PubSub::deliver(const std::vector<Client*>& clients) {
  for (Client* client : clients) engine_.push(*client, message_);
}

size_t PubSub::publish(std::string_view channel, std::string_view message, ChannelKind kind) {
  size_t reached = 0;
  const Channels& channels = table(kind);
  if (const auto found = channels.find(channel); found != channels.end()) {
    begin_message(3, kind == ChannelKind::plain ? "message" : "smessage");
    add_bulk(channel);
    add_bulk(message);
    deliver(found->second);
    reached += found->second.size();
  }
  if (kind == ChannelKind::plain) {
    for (const auto& pattern : patterns_) {
      if (!glob_matches(pattern.pattern, channel)) continue;
      begin_message(4, "pmessage");
      add_bulk(pattern.pattern);
      add_bulk(channel);
      add_bulk(message);
      deliver(pattern.clients);
      reached += pattern.clients.size();
    }
  }
  message_.clear();
  if (message_.capacity() > kKeepMessage) message_.shrink_to(0);
  return reached;
}

}  // namespace predis
