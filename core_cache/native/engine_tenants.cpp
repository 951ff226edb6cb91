// engine_tenants.cpp: tenants take turns, and each is counted for. Without tenants, nothing in here is ever called.
#include <ctime>

#include <algorithm>
#include <new>

#include "engine.h"
#include "tenants.h"
#include "words.h"

namespace predis {

namespace {

// The thread's own time: what the system takes from it for others must not count against a tenant.
uint64_t thread_ns() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

constexpr const char* kForeignTracking =
    "NOPERM a tenant's tracking in broadcasting mode needs prefixes that begin with its own";

}  // namespace

void Engine::start_tenants(const std::vector<TenantOptions>& options) {
  if (options.empty()) {
    std::memset(stats().tenants, 0, sizeof stats().tenants);
    return;
  }
  tenants_ = std::make_unique<Tenants>(options, config_.tenants, stats());
}

size_t Engine::process_in_turn(Client& client, char* data, size_t size) {
  turn_end_ = UINT64_MAX;  // whatever became of the last turn
  batch_limit_ = kBatch;
  const uint64_t began = clock_.ticks(), now = clock_.to_ns(began);
  Tenant* const tenant = client.tenant;
  const bool crowded = tenants_->note(tenant, now);
  if (tenant == nullptr) return process_input(client, data, size);
  if (!working_ && on_work && tenants_->must_wait(*tenant, now)) {
    put_aside(client);
    return 0;
  }
  const bool short_turn = on_work && !tenants_->ended && (crowded || tenant->limited());
  if (short_turn) {
    turn_end_ = began + clock_.to_ticks(kTurnNs);
    // The clock is looked at after each batch: a quarter of the turn, so that it is not overrun by a whole batch.
    const double fits = kTurnNs / 4 / std::max(tenant->command_ns, 1.0);
    batch_limit_ = std::clamp(static_cast<size_t>(fits), size_t{1}, kTurnCommands);
  }
  const Stats& all = stats();
  const uint64_t hits = all.keyspace_hits, misses = all.keyspace_misses, errors = all.error_replies,
                 out = all.net_output_bytes, commands = tenant->stats->commands;
  // Reading belongs to the turn: a large value comes in many pieces, each of which holds the others up.
  uint64_t cpu = 0, here = 0;
  if (short_turn) {
    here = thread_ns();
    cpu = reading_ == &client ? read_began_ns_ : here;
  }
  reading_ = nullptr;
  sending_ = 0;
  if (short_turn && client.landing != nullptr && size > client.landing->at) {
    const uint64_t read = thread_ns() - cpu;
    land_more(client, data, size, kTurnNs - std::min(read, kTurnNs / 2));
    // Its command waits for turns in which the rest is done.
    if (size - client.landing->at >= client.landing->value_len && !client.landing->over()) {
      const uint64_t used = thread_ns() - cpu;
      tenants_->charge(*tenant, used, used, 0, clock_.to_ns(clock_.ticks()));
      put_aside(client);
      return 0;
    }
  }
  const size_t consumed = process_input(client, data, size);
  TenantStats& numbers = *tenant->stats;
  numbers.hits += all.keyspace_hits - std::min(hits, all.keyspace_hits);  // CONFIG RESETSTAT may have been among them
  numbers.misses += all.keyspace_misses - std::min(misses, all.keyspace_misses);
  numbers.errors += all.error_replies - std::min(errors, all.error_replies);
  numbers.bytes_out += all.net_output_bytes - std::min(out, all.net_output_bytes);
  numbers.bytes_in += consumed;
  const uint64_t done = clock_.to_ns(clock_.ticks());
  const uint64_t used = short_turn ? thread_ns() - cpu : done - now;
  // A read and a send of little take long when the system does others' network work in them. That is no long turn.
  uint64_t own = used;
  if (short_turn && consumed == size && size <= kLittle && all.net_output_bytes - std::min(out, all.net_output_bytes) <= kLittle) {
    own -= std::min(own, here - cpu + clock_.to_ns(sending_));
  }
  tenants_->charge(*tenant, used, own, numbers.commands - std::min(commands, numbers.commands), done);
  if (consumed < size && !client.closing && !client.held()) {
    // Who sends a large value has had a turn with each piece of it.
    const bool piece = short_turn && !working_ && client.partial.bulk_length() > kTurnReadSize;
    if (ticks_ >= turn_end_ || piece) put_aside(client);
  }
  return consumed;
}

size_t Engine::read_size_in_turn(const Client& client) {
  reading_ = nullptr;
  if (!on_work || !tenants_->crowded()) return kReadSize;
  reading_ = &client;
  read_began_ns_ = thread_ns();
  return kTurnReadSize;
}

void Engine::put_aside(Client& client) {
  Tenant& tenant = *client.tenant;
  client.aside = &tenant;
  client.active_ms = unix_us() / 1000;
  tenant.waiting.push_back(&client);
  ++tenant.stats->throttled;
  if (!working_) client.outlet->pause();  // else it is paused already
  if (!tenants_->awake) {
    tenants_->awake = true;
    on_work();
  }
}

void Engine::take_turn(Client& client) {
  client.aside = nullptr;
  if (client.held()) return;  // drained() or the end of the block goes on with it
  working_ = true;
  reading_ = nullptr;
  try {
    char* data = client.input.data();
    const size_t size = client.input.size();
    client.read_mode = ReadMode::own;
    keep_rest(client, data, size, process(client, data, size));
  } catch (const std::bad_alloc&) {
    client.outlet->abort();  // one client asked for more than there is; the others go on
    client.closing = true;
  }
  working_ = false;
  if (!client.stalled && client.aside == nullptr && !client.closing) client.outlet->resume();
  after_processing(client);
}

int64_t Engine::work() {
  if (tenants_ == nullptr) return -1;
  int64_t wait = -1;
  Tenant* tenant = tenants_->next(clock_.to_ns(clock_.ticks()), wait);
  if (tenant == nullptr) {
    tenants_->awake = false;  // should another be put aside before that, its turn comes at once
    return wait;
  }
  Client& client = *tenant->waiting.front();
  tenant->waiting.pop_front();
  take_turn(client);
  return 0;
}

void Engine::end_turns() {
  if (tenants_ == nullptr) return;
  tenants_->ended = true;
  while (work() == 0) {}
}

uint64_t Engine::keys_of(const Client& client) const {
  return client.tenant != nullptr ? store_->tenant(client.tenant->number).keys : store_->size();
}

void Engine::count_for_tenant(Tenant& tenant, uint64_t ns) {
  TenantStats& numbers = *tenant.stats;
  ++numbers.commands;
  numbers.nanoseconds += ns;
  ++numbers.latency[latency_bucket(ns)];
}

// What a tenant's rights cannot express: tracking with BCAST tells of all keys with a prefix, read or not.
const char* Engine::tenant_problem(const Client& client, const CommandSpec& spec, Args args) const {
  if (spec.name != "client|tracking") return nullptr;
  bool broadcast = false, prefixed = false;
  for (size_t i = 3; i < args.size(); ++i) {
    if (is_word(args[i], "bcast")) {
      broadcast = true;
    } else if (is_word(args[i], "prefix") && i + 1 < args.size()) {
      if (!args[++i].starts_with(client.tenant->prefix)) return kForeignTracking;
      prefixed = true;
    }
  }
  return broadcast && !prefixed ? kForeignTracking : nullptr;
}

}  // namespace predis
