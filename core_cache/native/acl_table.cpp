#include "acl_table.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "words.h"

namespace predis {

namespace {

constexpr std::string_view kCategories[] = {
    "keyspace", "read",   "write",  "set",   "sortedset", "list", "hash",     "string",    "bitmap",     "hyperloglog",
    "geo",      "stream", "pubsub", "admin", "fast",      "slow", "blocking", "dangerous", "connection", "transaction",
    "scripting"};

// Commands of Redis 7.0.15 that may be missing here, by their categories.
constexpr std::pair<std::string_view, std::string_view> kElsewhere[] = {
    {"admin fast dangerous", "lastsave role"},
    {"admin slow dangerous",
     "acl|deluser acl|dryrun acl|getuser acl|list acl|load acl|log acl|save acl|setuser acl|users bgrewriteaof "
     "bgsave cluster|addslots cluster|addslotsrange cluster|bumpepoch cluster|count-failure-reports cluster|delslots "
     "cluster|delslotsrange cluster|failover cluster|flushslots cluster|forget cluster|meet cluster|replicas "
     "cluster|replicate cluster|reset cluster|saveconfig cluster|set-config-epoch cluster|setslot cluster|slaves "
     "failover module|list module|load module|loadex module|unload monitor psync replconf replicaof save shutdown "
     "slaveof sync"},
    {"admin slow dangerous connection", "client|pause client|unblock client|unpause"},
    {"fast connection", "asking readonly readwrite"},
    {"fast transaction", "discard multi unwatch watch"},
    {"hyperloglog admin slow dangerous", "pfselftest"},
    {"keyspace read slow", "dump"},
    {"keyspace write fast", "move"},
    {"keyspace write fast dangerous", "swapdb"},
    {"keyspace write slow dangerous", "migrate restore restore-asking"},
    {"pubsub fast", "publish spublish"},
    {"pubsub slow",
     "psubscribe pubsub|channels pubsub|numpat pubsub|numsub pubsub|shardchannels pubsub|shardnumsub punsubscribe "
     "ssubscribe subscribe sunsubscribe unsubscribe"},
    {"read bitmap fast", "bitfield_ro getbit"},
    {"read bitmap slow", "bitcount bitpos"},
    {"read fast", "lolwut"},
    {"read geo slow", "geodist geohash geopos georadius_ro georadiusbymember_ro geosearch"},
    {"read hash fast", "hexists hget hlen hmget hstrlen"},
    {"read hash slow", "hgetall hkeys hrandfield hscan hvals"},
    {"read hyperloglog slow", "pfcount"},
    {"read list fast", "llen"},
    {"read list slow", "lindex lpos lrange"},
    {"read set fast", "scard sismember smismember"},
    {"read set slow", "sdiff sinter sintercard smembers srandmember sscan sunion"},
    {"read set sortedset list slow dangerous", "sort_ro"},
    {"read sortedset fast", "zcard zcount zlexcount zmscore zrank zrevrank zscore"},
    {"read sortedset slow",
     "zdiff zinter zintercard zrandmember zrange zrangebylex zrangebyscore zrevrange zrevrangebylex zrevrangebyscore "
     "zscan zunion"},
    {"read stream fast", "xlen"},
    {"read stream slow", "xinfo|consumers xinfo|groups xinfo|stream xpending xrange xrevrange"},
    {"read stream slow blocking", "xread"},
    {"read string slow", "lcs"},
    {"slow",
     "acl acl|cat acl|genpass acl|help acl|whoami cluster cluster|countkeysinslot cluster|getkeysinslot cluster|help "
     "cluster|info cluster|keyslot cluster|links cluster|myid cluster|nodes cluster|shards cluster|slots function "
     "module module|help pubsub pubsub|help script xgroup xinfo"},
    {"slow connection", "client|caching client|getredir client|tracking client|trackinginfo wait"},
    {"slow scripting",
     "eval eval_ro evalsha evalsha_ro fcall fcall_ro function|dump function|help function|kill function|list "
     "function|stats script|debug script|exists script|flush script|help script|kill script|load"},
    {"slow transaction", "exec"},
    {"stream slow", "xgroup|help xinfo|help"},
    {"write bitmap slow", "bitfield bitop setbit"},
    {"write geo slow", "geoadd georadius georadiusbymember geosearchstore"},
    {"write hash fast", "hdel hincrby hincrbyfloat hmset hset hsetnx"},
    {"write hyperloglog admin slow dangerous", "pfdebug"},
    {"write hyperloglog fast", "pfadd"},
    {"write hyperloglog slow", "pfmerge"},
    {"write list fast", "lpop lpush lpushx rpop rpush rpushx"},
    {"write list slow", "linsert lmove lmpop lrem lset ltrim rpoplpush"},
    {"write list slow blocking", "blmove blmpop blpop brpop brpoplpush"},
    {"write set fast", "sadd smove spop srem"},
    {"write set slow", "sdiffstore sinterstore sunionstore"},
    {"write set sortedset list slow dangerous", "sort"},
    {"write slow scripting", "function|delete function|flush function|load function|restore"},
    {"write sortedset fast", "zadd zincrby zpopmax zpopmin zrem"},
    {"write sortedset fast blocking", "bzpopmax bzpopmin"},
    {"write sortedset slow",
     "zdiffstore zinterstore zmpop zrangestore zremrangebylex zremrangebyrank zremrangebyscore zunionstore"},
    {"write sortedset slow blocking", "bzmpop"},
    {"write stream fast", "xack xadd xautoclaim xclaim xdel xsetid"},
    {"write stream slow", "xgroup|create xgroup|createconsumer xgroup|delconsumer xgroup|destroy xgroup|setid xtrim"},
    {"write stream slow blocking", "xreadgroup"},
};

uint32_t category_bits(std::string_view words) {
  uint32_t bits = 0;
  for (size_t i = 0; i < std::size(kCategories); ++i) {
    for (size_t at = 0; at < words.size();) {
      const size_t end = std::min(words.find(' ', at), words.size());
      if (words.substr(at, end - at) == kCategories[i]) bits |= uint32_t{1} << i;
      at = end + 1;
    }
  }
  return bits;
}

struct Table {
  std::map<std::string, AclCommand, std::less<>> commands;
  std::vector<const AclCommand*> top;
  std::vector<AclCategory> categories;

  Table() {
    for (const CommandSpec* spec : all_commands()) add(spec->name, spec->id, category_bits(spec->acl_categories));
    size_t id = all_commands().size();
    for (const auto& [words, names] : kElsewhere) {
      for (size_t at = 0; at < names.size();) {
        const size_t end = std::min(names.find(' ', at), names.size());
        const std::string_view name = names.substr(at, end - at);
        if (!commands.contains(name)) add(name, static_cast<uint16_t>(id++), category_bits(words));
        at = end + 1;
      }
    }
    if (id >= kFutureCommands) std::abort();
    for (auto& [name, command] : commands) {
      if (!command.subcommand) {
        top.push_back(&command);
        continue;
      }
      auto container = commands.find(name.substr(0, name.find('|')));
      if (container == commands.end()) std::abort();
      container->second.subcommands.push_back(&command);
    }
    for (size_t i = 0; i < std::size(kCategories); ++i) add_category(i);
  }

  void add(std::string_view name, uint16_t id, uint32_t bits) {
    commands.emplace(name, AclCommand{std::string(name), id, bits, name.find('|') != std::string_view::npos, {}});
  }

  void add_category(size_t index) {
    AclCategory category{kCategories[index], uint32_t{1} << index, {}, {}};
    for (const auto& [name, command] : commands) {
      if ((command.categories & category.bit) == 0) continue;
      category.members.set(command.id);
      category.reach.set(command.id);
      for (const AclCommand* sub : command.subcommands) category.reach.set(sub->id);
    }
    categories.push_back(category);
  }
};

const Table& table() {
  static const Table instance;
  return instance;
}

}  // namespace

std::span<const AclCategory> acl_categories() { return table().categories; }

const AclCategory* find_acl_category(std::string_view name) {
  for (const AclCategory& category : table().categories) {
    if (is_word(name, category.name)) return &category;
  }
  return nullptr;
}

const AclCommand* find_acl_command(std::string_view name) {
  auto found = table().commands.find(lowered(name));
  return found == table().commands.end() ? nullptr : &found->second;
}

std::span<const AclCommand* const> acl_top_commands() { return table().top; }

}  // namespace predis
