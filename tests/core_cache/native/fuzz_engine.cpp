// fuzz_engine.cpp: the RESP codec and everything behind it. Several connections send commands and raw bytes in any
// pieces and any order, are interrupted, stop reading and come back; upkeep runs in between.
//
// Checked: whatever is sent to a peer is whole RESP replies; the store's entries have right checksums and its counts are
// right; after another start on the same arena every key is as it was. Memory errors are the sanitizers' business.
//
// An input is a byte of settings, then steps. The mutator adds steps with commands of the engine's own table.
#include <random>

#include "../../../core_cache/native/words.h"
#include "fuzz_host.h"

using namespace predis;
using namespace predis::fuzz;

namespace {

constexpr size_t kPeers = 3;

enum Step : uint8_t {
  kCommand,       // length, words
  kQueued,        // the same, but sent with what comes next
  kInPieces,      // length, words, how long the pieces are
  kRaw,           // length, bytes
  kUpkeep,
  kReconnect,
  kReading,       // the peer stops reading, or has read all
  kSteps
};

// Words are parted by spaces. "\2" and a letter stand for a long word, "\3" for an empty one.
std::vector<std::string> words_of(std::string_view text) {
  constexpr size_t kLengths[] = {44, 45, 63, 64, 65, 128, 300, 512, 1024, 4000, 5120, 16384, 33000, 66000, 140000, 300000};
  std::vector<std::string> words;
  size_t total = 0;
  while (!text.empty()) {
    std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (word == "\3") {
      words.emplace_back();
    } else if (word.size() == 2 && word[0] == 2 && total < 400000) {
      words.emplace_back(kLengths[word[1] & 15], static_cast<char>('0' + (word[1] >> 4 & 7)));
      total += words.back().size();
    } else if (!word.empty()) {
      words.emplace_back(word);
    }
  }
  // LCS takes the product of two lengths: no promise that it is quick.
  if (total > 5000 && !words.empty() && is_word(words[0], "lcs")) words.clear();
  return words;
}

std::string command_from(Input& in) {
  const size_t length = in.byte();
  const auto words = words_of(in.bytes(length));
  return words.empty() ? std::string() : as_command(words);
}

ServerConfig config_for(const Scratch& acl_file) {
  ServerConfig config;
  config.max_clients = 100;
  config.acl_file = acl_file.path;
  config.slowlog_slower_than = 0;
  return config;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr PolicyKind kPolicies[] = {PolicyKind::s3fifo, PolicyKind::lru, PolicyKind::lfu, PolicyKind::noeviction};
  static const Scratch arena("engine.arena"), acl_file("engine.acl");
  make_arena(arena.path);
  unlink(acl_file.path.c_str());
  Input in(data, size);
  const uint8_t settings = in.byte();
  StoreOptions options = store_options(arena.path, kPolicies[settings & 3]);
  ServerConfig config = config_for(acl_file);
  if ((settings & 4) && (settings & 3) % 3 == 0) {  // tenants need s3fifo or noeviction
    options.tenants = {{"acme", "a:", 1 << 20}, {"beta", "b", 1 << 20}};
    config.tenants = {{std::string(64, '0'), 0, 0}, {std::string(64, '1'), 0, 0.5}};
  }
  Content before;
  {
    Engine engine(options, config);
    write_file(acl_file.path, "user ann on nopass ~a* &* +@all\n");
    engine.start_users(settings & 8 ? "secret" : "");
    engine.on_stop = [] {};
    engine.save = [](bool) { return std::string(); };
    engine.renew_tls = [](const TlsConfig&) { return std::string(); };
    engine.on_work = [] {};
    {
      std::array<std::unique_ptr<Peer>, kPeers> peers;
      for (auto& peer : peers) peer = std::make_unique<Peer>(engine);
      std::array<std::string, kPeers> queued;
      for (int steps = 0; !in.empty() && steps < 400; ++steps) {
        const uint8_t head = in.byte();
        const size_t number = head % kPeers;
        Peer& peer = *peers[number];
        std::string& line = queued[number];
        switch (head / kPeers % kSteps) {
          case kCommand:
            peer.send(line + command_from(in));
            line.clear();
            break;
          case kQueued: line += command_from(in); break;
          case kInPieces: {
            line += command_from(in);
            const size_t piece = 1 + in.byte();
            for (std::string_view rest = line; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size()))) {
              peer.send(rest.substr(0, piece));
            }
            line.clear();
            break;
          }
          case kRaw: {
            const size_t length = in.byte();
            peer.send(line.append(in.bytes(length)));
            line.clear();
            break;
          }
          case kUpkeep:
            engine.cron(500);
            for (int i = 0; i < 20 && engine.work() == 0; ++i) {}
            break;
          case kReconnect:
            peer.reconnect();
            line.clear();
            break;
          default:
            if (peer.outlet.waits == 0) {
              peer.outlet.waits = 2 * kOutputPause;
            } else {
              peer.outlet.waits = 0;
              engine.drained(*peer.client);
            }
        }
        for (auto& each : peers) each->check();
      }
      engine.end_turns();
      for (auto& each : peers) each->check();
    }
    CHECK(engine.client_count() == 0, "%zu clients are left", engine.client_count());
    before = content_of(engine.store());
  }
  if ((settings & 16) == 0) return 0;
  // Another start. Keys may have expired in the meantime, and nothing else may have happened to them.
  const uint64_t now = realtime_ms();
  Store store(options);
  const Content after = content_of(store);
  CHECK(store.stats().damaged_entries == 0, "%llu entries are damaged", static_cast<unsigned long long>(store.stats().damaged_entries));
  for (const auto& [key, print] : after) {
    const auto found = before.find(key);
    CHECK(found != before.end() && found->second == print, "key %.40s has changed", key.c_str());
  }
  for (const auto& [key, print] : before) {
    const uint64_t expires = std::strtoull(print.c_str() + 2, nullptr, 10);
    CHECK(after.contains(key) || (expires != 0 && expires < now + 1000), "key %.40s is lost", key.c_str());
  }
  return 0;
}

namespace {

constexpr const char* kKeys[] = {"k", "k1", "k2", "a:1", "a:2", "b1", "h", "s", "l", "z", "hll", "\2/", "\2?"};
constexpr const char* kWords[] = {
    "0", "1", "-1", "2", "10", "100", "-2147483648", "9223372036854775807", "-9223372036854775808", "4294967295", "1.5",
    "-inf", "+inf", "inf", "nan", "(1", "[a", "-", "+", "1e300", "*", "?", "[a-c]*", "a*", "__keyspace@0__:*", "\3", "\2 ",
    "\2!", "\2)", "\2,", "\2.", "x", "y", "f1", "f2", "m1", "m2", "EX", "PX", "EXAT", "PXAT", "NX", "XX", "GT", "LT", "CH",
    "INCR", "GET", "KEEPTTL", "PERSIST", "MATCH", "COUNT", "TYPE", "string", "LIMIT", "WITHSCORES", "WITHVALUES",
    "BYSCORE", "BYLEX", "REV", "WEIGHTS", "AGGREGATE", "SUM", "MIN", "MAX", "BEFORE", "AFTER", "LEFT", "RIGHT", "RANK",
    "MAXLEN", "BIT", "BYTE", "AND", "OR", "XOR", "NOT", "u8", "i64", "u63", "#1", "OVERFLOW", "SAT", "WRAP", "FAIL", "SET",
    "INCRBY", "IDX", "LEN", "MINMATCHLEN", "WITHMATCHLEN", "REPLACE", "DB", "ASYNC", "SYNC", "ON", "OFF", "BCAST", "PREFIX",
    "OPTIN", "OPTOUT", "NOLOOP", "REDIRECT", "YES", "NO", "SKIP", "ID", "ADDR", "LADDR", "USER", "MAXAGE", "SKIPME", "normal",
    "pubsub", "WRITE", "ALL", "UNBLOCK", "ERROR", "TIMEOUT", "AUTH", "SETNAME", "default", "secret", "ann", "acme", "2", "3",
    "on", "off", "nopass", "resetpass", ">pw", "<pw", "~*", "~a*", "%R~k*", "&*", "&c*", "+@all", "-@all", "+get", "-set",
    "+config|get", "(+get", "~x)", "reset", "allkeys", "clearselectors", "maxmemory", "maxmemory-policy", "allkeys-lru",
    "allkeys-lfu", "volatile-ttl", "noeviction", "s3fifo", "9mb", "8mb", "notify-keyspace-events", "KEA", "Ex", "maxclients",
    "requirepass", "timeout", "proto-max-bulk-len", "1048576", "client-query-buffer-limit", "slowlog-log-slower-than",
    "latency-monitor-threshold", "hz", "tracking-table-max-keys", "client-output-buffer-limit", "normal 0 0 0",
    "maxmemory-clients", "command", "FILTERBY", "PATTERN", "ACLCAT", "MODULE", "SAMPLES", "STATS", "SCHEDULE", "clients",
    "memory", "stats", "commandstats", "keyspace", "everything", "events", "c", "c1",
};

// A command of the table, most often with as many arguments as it takes.
std::string some_command(std::mt19937_64& rng) {
  const auto pick = [&](const auto& list) { return std::string(list[rng() % std::size(list)]); };
  const auto commands = all_commands();
  const CommandSpec& spec = *commands[rng() % commands.size()];
  std::string text(spec.name);
  const size_t bar = text.find('|');
  if (bar != std::string::npos) text[bar] = ' ';
  size_t position = bar == std::string::npos ? 1 : 2;
  const auto least = static_cast<size_t>(std::abs(spec.arity));
  size_t count = spec.arity < 0 ? least + rng() % 5 : least;
  if (rng() % 16 == 0) count = rng() % 6;
  for (; position < count; ++position) {
    const bool key = spec.first_key != 0 && static_cast<int>(position) >= spec.first_key &&
                     (spec.last_key < 0 || static_cast<int>(position) <= spec.last_key);
    text += ' ';
    text += key && rng() % 8 ? pick(kKeys) : rng() % 6 ? pick(kWords) : pick(kKeys);
  }
  return text.substr(0, 255);
}

}  // namespace

// Half of the time a step with a command goes to where a step may begin; else the fuzzer's own way.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  std::mt19937_64 rng(seed);
  if (rng() % 2 == 0) return LLVMFuzzerMutate(data, size, most);
  std::vector<size_t> begins;  // of steps
  if (size == 0) {
    if (most == 0) return 0;
    data[size++] = static_cast<uint8_t>(rng());
  }
  for (size_t at = 1; at < size;) {
    begins.push_back(at);
    const uint8_t step = data[at] / kPeers % kSteps;
    ++at;
    if (step <= kRaw) at += 1 + (at < size ? data[at] : 0) + (step == kInPieces);
  }
  begins.push_back(size);
  const std::string command = some_command(rng);
  std::string step;
  const auto kind = static_cast<uint8_t>(rng() % 4 ? kCommand : rng() % 2 ? kQueued : kInPieces);
  step += static_cast<char>(kind * kPeers + (rng() % 3 ? 0 : rng() % kPeers));
  step += static_cast<char>(command.size());
  step += command;
  if (kind == kInPieces) step += static_cast<char>(rng() % 40);
  if (size + step.size() > most) return LLVMFuzzerMutate(data, size, most);
  const size_t at = rng() % 2 ? begins.back() : begins[rng() % begins.size()];
  std::memmove(data + at + step.size(), data + at, size - at);
  std::memcpy(data + at, step.data(), step.size());
  return size + step.size();
}
