// commands_instance.cpp: the process and what it was built with (SHUTDOWN, MONITOR, MODULE, LOLWUT), and the commands that take
// more than one database (SWAPDB, MOVE).
#include <array>
#include <climits>

#include "arguments.h"
#include "engine.h"
#include "handlers.h"

namespace predis {

namespace {

// NOSAVE, SAVE, NOW and FORCE change nothing: the data lie in shared memory and are there for the next start, and no
// replica is waited for.
void shutdown(Context& c) {
  bool save = false, nosave = false, abort = false, other = false;
  for (std::string_view word : c.args.subspan(1)) {
    if (is_option(word, "save")) {
      save = true;
    } else if (is_option(word, "nosave")) {
      nosave = true;
    } else if (is_option(word, "abort")) {
      abort = true;
    } else if (is_option(word, "now") || is_option(word, "force")) {
      other = true;
    } else {
      return c.reply.error(errors::kSyntax);
    }
  }
  if ((save && nosave) || (abort && (save || nosave || other))) return c.reply.error(errors::kSyntax);
  if (abort) return c.reply.error("ERR No shutdown in progress.");
  if (!c.engine.request_stop()) return c.reply.error("ERR Errors trying to SHUTDOWN. Check logs.");
  c.engine.begin_close(c.client);  // as from Redis: no reply, the connection ends
}

void monitor(Context& c) {
  if (c.engine.begin_monitor(c.client)) c.reply.ok();  // a second time it has no reply, as in Redis
}

// Reads a number of a database, of which there is one.
bool database_or_reply(Context& c, std::string_view text, const char* problem) {
  int64_t number;
  if (!parse_int64(text, number) || number < INT_MIN || number > INT_MAX) {
    c.reply.error(problem);
    return false;
  }
  if (number != 0) c.reply.error("ERR DB index is out of range");
  return number == 0;
}

void swapdb(Context& c) {
  for (const size_t i : {size_t{1}, size_t{2}}) {
    int64_t number;
    if (!parse_int64(c.args[i], number) || number < INT_MIN || number > INT_MAX) {
      return c.reply.error(i == 1 ? "ERR invalid first DB index" : "ERR invalid second DB index");
    }
  }
  if (database_or_reply(c, c.args[1], "") && database_or_reply(c, c.args[2], "")) c.reply.ok();
}

void move_key(Context& c) {
  int64_t number;
  if (!int64_or_reply(c, c.args[2], number)) return;
  if (!database_or_reply(c, c.args[2], "ERR value is out of range, value must between -2147483648 and 2147483647")) {
    return;
  }
  c.reply.error("ERR source and destination objects are the same");
}

// Only Redis' oldest pictures are more than this line.
void lolwut(Context& c) {
  int64_t version;
  if (c.args.size() >= 3 && is_option(c.args[1], "version") && !int64_or_reply(c, c.args[2], version)) return;
  c.reply.verbatim("txt", "Redis ver. 7.0.15\n");
}

void module_list(Context& c) { c.reply.array(0); }

void module_refused(Context& c) { c.reply.error("ERR MODULE command not allowed."); }  // never run: kProtected

void module_help(Context& c) {
  reply_help(c, "MODULE",
             {"LIST", "    Return a list of loaded modules.", "LOAD <path> [<arg> ...]",
              "    Load a module library from <path>, passing to it any optional arguments.",
              "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
              "    Load a module library from <path>, while passing it module configurations and optional arguments.",
              "UNLOAD <name>", "    Unload a module."});
}

constexpr std::string_view kServer = "server", kDangerous = "admin slow dangerous";
constexpr uint32_t kModule = kAdmin | kNoscript | kNoAsyncLoading | kProtected;

auto commands = std::to_array<CommandSpec>({
    {"shutdown", -1, kAdmin | kNoscript | kLoading | kStale | kNoMulti | kAllowBusy, 0, 0, 0, kServer, "1.0.0", "O(1)",
     "Ends the process as SIGTERM does; the data stay for the next start", kDangerous, shutdown},
    {"monitor", 1, kAdmin | kNoscript | kLoading | kStale, 0, 0, 0, kServer, "1.0.0", "O(1)",
     "Sends every command that any client runs, as it is run", kDangerous, monitor},
    {"swapdb", 3, kWrite | kFast, 0, 0, 0, kServer, "4.0.0", "O(1)", "Takes the one database, 0, twice",
     "keyspace write fast dangerous", swapdb},
    {"move", 3, kWrite | kFast, 1, 1, 1, "generic", "1.0.0", "O(1)", "Refused: there is one database",
     "keyspace write fast", move_key},
    {"lolwut", -1, kReadonly | kFast, 0, 0, 0, kServer, "5.0.0", "O(1)", "Gives the version", "read fast", lolwut},
    {"module", -2, 0, 0, 0, 0, kServer, "4.0.0", "Depends on subcommand.", "Holds the commands about modules", "slow",
     nullptr},
    {"module|list", 2, kAdmin | kNoscript, 0, 0, 0, kServer, "4.0.0", "O(1)", "Lists the modules: there are none",
     kDangerous, module_list},
    {"module|load", -3, kModule, 0, 0, 0, kServer, "4.0.0", "O(1)", "Not allowed here", kDangerous, module_refused},
    {"module|loadex", -3, kModule, 0, 0, 0, kServer, "7.0.0", "O(1)", "Not allowed here", kDangerous, module_refused},
    {"module|unload", 3, kModule, 0, 0, 0, kServer, "4.0.0", "O(1)", "Not allowed here", kDangerous, module_refused},
    {"module|help", 2, kLoading | kStale, 0, 0, 0, kServer, "5.0.0", "O(1)", "Lists the subcommands", "slow",
     module_help},
});

}  // namespace

std::span<CommandSpec> instance_commands() { return commands; }

}  // namespace predis
