// commands_config.cpp: CONFIG. What can be set takes effect at once; what cannot be otherwise here says so.
#include <sys/resource.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <map>
#include <optional>

#include "engine.h"
#include "glob.h"
#include "handlers.h"
#include "notify.h"
#include "numbers.h"
#include "parameter.h"
#include "policy_model.h"
#include "policy_names.h"
#include "words.h"

namespace predis {

namespace {

std::string range_problem(int64_t least, int64_t most) {
  return "argument must be between " + std::to_string(least) + " and " + std::to_string(most) + " inclusive";
}

// "100", "64kb", "1gb": as Redis reads memory sizes.
std::optional<int64_t> parse_memory(std::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  if (digits == 0 || digits > 18) return std::nullopt;
  const std::string unit = lowered(text.substr(digits));
  static const std::map<std::string, int64_t> kUnits = {
      {"", 1},           {"b", 1},           {"k", 1000},          {"kb", 1 << 10}, {"m", 1'000'000},
      {"mb", 1 << 20},   {"g", 1'000'000'000}, {"gb", 1 << 30}};
  auto found = kUnits.find(unit);
  int64_t value;
  if (found == kUnits.end()) return std::nullopt;
  const int64_t number = std::stoll(std::string(text.substr(0, digits)));
  if (__builtin_mul_overflow(number, found->second, &value)) return std::nullopt;
  return value;
}

using Field = int64_t ServerConfig::*;

void apply_lfu(Engine& e) {
  e.store().set_lfu(static_cast<uint32_t>(e.config().lfu_log_factor), static_cast<uint32_t>(e.config().lfu_decay_minutes));
}

Parameter integer(std::string_view name, Field field, int64_t least, int64_t most) {
  return {name, [field](Engine& e) { return std::to_string(e.config().*field); },
          [=](Engine& e, std::string_view text) -> std::optional<std::string> {
            int64_t value;
            if (!parse_int64(text, value)) return "argument couldn't be parsed into an integer";
            if (value < least || value > most) return range_problem(least, most);
            e.config().*field = value;
            return std::nullopt;
          }};
}

Parameter memory(std::string_view name, Field field, int64_t least, int64_t most) {
  return {name, [field](Engine& e) { return std::to_string(e.config().*field); },
          [=](Engine& e, std::string_view text) -> std::optional<std::string> {
            const std::optional<int64_t> value = parse_memory(text);
            if (!value) return "argument must be a memory value";
            if (*value < least || *value > most) return range_problem(least, most);
            e.config().*field = *value;
            return std::nullopt;
          }};
}

Parameter boolean(std::string_view name, bool ServerConfig::* field) {
  return {name, [field](Engine& e) { return std::string(e.config().*field ? "yes" : "no"); },
          [=](Engine& e, std::string_view text) -> std::optional<std::string> {
            const bool yes = is_word(text, "yes");
            if (!yes && !is_word(text, "no")) return "argument must be 'yes' or 'no'";
            e.config().*field = yes;
            return std::nullopt;
          }};
}

// Settable in Redis, but only one value is possible here; setting that one is fine.
Parameter only(std::string_view name, std::string value) {
  return {name, [value](Engine&) { return value; },
          [value](Engine&, std::string_view text) -> std::optional<std::string> {
            if (text == value || is_word(text, value)) return std::nullopt;
            return "this server supports only '" + value + "'";
          }};
}

Parameter fixed(std::string_view name, std::string value) {
  return {name, [value](Engine&) { return value; }, nullptr};
}

Parameter shown(std::string_view name, std::function<std::string(Engine&)> get) {
  return {name, std::move(get), nullptr};
}

constexpr rlim_t kSpareFiles = 64;  // beside those of clients

bool allow_files(rlim_t wanted) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= wanted) return true;
  if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < wanted) return false;
  limit.rlim_cur = wanted;
  return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

std::optional<std::string> set_policy(Engine& e, std::string_view text) {
  std::string all;
  for (const PolicyName& p : kPolicyNames) {
    all += (all.empty() ? "" : ", ") + std::string(p.config);
    if (!is_word(text, p.config)) continue;
    if (e.has_tenants() && !fits_tenants(p.kind)) {
      return "this cache has tenants, and that policy may evict one's keys for another's: use allkeys-s3fifo or noeviction";
    }
    if (e.store().policy() != p.kind) e.store().set_policy(p.kind);
    return std::nullopt;
  }
  return "argument(s) must be one of the following: " + all;
}

// The name of a file in the data directory, or nothing.
std::optional<std::string> set_policy_model(Engine& e, std::string_view text, uint32_t arm) {
  if (text.empty()) {
    e.store().set_model(nullptr, arm);
    return std::nullopt;
  }
  const bool plain = text.front() != '.' && text.find('/') == std::string_view::npos && text.find('\0') == std::string_view::npos;
  if (!plain || e.config().data_dir.empty()) return "the model must be a file in the data directory, named without a path";
  try {
    e.store().set_model(PolicyModel::load(e.config().data_dir + "/" + std::string(text), std::string(text)), arm);
  } catch (const ModelError& error) {
    return "the file " + std::string(text) + " " + error.what();
  }
  return std::nullopt;
}

std::optional<std::string> set_max_memory(Engine& e, std::string_view text) {
  const std::optional<int64_t> value = parse_memory(text);
  if (!value) return "argument must be a memory value";
  const uint64_t bytes = *value == 0 ? e.store().capacity() : static_cast<uint64_t>(*value);
  if (e.has_tenants() && bytes - bytes / 8 < e.store().quotas()) {
    return "the tenants' quotas, " + std::to_string(e.store().quotas()) + " bytes, are more than 7/8 of that";
  }
  if (bytes == e.store().max_memory() || e.store().set_max_memory(bytes)) return std::nullopt;
  if (bytes > e.store().capacity()) {
    return "the arena has room for " + std::to_string(e.store().capacity()) +
           " bytes; restart with a larger --memory for more";
  }
  return "too little memory for the cache to work";
}

std::string output_limit(Engine& e) {
  std::string text;
  constexpr std::string_view kClasses[] = {"normal", "slave", "pubsub"};
  for (size_t i = 0; i < std::size(kClasses); ++i) {
    const OutputLimit& limit = e.config().output_limits[i];
    text += concat({i == 0 ? "" : " ", kClasses[i], " ", std::to_string(limit.hard), " ", std::to_string(limit.soft), " ",
                    std::to_string(limit.soft_seconds)});
  }
  return text;
}

std::optional<std::string> set_output_limit(Engine& e, std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (end > at) words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (words.empty() || words.size() % 4 != 0) return "Wrong number of arguments in buffer limit configuration.";
  for (size_t i = 0; i < words.size(); i += 4) {
    const bool normal = is_word(words[i], "normal");
    if (!normal && !is_word(words[i], "slave") && !is_word(words[i], "replica") && !is_word(words[i], "pubsub")) {
      return "Invalid client class specified in buffer limit configuration.";
    }
    const std::optional<int64_t> hard = parse_memory(words[i + 1]), soft = parse_memory(words[i + 2]);
    int64_t seconds;
    if (!hard || !soft || !parse_int64(words[i + 3], seconds) || seconds < 0) {
      return "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    }
    e.config().output_limits[normal ? 0 : is_word(words[i], "pubsub") ? 2 : 1] = {*hard, *soft, seconds};
  }
  return std::nullopt;
}

std::optional<std::string> set_log_level(Engine& e, std::string_view text) {
  for (std::string_view level : {"debug", "verbose", "notice", "warning"}) {
    if (!is_word(text, level)) continue;
    e.config().log_level = level;
    return std::nullopt;
  }
  return "argument(s) must be one of the following: debug, verbose, notice, warning";
}

// By name, for both commands.
const std::map<std::string_view, Parameter>& parameters() {
  static const std::map<std::string_view, Parameter> all = [] {
    std::map<std::string_view, Parameter> map;
    auto add = [&](Parameter parameter) { map.emplace(parameter.name, std::move(parameter)); };
    add({"maxmemory", [](Engine& e) { return std::to_string(e.store().max_memory()); }, set_max_memory});
    add({"maxmemory-policy",
         [](Engine& e) { return std::string(config_name(e.store().policy())); }, set_policy});
    // A password is never shown, not even to those who may set it.
    add({"requirepass", [](Engine&) { return std::string(); },
         [](Engine& e, std::string_view text) -> std::optional<std::string> {
           e.acl().set_default_password(text);
           e.rights_changed();
           return std::nullopt;
         }});
    add({"maxclients", [](Engine& e) { return std::to_string(e.config().max_clients); },
         [](Engine& e, std::string_view text) -> std::optional<std::string> {
           int64_t value;
           if (!parse_int64(text, value)) return "argument couldn't be parsed into an integer";
           if (value < 1 || value > UINT32_MAX) return range_problem(1, UINT32_MAX);
           if (!allow_files(static_cast<rlim_t>(value) + kSpareFiles)) {
             return "The operating system is not able to handle the specified number of clients";
           }
           e.config().max_clients = value;
           e.stats().max_clients = static_cast<uint64_t>(value);
           return std::nullopt;
         }});
    add({"client-output-buffer-limit", output_limit, set_output_limit});
    add({"loglevel", [](Engine& e) { return e.config().log_level; }, set_log_level});
    add(integer("timeout", &ServerConfig::timeout, 0, INT_MAX));
    add(integer("tcp-keepalive", &ServerConfig::tcp_keepalive, 0, INT_MAX));
    add(integer("slowlog-log-slower-than", &ServerConfig::slowlog_slower_than, -1, LLONG_MAX));
    add({"slowlog-max-len", [](Engine& e) { return std::to_string(e.config().slowlog_max_length); },
         [](Engine& e, std::string_view text) -> std::optional<std::string> {
           int64_t value;
           if (!parse_int64(text, value)) return "argument couldn't be parsed into an integer";
           if (value < 0) return range_problem(0, LLONG_MAX);
           e.config().slowlog_max_length = value;
           return std::nullopt;
         }});
    add(integer("latency-monitor-threshold", &ServerConfig::latency_threshold, 0, LLONG_MAX));
    for (const uint32_t arm : {0u, 1u}) {
      add({arm == 0 ? "policy-model" : "policy-test-model",
           [arm](Engine& e) { return e.store().model(arm) ? e.store().model(arm)->name() : std::string(); },
           [arm](Engine& e, std::string_view text) { return set_policy_model(e, text, arm); }});
    }
    add({"policy-test-share", [](Engine& e) { return std::to_string(std::lround(e.store().test_share() * 100)); },
         [](Engine& e, std::string_view text) -> std::optional<std::string> {
           int64_t percent;
           if (!parse_int64(text, percent)) return "argument couldn't be parsed into an integer";
           if (percent < 0 || percent > 50) return range_problem(0, 50);
           e.store().set_test_share(static_cast<double>(percent) / 100);
           return std::nullopt;
         }});
    add(integer("lfu-log-factor", &ServerConfig::lfu_log_factor, 0, INT_MAX));
    add(integer("lfu-decay-time", &ServerConfig::lfu_decay_minutes, 0, INT_MAX));
    add(boolean("latency-tracking", &ServerConfig::latency_tracking));
    add(memory("proto-max-bulk-len", &ServerConfig::max_bulk, 1024 * 1024, LONG_MAX));
    add(memory("client-query-buffer-limit", &ServerConfig::query_buffer_limit, 1024 * 1024, LONG_MAX));
    add(memory("maxmemory-clients", &ServerConfig::max_memory_clients, 0, LONG_MAX));
    for (const char* name : {"hash-max-listpack-entries", "hash-max-ziplist-entries"})
      add(integer(name, &ServerConfig::hash_max_entries, 0, LONG_MAX));
    for (const char* name : {"hash-max-listpack-value", "hash-max-ziplist-value"})
      add(memory(name, &ServerConfig::hash_max_value, 0, LONG_MAX));
    add(integer("set-max-intset-entries", &ServerConfig::set_max_intset, 0, LONG_MAX));
    for (const char* name : {"zset-max-listpack-entries", "zset-max-ziplist-entries"})
      add(integer(name, &ServerConfig::zset_max_entries, 0, LONG_MAX));
    for (const char* name : {"zset-max-listpack-value", "zset-max-ziplist-value"})
      add(memory(name, &ServerConfig::zset_max_value, 0, LONG_MAX));
    for (const char* name : {"list-max-listpack-size", "list-max-ziplist-size"})
      add(integer(name, &ServerConfig::list_max_size, INT_MIN, INT_MAX));
    add(integer("list-compress-depth", &ServerConfig::list_compress_depth, 0, INT_MAX));
    add(shown("bind", [](Engine& e) { return e.config().bind; }));
    add(shown("port", [](Engine& e) { return std::to_string(e.config().port); }));
    add(shown("unixsocket", [](Engine& e) { return e.config().unix_socket; }));
    add(shown("tcp-backlog", [](Engine& e) { return std::to_string(e.config().backlog); }));
    add(shown("dir", [](Engine& e) { return e.config().data_dir; }));
    add(shown("hz", [](Engine& e) { return std::to_string(e.config().hz); }));
    add(fixed("unixsocketperm", "600"));
    add(fixed("databases", "1"));
    add(fixed("cluster-enabled", "no"));
    add(fixed("daemonize", "no"));
    add(fixed("io-threads", "1"));
    add(fixed("enable-debug-command", "no"));
    add(fixed("enable-protected-configs", "no"));
    add(fixed("supervised", "no"));
    add(fixed("logfile", ""));
    add_tls_parameters(add);
    add(only("save", ""));
    add(only("appendonly", "no"));
    add(only("replicaof", ""));
    add(only("slaveof", ""));
    add({"notify-keyspace-events", [](Engine& e) { return notify_classes_text(e.config().notify_classes); },
         [](Engine& e, std::string_view text) -> std::optional<std::string> {
           if (parse_notify_classes(text, e.config().notify_classes)) return std::nullopt;
           return "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
         }});
    add(integer("tracking-table-max-keys", &ServerConfig::tracking_table_max_keys, 0, LLONG_MAX));
    add(only("activedefrag", "no"));
    add(only("lazyfree-lazy-eviction", "no"));
    add(only("lazyfree-lazy-expire", "no"));
    add(boolean("protected-mode", &ServerConfig::protected_mode));
    add(integer("acllog-max-len", &ServerConfig::acl_log_max_length, 0, LLONG_MAX));
    add(integer("unauthenticated-timeout", &ServerConfig::login_timeout, 0, INT_MAX));
    add(shown("aclfile", [](Engine& e) { return e.config().acl_file; }));
    add({"acl-pubsub-default",
         [](Engine& e) { return std::string(e.acl().all_channels_by_default ? "allchannels" : "resetchannels"); },
         [](Engine& e, std::string_view text) -> std::optional<std::string> {
           const bool all = is_word(text, "allchannels");
           if (!all && !is_word(text, "resetchannels")) {
             return "argument(s) must be one of the following: allchannels, resetchannels";
           }
           e.acl().all_channels_by_default = all;
           return std::nullopt;
         }});
    return map;
  }();
  return all;
}

void set_parameters(Context& c) {
  if (c.args.size() % 2 != 0) return c.reply.error("ERR wrong number of arguments for 'config|set' command");
  std::vector<const Parameter*> chosen;
  auto fail = [&](std::string_view name, std::string_view why) {
    c.reply.error(concat({"ERR CONFIG SET failed (possibly related to argument '", name, "') - ", why}));
  };
  for (size_t i = 2; i < c.args.size(); i += 2) {
    auto found = parameters().find(lowered(c.args[i]));
    if (found == parameters().end()) {
      return c.reply.error(concat({"ERR Unknown option or number of arguments for CONFIG SET - '", c.args[i], "'"}));
    }
    if (found->second.set == nullptr) return fail(c.args[i], "can't set immutable config");
    for (const Parameter* other : chosen) {
      if (other == &found->second) return fail(c.args[i], "duplicate parameter");
    }
    chosen.push_back(&found->second);
  }
  // All or nothing: when one value is refused, those before it are put back.
  const ServerConfig before = c.engine.config();
  const User default_user = c.engine.acl().default_user();
  const bool all_channels_by_default = c.engine.acl().all_channels_by_default;
  const uint64_t max_memory = c.store.max_memory();
  const PolicyKind policy = c.store.policy();
  bool tls_changed = false;
  const auto set = [&](size_t i) -> std::optional<std::string> {
    std::optional<std::string> problem = chosen[i]->set(c.engine, c.args[2 * i + 3]);
    // Certificate and key fit together or not: they are tried once all of them are known.
    const bool last_tls = !problem && chosen[i]->tls && std::none_of(chosen.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                                                     chosen.end(), [](auto* p) { return p->tls; });
    if (!last_tls) return problem;
    problem = renew_tls(c.engine);
    tls_changed = !problem;
    return problem;
  };
  const std::shared_ptr<const PolicyModel> models[] = {c.store.model(0), c.store.model(1)};
  const double test_share = c.store.test_share();
  for (size_t i = 0; i < chosen.size(); ++i) {
    const std::optional<std::string> problem = set(i);
    if (!problem) continue;
    c.engine.config() = before;
    c.engine.acl().default_user() = default_user;
    c.engine.acl().all_channels_by_default = all_channels_by_default;
    c.engine.rights_changed();
    c.engine.stats().max_clients = static_cast<uint64_t>(before.max_clients);
    if (c.store.max_memory() != max_memory) c.store.set_max_memory(max_memory);
    if (c.store.policy() != policy) c.store.set_policy(policy);
    if (tls_changed) renew_tls(c.engine);
    for (const uint32_t arm : {0u, 1u})
      if (c.store.model(arm) != models[arm]) c.store.set_model(models[arm], arm);
    c.store.set_test_share(test_share);
    return fail(c.args[2 * i + 2], *problem);
  }
  apply_lfu(c.engine);
  c.engine.trim_slowlog();
  c.engine.update_observer();
  c.reply.ok();
}
}  // namespace

void config_get(Context& c) {
  const auto& all = parameters();
  std::map<std::string_view, const Parameter*> chosen;
  for (std::string_view argument : c.args.subspan(2)) {
    const std::string pattern = lowered(argument);
    if (pattern.find_first_of("*?[\\") == std::string::npos) {
      if (auto found = all.find(pattern); found != all.end()) chosen.emplace(found->first, &found->second);
      continue;
    }
    for (const auto& [name, parameter] : all) {
      if (glob_matches(pattern, name)) chosen.emplace(name, &parameter);
    }
  }
  c.reply.map(chosen.size());
  for (const auto& [name, parameter] : chosen) {
    c.reply.bulk(name);
    c.reply.bulk(parameter->get(c.engine));
  }
}

void config_set(Context& c) {
  set_parameters(c);
  c.engine.forget_secrets(c.client, c.args);
}

void config_resetstat(Context& c) {
  c.engine.reset_stats();
  c.reply.ok();
}

void config_rewrite(Context& c) { c.reply.error("ERR The server is running without a config file"); }

void config_help(Context& c) {
  reply_help(c, "CONFIG",
             {"GET <pattern>", "    Return parameters matching the glob-like <pattern> and their values.",
              "SET <directive> <value>", "    Set the configuration <directive> to <value>.", "RESETSTAT",
              "    Reset statistics reported by the INFO command.", "REWRITE", "    Rewrite the configuration file."});
}

}  // namespace predis
