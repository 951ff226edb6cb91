// command_keys.cpp: the table of how commands use their keys. It names Redis' commands whether or not they exist here.
#include "command_keys.h"

#include <algorithm>
#include <array>

#include "numbers.h"
#include "words.h"

namespace predis {

namespace {

constexpr std::string_view kDefaultFlags = "RO access", kNotKey = "not_key";

// Commands all of whose keys, from first_key to last_key, are used alike. Without an entry: kDefaultFlags.
constexpr std::pair<std::string_view, std::string_view> kAlike[] = {
    {"OW insert", "msetnx setnx"},
    {"OW update", "mset psetex restore setex"},
    {"RM delete", "del unlink"},
    {"RO",
     "exists hexists hlen hstrlen llen memory|usage object|encoding object|freq object|idletime object|refcount scard "
     "sismember strlen touch type watch zcard"},
    {"RW access delete", "blpop brpop bzpopmax bzpopmin getdel lpop rpop spop zpopmax zpopmin"},
    {"RW access update", "decr decrby getset hincrby hincrbyfloat incr incrby incrbyfloat move setbit zincrby"},
    {"RW delete", "hdel lrem ltrim srem zrem zremrangebylex zremrangebyrank zremrangebyscore"},
    {"RW insert", "append hsetnx linsert lpush lpushx rpush rpushx sadd"},
    {"RW update", "expire expireat hmset hset lset persist pexpire pexpireat setrange zadd"},
    {kNotKey, "spublish ssubscribe sunsubscribe"},
};

struct Row {
  std::string_view names;
  std::array<KeySpec, 3> specs;
  size_t count;
};

constexpr KeySpec at(std::string_view flags, int begin, int last = 0) {
  return {flags, KeySpec::range, begin, last, 1};
}
constexpr KeySpec counted(std::string_view flags, int begin) { return {flags, KeySpec::counted, begin, 0, 1}; }

constexpr KeySpec kSetKey{"RW access update variable_flags", KeySpec::range, 1, 0, 1,
                          "RW and ACCESS due to the optional `GET` argument"};
constexpr KeySpec kGetexKey{"RW access update", KeySpec::range, 1, 0, 1,
                            "RW and UPDATE because it changes the TTL"};
constexpr KeySpec kBitfieldKey{"RW access update variable_flags", KeySpec::range, 1, 0, 1,
                               "This command allows both access and modification of the key"};
constexpr KeySpec kSortBy{"RO access", KeySpec::unknown, 0, 0, 0,
                          "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from "
                          "the content of the key we sort"};
constexpr KeySpec kSortStore{"OW update", KeySpec::unknown, 0, 0, 0,
                             "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear "
                             "anywhere in the argument array"};

constexpr Row kRows[] = {
    {"set", {kSetKey}, 1},
    {"getex", {kGetexKey}, 1},
    {"bitfield", {kBitfieldKey}, 1},
    {"rename", {at("RW access delete", 1), at("OW update", 2)}, 2},
    {"renamenx", {at("RW access delete", 1), at("OW insert", 2)}, 2},
    {"copy", {at("RO access", 1), at("OW update", 2)}, 2},
    {"sort", {at("RO access", 1), kSortBy, kSortStore}, 3},
    {"sort_ro", {at("RO access", 1), kSortBy}, 2},
    {"bitop", {at("OW update", 2), at("RO access", 3, -1)}, 2},
    {"sdiffstore sunionstore", {at("OW update", 1), at("RO access", 2, -1)}, 2},
    {"sinterstore", {at("RW update", 1), at("RO access", 2, -1)}, 2},
    {"zrangestore", {at("OW update", 1), at("RO access", 2)}, 2},
    {"zunionstore zinterstore zdiffstore", {at("OW update", 1), counted("RO access", 2)}, 2},
    {"zunion zinter zdiff zintercard sintercard", {counted("RO access", 1)}, 1},
    {"lmove blmove rpoplpush brpoplpush smove", {at("RW access delete", 1), at("RW insert", 2)}, 2},
    {"lmpop zmpop", {counted("RW access delete", 1)}, 1},
    {"blmpop bzmpop", {counted("RW access delete", 2)}, 1},
};

uint8_t access_of(std::string_view flags) {
  const bool reads = lists(flags, "access");
  const bool writes = lists(flags, "update") || lists(flags, "insert") || lists(flags, "delete");
  return static_cast<uint8_t>((reads ? kReadKey : 0) | (writes ? kWriteKey : 0));
}

// By CommandSpec::id.
struct Specs {
  std::array<std::array<KeySpec, 3>, kCommandSlots> specs{};
  std::array<uint8_t, kCommandSlots> counts{};

  Specs() {
    for (const CommandSpec* spec : all_commands()) {
      fill(*spec);
      for (KeySpec& keys : specs[spec->id]) {
        keys.access = access_of(keys.flags);
        keys.variable = lists(keys.flags, "variable_flags");
        keys.channel = keys.flags == kNotKey;
      }
    }
  }

  void fill(const CommandSpec& spec) {
    for (const Row& row : kRows) {
      if (!lists(row.names, spec.name)) continue;
      specs[spec.id] = row.specs;
      counts[spec.id] = static_cast<uint8_t>(row.count);
      return;
    }
    if (spec.first_key == 0) return;
    KeySpec& only = specs[spec.id][0];
    only.flags = kDefaultFlags;
    for (const auto& [flags, names] : kAlike) {
      if (lists(names, spec.name)) only.flags = flags;
    }
    only.begin = spec.first_key;
    only.last = spec.last_key < 0 ? spec.last_key : spec.last_key - spec.first_key;
    only.step = spec.key_step;
    counts[spec.id] = 1;
  }
};

const Specs& all_specs() {
  static const Specs instance;
  return instance;
}

// What SET and BITFIELD do with their key is known only from their options.
KeyArgument variable_use(const CommandSpec& spec, Args args) {
  constexpr KeyArgument kReads{0, kReadKey, "RO access"}, kWrites{0, kWriteKey, "OW update"},
      kChanges{0, kAnyKey, "RW access update"};
  if (spec.name == "set") {
    for (size_t i = 3; i < args.size(); ++i) {
      if (is_word(args[i], "get")) return kChanges;
    }
    return kWrites;
  }
  for (size_t i = 2; i < args.size(); ++i) {  // BITFIELD
    const size_t left = args.size() - 1 - i;
    if (is_word(args[i], "get") && left >= 2) {
      i += 2;
    } else if (is_word(args[i], "overflow") && left >= 1) {
      ++i;
    } else {
      return kChanges;  // SET, INCRBY, or a syntax error
    }
  }
  return kReads;
}

// The last STORE counts.
void find_sort_store(Args args, std::vector<KeyArgument>& found) {
  size_t store = 0;
  for (size_t i = 2; i < args.size(); ++i) {
    const size_t left = args.size() - 1 - i;
    if (is_word(args[i], "limit") && left >= 2) {
      i += 2;
    } else if ((is_word(args[i], "get") || is_word(args[i], "by")) && left >= 1) {
      ++i;
    } else if (is_word(args[i], "store") && left >= 1) {
      store = ++i;
    }
  }
  if (store != 0) found.push_back({static_cast<uint32_t>(store), kWriteKey, "OW update"});
}

}  // namespace

std::span<const KeySpec> key_specs(const CommandSpec& spec) {
  return {all_specs().specs[spec.id].data(), all_specs().counts[spec.id]};
}

bool has_keys(const CommandSpec& spec) {
  const auto specs = key_specs(spec);
  return !specs.empty() && !specs[0].channel;
}

bool find_keys(const CommandSpec& spec, Args args, std::vector<KeyArgument>& found) {
  const size_t before = found.size();
  const auto count = static_cast<int64_t>(args.size());
  for (const KeySpec& keys : key_specs(spec)) {
    if (keys.channel) continue;
    if (keys.find == KeySpec::unknown) {
      if (keys.flags == kSortStore.flags) find_sort_store(args, found);
      continue;
    }
    int64_t first = keys.begin, last;
    if (keys.find == KeySpec::counted) {
      int64_t number;
      if (first >= count || !parse_int64(args[static_cast<size_t>(first)], number) || number < 1 || number > count) {
        found.resize(before);
        return false;
      }
      ++first;
      last = first + number - 1;
    } else {
      last = keys.last < 0 ? count + keys.last : first + keys.last;
    }
    if (first >= count || last >= count || last < first) {
      found.resize(before);
      return false;
    }
    KeyArgument key = keys.variable ? variable_use(spec, args) : KeyArgument{0, keys.access, keys.flags};
    for (int64_t i = first; i <= last; i += keys.step) {
      key.index = static_cast<uint32_t>(i);
      found.push_back(key);
    }
  }
  return true;
}

}  // namespace predis
