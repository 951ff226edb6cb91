// commands_command.cpp: COMMAND, which tells clients what they may call. Facts that only COMMAND INFO needs (tips)
// stand in a table here, by name.
#include <algorithm>
#include <array>

#include "command_keys.h"
#include "engine.h"
#include "glob.h"
#include "handlers.h"
#include "words.h"

namespace predis {

namespace {

// Which commands have which tips. It names Redis' commands whether or not they exist here.
constexpr std::pair<std::string_view, std::string_view> kTips[] = {
    {"nondeterministic_output",
     "client|info client|list cluster|bumpepoch cluster|count-failure-reports cluster|getkeysinslot cluster|info "
     "cluster|links cluster|nodes cluster|replicas cluster|shards cluster|slaves cluster|slots dump hrandfield "
     "hscan lastsave migrate object|encoding object|freq object|idletime object|refcount pttl spop srandmember "
     "sscan time ttl xadd xautoclaim xclaim xinfo|consumers xpending xtrim zrandmember zscan"},
    {"nondeterministic_output request_policy:all_nodes response_policy:special",
     "latency|doctor latency|graph latency|histogram latency|history latency|latest"},
    {"nondeterministic_output request_policy:all_shards response_policy:special",
     "function|stats info memory|doctor memory|malloc-stats memory|stats"},
    {"nondeterministic_output request_policy:special", "scan"},
    {"nondeterministic_output_order",
     "command command|docs command|info command|list function|list hgetall hkeys hvals module|list sdiff sinter "
     "smembers sunion"},
    {"request_policy:all_nodes nondeterministic_output", "slowlog|get"},
    {"request_policy:all_nodes response_policy:agg_sum nondeterministic_output", "slowlog|len"},
    {"request_policy:all_nodes response_policy:all_succeeded",
     "config|set latency|reset script|flush script|load slowlog|reset"},
    {"request_policy:all_shards nondeterministic_output", "randomkey"},
    {"request_policy:all_shards nondeterministic_output_order", "keys"},
    {"request_policy:all_shards response_policy:agg_logical_and", "script|exists"},
    {"request_policy:all_shards response_policy:agg_min", "wait"},
    {"request_policy:all_shards response_policy:agg_sum", "dbsize"},
    {"request_policy:all_shards response_policy:all_succeeded",
     "flushall flushdb function|delete function|flush function|load function|restore memory|purge ping"},
    {"request_policy:all_shards response_policy:one_succeeded", "function|kill script|kill"},
    {"request_policy:multi_shard", "mget"},
    {"request_policy:multi_shard response_policy:agg_min", "msetnx"},
    {"request_policy:multi_shard response_policy:agg_sum", "del exists touch unlink"},
    {"request_policy:multi_shard response_policy:all_succeeded", "mset"},
};

std::string_view tips_of(std::string_view name) {
  for (const auto& [tips, names] : kTips) {
    if (lists(names, name)) return tips;
  }
  return {};
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

void reply_key_spec(Context& c, const KeySpec& spec) {
  const auto number = [&](std::string_view name, int value) {
    c.reply.bulk(name);
    c.reply.integer(value);
  };
  const auto kind = [&](std::string_view what, std::string_view type, size_t fields) {
    c.reply.bulk(what);
    c.reply.map(2);
    c.reply.bulk("type");
    c.reply.bulk(type);
    c.reply.bulk("spec");
    c.reply.map(fields);
  };
  c.reply.map(spec.notes.empty() ? 3 : 4);
  if (!spec.notes.empty()) {
    c.reply.bulk("notes");
    c.reply.bulk(spec.notes);
  }
  c.reply.bulk("flags");
  const auto words = words_of(spec.flags);
  c.reply.set(words.size());
  for (std::string_view word : words) c.reply.simple(word);
  if (spec.find == KeySpec::unknown) {
    kind("begin_search", "unknown", 0);
    kind("find_keys", "unknown", 0);
    return;
  }
  kind("begin_search", "index", 1);
  number("index", spec.begin);
  if (spec.find == KeySpec::counted) {
    kind("find_keys", "keynum", 3);
    number("keynumidx", 0);
    number("firstkey", 1);
    number("keystep", spec.step);
  } else {
    kind("find_keys", "range", 3);
    number("lastkey", spec.last);
    number("keystep", spec.step);
    number("limit", 0);
  }
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
  const auto tip_words = words_of(tips_of(spec.name));
  c.reply.set(tip_words.size());
  for (std::string_view tip : tip_words) c.reply.bulk(tip);
  const auto keys = key_specs(spec);
  c.reply.set(keys.size());
  for (const KeySpec& key : keys) reply_key_spec(c, key);
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

void keys_of(Context& c, bool with_flags) {
  const Args command = c.args.subspan(2);
  const CommandSpec* spec = find_command_of(command);
  if (spec == nullptr) return c.reply.error("ERR Invalid command specified");
  const int count = static_cast<int>(command.size());
  if (!has_keys(*spec)) return c.reply.error("ERR The command has no key arguments");
  if (spec->arity >= 0 ? count != spec->arity : count < -spec->arity) {
    return c.reply.error("ERR Invalid number of arguments specified for command");
  }
  std::vector<KeyArgument> keys;
  if (!find_keys(*spec, command, keys)) return c.reply.error("ERR Invalid arguments specified for command");
  c.reply.array(keys.size());
  for (const KeyArgument& key : keys) {
    if (with_flags) c.reply.array(2);
    c.reply.bulk(command[key.index]);
    if (!with_flags) continue;
    const auto words = words_of(key.flags);
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
    for (const CommandSpec* spec : all_commands()) names.push_back(spec->name);
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
