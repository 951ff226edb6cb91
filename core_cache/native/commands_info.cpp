// commands_info.cpp: INFO. Field names are Redis', as exporters and dashboards read them; what does not exist here
// (forks, replicas, scripts) is left out unless something reads it.
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <functional>

#include "engine.h"
#include "handlers.h"
#include "policy_model.h"
#include "policy_names.h"
#include "tenants.h"
#include "words.h"

namespace predis {

namespace {

class Text {
 public:
  std::string out;

  void section(std::string_view name) {
    if (!out.empty()) out += "\r\n";
    out.append("# ").append(name).append("\r\n");
  }
  void line(std::string_view name, std::string_view value) {
    out.append(name).append(":").append(value).append("\r\n");
  }
  void line(std::string_view name, uint64_t value) { line(name, std::to_string(value)); }
  void real(std::string_view name, double value, const char* format = "%.2f") {
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    line(name, text);
  }
  // A size, and the same once more for people: 1.50M.
  void size(const std::string& name, uint64_t bytes) {
    line(name, bytes);
    static constexpr char kUnits[] = "BKMGTP";
    double value = static_cast<double>(bytes);
    size_t unit = 0;
    while (value >= 1024 && unit < 5) {
      value /= 1024;
      ++unit;
    }
    char text[64];
    if (unit == 0) {
      std::snprintf(text, sizeof text, "%lluB", static_cast<unsigned long long>(bytes));
    } else {
      std::snprintf(text, sizeof text, "%.2f%c", value, kUnits[unit]);
    }
    line(name + "_human", text);
  }
};

uint64_t resident_bytes() {
  uint64_t total = 0, resident = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "re")) {
    unsigned long long a, b;
    if (std::fscanf(file, "%llu %llu", &a, &b) == 2) {
      total = a;
      resident = b;
    }
    std::fclose(file);
  }
  (void)total;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// What there is none of here: scripts, replicas, append-only files, forks, threads.
void zeros(Text& t, std::initializer_list<std::string_view> names) {
  for (std::string_view name : names) t.line(name, uint64_t{0});
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

// What this was built from, as 16 hexadecimal digits: another version or another compiler gives another one.
std::string build_id(std::string_view version) {
  uint64_t hash = 0xcbf29ce484222325;
  for (std::string_view part : {version, std::string_view(__VERSION__)}) {
    for (unsigned char c : part) hash = (hash ^ c) * 0x100000001b3;
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::string gcc_version() {
#if defined(__GNUC__) && !defined(__clang__)
  return std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__) + "." + std::to_string(__GNUC_PATCHLEVEL__);
#else
  return "0.0.0";
#endif
}

std::string executable() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  return length > 0 ? std::string(path, static_cast<size_t>(length)) : std::string();
}

void server(Context& c, Text& t) {
  const ServerConfig& config = c.engine.config();
  utsname system{};
  uname(&system);
  const uint64_t now_us = unix_us();
  t.section("Server");
  t.line("redis_version", "7.0.15");
  t.line("redis_git_sha1", "00000000");
  t.line("redis_git_dirty", uint64_t{0});
  t.line("redis_build_id", build_id(config.version));
  t.line("predis_version", config.version);
  t.line("redis_mode", "standalone");
  t.line("os", std::string(system.sysname) + " " + system.release + " " + system.machine);
  t.line("arch_bits", sizeof(void*) * 8);
  t.line("multiplexing_api", "epoll");
  t.line("gcc_version", gcc_version());
  t.line("process_supervised", "no");
  t.line("process_id", static_cast<uint64_t>(getpid()));
  t.line("run_id", c.engine.run_id);
  t.line("tcp_port", static_cast<uint64_t>(config.port));
  if (config.tls.port != 0) {
    t.line("tls_port", static_cast<uint64_t>(config.tls.port));
    t.line("tls_certificate_expires", c.engine.stats().tls_certificate_ends_unix_ms / 1000);
    t.line("tls_connections", c.engine.stats().tls_connections);
    t.line("tls_handshake_failures", c.engine.stats().tls_handshake_failures);
  }
  t.line("server_time_usec", now_us);
  t.line("uptime_in_seconds", c.engine.uptime_seconds());
  t.line("uptime_in_days", c.engine.uptime_seconds() / 86400);
  t.line("hz", static_cast<uint64_t>(config.hz));
  t.line("configured_hz", static_cast<uint64_t>(config.hz));
  t.line("lru_clock", now_us / 1'000'000 & 0xffffff);
  t.line("executable", executable());
  t.line("config_file", "");
  t.line("io_threads_active", uint64_t{0});
  if (c.client.tenant == nullptr) t.line("arena_file", config.arena_file);
}

void clients(Context& c, Text& t) {
  t.section("Clients");
  t.line("connected_clients", c.engine.client_count());
  t.line("cluster_connections", uint64_t{0});
  t.line("maxclients", static_cast<uint64_t>(c.engine.config().max_clients));
  t.line("client_recent_max_input_buffer", c.engine.peak_client_input);
  t.line("client_recent_max_output_buffer", c.engine.peak_client_output);
  t.line("blocked_clients", c.engine.blocked_clients());
  t.line("tracking_clients", c.engine.tracking.clients());
  t.line("clients_in_timeout_table", uint64_t{0});
}

void memory(Context& c, Text& t) {
  c.store.refresh_gauges();
  const Stats& s = c.engine.stats();
  const uint64_t used = s.used_bytes, peak = std::max(s.peak_used_bytes, used), resident = resident_bytes();
  const uint64_t system = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t data = std::min(s.entry_bytes, used);
  auto ratio = [](uint64_t part, uint64_t whole) {
    return whole != 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
  };
  t.section("Memory");
  t.size("used_memory", used);
  t.size("used_memory_rss", resident);
  t.size("used_memory_peak", peak);
  t.real("used_memory_peak_perc", 100 * ratio(used, peak), "%.2f%%");
  t.line("used_memory_overhead", used - data);
  t.line("used_memory_startup", s.overhead_bytes);
  t.line("used_memory_dataset", data);
  t.real("used_memory_dataset_perc", 100 * ratio(data, used), "%.2f%%");
  t.line("allocator_allocated", used);
  t.line("allocator_active", s.pages_used * kPageSize);
  t.line("allocator_resident", s.pages_used * kPageSize);
  t.size("total_system_memory", system);
  zeros(t, {"used_memory_vm_eval"});
  t.size("used_memory_lua", 0);
  zeros(t, {"used_memory_scripts_eval", "number_of_cached_scripts", "number_of_functions", "number_of_libraries",
            "used_memory_vm_functions"});
  t.size("used_memory_vm_total", 0);
  zeros(t, {"used_memory_functions"});
  t.size("used_memory_scripts", 0);
  t.size("maxmemory", c.store.max_memory());
  t.line("maxmemory_policy", config_name(c.store.policy()));
  for (const uint32_t arm : {0u, 1u}) {
    const std::string name = arm == 0 ? "policy_model" : "policy_test_model";
    t.line(name, c.store.model(arm) ? c.store.model(arm)->name() : std::string());
    char checksum[9] = "";
    if (const auto& model = c.store.model(arm)) std::snprintf(checksum, sizeof checksum, "%08x", model->checksum());
    t.line(name + "_checksum", std::string(checksum));
    t.line(name + "_scored", c.store.model_use(arm).scored);
    t.line(name + "_refused", c.store.model_use(arm).refused);
  }
  t.real("allocator_frag_ratio", ratio(s.pages_used * kPageSize, used));
  t.line("allocator_frag_bytes", s.slab_free_bytes);
  const uint64_t arena = s.pages_used * kPageSize;  // its pages in use are all there: none is promised only
  t.real("allocator_rss_ratio", ratio(arena, arena));
  t.line("allocator_rss_bytes", uint64_t{0});
  t.real("rss_overhead_ratio", ratio(resident, arena));
  t.line("rss_overhead_bytes", std::to_string(static_cast<int64_t>(resident) - static_cast<int64_t>(arena)));
  t.real("mem_fragmentation_ratio", ratio(resident, used));
  t.line("mem_fragmentation_bytes", std::to_string(static_cast<int64_t>(resident) - static_cast<int64_t>(used)));
  t.line("mem_not_counted_for_evict", uint64_t{0});
  t.line("mem_clients_slaves", uint64_t{0});
  t.line("mem_clients_normal", s.client_bytes);
  zeros(t, {"mem_replication_backlog", "mem_total_replication_buffers", "mem_cluster_links", "mem_aof_buffer"});
  t.line("mem_allocator", "arena");
  t.line("arena_capacity", c.store.capacity());
  t.line("active_defrag_running", uint64_t{0});
  zeros(t, {"lazyfree_pending_objects", "lazyfreed_objects"});
}

void persistence(Context& c, Text& t) {
  t.section("Persistence");
  t.line("loading", uint64_t{0});
  t.line("async_loading", uint64_t{0});
  const Stats& s = c.engine.stats();
  const bool saved = s.snapshot_unix_ms != 0;
  t.line("rdb_changes_since_last_save", c.store.writes() - std::min(c.engine.writes_saved, c.store.writes()));
  t.line("rdb_bgsave_in_progress", uint64_t{c.engine.saving});
  t.line("rdb_last_save_time", last_save_seconds(c.engine));
  t.line("rdb_last_bgsave_status", c.engine.save_failed ? "err" : "ok");
  t.line("rdb_last_bgsave_time_sec", saved ? std::to_string(s.snapshot_duration_us / 1'000'000) : "-1");
  t.line("rdb_current_bgsave_time_sec",
         c.engine.saving ? std::to_string((unix_us() / 1000 - c.engine.save_began_ms) / 1000) : "-1");
  t.line("rdb_saves", s.snapshots_saved);
  t.line("rdb_last_load_keys_loaded", s.snapshot_loaded_entries);
  zeros(t, {"rdb_last_cow_size", "rdb_last_load_keys_expired"});
  t.line("aof_enabled", uint64_t{0});
  zeros(t, {"aof_rewrite_in_progress", "aof_rewrite_scheduled"});
  t.line("aof_last_rewrite_time_sec", "-1");
  t.line("aof_current_rewrite_time_sec", "-1");
  zeros(t, {"aof_rewrites", "aof_rewrites_consecutive_failures", "aof_last_cow_size"});
  t.line("aof_last_bgrewrite_status", "ok");
  t.line("aof_last_write_status", "ok");
  zeros(t, {"module_fork_in_progress", "module_fork_last_cow_size", "current_cow_peak", "current_cow_size",
            "current_cow_size_age", "current_save_keys_processed", "current_save_keys_total"});
  t.real("current_fork_perc", 0);
  t.line("snapshot_failures", s.snapshot_failures);
  t.line("snapshot_bytes", s.snapshot_bytes);
  t.line("snapshot_keys", s.snapshot_entries);
  t.line("snapshots_loaded", s.snapshots_loaded);
  t.line("snapshots_refused", s.snapshots_refused);
  t.line("upgrades", s.upgrades);
  t.line("upgrade_pause_usec", s.upgrade_pause_us);
  t.line("warm_restarts", c.engine.stats().recoveries);
  t.line("damaged_entries", c.engine.stats().damaged_entries);
  t.line("warm_restart_keys", c.engine.stats().recovered_entries);
}

// The share of keys with an expiry whose time has passed but which are still there, estimated as Redis does: from a few
// drawn at random. Drawing an expired one removes it and counts it.
double stale_percentage(Context& c) {
  const uint64_t before = c.engine.stats().expired_lazy;
  uint64_t alive = 0;
  for (int i = 0; i < 20 && c.store.expires() != 0; ++i) {
    const Entry* entry = c.store.random();
    alive += entry != nullptr && entry->expire_at() != 0;
  }
  const uint64_t stale = c.engine.stats().expired_lazy - before;
  return stale != 0 ? 100.0 * static_cast<double>(stale) / static_cast<double>(stale + alive) : 0.0;
}

void stats(Context& c, Text& t) {
  const Stats& s = c.engine.stats();
  t.section("Stats");
  t.line("total_connections_received", s.total_connections);
  t.line("total_commands_processed", s.total_commands);
  t.line("instantaneous_ops_per_sec", c.engine.per_second(0));
  t.line("total_net_input_bytes", s.net_input_bytes);
  t.line("total_net_output_bytes", s.net_output_bytes);
  t.real("instantaneous_input_kbps", static_cast<double>(c.engine.per_second(1)) / 1024);
  t.real("instantaneous_output_kbps", static_cast<double>(c.engine.per_second(2)) / 1024);
  zeros(t, {"total_net_repl_input_bytes", "total_net_repl_output_bytes"});
  t.real("instantaneous_input_repl_kbps", 0);
  t.real("instantaneous_output_repl_kbps", 0);
  t.line("rejected_connections", s.rejected_connections);
  t.line("sync_full", uint64_t{0});
  t.line("sync_partial_ok", uint64_t{0});
  t.line("sync_partial_err", uint64_t{0});
  t.line("expired_keys", s.expired_lazy + s.expired_active);
  t.line("expired_keys_lazy", s.expired_lazy);
  t.line("expired_keys_active", s.expired_active);
  t.real("expired_stale_perc", stale_percentage(c));
  t.line("expired_time_cap_reached_count", c.engine.upkeep_cut_short);
  t.line("expire_cycle_cpu_milliseconds", c.engine.upkeep_ns / 1'000'000);
  t.line("evicted_keys", s.evicted_capacity);
  t.line("evicted_clients", s.evicted_clients);
  // What a write needs is evicted before it: maxmemory is never exceeded for a time.
  zeros(t, {"total_eviction_exceeded_time", "current_eviction_exceeded_time"});
  t.line("keyspace_hits", s.keyspace_hits);
  t.line("keyspace_misses", s.keyspace_misses);
  t.line("local_read_hits", s.local_read_hits);
  t.line("local_read_misses", s.local_read_misses);
  t.line("pubsub_channels", c.engine.pubsub.channels(ChannelKind::plain).size());
  t.line("pubsub_patterns", c.engine.pubsub.patterns());
  t.line("pubsubshard_channels", c.engine.pubsub.channels(ChannelKind::shard).size());
  t.line("latest_fork_usec", uint64_t{0});
  t.line("total_forks", uint64_t{0});
  t.line("migrate_cached_sockets", uint64_t{0});
  t.line("slave_expires_tracked_keys", uint64_t{0});
  // Entries that were moved to make room within the arena.
  t.line("active_defrag_hits", s.moved_entries);
  t.line("active_defrag_misses", uint64_t{0});
  t.line("active_defrag_key_hits", s.moved_entries);
  t.line("active_defrag_key_misses", uint64_t{0});
  t.line("tracking_total_keys", c.engine.tracking.keys());
  t.line("tracking_total_items", c.engine.tracking.items());
  t.line("tracking_total_prefixes", c.engine.tracking.prefixes());
  zeros(t, {"unexpected_error_replies", "dump_payload_sanitizations", "io_threaded_reads_processed",
            "io_threaded_writes_processed"});
  t.line("total_error_replies", s.error_replies);
  t.line("protocol_errors", s.protocol_errors);
  t.line("auth_failures", s.auth_failures);
  t.line("access_denied", s.access_denied);
  t.line("login_timeouts", s.login_timeouts);
  t.line("slow_commands", s.slow_commands);
  t.line("flushes", s.flushes);
  t.line("total_reads_processed", c.engine.total_reads);
  t.line("total_writes_processed", c.engine.total_writes);
}

void replication(Context& c, Text& t) {
  t.section("Replication");
  t.line("role", "master");
  t.line("connected_slaves", uint64_t{0});
  t.line("master_failover_state", "no-failover");
  t.line("master_replid", c.engine.run_id);
  t.line("master_replid2", std::string(40, '0'));
  t.line("master_repl_offset", uint64_t{0});
  t.line("second_repl_offset", "-1");
  t.line("repl_backlog_active", uint64_t{0});
  t.line("repl_backlog_size", uint64_t{0});
  t.line("repl_backlog_first_byte_offset", uint64_t{0});
  t.line("repl_backlog_histlen", uint64_t{0});
}

void cpu(Context&, Text& t) {
  rusage self{}, children{}, thread{};
  getrusage(RUSAGE_SELF, &self);
  getrusage(RUSAGE_CHILDREN, &children);
  getrusage(RUSAGE_THREAD, &thread);
  t.section("CPU");
  t.real("used_cpu_sys", seconds(self.ru_stime), "%.6f");
  t.real("used_cpu_user", seconds(self.ru_utime), "%.6f");
  t.real("used_cpu_sys_children", seconds(children.ru_stime), "%.6f");
  t.real("used_cpu_user_children", seconds(children.ru_utime), "%.6f");
  t.real("used_cpu_sys_main_thread", seconds(thread.ru_stime), "%.6f");
  t.real("used_cpu_user_main_thread", seconds(thread.ru_utime), "%.6f");
}

void modules(Context&, Text& t) { t.section("Modules"); }

void commandstats(Context& c, Text& t) {
  t.section("Commandstats");
  for (const CommandSpec* spec : all_commands()) {
    const CommandStats& s = c.engine.stats().commands[spec->id];
    if (s.calls == 0 && s.rejected == 0) continue;
    const uint64_t us = s.nanoseconds / 1000;
    char text[256];
    std::snprintf(text, sizeof text, "calls=%llu,usec=%llu,usec_per_call=%.2f,rejected_calls=%llu,failed_calls=%llu",
                  static_cast<unsigned long long>(s.calls), static_cast<unsigned long long>(us),
                  s.calls != 0 ? static_cast<double>(s.nanoseconds) / 1000 / static_cast<double>(s.calls) : 0.0,
                  static_cast<unsigned long long>(s.rejected), static_cast<unsigned long long>(s.failed));
    t.line("cmdstat_" + std::string(spec->name), text);
  }
}

void errorstats(Context& c, Text& t) {
  t.section("Errorstats");
  for (const auto& [code, count] : c.engine.error_counts) t.line("errorstat_" + code, "count=" + std::to_string(count));
}

void latencystats(Context& c, Text& t) {
  t.section("Latencystats");
  if (!c.engine.config().latency_tracking) return;
  for (const CommandSpec* spec : all_commands()) {
    const CommandStats& s = c.engine.stats().commands[spec->id];
    if (s.calls == 0) continue;
    auto us = [&](double quantile) { return static_cast<double>(latency_quantile_ns(s.latency, quantile)) / 1000; };
    char text[128];
    std::snprintf(text, sizeof text, "p50=%.3f,p99=%.3f,p99.9=%.3f", us(0.5), us(0.99), us(0.999));
    t.line("latency_percentiles_usec_" + std::string(spec->name), text);
  }
}

void cluster(Context&, Text& t) {
  t.section("Cluster");
  t.line("cluster_enabled", uint64_t{0});
}

// The mean time to live of a few keys drawn at random; 0 when none of them expires.
uint64_t average_ttl(Context& c) {
  uint64_t sum = 0, seen = 0;
  for (int i = 0; i < 16; ++i) {
    const Entry* entry = c.store.random();
    if (entry == nullptr) break;
    if (entry->expire_at() == 0) continue;
    sum += entry->expire_at() - std::min(entry->expire_at(), c.store.now_ms());
    ++seen;
  }
  return seen != 0 ? sum / seen : 0;
}

void keyspace(Context& c, Text& t) {
  t.section("Keyspace");
  if (c.client.tenant != nullptr) {
    if (const uint64_t own = c.engine.keys_of(c.client)) t.line("db0", "keys=" + std::to_string(own));
    return;
  }
  if (c.store.size() == 0) return;
  t.line("db0", "keys=" + std::to_string(c.store.size()) + ",expires=" + std::to_string(c.store.expires()) +
                    ",avg_ttl=" + std::to_string(c.store.expires() != 0 ? average_ttl(c) : 0));
}

// A line for each tenant; a tenant is told of itself.
void tenants(Context& c, Text& t) {
  if (!c.engine.has_tenants()) return;
  c.store.refresh_gauges();
  t.section("Tenants");
  for (uint32_t i = 1; i < c.store.tenants(); ++i) {
    if (c.client.tenant != nullptr && c.client.tenant->number != i) continue;
    const TenantStats& s = c.engine.stats().tenants[i - 1];
    std::string text;
#define PREDIS_TELL(field) text += (text.empty() ? "" : ",") + std::string(#field "=") + std::to_string(s.field);
    PREDIS_TENANT_GAUGES(PREDIS_TELL)
    PREDIS_TENANT_COUNTERS(PREDIS_TELL)
#undef PREDIS_TELL
    for (const auto& [name, quantile] : {std::pair{"p50_usec", 0.5}, {"p99_usec", 0.99}, {"p99.9_usec", 0.999}}) {
      char number[32];
      std::snprintf(number, sizeof number, "%.3f", static_cast<double>(latency_quantile_ns(s.latency, quantile)) / 1000);
      text += concat({",", name, "=", number});
    }
    t.line(concat({"tenant_", s.name}), text);
  }
}

struct Section {
  std::string_view name;
  bool by_default;
  void (*write)(Context&, Text&);
  bool for_tenants = false;  // what they are told tells nothing of others
};

constexpr Section kSections[] = {
    {"server", true, server, true},           {"clients", true, clients},   {"memory", true, memory},
    {"persistence", true, persistence}, {"stats", true, stats},       {"replication", true, replication},
    {"cpu", true, cpu},                 {"modules", true, modules},   {"commandstats", false, commandstats},
    {"errorstats", true, errorstats},   {"latencystats", false, latencystats},
    {"cluster", true, cluster},         {"keyspace", true, keyspace, true},
    {"tenants", true, tenants, true},
};

}  // namespace

void info(Context& c) {
  uint32_t chosen = 0;
  auto choose = [&](auto&& wanted) {
    for (size_t i = 0; i < std::size(kSections); ++i) {
      if (wanted(kSections[i])) chosen |= 1u << i;
    }
  };
  const bool plain = c.args.size() == 1;
  for (size_t i = 1; i < c.args.size(); ++i) {
    const std::string_view word = c.args[i];
    if (is_word(word, "all") || is_word(word, "everything")) {
      choose([](const Section&) { return true; });
    } else if (is_word(word, "default")) {
      choose([](const Section& section) { return section.by_default; });
    } else {
      choose([&](const Section& section) { return is_word(word, section.name); });
    }
  }
  if (plain) choose([](const Section& section) { return section.by_default; });
  Text text;
  for (size_t i = 0; i < std::size(kSections); ++i) {
    if (c.client.tenant != nullptr && !kSections[i].for_tenants) continue;
    if (chosen & 1u << i) kSections[i].write(c, text);
  }
  c.reply.verbatim("txt", text.out);
}

}  // namespace predis
