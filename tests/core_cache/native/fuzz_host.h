// fuzz_host.h: an engine with connections that keep what they are sent, for the fuzz targets.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <vector>

#include "../../../core_cache/native/arena.h"
#include "../../../core_cache/native/checksum.h"
#include "../../../core_cache/native/collection_log.h"
#include "../../../core_cache/native/engine.h"
#include "fuzz.h"

namespace predis::fuzz {

constexpr uint64_t kCapacity = kMinCapacity;

class HeldOutlet final : public Outlet {
 public:
  std::string sent;
  size_t waits = 0;  // bytes that the peer does not read
  bool closed = false, aborted = false;

  size_t write(std::string_view data) override {
    if (!aborted) sent.append(data);
    return waits;
  }
  size_t unsent() override { return waits; }
  void close() override { closed = true; }
  void abort() override { aborted = true; }
  void pause() override {}
  void resume() override {}
};

// Takes one reply off the front of `text`; aborts where it is no RESP.
inline void take_reply(std::string_view& text, int depth = 0) {
  CHECK(depth < 32, "a reply of too many levels");
  const size_t line_end = text.find("\r\n");
  CHECK(line_end != std::string_view::npos && line_end > 0, "no whole reply: %.200s", std::string(text).c_str());
  const char type = text[0];
  const std::string line(text.substr(1, line_end - 1));
  text.remove_prefix(line_end + 2);
  const auto number = [&] {
    char* end;
    const long long value = std::strtoll(line.c_str(), &end, 10);
    CHECK(!line.empty() && *end == 0, "no number behind '%c': %s", type, line.c_str());
    return value;
  };
  long long parts = 0;
  switch (type) {
    case '+':
    case '-':
    case ',':
      CHECK(line.find('\n') == std::string::npos, "a line end in a line");
      return;
    case ':': number(); return;
    case '_': CHECK(line.empty(), "%s", line.c_str()); return;
    case '#': CHECK(line == "t" || line == "f", "%s", line.c_str()); return;
    case '$':
    case '=': {
      const long long size = number();
      if (size == -1) return;
      CHECK(size >= 0 && text.size() >= static_cast<size_t>(size) + 2 && text.substr(static_cast<size_t>(size), 2) == "\r\n",
            "a bulk string of %lld bytes that is none", size);
      text.remove_prefix(static_cast<size_t>(size) + 2);
      return;
    }
    case '*':
    case '~':
    case '>': parts = number(); break;
    case '%': parts = 2 * number(); break;
    default: CHECK(false, "a reply that begins with 0x%02x", static_cast<unsigned char>(type));
  }
  CHECK(parts >= -1, "%lld parts", parts);
  for (; parts > 0; --parts) take_reply(text, depth + 1);
}

inline std::string as_command(const std::vector<std::string>& words) {
  std::string out = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string& word : words) out += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  return out;
}

// A connection to an engine. After each step() it is checked, and made anew where the engine has ended it.
class Peer {
 public:
  explicit Peer(Engine& engine) : engine_(engine) { connect(); }
  ~Peer() { engine_.remove(*client); }
  Peer(const Peer&) = delete;

  void send(std::string_view data) {
    try {
      engine_.feed(*client, data);
    } catch (const std::bad_alloc&) {  // as the Python module does
      outlet.abort();
      client->closing = true;
    }
  }
  // Looks at what has come in since the last call: whole replies, unless the connection was aborted amid them.
  void check() {
    if (!outlet.aborted) {
      for (std::string_view text = outlet.sent; !text.empty();) take_reply(text);
    }
    outlet.sent.clear();
    if (!outlet.aborted && !outlet.closed) return;
    engine_.remove(*client);
    connect();
  }
  void reconnect() {
    engine_.remove(*client);
    connect();
  }
  // The reply to a command that has one.
  std::string ask(const std::vector<std::string>& words) {
    outlet.sent.clear();
    send(as_command(words));
    std::string_view rest = outlet.sent;
    take_reply(rest);
    CHECK(rest.empty(), "more than one reply to %s", words[0].c_str());
    return std::move(outlet.sent);
  }

  HeldOutlet outlet;
  std::unique_ptr<Client> client;

 private:
  void connect() {
    outlet.closed = outlet.aborted = false;
    outlet.waits = 0;
    outlet.sent.clear();
    client = std::make_unique<Client>();
    client->outlet = &outlet;
    client->address = "127.0.0.1:1";
    client->local_address = "127.0.0.1:2";
    engine_.add(*client);
  }
  Engine& engine_;
};

inline StoreOptions store_options(const std::string& path, PolicyKind policy) {
  StoreOptions options;
  options.path = path;
  options.capacity = kCapacity;
  options.policy = policy;
  return options;
}

// An empty arena whose hashes are the same in every run, as are with them the places of all entries.
inline void make_arena(const std::string& path) {
  unlink(path.c_str());
  Arena arena(path, kCapacity);
  Header& header = arena.header();
  header.hash_seed[0] = 0x0123456789abcdef;
  header.hash_seed[1] = 0xfedcba9876543210;
  header.check = header_check(header);
}

// What an entry is, for comparing: type, expiry and the bytes that count.
inline std::string fingerprint(const Entry* entry) {
  std::string text = std::to_string(static_cast<int>(entry->type())) + ":" + std::to_string(entry->expire_at()) + ":";
  if (entry->type() == Type::string) return text.append(entry->value());
  const LogHead& head = head_of(entry);
  return text + std::to_string(head.used) + ":" + std::to_string(head.count);
}

using Content = std::map<std::string, std::string>;  // fingerprints by key

// All entries of a store, each held against its checksums, and the store's counts against them.
inline Content content_of(Store& store) {
  Content content;
  size_t expires = 0;
  uint64_t cursor = 0;
  do {
    cursor = store.scan(cursor, 1000, [&](Entry* entry) {
      const std::string key(entry->key());
      CHECK(entry->type() <= Type::hash, "key %.40s has no type", key.c_str());
      CHECK(content.emplace(key, fingerprint(entry)).second, "key %.40s is there twice", key.c_str());
      expires += entry->expire_at() != 0;
      if (entry->type() == Type::string) {
        CHECK(checksum_holds(*entry, store.hash(key)), "the checksum of key %.40s is wrong", key.c_str());
      } else {
        // On a copy, since dead records are marked anew. A whole entry, as aligned as the first.
        const size_t bytes = sizeof(Entry) + entry->key_offset() + key.size() + entry->value_len;
        std::vector<uint64_t> copy(bytes / 8 + 2);
        std::memcpy(copy.data(), static_cast<const void*>(entry), bytes);
        CHECK(recover_log(reinterpret_cast<Entry*>(copy.data()), store.log_seed()), "the log of key %.40s is unsound",
              key.c_str());
      }
    });
  } while (cursor != 0);
  CHECK(content.size() == store.size(), "%zu keys, %zu counted", content.size(), store.size());
  CHECK(expires == store.expires(), "%zu expiries, %zu counted", expires, store.expires());
  return content;
}

}  // namespace predis::fuzz
