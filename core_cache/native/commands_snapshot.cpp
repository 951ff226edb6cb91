// commands_snapshot.cpp: SAVE, BGSAVE and LASTSAVE. The snapshot itself is made by the server around the engine.
#include <array>

#include "arguments.h"
#include "engine.h"
#include "handlers.h"

namespace predis {

namespace {

void save(Context& c, bool background, const char* reply) {
  if (c.engine.saving) return c.reply.error("ERR Background save already in progress");
  if (!c.engine.save) return c.reply.error("ERR this cache makes no snapshots");
  const std::string problem = c.engine.save(background);
  if (!problem.empty()) return c.reply.error("ERR " + problem);
  c.reply.simple(reply);
}

void save_now(Context& c) { save(c, false, "OK"); }

void bgsave(Context& c) {
  if (c.args.size() > 2 || (c.args.size() == 2 && !is_option(c.args[1], "schedule"))) {
    return c.reply.error(errors::kSyntax);
  }
  save(c, true, "Background saving started");
}

// As Redis, it gives the time of the start while nothing was saved.
void lastsave(Context& c) { c.reply.integer(static_cast<int64_t>(last_save_seconds(c.engine))); }

auto commands = std::to_array<CommandSpec>({
    {"save", 1, kAdmin | kNoscript | kNoAsyncLoading | kNoMulti, 0, 0, 0, "server", "1.0.0",
     "O(N) where N is the total number of keys in all databases", "Writes a snapshot while all clients wait",
     "admin slow dangerous", save_now},
    {"bgsave", -1, kAdmin | kNoscript | kNoAsyncLoading, 0, 0, 0, "server", "1.0.0", "O(1)",
     "Has a process of its own write a snapshot", "admin slow dangerous", bgsave},
    {"lastsave", 1, kLoading | kStale | kFast, 0, 0, 0, "server", "1.0.0", "O(1)",
     "Gives the Unix time of the last snapshot", "admin fast dangerous", lastsave},
});

}  // namespace

uint64_t last_save_seconds(Engine& engine) {
  const uint64_t saved = engine.stats().snapshot_unix_ms;
  return (saved != 0 ? saved : engine.stats().started_unix_ms) / 1000;
}

std::span<CommandSpec> snapshot_commands() { return commands; }

}  // namespace predis
