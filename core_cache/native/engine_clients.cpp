// engine_clients.cpp: the engine's side of connections: where their bytes are put, what is kept between two reads, and
// how replies leave.
#include <algorithm>

#include "engine.h"
#include "tenants.h"

namespace predis {

namespace {
constexpr size_t kKeepReply = 4 * 1024 * 1024;  // bytes of reply buffer that are kept between batches
}

bool Engine::add(Client& client) {
  if (client_count_ >= static_cast<size_t>(config_.max_clients)) {
    ++stats().rejected_connections;
    client.closing = true;
    client.outlet->write("-ERR max number of clients reached\r\n");
    client.outlet->close();
    return false;
  }
  if (refused_by_protected_mode(client)) {
    refuse_protected(client);
    return false;
  }
  client.id = next_client_id_++;
  log_out(client);
  client.created_ms = client.active_ms = unix_us() / 1000;
  if (pause_until_ms_ != 0) client.modes |= kPaused;
  client.previous = last_client_;
  client.next = nullptr;
  (last_client_ != nullptr ? last_client_->next : clients_) = &client;
  last_client_ = &client;
  by_id_[client.id] = &client;
  ++client_count_;
  ++stats().total_connections;
  stats().connected_clients = client_count_;
  return true;
}

void Engine::remove(Client& client) {
  if (by_id_.erase(client.id) == 0) return;
  end_monitor(client);
  if (client.aside != nullptr) client.aside->forget(client);
  (client.previous != nullptr ? client.previous->next : clients_) = client.next;
  (client.next != nullptr ? client.next->previous : last_client_) = client.previous;
  --client_count_;
  forget(client);
  if (client.push_waits) std::replace(push_waits_.begin(), push_waits_.end(), &client, static_cast<Client*>(nullptr));
  client.push_waits = false;
  if (current_ == &client) current_ = nullptr;
  client.id = 0;
  client.closing = true;
  stats().connected_clients = client_count_;
}

Client* Engine::find_client(uint64_t id) const {
  auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

Engine::Span Engine::read_span(Client& client) {
  const size_t held = client.input.size();
  const size_t most = __builtin_expect(client.tenant != nullptr, 0) ? read_size_in_turn(client) : kReadSize;
  if (!client.held() && held <= kSharedHead && client.partial.known_length() <= kSharedHead) {
    if (held != 0) std::memcpy(shared_.get(), client.input.data(), held);
    client.read_mode = ReadMode::shared;
    client.shared_head = held;
    return {shared_.get() + held, most};
  }
  client.read_mode = ReadMode::own;
  // The buffer grows with what has arrived, not with what is announced, and a large bulk is read up to its end only,
  // so that nothing has to be moved to the front afterwards.
  spare_buffers_.lend(client.input, client.partial.known_length());
  char* at = client.input.room(16 * 1024);
  size_t size = client.input.capacity() - held;
  const size_t known = client.partial.known_length();
  if (!client.held() && known > held) size = std::min({size, known - held, kReadSize});
  if (most < kReadSize) size = std::min(size, most);
  return {at, size};
}

void Engine::received(Client& client, size_t size) {
  stats().net_input_bytes += size;
  ++total_reads;
  if (client.closing) {
    client.input.shrink_to(client.input.size());
    return;
  }
  if (client.read_mode == ReadMode::own) {
    client.input.advance(size);
    peak_client_input = std::max(peak_client_input, client.input.capacity());
    if (!client.held()) {
      char* data = client.input.data();
      const size_t total = client.input.size();
      keep_rest(client, data, total, process(client, data, total));
    }
  } else {
    char* data = shared_.get();
    const size_t total = client.shared_head + size;
    client.input.clear();
    keep_rest(client, data, total, process(client, data, total));
  }
  after_processing(client);
}

void Engine::feed(Client& client, std::string_view data) {
  while (!data.empty() && !client.closing) {
    const Span span = read_span(client);
    const size_t size = std::min(span.size, data.size());
    std::memcpy(span.data, data.data(), size);
    received(client, size);
    data.remove_prefix(size);
  }
}

void Engine::drained(Client& client) {
  client.unsent = 0;
  client.active_ms = unix_us() / 1000;  // it has been reading
  if (!client.stalled) return;
  client.stalled = false;
  if (client.aside != nullptr) return;
  go_on(client);
  if (!client.stalled && client.aside == nullptr && !client.closing) client.outlet->resume();
  after_processing(client);
}

// Runs what came in while it was held.
void Engine::go_on(Client& client) {
  if (client.closing || client.held() || client.input.empty()) return;
  char* data = client.input.data();
  const size_t total = client.input.size();
  client.read_mode = ReadMode::own;
  keep_rest(client, data, total, process(client, data, total));
}

// Keeps what was not consumed for the next call. `data` is client.input's own or the shared buffer.
void Engine::keep_rest(Client& client, char* data, size_t size, size_t consumed) {
  Bytes& input = client.input;
  const size_t rest = client.closing ? 0 : size - consumed;
  if (rest == 0) {
    client.landing.reset();
    spare_buffers_.give(input);
    return;
  }
  if (client.read_mode == ReadMode::own) {
    input.drop_front(consumed);
    if (input.capacity() >= SpareBuffers::kLeast && input.capacity() / 4 > rest) {
      Bytes large;
      large.swap(input);
      input.append(large.view());
      spare_buffers_.give(large);
    }
  } else {
    input.clear();
    input.append({data + consumed, rest});
    client.read_mode = ReadMode::own;
  }
  if (client.held()) return;
  if (client.partial.active()) return expect(client, input.data(), input.size());
  // Reads on in the command that is there in part, to know how much of it is missing.
  ParseLimits limits{config_.max_bulk, !needs_login(client)};
  size_t length = 0;
  args_.clear();
  if (client.partial.resume(input.data(), input.size(), limits, args_, length, problem_) == Parse::error) {
    protocol_error(client);
    flush(client);
  } else {
    expect(client, input.data(), input.size());
  }
}

void Engine::after_processing(Client& client) {
  if (!client.closing &&
      client.input.capacity() + client.partial.memory() + client.transaction.queue_bytes >
          static_cast<size_t>(config_.query_buffer_limit)) {
    kill(client);
  }
  if (__builtin_expect(unsettled_, 0)) settle();
}

void Engine::reap() {
  std::vector<uint64_t> kills;
  kills.swap(kills_);
  for (uint64_t id : kills) {
    if (Client* client = find_client(id)) client->outlet->abort();
  }
}

void Engine::kill(Client& client) {
  if (client.killed) return;
  client.killed = true;
  client.closing = true;
  kills_.push_back(client.id);
  unsettled_ = true;
}

void Engine::begin_close(Client& client) {
  client.closing = true;
  client.closing_since_ms = store_->now_ms();
}

bool Engine::request_stop() {
  if (!on_stop) return false;
  on_stop();
  return true;
}

void Engine::protocol_error(Client& client) {
  ++stats().protocol_errors;
  reply_.protocol = client.protocol;
  reply_.error("ERR " + problem_);
  count_error(reply_.error_code);
  begin_close(client);
}

bool Engine::flush(Client& client) {
  Bytes& out = reply_.buffer;
  if (out.overflowed()) {
    out.clear();
    out.reset_overflow();
    out.shrink_to(0);
    kill(client);
    return false;
  }
  if (!out.empty()) {
    stats().net_output_bytes += out.size();
    ++total_writes;
    const bool timed = turn_end_ != UINT64_MAX;
    const uint64_t began = timed ? clock_.ticks() : 0;
    client.unsent = client.killed ? 0 : client.outlet->write(out);
    if (timed) sending_ += clock_.ticks() - began;
    peak_client_output = std::max(peak_client_output, client.unsent);
    out.clear();
    if (out.capacity() > kKeepReply) out.shrink_to(0);
    const int64_t limit = output_limit(client).hard;
    if (limit > 0 && client.unsent > static_cast<size_t>(limit)) {
      kill(client);
      return false;
    }
  }
  if (client.closing) {
    if (!client.killed) client.outlet->close();
    return false;
  }
  // A subscriber is read on: else it could not unsubscribe from what is too much for it.
  if (client.unsent > kOutputPause && !(client.modes & kSubscriber)) {
    client.stalled = true;
    client.outlet->pause();
    return false;
  }
  return true;
}

}  // namespace predis
