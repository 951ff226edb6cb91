// commands_command.cpp: COMMAND, which tells clients what they may call. Facts that only COMMAND INFO needs (tips, how
// keys are used) stand in tables here, by name.
#include <algorithm>
#include <array>

#include "engine.h"
#include "glob.h"
#include "handlers.h"
#include "words.h"

namespace predis {

namespace {

struct Tips {
  std::string_view name, tips;  // space-separated
};

constexpr auto kTips = std::to_array<Tips>({
    {"client|info", "nondeterministic_output"},
    {"client|list", "nondeterministic_output"},
    {"command", "nondeterministic_output_order"},
    {"command|docs", "nondeterministic_output_order"},
    {"command|info", "nondeterministic_output_order"},
    {"command|list", "nondeterministic_output_order"},
    {"config|set", "request_policy:all_nodes response_policy:all_succeeded"},
    {"dbsize", "request_policy:all_shards response_policy:agg_sum"},
    {"del", "request_policy:multi_shard response_policy:agg_sum"},
    {"exists", "request_policy:multi_shard response_policy:agg_sum"},
    {"flushall", "request_policy:all_shards response_policy:all_succeeded"},
    {"flushdb", "request_policy:all_shards response_policy:all_succeeded"},
    {"info", "nondeterministic_output request_policy:all_shards response_policy:special"},
    {"keys", "request_policy:all_shards nondeterministic_output_order"},
    {"latency|doctor", "nondeterministic_output request_policy:all_nodes response_policy:special"},
    {"latency|graph", "nondeterministic_output request_policy:all_nodes response_policy:special"},
    {"latency|histogram", "nondeterministic_output request_policy:all_nodes response_policy:special"},
    {"latency|history", "nondeterministic_output request_policy:all_nodes response_policy:special"},
    {"latency|latest", "nondeterministic_output request_policy:all_nodes response_policy:special"},
    {"latency|reset", "request_policy:all_nodes response_policy:all_succeeded"},
    {"memory|doctor", "nondeterministic_output request_policy:all_shards response_policy:special"},
    {"memory|malloc-stats", "nondeterministic_output request_policy:all_shards response_policy:special"},
    {"memory|purge", "request_policy:all_shards response_policy:all_succeeded"},
    {"memory|stats", "nondeterministic_output request_policy:all_shards response_policy:special"},
    {"mget", "request_policy:multi_shard"},
    {"mset", "request_policy:multi_shard response_policy:all_succeeded"},
    {"msetnx", "request_policy:multi_shard response_policy:agg_min"},
    {"object|encoding", "nondeterministic_output"},
    {"object|freq", "nondeterministic_output"},
    {"object|idletime", "nondeterministic_output"},
    {"object|refcount", "nondeterministic_output"},
    {"ping", "request_policy:all_shards response_policy:all_succeeded"},
    {"pttl", "nondeterministic_output"},
    {"randomkey", "request_policy:all_shards nondeterministic_output"},
    {"scan", "nondeterministic_output request_policy:special"},
    {"slowlog|get", "request_policy:all_nodes nondeterministic_output"},
    {"slowlog|len", "request_policy:all_nodes response_policy:agg_sum nondeterministic_output"},
    {"slowlog|reset", "request_policy:all_nodes response_policy:all_succeeded"},
    {"time", "nondeterministic_output"},
    {"touch", "request_policy:multi_shard response_policy:agg_sum"},
    {"ttl", "nondeterministic_output"},
    {"unlink", "request_policy:multi_shard response_policy:agg_sum"},
});

// How a command uses its keys. Commands without an entry read them: "RO access".
struct KeyUse {
  std::string_view name, flags;
  std::string_view second;  // of the second key where it is used otherwise
  std::string_view notes;
};

constexpr auto kKeyUses = std::to_array<KeyUse>({
    {"set", "RW access update variable_flags", "", "RW and ACCESS due to the optional `GET` argument"},
    {"getset", "RW access update", "", ""},
    {"getdel", "RW access delete", "", ""},
    {"getex", "RW access update", "", "RW and UPDATE because it changes the TTL"},
    {"mset", "OW update", "", ""},
    {"msetnx", "OW insert", "", ""},
    {"setnx", "OW insert", "", ""},
    {"setex", "OW update", "", ""},
    {"psetex", "OW update", "", ""},
    {"append", "RW insert", "", ""},
    {"strlen", "RO", "", ""},
    {"setrange", "RW update", "", ""},
    {"incr", "RW access update", "", ""},
    {"decr", "RW access update", "", ""},
    {"incrby", "RW access update", "", ""},
    {"decrby", "RW access update", "", ""},
    {"incrbyfloat", "RW access update", "", ""},
    {"del", "RM delete", "", ""},
    {"unlink", "RM delete", "", ""},
    {"exists", "RO", "", ""},
    {"type", "RO", "", ""},
    {"touch", "RO", "", ""},
    {"expire", "RW update", "", ""},
    {"pexpire", "RW update", "", ""},
    {"expireat", "RW update", "", ""},
    {"pexpireat", "RW update", "", ""},
    {"persist", "RW update", "", ""},
    {"rename", "RW access delete", "OW update", ""},
    {"renamenx", "RW access delete", "OW insert", ""},
    {"copy", "RO access", "OW update", ""},
    {"object|encoding", "RO", "", ""},
    {"object|freq", "RO", "", ""},
    {"object|idletime", "RO", "", ""},
    {"object|refcount", "RO", "", ""},
    {"memory|usage", "RO", "", ""},
});

template <typename Table>
const typename Table::value_type* by_name(const Table& table, std::string_view name) {
  for (const auto& row : table) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (end > at) words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

constexpr std::pair<uint32_t, std::string_view> kFlagNames[] = {
    {kWrite, "write"},         {kReadonly, "readonly"},         {kDenyOom, "denyoom"},
    {kAdmin, "admin"},         {kPubsub, "pubsub"},             {kNoscript, "noscript"},
    {kLoading, "loading"},     {kStale, "stale"},               {kSkipMonitor, "skip_monitor"},
    {kSkipSlowlog, "skip_slowlog"}, {kFast, "fast"},            {kNoAuth, "no_auth"},
    {kMovableKeys, "movablekeys"}, {kNoMulti, "no_multi"},      {kAllowBusy, "allow_busy"},
    {kNoAsyncLoading, "no_async_loading"},
};

void reply_key_spec(Context& c, std::string_view flags, std::string_view notes, int index, int last, int step) {
  c.reply.map(notes.empty() ? 3 : 4);
  if (!notes.empty()) {
    c.reply.bulk("notes");
    c.reply.bulk(notes);
  }
  c.reply.bulk("flags");
  const auto words = words_of(flags);
  c.reply.set(words.size());
  for (std::string_view word : words) c.reply.simple(word);
  c.reply.bulk("begin_search");
  c.reply.map(2);
  c.reply.bulk("type");
  c.reply.bulk("index");
  c.reply.bulk("spec");
  c.reply.map(1);
  c.reply.bulk("index");
  c.reply.integer(index);
  c.reply.bulk("find_keys");
  c.reply.map(2);
  c.reply.bulk("type");
  c.reply.bulk("range");
  c.reply.bulk("spec");
  c.reply.map(3);
  c.reply.bulk("lastkey");
  c.reply.integer(last);
  c.reply.bulk("keystep");
  c.reply.integer(step);
  c.reply.bulk("limit");
  c.reply.integer(0);
}

std::vector<const CommandSpec*> subcommands(const CommandSpec& container) {
  std::vector<const CommandSpec*> found;
  if (!container.container) return found;
  for (const CommandSpec* spec : all_commands()) {
    if (spec->subcommand && spec->name.substr(0, spec->name.find('|')) == container.name) found.push_back(spec);
  }
  return found;
}

std::vector<const CommandSpec*> top_commands() {
  std::vector<const CommandSpec*> found;
  for (const CommandSpec* spec : all_commands()) {
    if (!spec->subcommand) found.push_back(spec);
  }
  return found;
}

// The ten elements of COMMAND INFO.
void describe(Context& c, const CommandSpec& spec) {
  c.reply.array(10);
  c.reply.bulk(spec.name);
  c.reply.integer(spec.arity);
  uint32_t flags = 0;
  for (const auto& [flag, name] : kFlagNames) flags += (spec.flags & flag) != 0;
  c.reply.set(flags);
  for (const auto& [flag, name] : kFlagNames) {
    if (spec.flags & flag) c.reply.simple(name);
  }
  c.reply.integer(spec.first_key);
  c.reply.integer(spec.last_key);
  c.reply.integer(spec.key_step);
  const auto categories = words_of(spec.acl_categories);
  c.reply.set(categories.size());
  for (std::string_view category : categories) c.reply.simple(concat({"@", category}));
  const Tips* tips = by_name(kTips, spec.name);
  const auto tip_words = words_of(tips != nullptr ? tips->tips : "");
  c.reply.set(tip_words.size());
  for (std::string_view tip : tip_words) c.reply.bulk(tip);
  if (spec.first_key == 0) {
    c.reply.set(0);
  } else {
    const KeyUse* use = by_name(kKeyUses, spec.name);
    const std::string_view key_flags = use != nullptr ? use->flags : "RO access";
    const std::string_view notes = use != nullptr ? use->notes : "";
    if (use != nullptr && !use->second.empty()) {
      c.reply.set(2);
      reply_key_spec(c, key_flags, notes, spec.first_key, 0, 1);
      reply_key_spec(c, use->second, "", spec.last_key, 0, 1);
    } else {
      c.reply.set(1);
      const int last = spec.last_key < 0 ? spec.last_key : spec.last_key - spec.first_key;
      reply_key_spec(c, key_flags, notes, spec.first_key, last, spec.key_step);
    }
  }
  const auto subs = subcommands(spec);
  c.reply.set(subs.size());
  for (const CommandSpec* sub : subs) describe(c, *sub);
}

void document(Context& c, const CommandSpec& spec) {
  c.reply.bulk(spec.name);
  const auto subs = subcommands(spec);
  c.reply.map(subs.empty() ? 4 : 5);
  c.reply.bulk("summary");
  c.reply.bulk(spec.summary);
  c.reply.bulk("since");
  c.reply.bulk(spec.since);
  c.reply.bulk("group");
  c.reply.bulk(spec.group);
  c.reply.bulk("complexity");
  c.reply.bulk(spec.complexity);
  if (subs.empty()) return;
  c.reply.bulk("subcommands");
  c.reply.map(subs.size());
  for (const CommandSpec* sub : subs) document(c, *sub);
}

// The positions of the keys in a whole command.
std::vector<size_t> key_positions(const CommandSpec& spec, size_t count) {
  std::vector<size_t> found;
  if (spec.first_key == 0) return found;
  const int last_key = spec.last_key < 0 ? static_cast<int>(count) + spec.last_key : spec.last_key;
  if (last_key < spec.first_key) return found;
  const auto last = static_cast<size_t>(last_key);
  for (auto i = static_cast<size_t>(spec.first_key); i <= last && i < count; i += static_cast<size_t>(spec.key_step)) {
    found.push_back(i);
  }
  return found;
}

void keys_of(Context& c, bool with_flags) {
  const Args command = c.args.subspan(2);
  const CommandSpec* spec = find_command_of(command);
  if (spec == nullptr) return c.reply.error("ERR Invalid command specified");
  const int count = static_cast<int>(command.size());
  if (spec->first_key == 0) return c.reply.error("ERR The command has no key arguments");
  if (spec->arity >= 0 ? count != spec->arity : count < -spec->arity) {
    return c.reply.error("ERR Invalid number of arguments specified for command");
  }
  const std::vector<size_t> keys = key_positions(*spec, command.size());
  const KeyUse* use = by_name(kKeyUses, spec->name);
  c.reply.array(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!with_flags) {
      c.reply.bulk(command[keys[i]]);
      continue;
    }
    c.reply.array(2);
    c.reply.bulk(command[keys[i]]);
    const bool second = i == 1 && use != nullptr && !use->second.empty();
    const auto words = words_of(use == nullptr ? "RO access" : second ? use->second : use->flags);
    c.reply.set(words.size());
    for (std::string_view word : words) c.reply.simple(word);
  }
}

}  // namespace

void command(Context& c) {
  const auto all = top_commands();
  c.reply.array(all.size());
  for (const CommandSpec* spec : all) describe(c, *spec);
}

void command_count(Context& c) { c.reply.integer(static_cast<int64_t>(top_commands().size())); }

void command_info(Context& c) {
  if (c.args.size() == 2) return command(c);
  c.reply.array(c.args.size() - 2);
  for (std::string_view name : c.args.subspan(2)) {
    if (const CommandSpec* spec = find_command(name)) {
      describe(c, *spec);
    } else {
      c.reply.null();
    }
  }
}

void command_docs(Context& c) {
  std::vector<const CommandSpec*> chosen;
  if (c.args.size() == 2) chosen = top_commands();
  for (std::string_view name : c.args.subspan(2)) {
    if (const CommandSpec* spec = find_command(name)) chosen.push_back(spec);
  }
  c.reply.map(chosen.size());
  for (const CommandSpec* spec : chosen) document(c, *spec);
}

void command_list(Context& c) {
  std::vector<std::string_view> names;
  if (c.args.size() == 2) {
    for (const CommandSpec* spec : top_commands()) names.push_back(spec->name);
  } else if (c.args.size() == 5 && is_word(c.args[2], "filterby")) {
    const std::string_view value = c.args[4];
    if (is_word(c.args[3], "aclcat")) {
      for (const CommandSpec* spec : all_commands()) {
        const auto words = words_of(spec->acl_categories);
        if (std::any_of(words.begin(), words.end(), [&](std::string_view word) { return is_word(value, word); })) {
          names.push_back(spec->name);
        }
      }
    } else if (is_word(c.args[3], "pattern")) {
      for (const CommandSpec* spec : all_commands()) {
        if (glob_matches(lowered(value), spec->name)) names.push_back(spec->name);
      }
    } else if (!is_word(c.args[3], "module")) {
      return c.reply.error(errors::kSyntax);
    }
  } else {
    return c.reply.error(errors::kSyntax);
  }
  c.reply.array(names.size());
  for (std::string_view name : names) c.reply.bulk(name);
}

void command_getkeys(Context& c) { keys_of(c, false); }
void command_getkeysandflags(Context& c) { keys_of(c, true); }

void command_help(Context& c) {
  reply_help(c, "COMMAND",
             {"(no subcommand)", "    Return details about all Redis commands.", "COUNT",
              "    Return the total number of commands in this Redis server.", "LIST",
              "    Return a list of all commands in this Redis server.", "INFO [<command-name> ...]",
              "    Return details about multiple Redis commands.",
              "    If no command names are given, documentation details for all", "    commands are returned.",
              "DOCS [<command-name> ...]", "    Return documentation details about multiple Redis commands.",
              "    If no command names are given, documentation details for all", "    commands are returned.",
              "GETKEYS <full-command>", "    Return the keys from a full Redis command.",
              "GETKEYSANDFLAGS <full-command>",
              "    Return the keys and the access flags from a full Redis command."});
}

}  // namespace predis
