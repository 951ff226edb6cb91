// engine_cron.cpp: what the engine does about ten times a second, and the numbers that it keeps.
#include <malloc.h>

#include <algorithm>

#include "engine.h"

namespace predis {

namespace {
constexpr uint64_t kCloseGraceMs = 10'000;  // for a client that does not read its last replies
constexpr uint64_t kTrimEvery = 100;        // samples of the rates, which are ten a second
constexpr int kTrimOver = 16 << 20;         // bytes that malloc keeps
constexpr uint64_t kLocalReadsBudgetUs = 500;
constexpr int kMapFrom = SpareBuffers::kLeast;  // bytes

size_t free_heap() {
#ifdef __GLIBC__
  return mallinfo2().fordblks;
#else
  return 0;
#endif
}
}  // namespace

// A buffer that the system maps on its own grows without being copied, and its memory goes back when it is freed. Left to
// itself, malloc stops mapping such buffers as soon as it has seen one freed.
void Engine::map_large_buffers() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, kMapFrom);
  mallopt(M_TRIM_THRESHOLD, kTrimOver);  // cron() sees to it; free() would each time that the last block of the heap goes
#endif
}

void Engine::give_back_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

uint64_t Engine::uptime_seconds() const { return (store_->now_ms() - std::min(started_ms_, store_->now_ms())) / 1000; }

bool Engine::cron(uint64_t budget_us) {
  const uint64_t now = unix_us() / 1000;
  store_->set_now(now);
  current_ = nullptr;
  const uint64_t start = clock_.ticks();
  bool more = store_->upkeep(budget_us);
  const uint64_t took = clock_.to_ns(clock_.ticks() - start);
  upkeep_ns += took;
  upkeep_cut_short += more;
  if (config_.latency_threshold != 0) {
    const uint64_t ms = took / 1'000'000;
    if (ms >= static_cast<uint64_t>(config_.latency_threshold)) add_latency("expire-cycle", ms);
  }
  if (spare_buffers_.trim()) more = true;
  store_->refresh_gauges();
  stats().heartbeat_unix_ms = now;
  if (rate_last_ms_ == 0 || now >= rate_last_ms_ + 90) {
    sample_rates();
    refresh_clients();
    local_reads_.collect(*store_, kLocalReadsBudgetUs);
    if (++samples_ % kTrimEvery == 0 && free_heap() > size_t{kTrimOver}) give_back_memory();
  }
  if (tracking.clients() != 0) tracking.limit(1000);
  if (pause_until_ms_ != 0 && now >= pause_until_ms_) unpause();
  settle();
  return more;
}

// Closes clients that have been idle for too long or do not read their last replies, and adds up their memory.
void Engine::refresh_clients() {
  const uint64_t now = store_->now_ms();
  // Whoever only takes up room in the list of clients goes first; while there is room, nobody is hurried.
  const bool crowded = client_count_ * 2 >= static_cast<size_t>(config_.max_clients);
  size_t total = 0;
  for (Client* client = clients_; client != nullptr; client = client->next) {
    if (client->killed) continue;
    if (client->unsent != 0) client->unsent = client->outlet->unsent();
    total += client->memory();
    if (client->stalled && client->unsent == 0) drained(*client);
    const OutputLimit& limit = output_limit(*client);
    if (limit.soft <= 0 || client->unsent <= static_cast<size_t>(limit.soft)) {
      client->over_soft_limit_since_ms = 0;
    } else if (client->over_soft_limit_since_ms == 0) {
      client->over_soft_limit_since_ms = now;
    } else if (now - client->over_soft_limit_since_ms > static_cast<uint64_t>(limit.soft_seconds) * 1000) {
      kill(*client);
      continue;
    }
    if (client->closing) {
      if (client->closing_since_ms != 0 && now > client->closing_since_ms + kCloseGraceMs) kill(*client);
    } else if (client->blocked != Blocked::no) {
      release_blocked(*client, now);
    } else if (config_.login_timeout > 0 && crowded && needs_login(*client) &&
               now > client->created_ms + static_cast<uint64_t>(config_.login_timeout) * 1000) {
      ++stats().login_timeouts;
      kill(*client);
    } else if (config_.timeout > 0 && !(client->modes & kSubscriber) &&
               now > client->active_ms + static_cast<uint64_t>(config_.timeout) * 1000) {
      kill(*client);
    }
  }
  stats().client_bytes = total + spare_buffers_.total();
  if (config_.max_memory_clients > 0 && total > static_cast<size_t>(config_.max_memory_clients)) evict_clients(total);
}

// The clients with the largest buffers go first, until the rest fits maxmemory-clients.
void Engine::evict_clients(size_t total) {
  std::vector<std::pair<size_t, Client*>> sizes;
  for (Client* client = clients_; client != nullptr; client = client->next) {
    if (!client->killed && !client->no_evict) sizes.emplace_back(client->memory(), client);
  }
  std::sort(sizes.begin(), sizes.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (auto& [size, client] : sizes) {
    if (total <= static_cast<size_t>(config_.max_memory_clients)) break;
    total -= size;
    ++stats().evicted_clients;
    kill(*client);
  }
}

// Commands, bytes in and bytes out per second, over the last 16 samples as in Redis.
void Engine::sample_rates() {
  const uint64_t now = store_->now_ms();
  const uint64_t elapsed = now - std::min(rate_last_ms_, now);
  const std::array<uint64_t, 3> current = {stats().total_commands, stats().net_input_bytes, stats().net_output_bytes};
  if (rate_last_ms_ != 0 && elapsed != 0) {
    for (size_t metric = 0; metric < 3; ++metric) {
      const uint64_t grown = current[metric] - std::min(rate_last_[metric], current[metric]);
      rate_samples_[metric][rate_index_] = grown * 1000 / elapsed;
      uint64_t sum = 0;
      for (uint64_t sample : rate_samples_[metric]) sum += sample;
      rates_[metric] = sum / kRateSamples;
    }
    rate_index_ = (rate_index_ + 1) % kRateSamples;
  }
  rate_last_ = current;
  rate_last_ms_ = now;
}

void Engine::reset_commands_stats() {
  Stats& all = stats();
  std::memset(all.commands, 0, sizeof all.commands);
  error_counts.clear();
}

// All counters but those that tell how this process came by its data.
void Engine::reset_stats() {
  Stats& all = stats();
  const uint64_t recoveries = all.recoveries, entries = all.recovered_entries, took = all.recovery_nanoseconds,
                 damaged = all.damaged_entries;
  const uint64_t upgrades = all.upgrades;
#define PREDIS_ZERO(name) all.name = 0;
  PREDIS_COUNTERS(PREDIS_ZERO)
#undef PREDIS_ZERO
  for (ArmStats& arm : all.arms) arm = {};
  all.recoveries = recoveries;
  all.damaged_entries = damaged;
  all.recovered_entries = entries;
  all.recovery_nanoseconds = took;
  all.upgrades = upgrades;
  for (TenantStats& tenant : all.tenants) {
#define PREDIS_ZERO(name) tenant.name = 0;
    PREDIS_TENANT_COUNTERS(PREDIS_ZERO)
#undef PREDIS_ZERO
    std::memset(tenant.latency, 0, sizeof tenant.latency);
  }
  reset_commands_stats();
  total_reads = total_writes = 0;
  upkeep_ns = upkeep_cut_short = 0;
  peak_client_input = peak_client_output = 0;
  rates_ = {};
  rate_samples_ = {};
  rate_last_ms_ = 0;
}

}  // namespace predis
