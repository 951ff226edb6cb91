#include "transaction.h"

#include <algorithm>
#include <cstring>

#include "client.h"

namespace predis {

namespace {
constexpr size_t kWatchOverhead = 96;  // bytes of tables and strings for one watched key, about
}

QueuedCommand::QueuedCommand(const CommandSpec& command, std::span<const std::string_view> given, uint64_t hash)
    : spec(&command), key_hash(hash) {
  size_t size = 0;
  for (std::string_view arg : given) size += arg.size();
  bytes = std::make_unique_for_overwrite<char[]>(size);
  args.reserve(given.size());
  char* at = bytes.get();
  for (std::string_view arg : given) {
    if (!arg.empty()) std::memcpy(at, arg.data(), arg.size());
    args.emplace_back(at, arg.size());
    at += arg.size();
  }
  memory = sizeof(QueuedCommand) + size + given.size() * sizeof(std::string_view);
}

void Watches::watch(Client& client, std::string_view key, bool existed) {
  auto found = watchers_.find(key);
  if (found == watchers_.end()) found = watchers_.emplace(key, std::vector<Watcher>()).first;
  for (const Watcher& watcher : found->second) {
    if (watcher.client == &client) return;
  }
  found->second.push_back({&client, existed});
  client.transaction.watched.emplace_back(key);
  client.transaction.watched_bytes += key.size() * 2 + kWatchOverhead;
}

void Watches::unwatch(Client& client) {
  std::vector<std::string> keys;
  keys.swap(client.transaction.watched);
  client.transaction.watched_bytes = 0;
  for (const std::string& key : keys) {
    auto found = watchers_.find(key);
    if (found == watchers_.end()) continue;
    std::erase_if(found->second, [&](const Watcher& watcher) { return watcher.client == &client; });
    if (found->second.empty()) watchers_.erase(found);
  }
}

void Watches::changed(std::string_view key) {
  auto found = watchers_.find(key);
  if (found == watchers_.end()) return;
  const std::vector<Watcher> watchers = std::move(found->second);
  watchers_.erase(found);
  for (const Watcher& watcher : watchers) {
    watcher.client->transaction.changed = true;
    unwatch(*watcher.client);
  }
}

void Watches::cleared() {
  std::vector<Client*> told;
  for (const auto& [key, watchers] : watchers_) {
    for (const Watcher& watcher : watchers) {
      if (watcher.existed && !watcher.client->transaction.changed) {
        watcher.client->transaction.changed = true;
        told.push_back(watcher.client);
      }
    }
  }
  for (Client* client : told) unwatch(*client);
}

}  // namespace predis
