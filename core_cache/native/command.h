// command.h: what a command's implementation sees, and the one table of all commands.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "reply.h"
#include "store.h"

namespace predis {

class Engine;      // engine.h
struct Client;     // engine.h: one connection

using Args = std::span<const std::string_view>;  // Args[0] is the command's name as the client wrote it

struct Context {
  Engine& engine;
  Client& client;
  Store& store;
  Reply& reply;
  Args args;
  uint64_t key_hash;  // store.hash(args[first_key]) where the command has a first key
};

// Flags, named as in COMMAND INFO.
enum CommandFlag : uint32_t {
  kWrite = 1, kReadonly = 2, kDenyOom = 4, kAdmin = 8, kPubsub = 16, kNoscript = 32, kLoading = 64, kStale = 128,
  kFast = 256, kNoAuth = 512, kSkipSlowlog = 1024, kSkipMonitor = 2048, kMovableKeys = 4096, kNoMulti = 8192,
  kAllowBusy = 16384, kNoAsyncLoading = 32768, kProtected = 65536,
  // Not told by COMMAND:
  kNeverQueued = 1u << 24,      // is run at once even between MULTI and EXEC
  kForSubscribers = 1u << 25,   // is allowed to a subscriber that speaks RESP2
  kMayReplicate = 1u << 26,     // is held up by CLIENT PAUSE WRITE although it writes nothing
};

struct CommandSpec {
  std::string_view name;  // lower case; subcommands as "client|id"
  int arity;              // as Redis: negative means at least
  uint32_t flags;
  int first_key, last_key, key_step;
  std::string_view group, since, complexity, summary;  // COMMAND DOCS, in our own words
  std::string_view acl_categories;                     // space-separated, as COMMAND INFO prints them, without '@'
  void (*handler)(Context&);                           // nullptr for a container (CLIENT, CONFIG, …)
  uint16_t id = 0;                                     // index into Stats::commands, given at start
  bool container = false;                              // has subcommands, found at start
  bool subcommand = false;                             // its name has a '|', found at start

  bool has_one_key() const { return first_key != 0 && last_key == first_key && !(flags & kMovableKeys); }
};

// The tables; each file of commands defines one, table.cpp joins them.
std::span<CommandSpec> string_commands();      // commands_string.cpp
std::span<CommandSpec> key_commands();         // commands_key.cpp: generic keys, expiry, scan
std::span<CommandSpec> connection_commands();  // commands_connection.cpp: HELLO AUTH CLIENT PING ECHO QUIT RESET SELECT
std::span<CommandSpec> server_commands();      // commands_server.cpp: INFO CONFIG COMMAND SLOWLOG LATENCY MEMORY OBJECT DEBUG …

std::span<CommandSpec> hash_commands();          // commands_hash.cpp
std::span<CommandSpec> set_commands();           // commands_set.cpp
std::span<CommandSpec> list_commands();          // commands_list.cpp
std::span<CommandSpec> zset_commands();          // commands_zset.cpp
std::span<CommandSpec> bit_commands();           // commands_bit.cpp
std::span<CommandSpec> snapshot_commands();      // commands_snapshot.cpp
std::span<CommandSpec> pubsub_commands();        // commands_pubsub.cpp
std::span<CommandSpec> transaction_commands();   // commands_transaction.cpp
std::span<CommandSpec> acl_commands();           // commands_acl.cpp
std::span<CommandSpec> cluster_commands();       // commands_cluster.cpp: CLUSTER ROLE WAIT REPLICAOF FAILOVER …
std::span<CommandSpec> instance_commands();      // commands_instance.cpp: SHUTDOWN MODULE LOLWUT SWAPDB MOVE

const CommandSpec* find_command(std::string_view name);  // any case; nullptr when unknown; "client|id" is found too
const CommandSpec* find_command_of(Args args);           // for a whole command: the subcommand's where it is one
std::span<const CommandSpec* const> all_commands();

// True for an argument that must not be shown: a password.
bool holds_secret(const CommandSpec& spec, Args args, size_t index);

}  // namespace predis
