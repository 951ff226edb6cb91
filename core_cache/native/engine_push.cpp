// engine_push.cpp: what goes beyond one client and its own commands, one after the other: messages to other clients,
// transactions, commands that are answered later, and those who listen to changes of keys.
#include <algorithm>

#include "engine.h"
#include "handlers.h"
#include "notify.h"

namespace predis {

// --- messages

const OutputLimit& Engine::output_limit(const Client& client) const {
  return config_.output_limits[client.modes & kSubscriber ? 2 : 0];
}

void Engine::push(Client& client, std::string_view message) {
  if (client.closing) return;
  const char type = client.protocol == 3 ? '>' : '*';
  if (&client == current_ && client.reply_mode == ReplyMode::on) {
    reply_.buffer.push_back(type);
    reply_.buffer.append(message);
    return;
  }
  client.pushed.push_back(type);
  client.pushed.append(message);
  if (!client.push_waits) {
    client.push_waits = true;
    push_waits_.push_back(&client);
    unsettled_ = true;
  }
  const int64_t limit = output_limit(client).hard;
  if (limit > 0 && client.unsent + client.pushed.size() > static_cast<size_t>(limit)) {
    client.pushed.clear();
    client.pushed.shrink_to(0);
    kill(client);
  }
}

// What the batch that has just ended left to do. Nobody's commands are running.
void Engine::settle() {
  current_ = nullptr;
  if (settling_) return;  // whoever has begun goes on until nothing is left
  settling_ = true;
  do {
    unsettled_ = false;
    if (tracking.owes_broadcast()) tracking.broadcast();
    send_pushed();
    while (!ready_.empty()) {
      Client* client = find_client(ready_.front());
      ready_.pop_front();
      if (client == nullptr) continue;
      resume(*client);
      if (unsettled_) break;  // its messages go out before the next one's
    }
    if (!ready_.empty()) unsettled_ = true;
    if (!kills_.empty()) reap();
  } while (unsettled_);
  settling_ = false;
}

// Writing runs Python, which may remove any other client, so the list may get holes while it is walked.
void Engine::send_pushed() {
  for (size_t i = 0; i < push_waits_.size(); ++i) {
    Client* client = push_waits_[i];
    if (client == nullptr) continue;
    push_waits_[i] = nullptr;
    client->push_waits = false;
    Bytes& out = client->pushed;
    if (!client->closing && !out.empty()) {
      stats().net_output_bytes += out.size();
      ++total_writes;
      client->unsent = client->outlet->write(out);
      peak_client_output = std::max(peak_client_output, client->unsent);
    }
    out.clear();
    constexpr size_t kKeep = 1024;
    if (out.capacity() > kKeep) out.shrink_to(0);
  }
  push_waits_.clear();
}

// --- transactions

void Engine::discard(Client& client) {
  watches.unwatch(client);
  client.transaction = {};
  client.modes &= static_cast<uint8_t>(~kInTransaction);
  update_observer();
}

void Engine::forget(Client& client) {
  pubsub.forget(client);
  tracking.disable(client);
  discard(client);
  client.put_off.reset();
  client.landing.reset();
}

void Engine::run_queue(Client& client) {
  const uint64_t began = ticks_;
  const std::vector<QueuedCommand>& queue = client.transaction.queue;  // nothing that can be queued changes it
  watches.unwatch(client);
  in_exec_ = true;
  reply_.array(queue.size());
  for (const QueuedCommand& command : queue) {
    if (command.key_hash != 0) store_->prefetch_bucket(command.key_hash);
  }
  for (const QueuedCommand& command : queue) {
    const bool silent = client.closing;  // it has ended its own connection: its last reply was for that
    const size_t reply_start = reply_.buffer.size();
    reply_.failed = false;
    if (client.unrestricted || still_allowed(client, *command.spec, command.args)) {
      execute(client, *command.spec, command.args, command.key_hash);
    }
    if (silent) reply_.buffer.truncate(std::min(reply_start, reply_.buffer.size()));
  }
  in_exec_ = false;
  reply_.failed = false;  // that some of them failed is no failure of EXEC
  ticks_ = began;
  discard(client);
}

// Why a client in one of its modes may not run the command at all, as an error text; nullptr when it may.
const char* Engine::forbidden(Client& client, const CommandSpec& spec) {
  if (client.modes & kInTransaction) {
    if (spec.flags & kNoMulti) return "ERR Command not allowed inside a transaction";
    // What is queued needs memory, whatever it is; EXEC needs some where one of its commands does.
    const bool is_exec = spec.handler == exec;
    const bool needs_memory =
        is_exec ? (client.transaction.flags & kDenyOom) != 0
                : !(spec.flags & kNeverQueued) || spec.handler == multi || spec.handler == watch;
    if (needs_memory && store_->out_of_memory()) return errors::kOutOfMemory.data();
  }
  return nullptr;
}

// Before a command of a client that is in one of its modes. True: it is not to be run now; it has been answered, queued
// or put off.
bool Engine::detain(Client& client, const CommandSpec& spec, Args args, uint64_t hash) {
  const size_t reply_start = reply_.buffer.size();
  if (const char* problem = forbidden(client, spec)) {
    reply_.error(problem);
  } else if ((client.modes & kSubscriber) && client.protocol == 2 && !(spec.flags & kForSubscribers)) {
    reply_.error("ERR Can't execute '" + std::string(spec.name) +
                 "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context");
  }
  if (reply_.failed) {
    reject(client, &spec, reply_start);
    return true;
  }
  if ((client.modes & kPaused) && pauses(client, spec)) {
    client.put_off = std::make_unique<QueuedCommand>(spec, args, hash);
    client.blocked = Blocked::paused;
    return true;
  }
  if (!(client.modes & kInTransaction) || (spec.flags & kNeverQueued)) return false;
  Transaction& transaction = client.transaction;
  if (!transaction.failed && !transaction.changed) {  // else it will never be run
    transaction.queue.emplace_back(spec, args, hash);
    transaction.queue_bytes += transaction.queue.back().memory;
    transaction.flags |= spec.flags;
  }
  reply_.simple("QUEUED");
  return true;
}

// A command was answered with an error instead of being run. A transaction fails with it; where it was EXEC, Redis says
// so in the error.
void Engine::reject(Client& client, const CommandSpec* spec, size_t reply_start) {
  if (spec != nullptr && spec->handler == exec) {
    std::string why(reply_.buffer.view().substr(reply_start + 1));
    why.resize(why.size() - 2);
    if (why.starts_with("ERR ")) why.erase(0, 4);
    reply_.buffer.truncate(reply_start);
    discard(client);
    reply_.error("EXECABORT Transaction discarded because of: " + why);
  } else if (client.modes & kInTransaction) {
    client.transaction.failed = true;
  }
  if (spec != nullptr) ++stats().commands[spec->id].rejected;
  count_error(reply_.error_code);
}

// After a command of a client that is in one of its modes or wants no reply.
void Engine::finish(Client& client, const CommandSpec* spec, size_t reply_start) {
  if (client.reply_mode == ReplyMode::skip_next) {
    client.reply_mode = ReplyMode::skip;
    reply_.buffer.truncate(std::min(reply_start, reply_.buffer.size()));
  } else if (client.reply_mode != ReplyMode::on) {
    if (client.reply_mode == ReplyMode::skip) client.reply_mode = ReplyMode::on;
    reply_.buffer.truncate(std::min(reply_start, reply_.buffer.size()));
  }
  if (!client.pushed.empty()) {  // messages are sent to a client that wants no replies, too
    reply_.buffer.append(client.pushed);
    client.pushed.clear();
  }
  if (!(client.modes & kTracks)) return;
  if (tracking.owes_current()) tracking.tell_current(client);
  // CLIENT CACHING holds for the next command or transaction.
  const bool is_client = spec != nullptr && spec->name.starts_with("client|");
  if (!is_client && !(client.modes & kInTransaction)) client.tracking.caching = false;
}

// --- commands that are answered later

void Engine::block(Client& client, uint64_t until_ms, void (*timed_out)(Reply&)) {
  client.blocked = Blocked::waiting;
  client.blocked_until_ms = until_ms;
  client.timed_out = timed_out;
}

void Engine::unblock(Client& client, void (*answer)(Reply&)) {
  late_reply_.protocol = client.protocol;
  late_reply_.buffer.clear();
  answer(late_reply_);
  if (client.reply_mode == ReplyMode::on) {
    client.pushed.append(late_reply_.buffer);
    if (!client.push_waits) {
      client.push_waits = true;
      push_waits_.push_back(&client);
    }
  }
  client.blocked = Blocked::no;
  client.timed_out = nullptr;
  ready_.push_back(client.id);
  unsettled_ = true;
}

// In upkeep: ends the wait of a client whose time is over.
void Engine::release_blocked(Client& client, uint64_t now) {
  if (client.blocked != Blocked::waiting || client.blocked_until_ms == 0 || now < client.blocked_until_ms) return;
  unblock(client, client.timed_out);
}

// Runs what a client has sent while it was blocked.
void Engine::resume(Client& client) {
  if (client.closing) return;
  if (client.put_off != nullptr) {
    const std::unique_ptr<QueuedCommand> command = std::move(client.put_off);
    client.blocked = Blocked::no;
    begin(client);
    ticks_ = clock_.ticks();
    run(client, command->spec, command->args, command->key_hash);
    flush(client);
    current_ = nullptr;
  }
  go_on(client);
  after_processing(client);
}

bool Engine::pauses(const Client& client, const CommandSpec& spec) const {
  constexpr uint32_t kWrites = kWrite | kMayReplicate;
  if (!pause_writes_only_ || (spec.flags & kWrites)) return true;
  return spec.handler == exec && (client.transaction.flags & kWrites);
}

// A pause under way only grows, in time and in what it holds up.
void Engine::pause(uint64_t until_ms, bool writes_only) {
  pause_writes_only_ = writes_only && (pause_until_ms_ == 0 || pause_writes_only_);
  pause_until_ms_ = std::max(pause_until_ms_, until_ms);
  for (Client* client = clients_; client != nullptr; client = client->next) client->modes |= kPaused;
}

void Engine::unpause() {
  pause_until_ms_ = 0;
  for (Client* client = clients_; client != nullptr; client = client->next) {
    client->modes &= static_cast<uint8_t>(~kPaused);
    if (client->blocked != Blocked::paused) continue;
    ready_.push_back(client->id);
    unsettled_ = true;
  }
}

size_t Engine::blocked_clients() const {
  size_t count = 0;
  for (const Client* client = clients_; client != nullptr; client = client->next) {
    count += client->blocked != Blocked::no;
  }
  return count;
}

// --- changes of keys

void Engine::update_observer() {
  constexpr uint32_t kFromObserver = kNotifyExpired | kNotifyEvicted | kNotifyNew;
  const bool wanted = !watches.empty() || tracking.clients() != 0 || (config_.notify_classes & kFromObserver);
  store_->set_observer(wanted ? &listeners_ : nullptr);
}

void Listeners::changed(std::string_view key, Change change) {
  if (!engine_.watches.empty()) engine_.watches.changed(key);
  if (engine_.tracking.clients() != 0) engine_.tracking.changed(key);
  const uint32_t classes = notify_classes(engine_);
  if (classes == 0) return;
  if (change == Change::created && (classes & kNotifyNew)) publish_event(engine_, kNotifyNew, "new", key);
  if (change == Change::expired && (classes & kNotifyExpired)) publish_event(engine_, kNotifyExpired, "expired", key);
  if (change == Change::evicted && (classes & kNotifyEvicted)) publish_event(engine_, kNotifyEvicted, "evicted", key);
}

void Listeners::cleared() {
  if (!engine_.watches.empty()) engine_.watches.cleared();
  if (engine_.tracking.clients() != 0) engine_.tracking.cleared();
}

}  // namespace predis
