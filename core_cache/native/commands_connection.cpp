// commands_connection.cpp: who is at the other end, and which protocol is spoken.
#include <array>

#include "engine.h"
#include "handlers.h"
#include "numbers.h"
#include "words.h"

namespace predis {

namespace {

constexpr std::string_view kRedisVersion = "7.0.15";
constexpr std::string_view kWrongPassword = "WRONGPASS invalid username-password pair or user is disabled.";

void ping(Context& c) {
  if (c.args.size() > 2) return c.reply.error("ERR wrong number of arguments for 'ping' command");
  if ((c.client.modes & kSubscriber) && c.client.protocol == 2) {  // looks like a message to the client
    c.reply.array(2);
    c.reply.bulk("pong");
    return c.reply.bulk(c.args.size() == 2 ? c.args[1] : std::string_view());
  }
  if (c.args.size() == 2) return c.reply.bulk(c.args[1]);
  c.reply.simple("PONG");
}

void echo(Context& c) { c.reply.bulk(c.args[1]); }

void quit(Context& c) {
  c.reply.ok();
  c.engine.begin_close(c.client);
}

bool log_in(Context& c, std::string_view user, std::string_view password) {
  if (c.engine.authenticate(c.client, c.args[0], user, password)) return true;
  c.reply.error(kWrongPassword);
  return false;
}

void do_auth(Context& c) {
  if (c.args.size() > 3) return c.reply.error(errors::kSyntax);
  if (c.args.size() == 2 && c.engine.acl().default_user().no_password) {
    return c.reply.error(
        "ERR AUTH <password> called without any password configured for the default user. Are you sure your "
        "configuration is correct?");
  }
  const bool with_user = c.args.size() == 3;
  if (log_in(c, with_user ? c.args[1] : "default", c.args[with_user ? 2 : 1])) c.reply.ok();
}

void auth(Context& c) {
  do_auth(c);
  c.engine.forget_secrets(c.client, c.args);
}

void do_hello(Context& c) {
  int64_t version = c.client.protocol;
  if (c.args.size() >= 2) {
    if (!parse_int64(c.args[1], version)) {
      return c.reply.error("ERR Protocol version is not an integer or out of range");
    }
    if (version < 2 || version > 3) return c.reply.error("NOPROTO unsupported protocol version");
  }
  std::string_view user, password, name;
  bool with_login = false, with_name = false;
  for (size_t i = 2; i < c.args.size(); ++i) {
    const size_t more = c.args.size() - 1 - i;
    if (is_word(c.args[i], "auth") && more >= 2) {
      with_login = true;
      user = c.args[i + 1];
      password = c.args[i + 2];
      i += 2;
    } else if (is_word(c.args[i], "setname") && more >= 1) {
      with_name = true;
      name = c.args[++i];
    } else {
      return c.reply.error("ERR Syntax error in HELLO option '" + std::string(c.args[i]) + "'");
    }
  }
  if (with_login && !log_in(c, user, password)) return;
  if (!c.client.authenticated) {
    return c.reply.error(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> "
        "<pass> option can be used to authenticate the client and select the RESP protocol version at the same time");
  }
  if (with_name && !set_client_name(c, name)) return;
  c.client.protocol = c.reply.protocol = static_cast<int>(version);
  c.reply.map(7);
  c.reply.bulk("server");
  c.reply.bulk("redis");
  c.reply.bulk("version");
  c.reply.bulk(kRedisVersion);
  c.reply.bulk("proto");
  c.reply.integer(version);
  c.reply.bulk("id");
  c.reply.integer(static_cast<int64_t>(c.client.id));
  c.reply.bulk("mode");
  c.reply.bulk("standalone");
  c.reply.bulk("role");
  c.reply.bulk("master");
  c.reply.bulk("modules");
  c.reply.array(0);
}

void hello(Context& c) {
  do_hello(c);
  if (c.args.size() > 2) c.engine.forget_secrets(c.client, c.args);
}

void reset(Context& c) {
  c.engine.forget(c.client);
  c.engine.end_monitor(c.client);
  c.engine.log_out(c.client);
  c.client.protocol = c.reply.protocol = 2;
  c.client.name.clear();
  c.client.reply_mode = ReplyMode::on;
  c.reply.simple("RESET");
}

void select(Context& c) {
  int64_t index;
  if (!parse_int64(c.args[1], index) || index < INT32_MIN || index > INT32_MAX) {
    return c.reply.error(errors::kNotInteger);
  }
  if (index != 0) return c.reply.error("ERR DB index is out of range");
  c.reply.ok();
}

constexpr uint32_t kOpen = kNoscript | kLoading | kStale | kFast | kNoAuth | kAllowBusy;
constexpr uint32_t kClient = kNoscript | kLoading | kStale;
constexpr std::string_view kFastAcl = "fast connection", kSlowAcl = "slow connection",
                           kAdminAcl = "admin slow dangerous connection";

auto commands = std::to_array<CommandSpec>({
    {"ping", -1, kFast | kForSubscribers, 0, 0, 0, "connection", "1.0.0", "O(1)", "Answers PONG, or gives a message back", kFastAcl,
     ping},
    {"echo", 2, kLoading | kStale | kFast, 0, 0, 0, "connection", "1.0.0", "O(1)", "Gives a message back", kFastAcl,
     echo},
    {"hello", -1, kOpen, 0, 0, 0, "connection", "6.0.0", "O(1)", "Agrees on the protocol, logs in, sets the name",
     kFastAcl, hello},
    {"auth", -2, kOpen, 0, 0, 0, "connection", "1.0.0", "O(N) where N is the length of the password", "Logs in",
     kFastAcl, auth},
    {"quit", -1, kOpen | kNeverQueued | kForSubscribers, 0, 0, 0, "connection", "1.0.0", "O(1)", "Ends the connection", kFastAcl, quit},
    {"reset", 1, kOpen | kNeverQueued | kForSubscribers, 0, 0, 0, "connection", "6.2.0", "O(1)", "Puts the connection back to how it began", kFastAcl,
     reset},
    {"select", 2, kLoading | kStale | kFast, 0, 0, 0, "connection", "1.0.0", "O(1)",
     "Changes the database; there is one, 0",
     kFastAcl, select},
    {"client", -2, 0, 0, 0, 0, "connection", "2.4.0", "Depends on subcommand.", "Holds the commands about connections",
     "slow", nullptr},
    {"client|id", 2, kClient, 0, 0, 0, "connection", "5.0.0", "O(1)", "Gives the connection's number", kSlowAcl,
     client_id},
    {"client|info", 2, kClient, 0, 0, 0, "connection", "6.2.0", "O(1)", "Describes the connection", kSlowAcl,
     client_info},
    {"client|list", -2, kAdmin | kClient, 0, 0, 0, "connection", "2.4.0", "O(N) where N is the number of connections",
     "Describes all connections", kAdminAcl, client_list},
    {"client|setname", 3, kClient, 0, 0, 0, "connection", "2.6.9", "O(1)", "Gives the connection a name", kSlowAcl,
     client_setname},
    {"client|getname", 2, kClient, 0, 0, 0, "connection", "2.6.9", "O(1)", "Gives the connection's name", kSlowAcl,
     client_getname},
    {"client|setinfo", 4, kClient, 0, 0, 0, "connection", "7.2.0", "O(1)", "Notes the client library's name or version",
     kSlowAcl, client_setinfo},
    {"client|kill", -3, kAdmin | kClient, 0, 0, 0, "connection", "2.4.0", "O(N) where N is the number of connections",
     "Ends connections", kAdminAcl, client_kill},
    {"client|no-evict", 3, kAdmin | kClient, 0, 0, 0, "connection", "7.0.0", "O(1)",
     "Keeps the connection when clients' memory runs out", kAdminAcl, client_no_evict},
    {"client|reply", 3, kClient, 0, 0, 0, "connection", "3.2.0", "O(1)", "Turns replies on or off", kSlowAcl,
     client_reply},
    {"client|tracking", -3, kClient, 0, 0, 0, "connection", "6.0.0", "O(1), with BCAST O(N) for N prefixes",
     "Turns messages about changed keys on or off", kSlowAcl, client_tracking},
    {"client|caching", 3, kClient, 0, 0, 0, "connection", "6.0.0", "O(1)",
     "Says whether the keys of the next command are to be tracked", kSlowAcl, client_caching},
    {"client|getredir", 2, kClient, 0, 0, 0, "connection", "6.0.0", "O(1)",
     "Gives the client that messages about changed keys go to", kSlowAcl, client_getredir},
    {"client|trackinginfo", 2, kClient, 0, 0, 0, "connection", "6.2.0", "O(1)",
     "Describes what is tracked for the connection", kSlowAcl, client_trackinginfo},
    {"client|pause", -3, kAdmin | kClient, 0, 0, 0, "connection", "2.9.50", "O(N) where N is the number of connections",
     "Puts off all commands, or those that write", kAdminAcl, client_pause},
    {"client|unpause", 2, kAdmin | kClient, 0, 0, 0, "connection", "6.2.0", "O(N) where N is the number of connections",
     "Ends a pause", kAdminAcl, client_unpause},
    {"client|unblock", -3, kAdmin | kClient, 0, 0, 0, "connection", "5.0.0", "O(1)",
     "Ends the wait of another connection", kAdminAcl, client_unblock},
    {"client|help", 2, kLoading | kStale, 0, 0, 0, "connection", "5.0.0", "O(1)", "Lists the subcommands", kSlowAcl,
     client_help},
});

}  // namespace

std::span<CommandSpec> connection_commands() { return commands; }

void reply_unknown_subcommand(Context& c, std::string_view command) {
  c.reply.error("ERR unknown subcommand or wrong number of arguments for '" + std::string(c.args[1].substr(0, 128)) +
                "'. Try " + std::string(command) + " HELP.");
}

void reply_help(Context& c, std::string_view command, std::initializer_list<std::string_view> lines) {
  c.reply.array(lines.size() + 3);
  c.reply.simple(std::string(command) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
  for (std::string_view line : lines) c.reply.simple(line);
  c.reply.simple("HELP");
  c.reply.simple("    Prints this help.");
}

}  // namespace predis
