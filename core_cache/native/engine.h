// engine.h: takes bytes from clients, runs the commands in them and gives the replies to the clients' outlets. One
// thread; no socket, no event loop.
//
// Commands are run in batches of at most kBatch: all of a batch's commands are parsed first, then their keys' buckets
// and entries are prefetched, then they run one after the other into one reply buffer, which is written once. Parsing
// makes views into the input, so a batch ends before the input may move.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "acl.h"
#include "access_log.h"
#include "client.h"
#include "command.h"
#include "config.h"
#include "local_reads.h"
#include "pubsub.h"
#include "spare_buffers.h"
#include "stats.h"
#include "tracking.h"
#include "transaction.h"

namespace predis {

constexpr size_t kReadSize = 64 * 1024;       // of the read buffer that all clients share
constexpr size_t kSharedHead = 32 * 1024;     // a beginning up to this size is put in front of the shared buffer
constexpr size_t kTurnReadSize = 8 * 1024;    // of it, where a tenant is to take short turns
constexpr size_t kBatch = 128;                // commands
constexpr size_t kFlushSize = 256 * 1024;     // replies are written when there are more than this many bytes
constexpr size_t kOutputPause = 1024 * 1024;  // a client with more unsent bytes than this is not read from

struct SlowlogEntry {
  uint64_t id, unix_seconds, microseconds;
  std::vector<std::string> args;
  std::string address, name;
};

// LATENCY's samples of one event: at most 160, one per second.
struct LatencyEvent {
  static constexpr size_t kSamples = 160;
  struct Sample {
    uint64_t unix_seconds, milliseconds;
  };
  std::deque<Sample> samples;
  uint64_t worst = 0;
};

// The users cannot be read from their file; the message is a sentence for people.
class AclFileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Tenants;  // tenants.h

// Hands the store's changes on to those who listen.
class Listeners final : public KeyObserver {
 public:
  explicit Listeners(Engine& engine) : engine_(engine) {}
  void changed(std::string_view key, Change change) override;
  void cleared() override;

 private:
  Engine& engine_;
};

class Engine {
 public:
  Engine(const StoreOptions& options, ServerConfig config);  // throws ArenaError
  ~Engine();
  Engine(const Engine&) = delete;

  // --- connections
  // Gives false, having answered and closed it, when there are too many. The client must outlive its removal.
  bool add(Client& client);
  void remove(Client& client);
  struct Span {
    char* data;
    size_t size;
  };
  Span read_span(Client& client);              // where the next bytes from the client go
  void received(Client& client, size_t size);  // so many bytes have been put there
  void feed(Client& client, std::string_view data);  // both, with a copy
  void drained(Client& client);                // the outlet's queue is empty again

  // --- users (engine_access.cpp)
  // Before the first connection: the default user's password, then the ACL file, which may say otherwise. Throws
  // AclFileError.
  void start_users(std::string_view default_password);
  Acl& acl() { return acl_; }
  bool needs_login(const Client& client) const;
  void log_out(Client& client);  // back to what a new connection is
  // Logs in, or notes the failure; `command` is the one that asked for it.
  bool authenticate(Client& client, std::string_view command, std::string_view name, std::string_view password);
  void rights_changed();                                          // after any change of a user
  void delete_user(std::string_view name, const Client* asking);  // and ends the user's connections
  std::string load_users(const Client* asking);                   // from the ACL file; gives what is wrong with it
  // Why the client may not run the command, which is noted; nullptr when it may.
  const char* access_problem(Client& client, const CommandSpec& spec, Args args);
  void forget_secrets(Client& client, Args args);  // once the command has been run

  // Logs the accesses to this share of the keys (at most kMostAccessRate) beside the arena. Throws ArenaError.
  void start_access_log(const std::string& arena_path, double rate, bool plain_keys);

  // --- tenants (engine_tenants.cpp): who sends more than its part waits for its turn
  // Runs the next one's commands for a moment. Gives the nanoseconds until it wants to be called again: 0 for at once,
  // but after others' input was looked at; negative: not before on_work.
  int64_t work();
  std::function<void()> on_work;  // called when work() has something to do; without it nobody ever waits
  void end_turns();               // everybody is served at once from now on: the end is near
  bool has_tenants() const { return tenants_ != nullptr; }
  uint64_t keys_of(const Client& client) const;  // DBSIZE

  // --- upkeep, about ten times a second; true when there is more to do at once
  bool cron(uint64_t budget_us);

  // --- for commands
  Store& store() { return *store_; }
  Stats& stats() { return store_->stats(); }
  ServerConfig& config() { return config_; }
  const ServerConfig& config() const { return config_; }
  Client* first_client() const { return clients_; }
  size_t client_count() const { return client_count_; }
  Client* find_client(uint64_t id) const;
  Client* current() const { return current_; }  // whose commands are running; nullptr in upkeep
  void kill(Client& client);         // aborted once the running command is done; its replies are lost
  void begin_close(Client& client);  // takes no more commands; closed once its replies are sent
  void count_error(std::string_view code);
  uint64_t unix_ms() const { return store_->now_ms(); }
  uint64_t uptime_seconds() const;
  void reset_stats();
  void reset_commands_stats();
  void add_latency(std::string_view event, uint64_t milliseconds);
  const TickClock& clock() const { return clock_; }
  uint64_t per_second(size_t metric) const { return rates_[metric]; }  // 0: commands, 1: bytes in, 2: bytes out
  void trim_slowlog();
  void log_warning(std::string text);          // for the server's log; the process takes it from `warnings`
  static void map_large_buffers();
  static void give_back_memory();  // what malloc keeps of freed buffers
  // What SHUTDOWN calls; without it SHUTDOWN is refused. The engine goes on until its host stops it.
  std::function<void()> on_stop;
  bool request_stop();
  bool begin_monitor(Client& client);  // false where it monitors already
  void end_monitor(Client& client);

  // Given by the server around the engine. Puts TLS settings in force; gives why they cannot be, "" when they are.
  std::function<std::string(const TlsConfig&)> renew_tls;
  // Makes a snapshot, in the background or at once; gives why it cannot, "" when it does.
  std::function<std::string(bool background)> save;
  bool saving = false, save_failed = false;  // now; the last time
  uint64_t save_began_ms = 0, writes_at_save = 0, writes_saved = 0;

  // --- messages from one client to others, transactions (engine_push.cpp)
  PubSub pubsub{*this};
  Tracking tracking{*this};
  Watches watches;
  // Appends a RESP3 push without its first byte (an array to a RESP2 client) to what the client is sent: behind what
  // has been answered so far where it is the running client, else at the end of the running batch.
  void push(Client& client, std::string_view message);
  void unsettle() { unsettled_ = true; }  // there is something to do when the running batch is done
  void update_observer();                 // to be called whenever somebody begins or ends to listen to changes of keys
  void forget(Client& client);            // ends its subscriptions, its tracking, its transaction
  void discard(Client& client);           // DISCARD, and the end of EXEC
  void run_queue(Client& client);         // EXEC: answers with an array of all replies
  bool in_exec() const { return in_exec_; }

  // --- commands without an answer yet
  // Nothing more of the running client is run until unblock(). At `until_ms` (0: never) `timed_out` answers it.
  void block(Client& client, uint64_t until_ms, void (*timed_out)(Reply&));
  // Ends that with an answer.
  void unblock(Client& client, void (*answer)(Reply&));
  void pause(uint64_t until_ms, bool writes_only);  // CLIENT PAUSE
  void unpause();
  size_t blocked_clients() const;

  std::deque<SlowlogEntry> slowlog;  // newest first
  uint64_t slowlog_next_id = 0;
  std::map<std::string, LatencyEvent, std::less<>> latency_events;
  std::map<std::string, uint64_t, std::less<>> error_counts;
  std::vector<std::string> warnings;
  std::string run_id;
  size_t peak_client_input = 0, peak_client_output = 0;
  uint64_t total_reads = 0, total_writes = 0;
  uint64_t upkeep_ns = 0, upkeep_cut_short = 0;  // time spent on upkeep; how often its budget was not enough

 private:
  struct Pending {
    const CommandSpec* spec;
    uint32_t first_arg, args;
    uint64_t hash;
    char* end;  // behind the command in the input
  };
  size_t process(Client& client, char* data, size_t size);
  size_t process_input(Client& client, char* data, size_t size);
  size_t process_in_turn(Client& client, char* data, size_t size);
  void put_aside(Client& client);
  void take_turn(Client& client);
  void count_for_tenant(Tenant& tenant, uint64_t ns);
  size_t read_size_in_turn(const Client& client);  // how much to read of a tenant's connection at once
  void start_tenants(const std::vector<TenantOptions>& options);
  const char* tenant_problem(const Client& client, const CommandSpec& spec, Args args) const;
  Parse parse_batch(Client& client, char*& at, char* end);
  char* run_batch(Client& client, char* at);
  void begin(Client& client);
  void run(Client& client, const CommandSpec* spec, Args args, uint64_t hash);
  void execute(Client& client, const CommandSpec& spec, Args args, uint64_t hash);
  bool detain(Client& client, const CommandSpec& spec, Args args, uint64_t hash);
  const char* forbidden(Client& client, const CommandSpec& spec);
  bool pauses(const Client& client, const CommandSpec& spec) const;
  void reject(Client& client, const CommandSpec* spec, size_t reply_start);
  void finish(Client& client, const CommandSpec* spec, size_t reply_start);
  void log_accesses();  // engine_log.cpp
  bool find_key(const CommandSpec& spec, Args args, uint64_t hash, std::vector<KeyArgument>& keys,
                std::string_view& key) const;
  void unknown_command(Client& client, Args args);
  const char* refusal(Client& client, const CommandSpec& spec, Args args);
  bool still_allowed(Client& client, const CommandSpec& spec, Args args);
  bool refused_by_protected_mode(const Client& client) const;
  void refuse_protected(Client& client);
  void log_in(Client& client, const User& user);
  void let_go(const User& user, const Client* asking);
  void note_denied(Client& client, Denied reason, std::string_view object, std::string_view user);
  void count_call(const CommandSpec& spec, Client& client, Args args, uint64_t ns);
  void log_slow(const CommandSpec& spec, Client& client, Args args, uint64_t ns);
  void show_to_monitors(const Client& client, const CommandSpec& spec, Args args);
  void deliver_to_monitors();
  bool flush(Client& client);  // false when the client must be stalled or is gone
  void protocol_error(Client& client);
  void keep_rest(Client& client, char* data, size_t size, size_t consumed);
  void expect(Client& client, const char* data, size_t size);  // engine_landing.cpp
  void land_more(Client& client, const char* data, size_t size, uint64_t slice_ns);
  bool stores_values(const Client& client, const char* data) const;
  void after_processing(Client& client);
  const OutputLimit& output_limit(const Client& client) const;
  void settle();
  void send_pushed();
  void resume(Client& client);
  void go_on(Client& client);
  void release_blocked(Client& client, uint64_t now);
  void refresh_clients();
  void evict_clients(size_t total);
  void sample_rates();
  void reap();

  ServerConfig config_;
  TickClock clock_;
  std::unique_ptr<Store> store_;
  AccessSample& sample_;
  std::unique_ptr<AccessLog> access_log_;
  Acl acl_;
  LocalReads local_reads_;
  Client* clients_ = nullptr;
  Client* last_client_ = nullptr;
  Client* current_ = nullptr;
  size_t client_count_ = 0;
  uint64_t next_client_id_ = 1;
  std::unordered_map<uint64_t, Client*> by_id_;
  std::vector<uint64_t> kills_;
  std::vector<Client*> push_waits_;  // clients with Client::pushed; nullptr where one has gone
  std::deque<uint64_t> ready_;       // clients that are blocked no more
  bool unsettled_ = false;
  bool settling_ = false;
  bool in_exec_ = false;
  bool pause_writes_only_ = false;
  uint64_t pause_until_ms_ = 0;      // CLIENT PAUSE; 0: there is none
  std::vector<Client*> monitors_;
  Bytes monitor_text_;  // what they have not been told yet
  std::unique_ptr<char[]> shared_;
  SpareBuffers spare_buffers_;
  std::vector<std::string_view> args_;
  std::array<Pending, kBatch> batch_;
  size_t batch_size_ = 0;
  std::string problem_, refusal_;
  Reply reply_;
  Reply late_reply_;  // to a command that was blocked
  Listeners listeners_{*this};
  uint64_t ticks_ = 0;
  uint64_t turn_end_ = UINT64_MAX;  // in ticks
  size_t batch_limit_ = kBatch;
  std::unique_ptr<Tenants> tenants_;
  bool working_ = false;  // in work()
  const Client* reading_ = nullptr;  // the tenant's that read_span() was called for last, to be compared only
  uint64_t read_began_ns_ = 0;       // then, of the thread's time
  uint64_t sending_ = 0;             // ticks that the sends of this turn took
  uint64_t started_ms_ = 0;
  uint64_t samples_ = 0;

  static constexpr size_t kRateSamples = 16;
  std::array<std::array<uint64_t, kRateSamples>, 3> rate_samples_{};
  std::array<uint64_t, 3> rates_{}, rate_last_{};
  uint64_t rate_last_ms_ = 0;
  size_t rate_index_ = 0;
};

}  // namespace predis
