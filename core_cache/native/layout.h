// layout.h: what lies where in the shared-memory arena.
//
// The arena is one file in /dev/shm, mapped by one writer (the cache process) and any number of read-only readers.
// It is cut into 64 KiB pages. A run of pages is a slab of equal slots, one large entry, or a piece of the hash index.
//
//   page 0 …            Header | Stats | PageDesc[pages] | directories of the index
//   first_page … pages  runs
//
// Invariant: entries are the truth, all else is derived. An entry is live exactly when its `version` is not 0, and that
// word is stored last when it is written and first when it is freed. Whatever instant the writer is killed at, a walk
// over the page descriptors and the entries' versions finds every published entry; index, free lists and policy queues
// are made anew from it (recovery.cpp). Of two live entries with one key the higher version is the one that counts.
//
// Readers use the index. Each bucket has a sequence lock: odd while the writer changes the bucket or an entry that it
// refers to. A slot is reused only after the bucket that referred to it has changed, so a reader that finds the same
// even number before and after its copy has a value that was current in between.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace predis {

using Ref = uint32_t;  // offset in the arena in units of 1 << Header::unit_shift bytes; 0 is "none"

constexpr uint64_t kMagic = 0x3130736964657250;  // "Predis01"
constexpr uint32_t kLayoutVersion = 9;
constexpr size_t kPageSize = 64 * 1024;
constexpr size_t kBucketsPerPage = 1024;
constexpr uint32_t kCommandSlots = 512;
constexpr uint32_t kLatencyBuckets = 128;
constexpr uint32_t kMaxTenants = 64;

enum class Type : uint8_t { string = 0, list = 1, set = 2, zset = 3, hash = 4 };
constexpr uint8_t kTypeMask = 0x0f;

// A stored key with its value. 32 bytes, then (for keys of 65,535 bytes and more) the key's length in 4 bytes, then the
// key, then the value, then for strings a checksum (checksum.h). All fields but `access` and `freq` are covered by the bucket's sequence lock.
struct Entry {
  uint64_t version;  // 0: free slot; else the number of the write that made this entry
  uint64_t expire_and_tenant;  // low 48 bits: Unix time in ms at which it expires, 0 for never; high 16: tenant
  uint32_t queue_pos;          // place in the eviction policy's queue, 0 for none
  uint32_t access;             // time of the last access, in ticks of 16 ms since the arena's epoch
  uint32_t value_len;
  uint16_t key_len16;  // 65535: the length stands in the 4 bytes behind the header
  uint8_t kind;        // low 4 bits: Type; high 4 bits: flags
  uint8_t freq;        // hits, as the policy counts them

  static constexpr uint16_t kLongKey = 0xffff;
  static constexpr uint64_t kExpireMask = (uint64_t{1} << 48) - 1;

  char* payload() { return reinterpret_cast<char*>(this + 1); }
  const char* payload() const { return reinterpret_cast<const char*>(this + 1); }
  uint32_t key_len() const {
    if (key_len16 != kLongKey) return key_len16;
    uint32_t n;
    __builtin_memcpy(&n, payload(), 4);
    return n;
  }
  size_t key_offset() const { return key_len16 == kLongKey ? 4 : 0; }
  std::string_view key() const { return {payload() + key_offset(), key_len()}; }
  char* value_data() { return payload() + key_offset() + key_len(); }
  std::string_view value() const { return {payload() + key_offset() + key_len(), value_len}; }
  uint64_t expire_at() const { return expire_and_tenant & kExpireMask; }
  uint32_t tenant() const { return static_cast<uint32_t>(expire_and_tenant >> 48); }
  bool live() const { return version != 0; }
  Type type() const { return static_cast<Type>(kind & kTypeMask); }
};
static_assert(sizeof(Entry) == 32);

constexpr uint8_t kFlagRaw = 0x10;   // a string made by APPEND or SETRANGE: OBJECT ENCODING says "raw"
constexpr uint8_t kFlagMain = 0x20;  // s3fifo: in the main queue, not in the small one
constexpr uint8_t kFlagEmbstr = 0x40;  // a number that is kept as text (INCRBYFLOAT): "embstr", not "int"

// One cache line of the index. Slot i holds an entry whose hash has the tag tags[i] (never 0) at refs[i].
struct alignas(64) Bucket {
  static constexpr int kSlots = 11;
  uint32_t seq;             // sequence lock, odd while the writer is at work
  uint8_t tags[kSlots + 1]; // 0: empty; the last byte is always 0
  Ref refs[kSlots];
  uint32_t overflow;        // number of the overflow bucket + 1, 0 for none
};
static_assert(sizeof(Bucket) == 64);

enum class PageUse : uint8_t { free = 0, slab = 1, large = 2, index = 3 };

// What a page is used for. Only the first page of a run is described; the others of it read as free.
struct PageDesc {
  uint8_t use;  // PageUse, stored last
  uint8_t size_class;
  uint16_t reserved;
  uint32_t run_pages;
};
static_assert(sizeof(PageDesc) == 8);

// Counters that the agent reads from outside. Only the writer stores; a reader sees each as a whole.
struct CommandStats {
  uint64_t calls, failed, rejected, nanoseconds;
  uint64_t latency[kLatencyBuckets];  // calls per bucket of stats.h's latency scale
};

struct ArmStats {
  uint64_t hits, misses, evictions;
  uint64_t bytes;  // a gauge: of the entries
};

// One tenant's. Hits to latency are of connections of the tenant's user, the rest of the tenant's keys.
struct TenantStats {
  char name[64];  // NUL-terminated; empty: there is no such tenant
#define PREDIS_TENANT_COUNTERS(X)                                                                              \
  X(hits) X(misses) X(commands) X(errors) X(bytes_in) X(bytes_out) X(throttled) X(nanoseconds)                 \
  X(evicted) X(expired)
#define PREDIS_TENANT_GAUGES(X) X(keys) X(bytes) X(quota)
#define PREDIS_DECLARE(name) uint64_t name;
  PREDIS_TENANT_COUNTERS(PREDIS_DECLARE)
  PREDIS_TENANT_GAUGES(PREDIS_DECLARE)
#undef PREDIS_DECLARE
  uint64_t latency[kLatencyBuckets];
};

struct Stats {
#define PREDIS_COUNTERS(X)                                                                                     \
  X(keyspace_hits) X(keyspace_misses) X(evicted_capacity) X(expired_lazy) X(expired_active)                    \
  X(total_commands) X(total_connections) X(rejected_connections) X(net_input_bytes) X(net_output_bytes)        \
  X(protocol_errors) X(auth_failures) X(error_replies) X(evicted_clients) X(slow_commands)                     \
  X(flushes) X(recoveries) X(recovered_entries) X(recovery_nanoseconds) X(moved_entries)                       \
  X(damaged_entries)                                                                                           \
  X(tls_connections)                                                                                           \
  X(tls_handshake_failures)                                                                                    \
  X(upgrades)                                                                                                  \
  X(snapshots_saved)                                                                                           \
  X(snapshot_failures)                                                                                         \
  X(snapshots_loaded)                                                                                          \
  X(snapshots_refused)                                                                                         \
  X(snapshot_loaded_entries)                                                                                   \
  X(access_denied) X(login_timeouts)                                                                           \
  X(local_read_hits) X(local_read_misses)                                                                      \
  X(logged_accesses)
#define PREDIS_GAUGES(X)                                                                                       \
  X(keys) X(keys_with_expiry) X(connected_clients) X(used_bytes) X(entry_bytes) X(index_bytes)                 \
  X(slab_free_bytes) X(overhead_bytes) X(policy_bytes) X(client_bytes) X(max_bytes) X(pages_used)              \
  X(started_unix_ms) X(heartbeat_unix_ms) X(pid) X(peak_used_bytes) X(max_clients)                             \
  X(collection_index_bytes)                                                                                    \
  X(upgrade_pause_us)                                                                                          \
  X(tls_certificate_ends_unix_ms)                                                                              \
  X(snapshot_unix_ms)                                                                                          \
  X(snapshot_duration_us)                                                                                      \
  X(snapshot_bytes)                                                                                            \
  X(snapshot_entries)                                                                                          \
  X(policy_model_unix_ms)
#define PREDIS_DECLARE(name) uint64_t name;
  PREDIS_COUNTERS(PREDIS_DECLARE)
  PREDIS_GAUGES(PREDIS_DECLARE)
#undef PREDIS_DECLARE
  CommandStats commands[kCommandSlots];  // by CommandSpec::id
  char command_names[kCommandSlots][24]; // NUL-terminated; the reader needs no command table of its own
  ArmStats arms[2];  // of a test of two policy models; they stand still while there is none
  TenantStats tenants[kMaxTenants];      // tenant n at n - 1
};

struct Header {
  uint64_t magic;
  uint32_t layout_version;
  uint32_t unit_shift;
  uint64_t capacity;     // bytes, the file's size
  uint32_t pages;
  uint32_t first_page;   // first page that runs may use
  uint64_t hash_seed[2];
  uint64_t epoch_unix_ms;  // what Entry::access counts from
  uint64_t stats_offset, descs_offset;
  uint64_t directory_offset;  // uint32_t[pages]: page of each 1,024 primary buckets
  uint64_t overflow_offset;   // uint32_t[pages]: page of each 1,024 overflow buckets
  uint64_t check;             // digest of all the above
  // What changes:
  alignas(64) uint32_t generation;  // odd while the whole index is unusable: recovery, FLUSHALL
  uint32_t buckets;                 // linear hashing: primary buckets in use
  uint64_t cleared_version;         // entries up to this version are dead (FLUSHALL is this one store)
  uint64_t cleared_again;           // the same, stored behind it: the higher one counts
  alignas(64) uint64_t next_version;  // changes with every write: not in a cache line that every local read looks at
};

}  // namespace predis
