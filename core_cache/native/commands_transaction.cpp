// commands_transaction.cpp: MULTI, EXEC, DISCARD, WATCH and UNWATCH. How commands are queued and run is in
// engine_push.cpp.
#include "engine.h"
#include "handlers.h"

namespace predis {

namespace {

bool in_transaction(const Context& c) { return c.client.modes & kInTransaction; }

void discard(Context& c) {
  if (!in_transaction(c)) return c.reply.error("ERR DISCARD without MULTI");
  c.engine.discard(c.client);
  c.reply.ok();
}

void unwatch(Context& c) {
  c.engine.watches.unwatch(c.client);
  c.client.transaction.changed = false;
  c.engine.update_observer();
  c.reply.ok();
}

// A watched key that has expired has changed, whether or not anybody has seen it since: to look for it removes it, and
// that marks the client.
void look_for_expired(Context& c) {
  const std::vector<std::string> watched = c.client.transaction.watched;
  for (const std::string& key : watched) c.store.find(key, c.store.hash(key));
}

}  // namespace

void multi(Context& c) {
  if (in_transaction(c)) return c.reply.error("ERR MULTI calls can not be nested");
  c.client.modes |= kInTransaction;
  c.reply.ok();
}

void exec(Context& c) {
  if (!in_transaction(c)) return c.reply.error("ERR EXEC without MULTI");
  const Transaction& transaction = c.client.transaction;
  look_for_expired(c);
  if (transaction.failed) {
    c.reply.error("EXECABORT Transaction discarded because of previous errors.");
    return c.engine.discard(c.client);
  }
  if (transaction.changed) {
    c.reply.null_array();
    return c.engine.discard(c.client);
  }
  c.engine.run_queue(c.client);
}

void watch(Context& c) {
  if (in_transaction(c)) return c.reply.error("ERR WATCH inside MULTI is not allowed");
  for (std::string_view key : c.args.subspan(1)) {
    if (c.client.transaction.changed) break;  // it makes no difference any more
    const bool existed = c.store.find(key, c.store.hash(key)) != nullptr;
    c.engine.watches.watch(c.client, key, existed);
    c.engine.update_observer();
  }
  c.reply.ok();
}

namespace {

constexpr uint32_t kFlags = kNoscript | kLoading | kStale | kFast | kAllowBusy;
constexpr std::string_view kFastAcl = "fast transaction";

CommandSpec table[] = {
    {"multi", 1, kFlags | kNeverQueued, 0, 0, 0, "transactions", "1.2.0", "O(1)", "Begins a transaction.", kFastAcl,
     multi},
    {"exec", 1, kNoscript | kLoading | kStale | kSkipSlowlog | kNeverQueued, 0, 0, 0, "transactions", "1.2.0",
     "That of the queued commands together.", "Runs the commands of a transaction.", "slow transaction", exec},
    {"discard", 1, kFlags | kNeverQueued, 0, 0, 0, "transactions", "2.0.0",
     "O(N) where N is the number of queued commands.", "Drops the commands of a transaction.", kFastAcl, discard},
    {"watch", -2, kFlags | kNeverQueued, 1, -1, 1, "transactions", "2.2.0", "O(N) where N is the number of keys.",
     "Lets the next transaction fail if one of the keys changes before it is run.", kFastAcl, watch},
    {"unwatch", 1, kFlags, 0, 0, 0, "transactions", "2.2.0", "O(N) where N is the number of watched keys.",
     "Ends the watch over all keys.", kFastAcl, unwatch},
};

}  // namespace

std::span<CommandSpec> transaction_commands() { return table; }

}  // namespace predis
