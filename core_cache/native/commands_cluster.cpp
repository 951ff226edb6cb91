// commands_cluster.cpp: what a server that stands alone answers to questions about others: CLUSTER and its kin are
// refused as by a redis-server without cluster support; ROLE, WAIT and FAILOVER tell of a master without replicas.
#include <array>

#include "arguments.h"
#include "handlers.h"

namespace predis {

namespace {

void cluster_disabled(Context& c) { c.reply.error("ERR This instance has cluster support disabled"); }

void role(Context& c) {
  c.reply.array(3);
  c.reply.bulk("master");
  c.reply.integer(0);  // of the replication stream, which nobody has asked for
  c.reply.array(0);
}

void replicaof(Context& c) {
  if (is_option(c.args[1], "no") && is_option(c.args[2], "one")) return c.reply.ok();  // it is nobody's replica
  int64_t port;
  if (!parse_int64(c.args[2], port) || port < 0 || port > 65535) return c.reply.error("ERR Invalid master port");
  c.reply.error("ERR replication is not supported: this cache is always a master");
}

void failover(Context& c) {
  if (c.args.size() == 2 && is_option(c.args[1], "abort")) return c.reply.error("ERR No failover in progress.");
  bool to = false, force = false, with_timeout = false;
  for (size_t i = 1; i < c.args.size(); ++i) {
    const size_t more = c.args.size() - 1 - i;
    int64_t number;
    if (is_option(c.args[i], "timeout") && more >= 1 && !with_timeout) {
      if (!int64_or_reply(c, c.args[++i], number)) return;
      if (number <= 0) return c.reply.error("ERR FAILOVER timeout must be greater than 0");
      with_timeout = true;
    } else if (is_option(c.args[i], "to") && more >= 2 && !to) {
      if (!int64_or_reply(c, c.args[i + 2], number)) return;
      i += 2;
      to = true;
    } else if (is_option(c.args[i], "force") && !force) {
      force = true;
    } else {
      return c.reply.error(errors::kSyntax);
    }
  }
  c.reply.error("ERR FAILOVER requires connected replicas.");
}

constexpr std::string_view kCluster = "cluster", kSince3 = "3.0.0", kSince7 = "7.0.0";
constexpr std::string_view kDangerous = "admin slow dangerous", kNotHere = "Refused: there is no cluster";
constexpr uint32_t kChange = kAdmin | kStale | kNoAsyncLoading;

constexpr CommandSpec ask(std::string_view name, int arity, std::string_view since = kSince3) {
  return {name, arity, kStale, 0, 0, 0, kCluster, since, "O(1)", kNotHere, "slow", cluster_disabled};
}

constexpr CommandSpec change(std::string_view name, int arity, std::string_view since = kSince3,
                             uint32_t flags = kChange) {
  return {name, arity, flags, 0, 0, 0, kCluster, since, "O(1)", kNotHere, kDangerous, cluster_disabled};
}

auto commands = std::to_array<CommandSpec>({
    {"cluster", -2, 0, 0, 0, 0, kCluster, kSince3, "Depends on subcommand.", "Refused: there is no cluster", "slow",
     nullptr},
    ask("cluster|countkeysinslot", 3),
    ask("cluster|getkeysinslot", 4),
    ask("cluster|info", 2),
    ask("cluster|keyslot", 3),
    ask("cluster|links", 2, kSince7),
    ask("cluster|myid", 2),
    ask("cluster|nodes", 2),
    ask("cluster|shards", 2, kSince7),
    ask("cluster|slots", 2),
    change("cluster|addslots", -3),
    change("cluster|addslotsrange", -4, kSince7),
    change("cluster|bumpepoch", 2),
    change("cluster|count-failure-reports", 3, kSince3, kAdmin | kStale),
    change("cluster|delslots", -3),
    change("cluster|delslotsrange", -4, kSince7),
    change("cluster|failover", -2),
    change("cluster|flushslots", 2),
    change("cluster|forget", 3),
    change("cluster|meet", -4),
    change("cluster|replicas", 3, "5.0.0", kAdmin | kStale),
    change("cluster|replicate", 3),
    change("cluster|reset", -2, kSince3, kAdmin | kNoscript | kStale),
    change("cluster|saveconfig", 2),
    change("cluster|set-config-epoch", 3),
    change("cluster|setslot", -4),
    change("cluster|slaves", 3, kSince3, kAdmin | kStale),
    {"cluster|help", 2, kLoading | kStale, 0, 0, 0, kCluster, "5.0.0", "O(1)", kNotHere, "slow", cluster_disabled},
    {"readonly", 1, kLoading | kStale | kFast, 0, 0, 0, kCluster, kSince3, "O(1)", kNotHere, "fast connection",
     cluster_disabled},
    {"readwrite", 1, kLoading | kStale | kFast, 0, 0, 0, kCluster, kSince3, "O(1)", kNotHere, "fast connection",
     cluster_disabled},
    {"asking", 1, kFast, 0, 0, 0, kCluster, kSince3, "O(1)", kNotHere, "fast connection", cluster_disabled},

    {"role", 1, kNoscript | kLoading | kStale | kFast, 0, 0, 0, "server", "2.8.12", "O(1)",
     "Tells that this is a master without replicas", "admin fast dangerous", role},
    {"replicaof", 3, kAdmin | kNoscript | kStale | kNoAsyncLoading, 0, 0, 0, "server", "5.0.0", "O(1)",
     "Takes NO ONE; every master is refused", kDangerous, replicaof},
    {"slaveof", 3, kAdmin | kNoscript | kStale | kNoAsyncLoading, 0, 0, 0, "server", "1.0.0", "O(1)",
     "REPLICAOF by its old name", kDangerous, replicaof},
    {"failover", -1, kAdmin | kNoscript | kStale, 0, 0, 0, "server", "6.2.0", "O(1)",
     "Refused: there is no replica to fail over to", kDangerous, failover},
    {"wait", 3, kNoscript, 0, 0, 0, "generic", "3.0.0", "O(1)",
     "Waits for replicas, of which there are none, until the time is over", "slow connection", wait_for_replicas},
});

}  // namespace

std::span<CommandSpec> cluster_commands() { return commands; }

}  // namespace predis
