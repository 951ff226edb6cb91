// client.h: one connection as the engine sees it. How its bytes travel is the business of its Outlet.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "bytes.h"
#include "landing.h"
#include "pubsub.h"
#include "resp.h"
#include "tracking.h"
#include "transaction.h"

namespace predis {

struct User;    // acl.h
struct Tenant;  // tenants.h

// Where a client's replies go. The engine never waits for it.
class Outlet {
 public:
  virtual ~Outlet() = default;
  // Takes all of `data`; gives how many bytes wait to be sent because the peer does not read.
  virtual size_t write(std::string_view data) = 0;
  virtual size_t unsent() = 0;
  // What is queued is still sent, then the connection ends.
  virtual void close() = 0;
  // The connection ends at once.
  virtual void abort() = 0;
  // No more input until resume(): the peer must read its replies first.
  virtual void pause() = 0;
  virtual void resume() = 0;
};

// Where get_buffer() let the bytes be written.
enum class ReadMode : uint8_t { shared, own };

// What CLIENT REPLY asked for.
enum class ReplyMode : uint8_t { on, off, skip_next, skip };

// What makes the engine look twice before and after a client's commands. Nearly all clients have none of it.
enum ClientMode : uint8_t {
  kInTransaction = 1,  // between MULTI and EXEC
  kSubscriber = 2,     // has subscriptions
  kTracks = 4,         // CLIENT TRACKING ON
  kPaused = 8,         // CLIENT PAUSE is on; it holds for all clients
};

// Why a client's commands are not run although they are there.
enum class Blocked : uint8_t {
  no,
  waiting,  // its last command has no answer yet (WAIT)
  paused,   // its last command is put off until CLIENT PAUSE ends
};

struct Client {
  uint64_t id = 0;
  int fd = -1;  // for CLIENT LIST only
  int protocol = 2;
  bool authenticated = false;
  bool monitoring = false;    // it has sent MONITOR
  bool unrestricted = false;  // logged in as a user who may do everything: there is nothing to check
  bool closing = false;   // no more commands are taken from it
  bool killed = false;    // to be aborted as soon as nothing of it is in use
  bool stalled = false;   // input waits because output is not read
  bool no_evict = false;
  bool unix_socket = false;
  uint8_t modes = 0;  // ClientMode
  ReplyMode reply_mode = ReplyMode::on;
  Blocked blocked = Blocked::no;
  bool push_waits = false;  // stands in the engine's list of clients that `pushed` is to be sent to
  ReadMode read_mode = ReadMode::shared;
  size_t shared_head = 0;  // bytes of `input` that were put in front of the shared buffer

  Outlet* outlet = nullptr;
  Bytes input;             // the beginning of a command, or everything that came while stalled
  PartialCommand partial;  // how far that command has been read
  std::unique_ptr<Landing> landing;  // for a large value in it
  size_t unsent = 0;       // as of the last write
  Bytes pushed;            // what others have sent it in the running batch

  std::string address, local_address;  // "ip:port", "[v6]:port" or "path:0"
  std::string name, library_name, library_version;
  const User* user = nullptr;  // set once the engine has it
  Tenant* tenant = nullptr;    // the user's, if it is one
  Tenant* aside = nullptr;     // whose turn its input waits for; it is not read from meanwhile
  const CommandSpec* last_command = nullptr;
  uint64_t created_ms = 0, active_ms = 0, closing_since_ms = 0;
  uint64_t over_soft_limit_since_ms = 0;

  Transaction transaction;
  Subscriptions subscriptions;
  ClientTracking tracking;
  uint64_t blocked_until_ms = 0;  // 0: for as long as it takes
  void (*timed_out)(Reply&) = nullptr;  // answers the command that it is blocked by
  std::unique_ptr<QueuedCommand> put_off;  // by CLIENT PAUSE

  Client *previous = nullptr, *next = nullptr;

  bool held() const { return stalled || blocked != Blocked::no || aside != nullptr; }  // its input is kept, not run
  size_t memory() const {
    return sizeof(Client) + input.capacity() + partial.memory() + unsent + pushed.capacity() + transaction.memory() +
           subscriptions.bytes + (put_off != nullptr ? put_off->memory : 0) + name.capacity() + library_name.capacity() +
           library_version.capacity() + address.capacity() + local_address.capacity();
  }
};

}  // namespace predis
