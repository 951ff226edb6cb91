// tracking.h: CLIENT TRACKING: which client may have which key in its cache, and telling it when the key changes.
//
// In the plain mode the table remembers, key by key, the clients that have read it; a change tells them and forgets the
// key. Clients are remembered by number, so nothing has to be undone when one leaves. In the broadcast mode clients name
// prefixes, and the keys that changed are told together at the end of the running batch.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "command_keys.h"
#include "text_hash.h"

namespace predis {

class Engine;
struct Client;

struct ClientTracking {
  bool broadcasts = false, opt_in = false, opt_out = false, no_loop = false;
  bool caching = false;          // CLIENT CACHING was given for the next command
  bool redirect_broken = false;  // the client that messages go to is gone
  uint64_t redirect = 0;         // number of that client, 0 for none
  std::set<std::string, std::less<>> prefixes;
};

class Tracking {
 public:
  explicit Tracking(Engine& engine) : engine_(engine) {}

  void enable(Client& client, const ClientTracking& wanted);
  void disable(Client& client);
  // The client has run a command that only reads: it may keep the values of the keys.
  void remember(Client& client, const CommandSpec& spec, Args args);
  void changed(std::string_view key);
  void cleared();
  // What the running client's own command changed; it hears of it after the command's reply.
  bool owes_current() const { return !owed_.empty(); }
  void tell_current(Client& client);
  bool owes_broadcast() const { return broadcast_waits_; }
  void broadcast();
  void limit(size_t most_evictions);  // evicts keys over tracking-table-max-keys

  size_t clients() const { return clients_; }
  size_t keys() const { return table_.size(); }
  size_t items() const { return items_; }
  size_t prefixes() const { return prefixes_.size(); }

 private:
  struct Prefix {
    std::vector<Client*> clients;
    std::map<std::string, uint64_t> changed;  // key -> number of the client that changed it first, 0 for nobody
  };
  using Table = std::unordered_map<std::string, std::vector<uint64_t>, TextHash, std::equal_to<>>;

  void invalidate(Table::iterator entry);
  void note_for_prefixes(std::string_view key);
  void tell(Client& client, std::string_view keys);  // `keys`: an array of keys, or null, as RESP
  void drop_prefixes(Client& client);

  Engine& engine_;
  size_t clients_ = 0;
  Table table_;
  size_t items_ = 0;
  std::map<std::string, Prefix, std::less<>> prefixes_;
  std::map<size_t, size_t> prefix_lengths_;       // length -> how many prefixes have it
  bool broadcast_waits_ = false;
  std::vector<std::optional<std::string>> owed_;  // nullopt: all keys
  std::vector<KeyArgument> found_;
  uint64_t random_ = 0x9e3779b97f4a7c15;
};

}  // namespace predis
