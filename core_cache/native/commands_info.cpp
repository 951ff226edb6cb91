// commands_info.cpp: INFO. Field names are Redis', as exporters and dashboards read them; what does not exist here
// (forks, replicas, scripts) is left out unless something reads it.
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <functional>

#include "engine.h"
#include "handlers.h"
#include "policy_names.h"
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

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

void server(Context& c, Text& t) {
  const ServerConfig& config = c.engine.config();
  utsname system{};
  uname(&system);
  const uint64_t now_us = unix_us();
  t.section("Server");
  t.line("redis_version", "7.0.15");
  t.line("predis_version", config.version);
  t.line("redis_mode", "standalone");
  t.line("os", std::string(system.sysname) + " " + system.release + " " + system.machine);
  t.line("arch_bits", sizeof(void*) * 8);
  t.line("multiplexing_api", "epoll");
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
  t.line("config_file", "");
  t.line("arena_file", config.arena_file);
}

void clients(Context& c, Text& t) {
  t.section("Clients");
  t.line("connected_clients", c.engine.client_count());
  t.line("cluster_connections", uint64_t{0});
  t.line("maxclients", static_cast<uint64_t>(c.engine.config().max_clients));
  t.line("client_recent_max_input_buffer", c.engine.peak_client_input);
  t.line("client_recent_max_output_buffer", c.engine.peak_client_output);
  t.line("blocked_clients", uint64_t{0});
  t.line("tracking_clients", uint64_t{0});
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
  t.size("used_memory_lua", 0);
  t.size("maxmemory", c.store.max_memory());
  t.line("maxmemory_policy", config_name(c.store.policy()));
  t.real("allocator_frag_ratio", ratio(s.pages_used * kPageSize, used));
  t.line("allocator_frag_bytes", s.slab_free_bytes);
  t.real("mem_fragmentation_ratio", ratio(resident, used));
  t.line("mem_fragmentation_bytes", std::to_string(static_cast<int64_t>(resident) - static_cast<int64_t>(used)));
  t.line("mem_not_counted_for_evict", uint64_t{0});
  t.line("mem_clients_slaves", uint64_t{0});
  t.line("mem_clients_normal", s.client_bytes);
  t.line("mem_aof_buffer", uint64_t{0});
  t.line("mem_allocator", "arena");
  t.line("arena_capacity", c.store.capacity());
  t.line("active_defrag_running", uint64_t{0});
  t.line("lazyfree_pending_objects", uint64_t{0});
}

void persistence(Context& c, Text& t) {
  t.section("Persistence");
  t.line("loading", uint64_t{0});
  t.line("async_loading", uint64_t{0});
  t.line("rdb_changes_since_last_save", uint64_t{0});
  t.line("rdb_bgsave_in_progress", uint64_t{0});
  t.line("rdb_last_save_time", c.engine.stats().started_unix_ms / 1000);
  t.line("rdb_last_bgsave_status", "ok");
  t.line("aof_enabled", uint64_t{0});
  t.line("aof_rewrite_in_progress", uint64_t{0});
  t.line("aof_last_bgrewrite_status", "ok");
  t.line("aof_last_write_status", "ok");
  t.line("warm_restarts", c.engine.stats().recoveries);
  t.line("damaged_entries", c.engine.stats().damaged_entries);
  t.line("warm_restart_keys", c.engine.stats().recovered_entries);
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
  t.line("rejected_connections", s.rejected_connections);
  t.line("sync_full", uint64_t{0});
  t.line("sync_partial_ok", uint64_t{0});
  t.line("sync_partial_err", uint64_t{0});
  t.line("expired_keys", s.expired_lazy + s.expired_active);
  t.line("expired_keys_lazy", s.expired_lazy);
  t.line("expired_keys_active", s.expired_active);
  t.line("evicted_keys", s.evicted_capacity);
  t.line("evicted_clients", s.evicted_clients);
  t.line("keyspace_hits", s.keyspace_hits);
  t.line("keyspace_misses", s.keyspace_misses);
  t.line("pubsub_channels", uint64_t{0});
  t.line("pubsub_patterns", uint64_t{0});
  t.line("latest_fork_usec", uint64_t{0});
  t.line("total_forks", uint64_t{0});
  t.line("migrate_cached_sockets", uint64_t{0});
  t.line("slave_expires_tracked_keys", uint64_t{0});
  t.line("tracking_total_keys", uint64_t{0});
  t.line("unexpected_error_replies", uint64_t{0});
  t.line("total_error_replies", s.error_replies);
  t.line("protocol_errors", s.protocol_errors);
  t.line("auth_failures", s.auth_failures);
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
  if (c.store.size() == 0) return;
  t.line("db0", "keys=" + std::to_string(c.store.size()) + ",expires=" + std::to_string(c.store.expires()) +
                    ",avg_ttl=" + std::to_string(c.store.expires() != 0 ? average_ttl(c) : 0));
}

struct Section {
  std::string_view name;
  bool by_default;
  void (*write)(Context&, Text&);
};

constexpr Section kSections[] = {
    {"server", true, server},           {"clients", true, clients},   {"memory", true, memory},
    {"persistence", true, persistence}, {"stats", true, stats},       {"replication", true, replication},
    {"cpu", true, cpu},                 {"modules", true, modules},   {"commandstats", false, commandstats},
    {"errorstats", true, errorstats},   {"latencystats", false, latencystats},
    {"cluster", true, cluster},         {"keyspace", true, keyspace},
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
    if (chosen & 1u << i) kSections[i].write(c, text);
  }
  c.reply.verbatim("txt", text.out);
}

}  // namespace predis
