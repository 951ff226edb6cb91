// transaction.h: MULTI, EXEC and WATCH: what a client has queued, and who watches which key.
//
// A client that watches a key is marked as soon as the key changes, and watches nothing from then on: EXEC only looks at
// the mark. Watching costs the store nothing while nobody does it (see KeyObserver).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text_hash.h"

namespace predis {

struct Client;
struct CommandSpec;

// A command with its own copy of its arguments, to be run later.
struct QueuedCommand {
  QueuedCommand(const CommandSpec& spec, std::span<const std::string_view> args, uint64_t key_hash);

  const CommandSpec* spec;
  uint64_t key_hash;
  std::unique_ptr<char[]> bytes;
  std::vector<std::string_view> args;  // views into `bytes`
  size_t memory = 0;
};

// A client's state between MULTI and EXEC, and what it watches before that.
struct Transaction {
  bool failed = false;   // a command was refused: EXEC gives an error
  bool changed = false;  // a watched key was changed: EXEC runs nothing
  uint32_t flags = 0;    // of all queued commands together
  std::vector<QueuedCommand> queue;
  size_t queue_bytes = 0;
  std::vector<std::string> watched;
  size_t watched_bytes = 0;

  size_t memory() const { return queue_bytes + watched_bytes; }
};

class Watches {
 public:
  bool empty() const { return watchers_.empty(); }
  size_t keys() const { return watchers_.size(); }
  // `existed`: whether the key was there. A key that was not is not changed by FLUSHALL.
  void watch(Client& client, std::string_view key, bool existed);
  void unwatch(Client& client);
  void changed(std::string_view key);
  void cleared();

 private:
  struct Watcher {
    Client* client;
    bool existed;
  };
  std::unordered_map<std::string, std::vector<Watcher>, TextHash, std::equal_to<>> watchers_;
};

}  // namespace predis
