// table.cpp: joins the files' tables into one and finds commands in it by name, in any case, without allocating.
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "command.h"

namespace predis {

namespace {

constexpr size_t kBuckets = 1024;  // a power of two, several times the number of commands
constexpr size_t kLongestName = 40;

constexpr std::span<CommandSpec> (*kTables[])() = {
    string_commands, key_commands,  connection_commands, server_commands,      hash_commands, set_commands,
    list_commands,   zset_commands, bit_commands,        pubsub_commands,      transaction_commands,
    acl_commands,    cluster_commands, instance_commands, snapshot_commands};

// Letters in lower case; other bytes are mapped too, which equal_names() sorts out.
inline uint32_t name_hash(std::string_view name, uint32_t hash = 0x811c9dc5) {
  for (unsigned char c : name) hash = (hash ^ (c | 0x20)) * 0x01000193;
  return hash;
}

inline char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

inline bool equal_names(std::string_view name, const char* spec_name) {
  for (size_t i = 0; i < name.size(); ++i) {
    if (lower(name[i]) != spec_name[i]) return false;
  }
  return true;
}

inline size_t slot_of(uint32_t hash) { return (hash ^ (hash >> 15)) & (kBuckets - 1); }

struct Table {
  std::vector<const CommandSpec*> all;
  std::array<const CommandSpec*, kBuckets> buckets{};

  Table() {
    for (const auto part_of : kTables) {
      for (CommandSpec& spec : part_of()) {
        spec.subcommand = spec.name.find('|') != std::string_view::npos;
        spec.id = static_cast<uint16_t>(all.size());
        if (all.size() >= kCommandSlots || spec.name.size() > kLongestName) std::abort();
        all.push_back(&spec);
        insert(&spec);
      }
    }
    for (const auto part_of : kTables) {
      for (CommandSpec& spec : part_of()) {
        const std::string prefix = std::string(spec.name) + "|";
        for (const CommandSpec* other : all) spec.container |= other->name.starts_with(prefix);
      }
    }
  }

  void insert(const CommandSpec* spec) {
    size_t slot = slot_of(name_hash(spec->name));
    while (buckets[slot] != nullptr) slot = (slot + 1) & (kBuckets - 1);
    buckets[slot] = spec;
  }

  const CommandSpec* find(std::string_view name) const {
    for (size_t slot = slot_of(name_hash(name)); buckets[slot] != nullptr; slot = (slot + 1) & (kBuckets - 1)) {
      const CommandSpec* spec = buckets[slot];
      if (spec->name.size() == name.size() && equal_names(name, spec->name.data())) return spec;
    }
    return nullptr;
  }

  const CommandSpec* find_sub(const CommandSpec& container, std::string_view sub) const {
    const uint32_t hash = name_hash(sub, name_hash("|", name_hash(container.name)));
    const size_t start = container.name.size() + 1;
    for (size_t slot = slot_of(hash); buckets[slot] != nullptr; slot = (slot + 1) & (kBuckets - 1)) {
      const CommandSpec* spec = buckets[slot];
      if (spec->name.size() == start + sub.size() && spec->name.starts_with(container.name) &&
          spec->name[start - 1] == '|' && equal_names(sub, spec->name.data() + start)) {
        return spec;
      }
    }
    return nullptr;
  }
};

const Table& table() {
  static const Table instance;
  return instance;
}


}  // namespace

const CommandSpec* find_command(std::string_view name) { return table().find(name); }

const CommandSpec* find_command_of(Args args) {
  const CommandSpec* spec = table().find(args[0]);
  if (__builtin_expect(spec == nullptr || !spec->container || args.size() < 2, 1)) {
    // "client|id" is a name for COMMAND INFO, not a command.
    return spec != nullptr && spec->subcommand ? nullptr : spec;
  }
  return table().find_sub(*spec, args[1]);
}

std::span<const CommandSpec* const> all_commands() { return table().all; }

bool holds_secret(const CommandSpec& spec, Args args, size_t index) {
  auto word = [&](size_t i, std::string_view text) {
    return args[i].size() == text.size() && equal_names(args[i], text.data());
  };
  if (index == 0) return false;
  if (spec.name == "auth") return true;
  if (spec.name == "acl|setuser") return index >= 2;
  if (spec.name == "config|set") return index >= 3 && index % 2 == 1 && word(index - 1, "requirepass");
  if (spec.name == "hello") {
    if (index >= 3 && word(index - 1, "auth")) return true;
    return index >= 4 && word(index - 2, "auth");
  }
  return false;
}

}  // namespace predis
