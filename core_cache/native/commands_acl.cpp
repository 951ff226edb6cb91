// commands_acl.cpp: ACL and its subcommands.
#include <string.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "acl.h"
#include "arguments.h"
#include "engine.h"
#include "handlers.h"
#include "words.h"

namespace predis {

namespace {

constexpr std::string_view kNoFile =
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER "
    "command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store "
    "users in the Redis configuration.";
constexpr int64_t kMostBits = 4096;
constexpr size_t kDefaultLogCount = 10;

void wrong_number(Context& c, std::string_view sub) {
  c.reply.error(concat({"ERR unknown subcommand or wrong number of arguments for '", sub, "'. Try ACL HELP."}));
}

std::string c_text(std::string_view text) { return std::string(text.substr(0, text.find('\0'))); }

void cat(Context& c) {
  if (c.args.size() > 3) return wrong_number(c, c.args[1]);
  if (c.args.size() == 2) {
    c.reply.array(acl_categories().size());
    for (const AclCategory& category : acl_categories()) c.reply.bulk(category.name);
    return;
  }
  const AclCategory* category = find_acl_category(c.args[2]);
  if (category == nullptr) {
    return c.reply.error(concat({"ERR Unknown category '", c_text(c.args[2].substr(0, 128)), "'"}));
  }
  std::vector<std::string_view> names;
  for (const CommandSpec* spec : all_commands()) {
    if (category->members.test(spec->id)) names.push_back(spec->name);
  }
  c.reply.array(names.size());
  for (std::string_view name : names) c.reply.bulk(name);
}

bool may_keep_subscriptions(const User& user, const Subscriptions& held) {
  auto may = [&](std::string_view channel) { return may_use_channel(user, channel, false); };
  return std::all_of(held.channels.begin(), held.channels.end(), may) &&
         std::all_of(held.shard_channels.begin(), held.shard_channels.end(), may) &&
         std::all_of(held.patterns.begin(), held.patterns.end(),
                     [&](const PatternSubscribers* held_by) { return may_use_channel(user, held_by->pattern, true); });
}

// Whoever listens to channels that the new rights do not allow is disconnected.
void replace_rights(Context& c, User& user, User&& fresh) {
  const bool fewer_channels = lost_channels(user, fresh);
  user = std::move(fresh);
  c.engine.rights_changed();
  if (!fewer_channels) return;
  for (Client* client = c.engine.first_client(); client != nullptr; client = client->next) {
    if (client->user != &user || may_keep_subscriptions(user, client->subscriptions)) continue;
    if (client == &c.client) {
      c.engine.begin_close(*client);  // it is still to get its reply
    } else {
      c.engine.kill(*client);
      c.engine.forget(*client);
    }
  }
}

void set_user(Context& c) {
  const std::string_view name = c.args[2];
  if (has_spaces(name)) return c.reply.error("ERR Usernames can't contain spaces or null characters");
  std::vector<std::string> rules;
  size_t open = 0;
  if (!merge_selectors(c.args.subspan(3), rules, open)) {
    return c.reply.error(concat({"ERR Unmatched parenthesis in acl selector starting at '",
                                 shown_rule(c.args[3 + open]), "'."}));
  }
  Acl& acl = c.engine.acl();
  User* user = acl.find(name);
  User staged = user != nullptr ? *user : User(name, acl.all_channels_by_default);
  for (std::string& rule : rules) {
    const RuleProblem problem = apply_rule(staged, rule, acl.all_channels_by_default);
    if (problem != RuleProblem::none) {
      c.reply.error(concat({"ERR Error in ACL SETUSER modifier '", shown_rule(rule), "': ", problem_text(problem)}));
      break;
    }
  }
  for (std::string& rule : rules) explicit_bzero(rule.data(), rule.size());
  if (c.reply.failed) return;
  replace_rights(c, user != nullptr ? *user : acl.create(name), std::move(staged));
  c.reply.ok();
}

void setuser(Context& c) {
  set_user(c);
  c.engine.forget_secrets(c.client, c.args);
}

void deluser(Context& c) {
  const Args names = c.args.subspan(2);
  if (std::find(names.begin(), names.end(), "default") != names.end()) {
    return c.reply.error("ERR The 'default' user cannot be removed");
  }
  int64_t deleted = 0;
  for (std::string_view name : names) {
    if (c.engine.acl().find(name) == nullptr) continue;
    c.engine.delete_user(name, &c.client);
    ++deleted;
  }
  c.reply.integer(deleted);
}

void reply_selector(Context& c, const Selector& selector) {
  c.reply.bulk("commands");
  c.reply.bulk(describe_commands(selector));
  c.reply.bulk("keys");
  c.reply.bulk(describe_keys(selector));
  c.reply.bulk("channels");
  c.reply.bulk(describe_channels(selector));
}

void getuser(Context& c) {
  const User* user = c.engine.acl().find(c.args[2]);
  if (user == nullptr) return c.reply.null();
  c.reply.map(6);
  c.reply.bulk("flags");
  const auto flags = flag_names(*user);
  c.reply.set(flags.size());
  for (std::string_view flag : flags) c.reply.bulk(flag);
  c.reply.bulk("passwords");
  c.reply.array(user->passwords.size());
  for (const std::string& password : user->passwords) c.reply.bulk(password);
  reply_selector(c, user->root());
  c.reply.bulk("selectors");
  c.reply.array(user->selectors.size() - 1);
  for (size_t i = 1; i < user->selectors.size(); ++i) {
    c.reply.map(3);
    reply_selector(c, user->selectors[i]);
  }
}

void list(Context& c) {
  const UserMap& users = c.engine.acl().users();
  c.reply.array(users.size());
  for (const auto& [name, user] : users) c.reply.bulk(concat({"user ", name, " ", describe_user(*user)}));
}

void users(Context& c) {
  const UserMap& all = c.engine.acl().users();
  c.reply.array(all.size());
  for (const auto& [name, user] : all) c.reply.bulk(name);
}

void whoami(Context& c) { c.reply.bulk(c.client.user->name); }

void load(Context& c) {
  if (c.engine.config().acl_file.empty()) return c.reply.error(kNoFile);
  const std::string problem = c.engine.load_users(&c.client);
  if (!problem.empty()) return c.reply.error("ERR " + problem);
  c.reply.ok();
}

void save(Context& c) {
  const std::string& path = c.engine.config().acl_file;
  if (path.empty()) return c.reply.error(kNoFile);
  std::string problem;
  if (write_acl_file(path, c.engine.acl().file_text(), problem)) return c.reply.ok();
  c.engine.log_warning("the users cannot be saved: " + problem);
  c.reply.error(
      "ERR There was an error trying to save the ACLs. Please check the server logs for more information");
}

void genpass(Context& c) {
  int64_t bits = 256;
  if (c.args.size() > 3) return wrong_number(c, c.args[1]);
  if (c.args.size() == 3 && !int64_or_reply(c, c.args[2], bits)) return;
  if (bits <= 0 || bits > kMostBits) {
    return c.reply.error("ERR ACL GENPASS argument must be the number of bits for the output password, a positive "
                         "number up to 4096");
  }
  const auto digits = static_cast<size_t>((bits + 3) / 4);
  std::array<unsigned char, kMostBits / 4> random;
  for (size_t got = 0; got < digits;) {  // more than 256 bytes may come in parts
    const ssize_t size = getrandom(random.data() + got, digits - got, 0);
    if (size < 0 && errno != EINTR) throw std::runtime_error("The system gives no random numbers (getrandom failed).");
    if (size > 0) got += static_cast<size_t>(size);
  }
  std::string text;
  for (size_t i = 0; i < digits; ++i) text += "0123456789abcdef"[random[i] & 15];
  c.reply.bulk(text);
}

std::string_view reason_text(Denied reason) {
  switch (reason) {
    case Denied::command:
      return "command";
    case Denied::key:
      return "key";
    case Denied::channel:
      return "channel";
    default:
      return "auth";
  }
}

void log(Context& c) {
  if (c.args.size() > 3) return wrong_number(c, c.args[1]);
  auto& entries = c.engine.acl().log;
  int64_t count = kDefaultLogCount;
  if (c.args.size() == 3) {
    if (is_word(c.args[2], "reset")) {
      entries.clear();
      return c.reply.ok();
    }
    if (!int64_or_reply(c, c.args[2], count)) return;
  }
  const auto shown = std::min(static_cast<size_t>(std::max<int64_t>(count, 0)), entries.size());
  c.reply.array(shown);
  for (size_t i = 0; i < shown; ++i) {
    const AclLogEntry& entry = entries[i];
    const auto field = [&](std::string_view name, std::string_view value) {
      c.reply.bulk(name);
      c.reply.bulk(value);
    };
    c.reply.map(7);
    c.reply.bulk("count");
    c.reply.integer(static_cast<int64_t>(entry.count));
    field("reason", reason_text(entry.reason));
    field("context", entry.context);
    field("object", entry.object);
    field("username", entry.user);
    c.reply.bulk("age-seconds");
    c.reply.dbl((static_cast<double>(c.engine.unix_ms()) - static_cast<double>(entry.unix_ms)) / 1000);
    field("client-info", entry.client);
  }
}

void dryrun(Context& c) {
  const User* user = c.engine.acl().find(c.args[2]);
  if (user == nullptr) return c.reply.error(concat({"ERR User '", c_text(c.args[2]), "' not found"}));
  const Args command = c.args.subspan(3);
  const CommandSpec* spec = find_command_of(command);
  if (spec == nullptr) return c.reply.error(concat({"ERR Command '", c_text(command[0]), "' not found"}));
  const auto count = static_cast<int>(command.size());
  if (spec->arity >= 0 ? count != spec->arity : count < -spec->arity) return reply_wrong_arity(c, spec->name);
  size_t position = 0;
  switch (check_command(*user, *spec, command, position)) {
    case Denied::none:
      return c.reply.ok();
    case Denied::command:
      return c.reply.bulk(concat({"This user has no permissions to run the '", spec->name, "' command"}));
    case Denied::key:
      return c.reply.bulk(
          concat({"This user has no permissions to access the '", c_text(command[position]), "' key"}));
    default:
      return c.reply.bulk(
          concat({"This user has no permissions to access the '", c_text(command[position]), "' channel"}));
  }
}

void help(Context& c) {
  reply_help(c, "ACL",
             {"CAT [<category>]", "    List all commands that belong to <category>, or all command categories",
              "    when no category is specified.", "DELUSER <username> [<username> ...]",
              "    Delete a list of users.", "DRYRUN <username> <command> [<arg> ...]",
              "    Returns whether the user can execute the given command without executing the command.",
              "GETUSER <username>", "    Get the user's details.", "GENPASS [<bits>]",
              "    Generate a secure 256-bit user password. The optional `bits` argument can",
              "    be used to specify a different size.", "LIST", "    Show users details in config file format.",
              "LOAD", "    Reload users from the ACL file.", "LOG [<count> | RESET]", "    Show the ACL log entries.",
              "SAVE", "    Save the current config to the ACL file.",
              "SETUSER <username> <attribute> [<attribute> ...]",
              "    Create or modify a user with the specified attributes.", "USERS",
              "    List all the registered usernames.", "WHOAMI",
              "    Return the current connection username."});
}

constexpr uint32_t kOpen = kNoscript | kLoading | kStale, kRestricted = kAdmin | kOpen;
constexpr std::string_view kAdminAcl = "admin slow dangerous", kSlowAcl = "slow";
constexpr std::string_view kUsers = "O(N) where N is the number of users";

auto commands = std::to_array<CommandSpec>({
    {"acl", -2, 0, 0, 0, 0, "server", "6.0.0", "Depends on subcommand.", "Holds the commands about users and rights",
     kSlowAcl, nullptr},
    {"acl|cat", -2, kOpen, 0, 0, 0, "server", "6.0.0", "O(1) since the categories and commands are a fixed set.",
     "Lists the categories, or a category's commands", kSlowAcl, cat},
    {"acl|deluser", -3, kRestricted, 0, 0, 0, "server", "6.0.0", "O(1) amortized time considering the typical user.",
     "Deletes users and ends their connections", kAdminAcl, deluser},
    {"acl|dryrun", -4, kRestricted, 0, 0, 0, "server", "7.0.0", "O(1).",
     "Tells whether a user may run a command, without running it", kAdminAcl, dryrun},
    {"acl|genpass", -2, kOpen, 0, 0, 0, "server", "6.0.0", "O(1)", "Makes up a password that cannot be guessed",
     kSlowAcl, genpass},
    {"acl|getuser", 3, kRestricted, 0, 0, 0, "server", "6.0.0", "O(N) where N is the number of rules of the user",
     "Describes a user", kAdminAcl, getuser},
    {"acl|help", 2, kLoading | kStale, 0, 0, 0, "server", "6.0.0", "O(1)", "Lists the subcommands", kSlowAcl, help},
    {"acl|list", 2, kRestricted, 0, 0, 0, "server", "6.0.0", kUsers, "Lists the users with their rules", kAdminAcl,
     list},
    {"acl|load", 2, kRestricted, 0, 0, 0, "server", "6.0.0", kUsers, "Replaces the users by those of the ACL file",
     kAdminAcl, load},
    {"acl|log", -2, kRestricted, 0, 0, 0, "server", "6.0.0", "O(N) where N is the number of entries shown",
     "Lists what was refused lately", kAdminAcl, log},
    {"acl|save", 2, kRestricted, 0, 0, 0, "server", "6.0.0", kUsers, "Writes the users into the ACL file", kAdminAcl,
     save},
    {"acl|setuser", -3, kRestricted, 0, 0, 0, "server", "6.0.0", "O(N) where N is the number of rules given",
     "Makes a user or changes one", kAdminAcl, setuser},
    {"acl|users", 2, kRestricted, 0, 0, 0, "server", "6.0.0", kUsers, "Lists the names of the users", kAdminAcl,
     users},
    {"acl|whoami", 2, kOpen, 0, 0, 0, "server", "6.0.0", "O(1)", "Gives the name of the connection's user", kSlowAcl,
     whoami},
});

}  // namespace

std::span<CommandSpec> acl_commands() { return commands; }

}  // namespace predis
