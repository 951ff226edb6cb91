// commands_server.cpp: TIME DBSIZE FLUSHDB FLUSHALL MEMORY OBJECT DEBUG, and the table of all server commands.
#include <array>

#include "collection_log.h"
#include "engine.h"
#include "entries.h"
#include "handlers.h"
#include "numbers.h"
#include "words.h"

namespace predis {

namespace {

void time_now(Context& c) {
  const uint64_t us = unix_us();
  c.reply.array(2);
  c.reply.bulk(std::to_string(us / 1'000'000));
  c.reply.bulk(std::to_string(us % 1'000'000));
}

void dbsize(Context& c) { c.reply.integer(static_cast<int64_t>(c.engine.keys_of(c.client))); }

void flush(Context& c) {
  if (c.args.size() > 2 || (c.args.size() == 2 && !is_word(c.args[1], "async") && !is_word(c.args[1], "sync"))) {
    return c.reply.error(errors::kSyntax);
  }
  c.store.clear();
  c.reply.ok();
}

// --- MEMORY

void memory_usage(Context& c) {
  for (size_t i = 3; i < c.args.size(); i += 2) {
    int64_t samples;
    if (!is_word(c.args[i], "samples") || i + 1 == c.args.size()) return c.reply.error(errors::kSyntax);
    if (!parse_int64(c.args[i + 1], samples)) return c.reply.error(errors::kNotInteger);
    if (samples < 0) return c.reply.error(errors::kSyntax);
  }
  const Entry* entry = c.store.find(c.args[2], c.key_hash);
  if (entry == nullptr) return c.reply.null();
  c.reply.integer(static_cast<int64_t>(c.store.entry_size(entry)));
}

void memory_stats(Context& c) {
  c.store.refresh_gauges();
  const Stats& s = c.engine.stats();
  const uint64_t keys = c.store.size();
  const uint64_t overhead = s.used_bytes - std::min(s.entry_bytes, s.used_bytes);
  const uint64_t data = s.used_bytes - overhead;
  auto integer = [&](std::string_view name, uint64_t value) {
    c.reply.bulk(name);
    c.reply.integer(static_cast<int64_t>(value));
  };
  auto real = [&](std::string_view name, double value) {
    c.reply.bulk(name);
    c.reply.dbl(value);
  };
  c.reply.map(15);
  integer("peak.allocated", std::max(s.peak_used_bytes, s.used_bytes));
  integer("total.allocated", s.used_bytes + s.client_bytes);
  integer("startup.allocated", s.overhead_bytes);
  integer("clients.normal", s.client_bytes);
  c.reply.bulk("db.0");
  c.reply.map(1);
  integer("overhead.hashtable.main", s.index_bytes);
  integer("overhead.total", overhead);
  integer("keys.count", keys);
  integer("keys.bytes-per-key", keys != 0 ? s.used_bytes / keys : 0);
  integer("dataset.bytes", data);
  auto percent = [](uint64_t part, uint64_t whole) {
    return whole != 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0.0;
  };
  real("dataset.percentage", percent(data, s.used_bytes));
  real("peak.percentage", percent(s.used_bytes, s.peak_used_bytes));
  integer("allocator.allocated", s.used_bytes);
  integer("allocator.active", s.pages_used * kPageSize);
  integer("allocator-fragmentation.bytes", s.slab_free_bytes);
  integer("policy.bytes", s.policy_bytes);
}

void memory_doctor(Context& c) {
  c.store.refresh_gauges();
  const Stats& s = c.engine.stats();
  std::string text;
  if (c.store.size() == 0) {
    c.reply.verbatim("txt", "The cache is empty, so there is nothing to say about its memory.\n");
    return;
  }
  if (s.slab_free_bytes > s.used_bytes / 2 && s.slab_free_bytes > 64 * kPageSize) {
    text += "* Free slots: " + std::to_string(s.slab_free_bytes) +
            " bytes of slabs are free. The sizes of values have changed; upkeep moves entries together in time.\n";
  }
  if (s.client_bytes > s.max_bytes / 10) {
    text += "* Client buffers: " + std::to_string(s.client_bytes) +
            " bytes. See CLIENT LIST (omem, qbuf) for clients that do not read their replies.\n";
  }
  if (s.evicted_capacity != 0) {
    text += "* Full: the cache has reached its maxmemory, and new keys have pushed out " +
            std::to_string(s.evicted_capacity) + " old ones.\n";
  }
  c.reply.verbatim("txt", text.empty() ? "No memory problem was found.\n" : text);
}

void memory_purge(Context& c) {
  c.store.upkeep(10'000);
  Engine::give_back_memory();
  c.reply.ok();
}

void memory_malloc_stats(Context& c) {
  c.store.refresh_gauges();
  const Stats& s = c.engine.stats();
  std::string text;
  auto line = [&](std::string_view name, uint64_t value) { text += concat({name, ":", std::to_string(value), "\n"}); };
  line("arena_capacity", c.store.capacity());
  line("pages_used", s.pages_used);
  line("entry_bytes", s.entry_bytes);
  line("slab_free_bytes", s.slab_free_bytes);
  line("index_bytes", s.index_bytes);
  line("overhead_bytes", s.overhead_bytes);
  c.reply.verbatim("txt", text);
}

void memory_help(Context& c) {
  reply_help(c, "MEMORY",
             {"DOCTOR", "    Return memory problems reports.", "MALLOC-STATS",
              "    Return internal statistics report from the memory allocator.", "PURGE",
              "    Attempt to purge dirty pages for reclamation by the allocator.", "STATS",
              "    Return information about the memory usage of the server.", "USAGE <key> [SAMPLES <count>]",
              "    Return memory in bytes used by <key> and its value. Nested values are",
              "    sampled up to <count> times (default: 5, 0 means sample all)."});
}

// --- OBJECT

Entry* object_lookup(Context& c) {
  Entry* entry = c.store.find(c.args[2], c.key_hash);
  ++(entry != nullptr ? c.engine.stats().keyspace_hits : c.engine.stats().keyspace_misses);
  if (entry == nullptr) c.reply.null();
  return entry;
}

void object_encoding(Context& c) {
  const Entry* entry = object_lookup(c);
  if (entry == nullptr) return;
  if (entry->type() != Type::string) return c.reply.bulk(collection_encoding(entry));
  if (entry->kind & kFlagRaw) return c.reply.bulk("raw");
  if (!(entry->kind & kFlagEmbstr) && entry->value_len <= 20 && is_canonical_int64(entry->value())) {
    return c.reply.bulk("int");
  }
  c.reply.bulk(entry->value_len <= kLongestEmbstr ? "embstr" : "raw");
}

void object_freq(Context& c) {
  const Entry* entry = object_lookup(c);
  if (entry == nullptr) return;
  if (is_lfu(c.store.policy())) return c.reply.integer(c.store.frequency(entry));
  c.reply.error(
      "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching "
      "between policies at runtime LRU and LFU data will take some time to adjust.");
}

void object_idletime(Context& c) {
  const Entry* entry = object_lookup(c);
  if (entry == nullptr) return;
  if (!is_lfu(c.store.policy())) return c.reply.integer(static_cast<int64_t>(c.store.idle_ms(entry) / 1000));
  c.reply.error(
      "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies "
      "at runtime LRU and LFU data will take some time to adjust.");
}

void object_refcount(Context& c) {
  if (object_lookup(c) != nullptr) c.reply.integer(1);
}

void object_help(Context& c) {
  reply_help(c, "OBJECT",
             {"ENCODING <key>",
              "    Return the kind of internal representation used in order to store the value",
              "    associated with a <key>.", "FREQ <key>",
              "    Return the access frequency index of the <key>. The returned integer is",
              "    proportional to the logarithm of the recent access frequency of the key.", "IDLETIME <key>",
              "    Return the idle time of the <key>, that is the approximated number of",
              "    seconds elapsed since the last access to the key.", "REFCOUNT <key>",
              "    Return the number of references of the value associated with the specified", "    <key>."});
}

void debug_refused(Context& c) { c.reply.error("ERR DEBUG command not allowed."); }  // never run: kProtected

constexpr uint32_t kHelp = kLoading | kStale;
constexpr uint32_t kAdminOnly = kAdmin | kNoscript | kLoading | kStale;
constexpr std::string_view kDangerous = "admin slow dangerous", kSlow = "slow", kSlowConnection = "slow connection";
constexpr std::string_view kServer = "server";

auto commands = std::to_array<CommandSpec>({
    {"time", 1, kLoading | kStale | kFast, 0, 0, 0, kServer, "2.6.0", "O(1)", "Gives the server's time", "fast",
     time_now},
    {"dbsize", 1, kReadonly | kFast, 0, 0, 0, kServer, "1.0.0", "O(1)", "Counts the keys", "keyspace read fast",
     dbsize},
    {"flushdb", -1, kWrite, 0, 0, 0, kServer, "1.0.0", "O(N) where N is the number of keys", "Removes all keys",
     "keyspace write slow dangerous", flush},
    {"flushall", -1, kWrite, 0, 0, 0, kServer, "1.0.0", "O(N) where N is the number of keys", "Removes all keys",
     "keyspace write slow dangerous", flush},
    {"info", -1, kHelp, 0, 0, 0, kServer, "1.0.0", "O(1)", "Tells about the server", "slow dangerous", info},
    {"debug", -2, kAdminOnly | kProtected, 0, 0, 0, kServer, "1.0.0", "Depends on subcommand.", "Not allowed here",
     kDangerous, debug_refused},

    {"config", -2, 0, 0, 0, 0, kServer, "2.0.0", "Depends on subcommand.", "Holds the commands about settings", kSlow,
     nullptr},
    {"config|get", -3, kAdminOnly, 0, 0, 0, kServer, "2.0.0", "O(N) where N is the number of parameters",
     "Gives settings",
     kDangerous, config_get},
    {"config|set", -4, kAdminOnly, 0, 0, 0, kServer, "2.0.0", "O(N) where N is the number of parameters",
     "Changes settings",
     kDangerous, config_set},
    {"config|resetstat", 2, kAdminOnly, 0, 0, 0, kServer, "2.0.0", "O(1)", "Sets the counters back to zero", kDangerous,
     config_resetstat},
    {"config|rewrite", 2, kAdminOnly, 0, 0, 0, kServer, "2.8.0", "O(1)",
     "Writes the configuration file, where there is one",
     kDangerous, config_rewrite},
    {"config|help", 2, kHelp, 0, 0, 0, kServer, "5.0.0", "O(1)", "Lists the subcommands", kSlow, config_help},

    {"command", -1, kHelp, 0, 0, 0, kServer, "2.8.13", "O(N) where N is the number of commands",
     "Describes all commands",
     kSlowConnection, command},
    {"command|count", 2, kHelp, 0, 0, 0, kServer, "2.8.13", "O(1)", "Counts the commands", kSlowConnection,
     command_count},
    {"command|info", -2, kHelp, 0, 0, 0, kServer, "2.8.13", "O(N) where N is the number of commands",
     "Describes commands",
     kSlowConnection, command_info},
    {"command|docs", -2, kHelp, 0, 0, 0, kServer, "7.0.0", "O(N) where N is the number of commands",
     "Documents commands",
     kSlowConnection, command_docs},
    {"command|list", -2, kHelp, 0, 0, 0, kServer, "7.0.0", "O(N) where N is the number of commands",
     "Names the commands",
     kSlowConnection, command_list},
    {"command|getkeys", -4, kHelp, 0, 0, 0, kServer, "2.8.13", "O(N) where N is the number of arguments",
     "Picks the keys out of a command", kSlowConnection, command_getkeys},
    {"command|getkeysandflags", -4, kHelp, 0, 0, 0, kServer, "7.0.0", "O(N) where N is the number of arguments",
     "Picks the keys out of a command, with how they are used", kSlowConnection, command_getkeysandflags},
    {"command|help", 2, kHelp, 0, 0, 0, kServer, "5.0.0", "O(1)", "Lists the subcommands", kSlowConnection,
     command_help},

    {"memory", -2, 0, 0, 0, 0, kServer, "4.0.0", "Depends on subcommand.", "Holds the commands about memory", kSlow,
     nullptr},
    {"memory|usage", -3, kReadonly, 2, 2, 1, kServer, "4.0.0", "O(1)", "Tells how many bytes a key takes up",
     "read slow",
     memory_usage},
    {"memory|stats", 2, 0, 0, 0, 0, kServer, "4.0.0", "O(1)", "Tells what memory is used for", kSlow, memory_stats},
    {"memory|doctor", 2, 0, 0, 0, 0, kServer, "4.0.0", "O(1)", "Looks for memory problems", kSlow, memory_doctor},
    {"memory|purge", 2, 0, 0, 0, 0, kServer, "4.0.0", "O(1)", "Does pending upkeep of the arena", kSlow, memory_purge},
    {"memory|malloc-stats", 2, 0, 0, 0, 0, kServer, "4.0.0", "O(1)", "Gives the arena's own numbers", kSlow,
     memory_malloc_stats},
    {"memory|help", 2, kHelp, 0, 0, 0, kServer, "4.0.0", "O(1)", "Lists the subcommands", kSlow, memory_help},

    {"object", -2, 0, 0, 0, 0, "generic", "2.2.3", "Depends on subcommand.",
     "Holds the commands about how keys are stored",
     kSlow, nullptr},
    {"object|encoding", 3, kReadonly, 2, 2, 1, "generic", "2.2.3", "O(1)", "Tells how a value is stored",
     "keyspace read slow", object_encoding},
    {"object|freq", 3, kReadonly, 2, 2, 1, "generic", "4.0.0", "O(1)",
     "Tells how often a key is used, with an LFU policy",
     "keyspace read slow", object_freq},
    {"object|idletime", 3, kReadonly, 2, 2, 1, "generic", "2.2.3", "O(1)",
     "Tells for how many seconds a key was not used",
     "keyspace read slow", object_idletime},
    {"object|refcount", 3, kReadonly, 2, 2, 1, "generic", "2.2.3", "O(1)", "Counts the references to a value",
     "keyspace read slow", object_refcount},
    {"object|help", 2, kHelp, 0, 0, 0, "generic", "6.2.0", "O(1)", "Lists the subcommands", "keyspace slow",
     object_help},

    {"slowlog", -2, 0, 0, 0, 0, kServer, "2.2.12", "Depends on subcommand.", "Holds the commands about slow commands",
     kSlow,
     nullptr},
    {"slowlog|get", -2, kAdmin | kHelp, 0, 0, 0, kServer, "2.2.12", "O(N) where N is the number of entries",
     "Gives the latest slow commands", kDangerous, slowlog_get},
    {"slowlog|len", 2, kAdmin | kHelp, 0, 0, 0, kServer, "2.2.12", "O(1)", "Counts the entries", kDangerous,
     slowlog_len},
    {"slowlog|reset", 2, kAdmin | kHelp, 0, 0, 0, kServer, "2.2.12", "O(N) where N is the number of entries",
     "Removes the entries", kDangerous, slowlog_reset},
    {"slowlog|help", 2, kHelp, 0, 0, 0, kServer, "6.2.0", "O(1)", "Lists the subcommands", kSlow, slowlog_help},

    {"latency", -2, 0, 0, 0, 0, kServer, "2.8.13", "Depends on subcommand.", "Holds the commands about latency", kSlow,
     nullptr},
    {"latency|latest", 2, kAdminOnly, 0, 0, 0, kServer, "2.8.13", "O(1)", "Gives each event's latest sample",
     kDangerous,
     latency_latest},
    {"latency|history", 3, kAdminOnly, 0, 0, 0, kServer, "2.8.13", "O(1)", "Gives an event's samples", kDangerous,
     latency_history},
    {"latency|reset", -2, kAdminOnly, 0, 0, 0, kServer, "2.8.13", "O(1)", "Removes events' samples", kDangerous,
     latency_reset},
    {"latency|doctor", 2, kAdminOnly, 0, 0, 0, kServer, "2.8.13", "O(1)", "Sums the events up", kDangerous,
     latency_doctor},
    {"latency|graph", 3, kAdminOnly, 0, 0, 0, kServer, "2.8.13", "O(1)", "Draws an event's samples", kDangerous,
     latency_graph},
    {"latency|histogram", -2, kAdminOnly, 0, 0, 0, kServer, "7.0.0", "O(N) where N is the number of commands",
     "Gives commands' latencies as histograms", kDangerous, latency_histogram},
    {"latency|help", 2, kHelp, 0, 0, 0, kServer, "2.8.13", "O(1)", "Lists the subcommands", kSlow, latency_help},
});

}  // namespace

std::span<CommandSpec> server_commands() { return commands; }

}  // namespace predis
