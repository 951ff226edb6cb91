#include "acl.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "glob.h"
#include "sha256.h"
#include "words.h"

namespace predis {

namespace {

constexpr uint64_t kLogGroupMs = 60'000;  // refusals of one kind that are no further apart than this are one entry
constexpr size_t kLogScan = 10;           // entries that are looked at for that

// What a command's arguments have to do with channels.
enum class ChannelUse : uint8_t { none, first, all, patterns };

ChannelUse channel_use(const CommandSpec& spec) {
  static const auto uses = [] {
    std::array<ChannelUse, kCommandSlots> table{};
    for (const CommandSpec* command : all_commands()) {
      const std::string_view name = command->name;
      if (name == "publish" || name == "spublish") table[command->id] = ChannelUse::first;
      if (name == "subscribe" || name == "ssubscribe") table[command->id] = ChannelUse::all;
      if (name == "psubscribe") table[command->id] = ChannelUse::patterns;
    }
    return table;
  }();
  return uses[spec.id];
}

bool may_use_channel(const Selector& selector, std::string_view channel, bool is_pattern) {
  if (selector.all_channels) return true;
  return std::any_of(selector.channels.begin(), selector.channels.end(), [&](const std::string& allowed) {
    return is_pattern ? allowed == channel : glob_matches(allowed, channel);
  });
}

bool may_use_key(const Selector& selector, std::string_view key, uint8_t access) {
  return std::any_of(selector.keys.begin(), selector.keys.end(), [&](const KeyPattern& pattern) {
    return (pattern.access & access) == access && pattern.matches(key);
  });
}

bool may_run(const Selector& selector, const CommandSpec& spec, Args args) {
  if (selector.commands.test(spec.id) || (spec.flags & kNoAuth)) return true;
  auto found = selector.first_arguments.find(spec.id);
  if (found == selector.first_arguments.end() || args.size() < 2) return false;
  const std::string argument = lowered(args[1]);
  return std::any_of(found->second.begin(), found->second.end(),
                     [&](const std::string& allowed) { return is_word(allowed, argument); });
}

Denied check_selector(const Selector& selector, const CommandSpec& spec, Args args, size_t& position) {
  if (!may_run(selector, spec, args)) return Denied::command;
  if (!selector.all_keys && has_keys(spec)) {
    static thread_local std::vector<KeyArgument> keys;  // kept: nothing is allocated per command
    keys.clear();
    find_keys(spec, args, keys);  // without keys where the arguments make no sense: the command will say so
    for (const KeyArgument& key : keys) {
      if (may_use_key(selector, args[key.index], key.access)) continue;
      position = key.index;
      return Denied::key;
    }
  }
  const ChannelUse use = selector.all_channels ? ChannelUse::none : channel_use(spec);
  if (use != ChannelUse::none) {
    const size_t end = use == ChannelUse::first ? 2 : args.size();
    for (size_t i = 1; i < end; ++i) {
      if (may_use_channel(selector, args[i], use == ChannelUse::patterns)) continue;
      position = i;
      return Denied::channel;
    }
  }
  return Denied::none;
}

}  // namespace

KeyPattern::KeyPattern(std::string_view text, uint8_t allowed) : text(text), access(allowed) {
  prefix = text.size() > 1 && text.find_first_of("*?[\\") == text.size() - 1 && text.ends_with('*');
}

bool KeyPattern::matches(std::string_view key) const {
  if (prefix) return key.size() >= text.size() - 1 && std::memcmp(key.data(), text.data(), text.size() - 1) == 0;
  return glob_matches(text, key);
}

User::User(std::string_view name, bool all_channels) : name(name), selectors(1) { root().all_channels = all_channels; }

bool User::unrestricted() const {
  return std::any_of(selectors.begin(), selectors.end(), [](const Selector& selector) {
    return selector.all_keys && selector.all_channels && selector.commands.all();
  });
}

Denied check_command(const User& user, const CommandSpec& spec, Args args, size_t& position) {
  Denied worst = Denied::command;
  size_t last = 0, here = 0;
  for (const Selector& selector : user.selectors) {
    const Denied denied = check_selector(selector, spec, args, here);
    if (denied == Denied::none) return denied;
    if (denied > worst || (denied == worst && here > last)) {
      worst = denied;
      last = here;
    }
  }
  position = last;
  return worst;
}

bool may_use_channel(const User& user, std::string_view channel, bool is_pattern) {
  return std::any_of(user.selectors.begin(), user.selectors.end(), [&](const Selector& selector) {
    return may_use_channel(selector, channel, is_pattern);
  });
}

bool lost_channels(const User& before, const User& after) {
  for (const Selector& selector : after.selectors) {
    if (selector.all_channels) return false;
  }
  for (const Selector& selector : before.selectors) {
    if (selector.all_channels) return true;
    for (const std::string& channel : selector.channels) {
      if (!may_use_channel(after, channel, true)) return true;
    }
  }
  return false;
}

Acl::Acl() : default_user_(&create("default")) {
  default_user_->root().commands.set();
  default_user_->root().all_keys = default_user_->root().all_channels = true;
  default_user_->on = default_user_->no_password = true;
}

User* Acl::find(std::string_view name) {
  auto found = users_.find(name);
  return found == users_.end() ? nullptr : found->second.get();
}

User& Acl::create(std::string_view name) {
  return *users_.emplace(std::string(name), std::make_unique<User>(name, all_channels_by_default)).first->second;
}

std::unique_ptr<User> Acl::remove(std::string_view name) {
  auto found = users_.find(name);
  if (found == users_.end()) return nullptr;
  std::unique_ptr<User> user = std::move(found->second);
  users_.erase(found);
  return user;
}

const User* Acl::authenticate(std::string_view name, std::string_view password) const {
  // The same work for a user who does not exist, and for every password of one who does: time tells nothing.
  const std::string hash = sha256_hex(password);
  auto found = users_.find(name);
  if (found == users_.end()) return nullptr;
  const User& user = *found->second;
  bool right = user.no_password;
  for (const std::string& known : user.passwords) right |= equal_in_constant_time(known, hash);
  return user.on && right ? &user : nullptr;
}

void Acl::set_default_password(std::string_view password) {
  default_user_->passwords.clear();
  default_user_->no_password = password.empty();
  if (!password.empty()) default_user_->passwords.push_back(sha256_hex(password));
}

UserMap Acl::replace(UserMap users) {
  std::unique_ptr<User> kept = remove("default");
  if (auto named = users.find("default"); named != users.end()) {
    *kept = std::move(*named->second);
    users.erase(named);
  }
  UserMap old = std::move(users_);
  users_ = std::move(users);
  users_.emplace("default", std::move(kept));
  return old;
}

void Acl::note(AclLogEntry entry, size_t max_entries) {
  for (size_t i = 0; i < std::min(kLogScan, log.size()); ++i) {
    AclLogEntry& known = log[i];
    if (known.reason != entry.reason || known.context != entry.context || known.object != entry.object ||
        known.user != entry.user || entry.unix_ms > known.unix_ms + kLogGroupMs) {
      continue;
    }
    entry.count = known.count + 1;
    log.erase(log.begin() + static_cast<ptrdiff_t>(i));
    break;
  }
  log.push_front(std::move(entry));
  while (log.size() > max_entries) log.pop_back();
}

}  // namespace predis
