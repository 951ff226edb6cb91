// fuzz_known.h: a small cache whose every value is known, for the targets that damage it.
//
// Each value names its key and its version. For each key all states that it ever had are kept, as the replies that tell
// its whole value: what a damaged cache gives for a key must be one of these, or nothing.
#pragma once

#include "fuzz_host.h"

namespace predis::fuzz {

using Words = std::vector<std::string>;

struct Known {
  std::map<std::string, std::set<std::string>> states;  // by key: what tell() gave
  std::map<std::string, std::string> last;               // of the keys that are there

  // The whole value of a key; empty when there is none. `wrong` type: the reply is an error, which is no known state.
  static std::string tell(Peer& peer, const std::string& key) {
    if (peer.ask({"EXISTS", key}) == ":0\r\n") return "";
    switch (key[0]) {
      case 'h': return peer.ask({"HGETALL", key});
      case 's': return peer.ask({"SMEMBERS", key});
      case 'l': return peer.ask({"LRANGE", key, "0", "-1"});
      case 'z': return peer.ask({"ZRANGE", key, "0", "-1", "WITHSCORES"});
      default: return peer.ask({"GET", key});
    }
  }

  void write(Peer& peer, const Words& words) {
    const std::string& key = words[1];
    const std::string reply = peer.ask(words);
    CHECK(reply[0] != '-', "%s: %s", words[0].c_str(), reply.c_str());
    const std::string state = tell(peer, key);
    CHECK(state.empty() || state[0] != '-', "%s: %s", key.c_str(), state.c_str());
    if (state.empty()) {
      last.erase(key);
    } else {
      states[key].insert(state);
      last[key] = state;
    }
  }

  void fill(Peer& peer) {
    constexpr size_t kLengths[] = {1, 30, 100, 100, 300, 1000, 5000};
    uint32_t random = 12345, version = 0;
    const auto below = [&](uint32_t n) { return (random = random * 1664525 + 1013904223) / 65536 % n; };
    const auto value = [&](const std::string& key, size_t length) {
      std::string text = key + ":" + std::to_string(++version) + ":";
      const std::string pattern = text;
      while (text.size() < length) text += pattern;
      return text;
    };
    write(peer, {"SET", "big", value("big", 140000)});
    for (int i = 0; i < 260; ++i) {
      const std::string number = std::to_string(below(6));
      const std::string member = "m" + std::to_string(below(12));
      switch (below(12)) {
        case 0: write(peer, {"HSET", "h" + number, member, value("h" + number, 10 + below(90))}); break;
        case 1: write(peer, {"HDEL", "h" + number, member}); break;
        case 2: write(peer, {"SADD", "s" + number, member, "m" + std::to_string(++version)}); break;
        case 3: write(peer, {"SREM", "s" + number, member}); break;
        case 4: write(peer, {below(2) ? "RPUSH" : "LPUSH", "l" + number, value("l" + number, 10 + below(50))}); break;
        case 5: write(peer, {below(2) ? "RPOP" : "LPOP", "l" + number}); break;
        case 6: write(peer, {"ZADD", "z" + number, std::to_string(below(100)), member}); break;
        case 7: write(peer, {"DEL", "k" + std::to_string(below(30))}); break;
        case 8: {
          if (i < 230) break;
          const std::string key = std::string(65600, 'L') + number;
          write(peer, {"SET", key, value("L" + number, 40)});
          break;
        }
        case 9: {
          const std::string key = "k" + std::to_string(below(30));
          write(peer, {"SET", key, value(key, 20), "EXAT", "9999999999"});
          break;
        }
        default: {
          const std::string key = "k" + std::to_string(below(30));
          write(peer, {"SET", key, value(key, kLengths[below(std::size(kLengths))])});
        }
      }
    }
  }

  // Nothing in the cache but states that were, of keys that were.
  void check(Engine& engine, Peer& peer) const {
    std::vector<std::string> keys;
    for (const auto& [key, print] : content_of(engine.store())) keys.push_back(key);
    for (const std::string& key : keys) {
      const auto known = states.find(key);
      CHECK(known != states.end(), "a key that never was: %.60s", key.c_str());
      const std::string state = tell(peer, key);
      CHECK(known->second.contains(state), "%.60s never was %.300s", key.c_str(), state.c_str());
    }
  }
};

inline ServerConfig plain_config() {
  ServerConfig config;
  config.protected_mode = false;
  return config;
}

// An open engine with one connection.
struct Host {
  explicit Host(const StoreOptions& options) : engine(options, plain_config()) {
    engine.start_users("");
    peer = std::make_unique<Peer>(engine);
  }
  Engine engine;
  std::unique_ptr<Peer> peer;
};

}  // namespace predis::fuzz
