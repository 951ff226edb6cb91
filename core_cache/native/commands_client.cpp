// commands_client.cpp: CLIENT and its subcommands.
#include <algorithm>

#include "engine.h"
#include "handlers.h"
#include "numbers.h"
#include "words.h"

namespace predis {

namespace {

bool printable(std::string_view text) {
  for (char c : text) {
    if (c < '!' || c > '~') return false;
  }
  return true;
}

// One line of CLIENT LIST.
void describe(std::string& out, Engine& engine, const Client& client) {
  const uint64_t now = engine.unix_ms();
  auto number = [&](std::string_view name, uint64_t value) {
    out += name;
    out += std::to_string(value);
  };
  auto text = [&](std::string_view name, std::string_view value) {
    out += name;
    out += value;
  };
  number("id=", client.id);
  text(" addr=", client.address);
  text(" laddr=", client.local_address);
  out += " fd=" + std::to_string(client.fd);
  text(" name=", client.name);
  number(" age=", (now - std::min(client.created_ms, now)) / 1000);
  number(" idle=", (now - std::min(client.active_ms, now)) / 1000);
  const Transaction& transaction = client.transaction;
  const bool in_transaction = client.modes & kInTransaction, tracks = client.modes & kTracks;
  std::string flags;
  if (client.modes & kSubscriber) flags += 'P';
  if (in_transaction) flags += 'x';
  if (client.blocked != Blocked::no) flags += 'b';
  if (tracks) flags += 't';
  if (client.tracking.redirect_broken) flags += 'R';
  if (client.tracking.broadcasts) flags += 'B';
  if (transaction.changed) flags += 'd';
  if (client.monitoring) flags += 'O';
  if (client.closing) flags += 'c';
  if (client.unix_socket) flags += 'U';
  if (client.no_evict) flags += 'e';
  text(" flags=", flags.empty() ? "N" : flags);
  number(" db=0 sub=", client.subscriptions.channels.size());
  number(" psub=", client.subscriptions.patterns.size());
  number(" ssub=", client.subscriptions.shard_channels.size());
  text(" multi=", in_transaction ? std::to_string(transaction.queue.size()) : "-1");
  number(" watch=", transaction.watched.size());
  number(" qbuf=", client.input.size());
  number(" qbuf-free=", client.input.capacity() - client.input.size());
  number(" argv-mem=", client.partial.memory());
  number(" multi-mem=", transaction.queue_bytes);
  text(" rbs=", "0 rbp=0 obl=0");
  number(" oll=", client.unsent != 0 ? 1 : 0);
  number(" omem=", client.unsent);
  number(" tot-mem=", client.memory());
  text(" events=", client.stalled ? "w" : client.unsent != 0 ? "rw" : "r");
  text(" cmd=", client.last_command != nullptr ? client.last_command->name : "NULL");
  text(" user=", client.user->name);
  text(" redir=", tracks ? std::to_string(client.tracking.redirect) : "-1");
  number(" resp=", static_cast<uint64_t>(client.protocol));
  text(" lib-name=", client.library_name);
  text(" lib-ver=", client.library_version);
  out += '\n';
}

ClientType type_of(const Client& client) {
  return client.modes & kSubscriber ? ClientType::pubsub : ClientType::normal;
}

void unknown_type(Context& c, std::string_view word) {
  c.reply.error("ERR Unknown client type '" + std::string(word) + "'");
}

}  // namespace

ClientType client_type(std::string_view word) {
  if (is_word(word, "normal")) return ClientType::normal;
  if (is_word(word, "slave") || is_word(word, "replica")) return ClientType::replica;
  if (is_word(word, "pubsub")) return ClientType::pubsub;
  if (is_word(word, "master")) return ClientType::master;
  return ClientType::unknown;
}

void client_id(Context& c) { c.reply.integer(static_cast<int64_t>(c.client.id)); }

void client_info(Context& c) {
  std::string text;
  describe(text, c.engine, c.client);
  c.reply.verbatim("txt", text);
}

std::string client_line(Engine& engine, const Client& client) {
  std::string text;
  describe(text, engine, client);
  text.pop_back();
  return text;
}

void client_list(Context& c) {
  std::string text;
  if (c.args.size() == 4 && is_word(c.args[2], "type")) {
    const ClientType type = client_type(c.args[3]);
    if (type == ClientType::unknown) return unknown_type(c, c.args[3]);
    for (Client* i = c.engine.first_client(); i != nullptr; i = i->next) {
      if (type_of(*i) == type) describe(text, c.engine, *i);
    }
  } else if (c.args.size() > 3 && is_word(c.args[2], "id")) {
    for (std::string_view arg : c.args.subspan(3)) {
      int64_t id;
      if (!parse_int64(arg, id)) return c.reply.error("ERR Invalid client ID");
      if (const Client* client = c.engine.find_client(static_cast<uint64_t>(id))) describe(text, c.engine, *client);
    }
  } else if (c.args.size() != 2) {
    return c.reply.error(errors::kSyntax);
  } else {
    for (Client* i = c.engine.first_client(); i != nullptr; i = i->next) describe(text, c.engine, *i);
  }
  c.reply.verbatim("txt", text);
}

bool set_client_name(Context& c, std::string_view name) {
  if (!printable(name)) {
    c.reply.error("ERR Client names cannot contain spaces, newlines or special characters.");
    return false;
  }
  c.client.name = name;
  return true;
}

void client_setname(Context& c) {
  if (set_client_name(c, c.args[2])) c.reply.ok();
}

void client_getname(Context& c) {
  if (c.client.name.empty()) return c.reply.null();
  c.reply.bulk(c.client.name);
}

void client_setinfo(Context& c) {
  const bool name = is_word(c.args[2], "lib-name");
  if (!name && !is_word(c.args[2], "lib-ver")) {
    return c.reply.error("ERR Unrecognized option '" + std::string(c.args[2]) + "'");
  }
  if (!printable(c.args[3])) {
    return c.reply.error("ERR " + std::string(c.args[2]) + " cannot contain spaces, newlines or special characters.");
  }
  (name ? c.client.library_name : c.client.library_version) = c.args[3];
  c.reply.ok();
}

void client_kill(Context& c) {
  struct {
    std::string_view address, local_address;
    uint64_t id = 0;
    const User* user = nullptr;
    bool by_address = false, by_local_address = false, by_type = false, skip_me = true;
    ClientType type = ClientType::normal;
  } filter;
  const bool old_form = c.args.size() == 3;
  if (old_form) {
    filter.by_address = true;
    filter.address = c.args[2];
    filter.skip_me = false;
  }
  for (size_t i = 2; !old_form && i < c.args.size(); i += 2) {
    if (i + 1 == c.args.size()) return c.reply.error(errors::kSyntax);
    const std::string_view option = c.args[i], value = c.args[i + 1];
    if (is_word(option, "id")) {
      int64_t id;
      if (!parse_int64(value, id) || id < 1) return c.reply.error("ERR client-id should be greater than 0");
      filter.id = static_cast<uint64_t>(id);
    } else if (is_word(option, "type")) {
      filter.by_type = true;
      filter.type = client_type(value);
      if (filter.type == ClientType::unknown) return unknown_type(c, value);
    } else if (is_word(option, "addr")) {
      filter.by_address = true;
      filter.address = value;
    } else if (is_word(option, "laddr")) {
      filter.by_local_address = true;
      filter.local_address = value;
    } else if (is_word(option, "user")) {
      filter.user = c.engine.acl().find(value);
      if (filter.user == nullptr) return c.reply.error("ERR No such user '" + std::string(value) + "'");
    } else if (is_word(option, "skipme") && is_word(value, "yes")) {
      filter.skip_me = true;
    } else if (is_word(option, "skipme") && is_word(value, "no")) {
      filter.skip_me = false;
    } else {
      return c.reply.error(errors::kSyntax);
    }
  }
  int64_t killed = 0;
  bool me = false;
  for (Client* client = c.engine.first_client(); client != nullptr; client = client->next) {
    if (client->killed) continue;
    if (filter.by_address && client->address != filter.address) continue;
    if (filter.by_local_address && client->local_address != filter.local_address) continue;
    if (filter.by_type && filter.type != type_of(*client)) continue;
    if (filter.id != 0 && client->id != filter.id) continue;
    if (filter.user != nullptr && client->user != filter.user) continue;
    if (client == &c.client) {
      if (filter.skip_me) continue;
      me = true;
    } else {
      c.engine.kill(*client);
      c.engine.forget(*client);  // from now on no message counts it
    }
    ++killed;
  }
  if (!old_form) {
    c.reply.integer(killed);
  } else if (killed == 0) {
    c.reply.error("ERR No such client");
  } else {
    c.reply.ok();
  }
  if (me) c.engine.begin_close(c.client);
}

void client_no_evict(Context& c) {
  const bool on = is_word(c.args[2], "on");
  if (!on && !is_word(c.args[2], "off")) return c.reply.error(errors::kSyntax);
  c.client.no_evict = on;
  c.reply.ok();
}

void client_reply(Context& c) {
  if (is_word(c.args[2], "on")) {
    c.client.reply_mode = ReplyMode::on;
    c.reply.ok();
  } else if (is_word(c.args[2], "off")) {
    c.client.reply_mode = ReplyMode::off;
  } else if (is_word(c.args[2], "skip")) {
    if (c.client.reply_mode != ReplyMode::off) c.client.reply_mode = ReplyMode::skip_next;
  } else {
    c.reply.error(errors::kSyntax);
  }
}

namespace {

// A time to wait in milliseconds; answers with an error and gives false for one that is none.
bool timeout_or_reply(Context& c, std::string_view text, int64_t& timeout) {
  if (!parse_int64(text, timeout)) {
    c.reply.error("ERR timeout is not an integer or out of range");
  } else if (timeout < 0) {
    c.reply.error("ERR timeout is negative");
  } else if (timeout > INT64_MAX - static_cast<int64_t>(c.store.now_ms())) {
    c.reply.error("ERR timeout is out of range");
  } else {
    return true;
  }
  return false;
}

}  // namespace

// There are no replicas, so the answer is 0; but it comes when the time is over, as from a Redis without replicas.
void wait_for_replicas(Context& c) {
  int64_t replicas, timeout;
  if (!parse_int64(c.args[1], replicas)) return c.reply.error(errors::kNotInteger);
  if (!timeout_or_reply(c, c.args[2], timeout)) return;
  if (replicas <= 0 || c.engine.in_exec()) return c.reply.integer(0);
  const uint64_t until = timeout == 0 ? 0 : c.store.now_ms() + static_cast<uint64_t>(timeout);
  c.engine.block(c.client, until, [](Reply& reply) { reply.integer(0); });
}

void client_pause(Context& c) {
  if (c.args.size() > 4) return reply_unknown_subcommand(c, "CLIENT");
  bool writes_only = false;
  if (c.args.size() == 4) {
    writes_only = is_word(c.args[3], "write");
    if (!writes_only && !is_word(c.args[3], "all")) return c.reply.error("ERR CLIENT PAUSE mode must be WRITE or ALL");
  }
  int64_t timeout;
  if (!timeout_or_reply(c, c.args[2], timeout)) return;
  c.engine.pause(c.store.now_ms() + static_cast<uint64_t>(timeout), writes_only);
  c.reply.ok();
}

void client_unpause(Context& c) {
  c.engine.unpause();
  c.reply.ok();
}

void client_unblock(Context& c) {
  if (c.args.size() > 4) return reply_unknown_subcommand(c, "CLIENT");
  bool with_error = false;
  if (c.args.size() == 4) {
    with_error = is_word(c.args[3], "error");
    if (!with_error && !is_word(c.args[3], "timeout")) {
      return c.reply.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    }
  }
  int64_t id;
  if (!parse_int64(c.args[2], id)) return c.reply.error(errors::kNotInteger);
  Client* client = c.engine.find_client(static_cast<uint64_t>(id));
  if (client == nullptr || client->closing || client->blocked != Blocked::waiting) return c.reply.integer(0);
  if (with_error) {
    c.engine.unblock(*client, [](Reply& reply) { reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK"); });
  } else {
    c.engine.unblock(*client, client->timed_out);
  }
  c.reply.integer(1);
}

void client_help(Context& c) {
  reply_help(c, "CLIENT",
             {"CACHING (YES|NO)", "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
              "GETREDIR", "    Return the client ID we are redirecting to when tracking is enabled.", "GETNAME",
              "    Return the name of the current connection.", "ID",
              "    Return the ID of the current connection.", "INFO",
              "    Return information about the current client connection.", "KILL <ip:port>",
              "    Kill connection made from <ip:port>.", "KILL <option> <value> [<option> <value> [...]]",
              "    Kill connections. Options are:", "    * ADDR (<ip:port>|<unixsocket>:0)",
              "      Kill connections made from the specified address", "    * LADDR (<ip:port>|<unixsocket>:0)",
              "      Kill connections made to specified local address", "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
              "      Kill connections by type.", "    * USER <username>",
              "      Kill connections authenticated by <username>.", "    * SKIPME (YES|NO)",
              "      Skip killing current connection (default: yes).", "LIST [options ...]",
              "    Return information about client connections. Options:",
              "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)", "      Return clients of specified type.",
              "UNPAUSE", "    Stop the current client pause, resuming traffic.", "PAUSE <timeout> [WRITE|ALL]",
              "    Suspend all, or just write, clients for <timeout> milliseconds.",
              "REPLY (ON|OFF|SKIP)", "    Control the replies sent to the current connection.", "SETNAME <name>",
              "    Assign the name <name> to the current connection.", "SETINFO (LIB-NAME|LIB-VER) <value>",
              "    Note the name or version of the client library.", "UNBLOCK <clientid> [TIMEOUT|ERROR]",
              "    Unblock the specified blocked client.",
              "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]", "         [OPTIN] [OPTOUT] [NOLOOP]",
              "    Control server assisted client side caching.", "TRACKINGINFO",
              "    Report tracking status for the current connection.", "NO-EVICT (ON|OFF)",
              "    Protect current client connection from eviction."});
}

}  // namespace predis
