#include "engine.h"

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>

#include "tenants.h"
#include "words.h"

namespace predis {

namespace {

std::string random_hex(size_t bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string raw(bytes, '\0');
  if (getrandom(raw.data(), raw.size(), 0) != static_cast<ssize_t>(raw.size())) {
    throw std::runtime_error("The system gives no random numbers (getrandom failed).");
  }
  std::string hex;
  for (unsigned char byte : raw) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

#define PREDIS_NOT_ALLOWED(COMMAND, OPTION)                                                                      \
  "ERR " COMMAND " command not allowed. If the " OPTION " option is set to \"local\", you can run it from a local " \
  "connection, otherwise you need to set this option in the configuration file, and then restart the server."
constexpr const char* kNoDebug = PREDIS_NOT_ALLOWED("DEBUG", "enable-debug-command");
constexpr const char* kNoModule = PREDIS_NOT_ALLOWED("MODULE", "enable-module-command");
#undef PREDIS_NOT_ALLOWED

constexpr size_t kMaxErrorCodes = 128;
constexpr size_t kKeepScratch = 64 * 1024;  // argument views that are kept between batches

}  // namespace

Engine::Engine(const StoreOptions& options, ServerConfig config)
    : config_(std::move(config)), store_(std::make_unique<Store>(options)),
      sample_(store_->access_sample()), local_reads_(options.path, options.readers_group),
      shared_(new char[kSharedHead + kReadSize]) {
  map_large_buffers();
  started_ms_ = unix_us() / 1000;
  store_->set_now(started_ms_);
  run_id = random_hex(20);
  args_.reserve(1024);
  reset_stats();
  Stats& stats = store_->stats();
  std::memset(stats.command_names, 0, sizeof stats.command_names);
  for (const CommandSpec* spec : all_commands()) {
    const size_t length = std::min(spec->name.size(), sizeof stats.command_names[0] - 1);
    std::memcpy(stats.command_names[spec->id], spec->name.data(), length);
  }
  stats.pid = static_cast<uint64_t>(getpid());
  stats.started_unix_ms = started_ms_;
  stats.policy_model_unix_ms = 0;  // what is loaded now says so
  stats.heartbeat_unix_ms = started_ms_;
  stats.max_clients = static_cast<uint64_t>(config_.max_clients);
  stats.connected_clients = 0;
  stats.client_bytes = 0;
  start_tenants(options.tenants);
}

Engine::~Engine() = default;

// The client's commands are run from here on.
void Engine::begin(Client& client) {
  store_->set_now(unix_us() / 1000);
  client.active_ms = store_->now_ms();
  current_ = &client;
  in_exec_ = false;
  reply_.protocol = client.protocol;
  reply_.buffer.clear();  // memory may have run out amid another client's reply: nobody else is to get that
  const int64_t limit = output_limit(client).hard;
  reply_.buffer.set_limit(limit > 0 ? static_cast<size_t>(limit) : SIZE_MAX);
}

// Runs the whole commands in the input; gives how many bytes are done with.
size_t Engine::process(Client& client, char* data, size_t size) {
  if (__builtin_expect(tenants_ != nullptr, 0)) return process_in_turn(client, data, size);
  return process_input(client, data, size);
}

size_t Engine::process_input(Client& client, char* data, size_t size) {
  begin(client);
  char* at = data;
  char* const end = data + size;
  bool more = true;
  ticks_ = 0;
  if (__builtin_expect(client.landing != nullptr, 0)) store_->offer(*client.landing, data + client.landing->at);
  while (more && at < end && !client.closing && !client.held() && ticks_ < turn_end_) {
    char* next = at;
    const Parse parsed = parse_batch(client, next, end);
    at = batch_size_ != 0 ? run_batch(client, next) : next;
    if (__builtin_expect(sample_.count != 0, 0)) log_accesses();
    if (args_.capacity() > kKeepScratch) std::vector<std::string_view>().swap(args_);
    if (client.closing || client.held()) break;
    if (parsed == Parse::error) protocol_error(client);
    more = parsed == Parse::complete;
  }
  if (__builtin_expect(client.landing != nullptr, 0)) {
    store_->withdraw(*client.landing);
    if (at != data) client.landing.reset();
  }
  if (!client.stalled) flush(client);
  current_ = nullptr;
  if (__builtin_expect(!monitor_text_.empty(), 0)) deliver_to_monitors();
  return static_cast<size_t>(at - data);
}

// Fills the batch from `at` on. incomplete: what follows at `at` is not whole.
Parse Engine::parse_batch(Client& client, char*& at, char* end) {
  batch_size_ = 0;
  args_.clear();
  const bool known = !needs_login(client);
  const ParseLimits limits{config_.max_bulk, known};
  // AUTH changes the limits of what follows it.
  const size_t most = known ? batch_limit_ : 1;
  while (batch_size_ < most && args_.size() < kKeepScratch / 2) {
    if (at == end) break;
    const size_t first = args_.size();
    const bool is_inline = *at != '*';
    // An inline command is changed by reading it, so it must be run as soon as it is read.
    if (is_inline && batch_size_ != 0) return Parse::complete;
    Parse result;
    if (__builtin_expect(client.partial.active(), 0)) {
      size_t length = 0;
      result = client.partial.resume(at, static_cast<size_t>(end - at), limits, args_, length, problem_);
      if (result == Parse::complete) at += length;
    } else {
      result = parse_command(at, end, limits, args_, problem_);
    }
    if (result != Parse::complete) return result;
    const size_t count = args_.size() - first;
    if (count == 0) continue;
    Pending& command = batch_[batch_size_++];
    command.first_arg = static_cast<uint32_t>(first);
    command.args = static_cast<uint32_t>(count);
    command.end = at;
    command.hash = 0;
    command.spec = find_command_of(Args(args_.data() + first, count));
    if (command.spec != nullptr) {
      const auto key = static_cast<size_t>(command.spec->first_key);
      if (key != 0 && key < count) {
        command.hash = store_->hash(args_[first + key]);
        store_->prefetch_bucket(command.hash);
      }
    }
    if (is_inline) break;
  }
  return Parse::complete;
}

// Runs the batch; gives where to go on: at `next`, unless the client was stalled or closed on the way.
char* Engine::run_batch(Client& client, char* next) {
  if (batch_size_ > 1) {
    for (size_t i = 0; i < batch_size_; ++i) {
      if (batch_[i].hash != 0) store_->prefetch_entry(batch_[i].hash);
    }
    for (size_t i = 0; i < batch_size_; ++i) {
      const Pending& command = batch_[i];
      if (command.hash != 0 && (command.spec->flags & kWrite)) store_->prefetch_change(command.hash);
    }
    for (size_t i = 0; i < batch_size_; ++i) {
      if (batch_[i].hash != 0 && (batch_[i].spec->flags & kWrite)) store_->prefetch_change(batch_[i].hash);
    }
  }
  ticks_ = clock_.ticks();
  for (size_t i = 0; i < batch_size_; ++i) {
    const Pending& command = batch_[i];
    run(client, command.spec, {args_.data() + command.first_arg, command.args}, command.hash);
    if (__builtin_expect(client.closing || client.blocked != Blocked::no, 0)) return command.end;
    if (__builtin_expect(reply_.buffer.size() > kFlushSize || reply_.buffer.overflowed(), 0)) {
      if (!flush(client)) return batch_[i].end;
      ticks_ = clock_.ticks();
    }
  }
  return next;
}

// Why the command is not run, as an error text; nullptr when it is.
const char* Engine::refusal(Client& client, const CommandSpec& spec, Args args) {
  if (spec.flags & kProtected) return spec.name == "debug" ? kNoDebug : kNoModule;
  if (__builtin_expect(!client.unrestricted, 0)) {
    if (const char* problem = access_problem(client, spec, args)) return problem;
  }
  if ((spec.flags & kDenyOom) && store_->out_of_memory()) return errors::kOutOfMemory.data();
  return nullptr;
}

// What every command passes through is one piece of code: a call saves and restores registers for each of them.
[[gnu::flatten]] void Engine::run(Client& client, const CommandSpec* known, Args args, uint64_t hash) {
  const size_t reply_start = reply_.buffer.size();
  reply_.failed = false;
  if (__builtin_expect(known == nullptr, 0)) {
    unknown_command(client, args);
    reject(client, nullptr, reply_start);
  } else {
    const CommandSpec& spec = *known;
    const int count = static_cast<int>(args.size());
    const bool arity_ok = spec.arity >= 0 ? count == spec.arity : count >= -spec.arity;
    const char* refused = nullptr;
    if (__builtin_expect(!arity_ok || spec.handler == nullptr, 0)) {
      reply_.error("ERR wrong number of arguments for '" + std::string(spec.name) + "' command");
    } else if (__builtin_expect((refused = refusal(client, spec, args)) != nullptr, 0)) {
      reply_.error(refused);
    }
    if (__builtin_expect(reply_.failed, 0)) {
      reject(client, &spec, reply_start);
    } else {
      client.last_command = &spec;
      if (__builtin_expect(client.modes == 0, 1) || !detain(client, spec, args, hash)) execute(client, spec, args, hash);
    }
  }
  if (__builtin_expect(client.modes != 0 || client.reply_mode != ReplyMode::on, 0)) finish(client, known, reply_start);
}

void Engine::execute(Client& client, const CommandSpec& spec, Args args, uint64_t hash) {
  Context context{*this, client, *store_, reply_, args, hash};
  spec.handler(context);
  const uint64_t now = clock_.ticks();
  const uint64_t ns = clock_.to_ns(now - ticks_);
  ticks_ = now;
  count_call(spec, client, args, ns);
  if (__builtin_expect(!monitors_.empty(), 0)) show_to_monitors(client, spec, args);
  if (__builtin_expect(client.modes & kTracks, 0) && (spec.flags & kReadonly)) tracking.remember(client, spec, args);
}

[[gnu::noinline, gnu::cold]] void Engine::unknown_command(Client& client, Args args) {
  // Redis takes these for an attack by way of somebody's browser.
  auto is = [&](std::string_view word) {
    return args[0].size() == word.size() &&
           std::equal(word.begin(), word.end(), args[0].begin(), [](char a, char b) { return a == (b | 0x20); });
  };
  if (is("post") || is("host:")) {
    kill(client);
    return;
  }
  // Redis prints the arguments as C strings.
  auto text = [](std::string_view arg, size_t most) {
    arg = arg.substr(0, most);
    return std::string(arg.substr(0, arg.find('\0')));
  };
  std::string problem;
  const CommandSpec* container = find_command(args[0]);
  if (container != nullptr && container->container && args.size() > 1) {
    std::string upper(args[0]);
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    problem = "ERR unknown subcommand '" + text(args[1], 128) + "'. Try " + upper + " HELP.";
  } else {
    std::string listed;
    for (size_t i = 1; i < args.size() && listed.size() < 128; ++i) {
      listed += concat({"'", text(args[i], 128 - listed.size()), "' "});
    }
    problem = "ERR unknown command '" + text(args[0], 128) + "', with args beginning with: " + listed;
  }
  reply_.error(problem);
}

void Engine::count_call(const CommandSpec& spec, Client& client, Args args, uint64_t ns) {
  Stats& all = stats();
  CommandStats& stats = all.commands[spec.id];
  ++all.total_commands;
  ++stats.calls;
  stats.nanoseconds += ns;
  ++stats.latency[latency_bucket(ns)];
  if (__builtin_expect(reply_.failed, 0)) {
    ++stats.failed;
    count_error(reply_.error_code);
  }
  if (__builtin_expect(ns >= static_cast<uint64_t>(config_.slowlog_slower_than) * 1000, 0) &&
      config_.slowlog_slower_than >= 0) {
    log_slow(spec, client, args, ns);
  }
  if (__builtin_expect(client.tenant != nullptr, 0)) count_for_tenant(*client.tenant, ns);
  if (__builtin_expect(config_.latency_threshold != 0, 0)) {
    const uint64_t ms = ns / 1'000'000;
    if (ms >= static_cast<uint64_t>(config_.latency_threshold)) {
      add_latency(spec.flags & kFast ? "fast-command" : "command", ms);
    }
  }
}

[[gnu::noinline, gnu::cold]] void Engine::log_slow(const CommandSpec& spec, Client& client, Args args, uint64_t ns) {
  ++stats().slow_commands;
  if ((spec.flags & kSkipSlowlog) || config_.slowlog_max_length == 0) return;
  constexpr size_t kMaxArgs = 32, kMaxLength = 128;
  SlowlogEntry entry;
  entry.id = slowlog_next_id++;
  entry.unix_seconds = store_->now_ms() / 1000;
  entry.microseconds = ns / 1000;
  entry.address = client.address;
  entry.name = client.name;
  const size_t count = std::min(args.size(), kMaxArgs);
  for (size_t i = 0; i < count; ++i) {
    if (i == kMaxArgs - 1 && args.size() > kMaxArgs) {
      entry.args.push_back("... (" + std::to_string(args.size() - kMaxArgs + 1) + " more arguments)");
    } else if (holds_secret(spec, args, i)) {
      entry.args.emplace_back("(redacted)");
    } else if (args[i].size() > kMaxLength) {
      entry.args.push_back(std::string(args[i].substr(0, kMaxLength)) + "... (" +
                           std::to_string(args[i].size() - kMaxLength) + " more bytes)");
    } else {
      entry.args.emplace_back(args[i]);
    }
  }
  slowlog.push_front(std::move(entry));
  trim_slowlog();
}

void Engine::trim_slowlog() {
  while (slowlog.size() > static_cast<size_t>(config_.slowlog_max_length)) slowlog.pop_back();
}

void Engine::count_error(std::string_view code) {
  ++stats().error_replies;
  auto found = error_counts.find(code);
  if (found != error_counts.end()) {
    ++found->second;
  } else if (error_counts.size() < kMaxErrorCodes) {
    error_counts.emplace(code, 1);
  }
}

[[gnu::noinline, gnu::cold]] void Engine::add_latency(std::string_view event, uint64_t milliseconds) {
  auto found = latency_events.find(event);
  if (found == latency_events.end()) found = latency_events.emplace(event, LatencyEvent{}).first;
  LatencyEvent& history = found->second;
  const uint64_t now = store_->now_ms() / 1000;
  history.worst = std::max(history.worst, milliseconds);
  if (!history.samples.empty() && history.samples.back().unix_seconds == now) {
    history.samples.back().milliseconds = std::max(history.samples.back().milliseconds, milliseconds);
    return;
  }
  history.samples.push_back({now, milliseconds});
  if (history.samples.size() > LatencyEvent::kSamples) history.samples.pop_front();
}

}  // namespace predis
