// acl.h: users, what they may do, and who was refused. A user has a root selector and any number of further ones; a
// command runs when one selector allows all of it: the command, its keys and its channels.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "acl_table.h"
#include "command.h"
#include "command_keys.h"

namespace predis {

struct KeyPattern {
  KeyPattern(std::string_view text, uint8_t allowed);
  bool matches(std::string_view key) const;

  std::string text;
  uint8_t access;  // KeyAccess
  bool prefix;     // "text*" with nothing else that is special
};

struct Selector {
  bool all_keys = false, all_channels = false;
  CommandSet commands;
  std::map<uint16_t, std::vector<std::string>> first_arguments;  // "+select|0": by command, where its bit is not set
  std::vector<KeyPattern> keys;
  std::vector<std::string> channels;
};

enum class SanitizePayload : uint8_t { unset, skip, yes };

struct User {
  explicit User(std::string_view name, bool all_channels = false);
  Selector& root() { return selectors[0]; }
  const Selector& root() const { return selectors[0]; }
  bool unrestricted() const;                        // one selector allows everything
  bool open() const { return on && no_password; }  // of the default user: nobody needs to log in

  std::string name;
  bool on = false, no_password = false;
  SanitizePayload sanitize_payload = SanitizePayload::unset;
  std::vector<std::string> passwords;  // SHA-256 in lower-case hexadecimal
  std::vector<Selector> selectors;
};

using UserMap = std::map<std::string, std::unique_ptr<User>, std::less<>>;  // by name

// --- rules (acl_rules.cpp)

enum class RuleProblem : uint8_t {
  none, syntax, unknown_command, after_all_keys, after_all_channels, no_such_password, bad_hash, argument_of_subcommand,
};
std::string_view problem_text(RuleProblem problem);  // Redis' own
// Applies one rule ("on", ">secret", "+@read", "(~a +get)", …). The user is as before when there is a problem.
RuleProblem apply_rule(User& user, std::string_view rule, bool all_channels_by_default);
// Rules with selectors that are spread over several arguments put together. Gives false when one is not closed;
// `open` is then its first argument.
bool merge_selectors(Args rules, std::vector<std::string>& merged, size_t& open);
bool has_spaces(std::string_view text);  // or NUL: not allowed in names and patterns
// A rule as it may be shown: without the password in it.
std::string shown_rule(std::string_view rule);

// --- descriptions (acl_describe.cpp), which apply_rule() reads back to the same rights
// As Redis words it, where a key pattern "*" that came as "%RW~*" among others reads "~*", behind which no pattern may come.
// Redis saves that, too, and then does not start with the file: `to_be_read` gives rules that apply_rule() takes.
std::string describe_user(const User& user, bool to_be_read = false);
std::string describe_commands(const Selector& selector);
std::string describe_keys(const Selector& selector);
std::string describe_channels(const Selector& selector);
std::vector<std::string_view> flag_names(const User& user);

// --- checks

enum class Denied : uint8_t { none, command, key, auth, channel };  // what is named when several are: the later one

// Why the user may not run this command; `position` is the argument that is to blame.
Denied check_command(const User& user, const CommandSpec& spec, Args args, size_t& position);
bool may_use_channel(const User& user, std::string_view channel, bool is_pattern);
// Whether someone with the rights `before` could listen to a channel that `after` has not.
bool lost_channels(const User& before, const User& after);

struct AclLogEntry {
  uint64_t count;
  Denied reason;
  std::string_view context;  // "toplevel" or "multi"
  std::string object, user;
  uint64_t unix_ms;  // of the last time
  std::string client;
};

class Acl {
 public:
  Acl();

  User& default_user() { return *default_user_; }
  const User& default_user() const { return *default_user_; }
  User* find(std::string_view name);
  const UserMap& users() const { return users_; }
  UserMap& users() { return users_; }
  User& create(std::string_view name);
  // Takes it out of the users; who holds it must let go of it first.
  std::unique_ptr<User> remove(std::string_view name);

  // The user, when the password is right and the user may log in.
  const User* authenticate(std::string_view name, std::string_view password) const;
  // As CONFIG SET requirepass: the default user's only password; an empty one lets everybody in.
  void set_default_password(std::string_view password);

  // The lines of an ACL file as users, or Redis' list of what is wrong with it. `path` names it in errors.
  std::string parse_file(std::string_view path, std::string_view text, UserMap& users) const;
  std::string file_text() const;
  // The users of a file become the users; the default user keeps its place in memory, and its rights where the file
  // does not name it. Gives the old users, for their clients to be closed.
  UserMap replace(UserMap users);

  void note(AclLogEntry entry, size_t max_entries);  // adds it, or counts it with one like it
  std::deque<AclLogEntry> log;                        // newest first

  bool all_channels_by_default = false;  // acl-pubsub-default

 private:
  UserMap users_;
  User* default_user_;
};

// Reads an ACL file that only its owner may read and write. False with a sentence in `problem`.
bool read_acl_file(const std::string& path, std::string& text, std::string& problem);
// Replaces it in one step, with mode 0600, and sees it on the disk. False with a sentence in `problem`.
bool write_acl_file(const std::string& path, std::string_view text, std::string& problem);

}  // namespace predis
