// config.h: what CONFIG GET and CONFIG SET know.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace predis {

struct TlsConfig {
  int64_t port = 0;  // 0: off
  std::string cert, key, ca;  // files
  std::string auth_clients = "no";  // or optional, or required
  std::string min_version = "1.2";
  std::string ciphers;  // of TLS 1.2; empty: the library's
};

// How many unsent bytes a client may have: never more than `hard`, and `soft` for so many seconds; 0 is no limit.
struct OutputLimit {
  int64_t hard = 0, soft = 0, soft_seconds = 0;
};

// What a tenant's user may do beside its rights; the tenant's keys are the business of the store.
struct TenantLimits {
  std::string password_hash;    // SHA-256 in hexadecimal
  uint64_t ops_per_second = 0;  // 0: no limit
  double cpu_share = 0;         // of the engine's thread; 0: no limit but what others need
};

struct ServerConfig {
  // Given at start.
  std::string bind = "127.0.0.1";
  int64_t port = 0;
  std::string unix_socket;
  int64_t backlog = 511;
  std::string data_dir;
  std::string arena_file;  // as it is found in data_dir
  std::string version = "0";
  std::string acl_file;  // of users; empty: none
  std::vector<TenantLimits> tenants;  // of StoreOptions::tenants, in that order
  TlsConfig tls;  // all but the port can be changed by CONFIG SET

  // Changed by CONFIG SET.
  bool protected_mode = true;   // without a password, only this machine may connect
  int64_t acl_log_max_length = 128;
  int64_t login_timeout = 60;   // seconds a client has to log in while half of max_clients are connected; 0: no limit
  int64_t max_clients = 10000;
  int64_t timeout = 0;          // seconds without a command until a client is closed; 0: never
  int64_t tcp_keepalive = 300;  // seconds; 0: off
  int64_t slowlog_slower_than = 10000;  // microseconds; -1: off
  int64_t slowlog_max_length = 128;
  int64_t latency_threshold = 0;  // milliseconds; 0: off
  bool latency_tracking = true;
  int64_t max_bulk = int64_t{512} << 20;
  int64_t query_buffer_limit = int64_t{1} << 30;
  // client-output-buffer-limit: normal clients, replicas (of which there are none), subscribers
  std::array<OutputLimit, 3> output_limits = {{{int64_t{1} << 30, 0, 0},
                                               {int64_t{256} << 20, int64_t{64} << 20, 60},
                                               {int64_t{32} << 20, int64_t{8} << 20, 60}}};
  int64_t max_memory_clients = int64_t{2} << 30;  // all clients' buffers together; 0: no limit
  int64_t lfu_log_factor = 10;
  int64_t lfu_decay_minutes = 1;
  int64_t hz = 10;
  // Up to which sizes OBJECT ENCODING calls a collection compact.
  int64_t hash_max_entries = 512, hash_max_value = 64;
  int64_t set_max_intset = 512;
  int64_t zset_max_entries = 128, zset_max_value = 64;
  int64_t list_max_size = -2, list_compress_depth = 0;
  uint32_t notify_classes = 0;  // notify-keyspace-events, as NotifyClass
  int64_t tracking_table_max_keys = 1'000'000;  // 0: no limit
  std::string log_level = "notice";
};

}  // namespace predis
