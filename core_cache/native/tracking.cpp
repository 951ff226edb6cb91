#include "tracking.h"

#include <algorithm>

#include "engine.h"

namespace predis {

namespace {

constexpr std::string_view kChannel = "__redis__:invalidate";

void append_bulk(std::string& out, std::string_view text) {
  char length[24];
  char* const end = write_decimal(length, text.size());
  out += '$';
  out.append(length, static_cast<size_t>(end - length));
  out += "\r\n";
  out += text;
  out += "\r\n";
}

std::string one_key(std::string_view key) {
  std::string out = "*1\r\n";
  append_bulk(out, key);
  return out;
}

// The keys that somebody else than `except` changed; empty when there are none. 0 excepts nobody.
std::string all_keys(const std::map<std::string, uint64_t>& changed, uint64_t except) {
  std::string keys;
  size_t count = 0;
  for (const auto& [key, by] : changed) {
    if (except != 0 && by == except) continue;
    append_bulk(keys, key);
    ++count;
  }
  return count != 0 ? "*" + std::to_string(count) + "\r\n" + keys : std::string();
}

std::string_view null_for(const Client& client) { return client.protocol == 3 ? "_\r\n" : "$-1\r\n"; }

}  // namespace

void Tracking::enable(Client& client, const ClientTracking& wanted) {
  if (!(client.modes & kTracks)) ++clients_;
  client.modes |= kTracks;
  ClientTracking& own = client.tracking;
  own.broadcasts = wanted.broadcasts;
  own.opt_in = wanted.opt_in;
  own.opt_out = wanted.opt_out;
  own.no_loop = wanted.no_loop;
  own.redirect = wanted.redirect;
  own.redirect_broken = false;
  for (const std::string& prefix : wanted.prefixes) {
    if (!own.prefixes.insert(prefix).second) continue;
    Prefix& entry = prefixes_[prefix];
    if (entry.clients.empty()) ++prefix_lengths_[prefix.size()];
    entry.clients.push_back(&client);
  }
}

void Tracking::disable(Client& client) {
  if (!(client.modes & kTracks)) return;
  drop_prefixes(client);
  client.tracking = {};
  if (&client == engine_.current()) owed_.clear();
  client.modes &= static_cast<uint8_t>(~kTracks);
  if (--clients_ == 0) {  // nobody is left who could be told
    Table().swap(table_);
    items_ = 0;
    owed_.clear();
  }
}

void Tracking::drop_prefixes(Client& client) {
  for (const std::string& name : client.tracking.prefixes) {
    const auto found = prefixes_.find(name);
    std::erase(found->second.clients, &client);
    if (!found->second.clients.empty()) continue;
    const auto length = prefix_lengths_.find(name.size());
    if (--length->second == 0) prefix_lengths_.erase(length);
    prefixes_.erase(found);
  }
}

void Tracking::remember(Client& client, const CommandSpec& spec, Args args) {
  const ClientTracking& own = client.tracking;
  if (own.broadcasts || (own.opt_in && !own.caching) || (own.opt_out && own.caching)) return;
  found_.clear();
  if (!has_keys(spec) || !find_keys(spec, args, found_)) return;
  for (const KeyArgument& key : found_) {
    auto entry = table_.find(args[key.index]);
    if (entry == table_.end()) entry = table_.emplace(args[key.index], std::vector<uint64_t>()).first;
    std::vector<uint64_t>& readers = entry->second;
    if (std::find(readers.begin(), readers.end(), client.id) != readers.end()) continue;
    readers.push_back(client.id);
    ++items_;
  }
  limit(found_.size() + 100);
}

void Tracking::changed(std::string_view key) {
  if (!prefixes_.empty()) note_for_prefixes(key);
  if (const auto entry = table_.find(key); entry != table_.end()) invalidate(entry);
}

void Tracking::invalidate(Table::iterator entry) {
  const std::string key = entry->first;
  const std::vector<uint64_t> readers = std::move(entry->second);
  items_ -= readers.size();
  table_.erase(entry);
  const std::string keys = one_key(key);
  for (uint64_t id : readers) {
    Client* client = engine_.find_client(id);
    if (client == nullptr || !(client->modes & kTracks) || client->tracking.broadcasts) continue;
    const bool own = client == engine_.current();
    if (own && client->tracking.no_loop) continue;
    if (own) {
      owed_.emplace_back(key);
    } else {
      tell(*client, keys);
    }
  }
}

void Tracking::note_for_prefixes(std::string_view key) {
  const uint64_t by = engine_.current() != nullptr ? engine_.current()->id : 0;
  for (const auto& [length, count] : prefix_lengths_) {
    if (length > key.size()) break;
    const auto found = prefixes_.find(key.substr(0, length));
    if (found == prefixes_.end()) continue;
    found->second.changed.try_emplace(std::string(key), by);
    broadcast_waits_ = true;
    engine_.unsettle();
  }
}

void Tracking::cleared() {
  if (clients_ == 0) return;
  for (Client* client = engine_.first_client(); client != nullptr; client = client->next) {
    if (!(client->modes & kTracks)) continue;
    if (client == engine_.current()) {
      owed_.emplace_back(std::nullopt);
    } else {
      tell(*client, null_for(*client));
    }
  }
  Table().swap(table_);
  items_ = 0;
}

void Tracking::tell_current(Client& client) {
  std::vector<std::optional<std::string>> owed;
  owed.swap(owed_);
  for (const auto& key : owed) tell(client, key ? std::string_view(one_key(*key)) : null_for(client));
}

void Tracking::broadcast() {
  broadcast_waits_ = false;
  for (auto& [name, prefix] : prefixes_) {
    if (prefix.changed.empty()) continue;
    const std::map<std::string, uint64_t> changed = std::move(prefix.changed);
    prefix.changed.clear();
    const std::string keys = all_keys(changed, 0);
    for (Client* client : prefix.clients) {
      if (!client->tracking.no_loop) {
        tell(*client, keys);
      } else if (const std::string others = all_keys(changed, client->id); !others.empty()) {
        tell(*client, others);
      }
    }
  }
}

// RESP3 clients get a push of their own kind. In RESP2 only a client that is redirected to can be told, as a message of
// the channel that it must have subscribed to.
void Tracking::tell(Client& client, std::string_view keys) {
  Client* target = &client;
  if (client.tracking.redirect != 0) {
    target = engine_.find_client(client.tracking.redirect);
    if (target == nullptr || target->killed) {
      client.tracking.redirect_broken = true;
      if (client.protocol == 3) {
        engine_.push(client, "2\r\n$21\r\ntracking-redir-broken\r\n:" + std::to_string(client.tracking.redirect) + "\r\n");
      }
      return;
    }
  }
  std::string message;
  if (target->protocol == 3) {
    message = "2\r\n";
    append_bulk(message, "invalidate");
  } else if (client.tracking.redirect != 0 && (target->modes & kSubscriber)) {
    message = "3\r\n";
    append_bulk(message, "message");
    append_bulk(message, kChannel);
  } else {
    return;
  }
  message += keys;
  engine_.push(*target, message);
}

void Tracking::limit(size_t most_evictions) {
  const auto most = static_cast<size_t>(engine_.config().tracking_table_max_keys);
  if (most == 0) return;
  constexpr int kTries = 64;  // buckets looked into before the first key will do
  for (; table_.size() > most && most_evictions != 0; --most_evictions) {
    auto victim = table_.begin();
    for (int i = 0; i < kTries; ++i) {
      random_ = random_ * 6364136223846793005 + 1442695040888963407;
      const size_t bucket = static_cast<size_t>(random_ >> 24) % table_.bucket_count();
      if (table_.begin(bucket) == table_.end(bucket)) continue;
      victim = table_.find(table_.begin(bucket)->first);
      break;
    }
    invalidate(victim);
  }
}

}  // namespace predis
