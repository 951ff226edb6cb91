// handlers.h: the handlers of connection and server commands that stand in another file than their table.
#pragma once

#include <string>
#include <string_view>

#include "command.h"

namespace predis {

// commands_client.cpp
void client_id(Context&);
void client_info(Context&);
void client_list(Context&);
void client_setname(Context&);
void client_getname(Context&);
void client_setinfo(Context&);
void client_kill(Context&);
void client_no_evict(Context&);
void client_reply(Context&);
void client_help(Context&);
std::string client_line(Engine&, const Client&);  // as CLIENT INFO gives it, without a line end
// Gives the client a name; false, having answered the error, when the name has odd characters.
bool set_client_name(Context&, std::string_view name);

void wait_for_replicas(Context&);
void client_pause(Context&);
void client_unpause(Context&);
void client_unblock(Context&);
enum class ClientType { normal, master, replica, pubsub, unknown };
ClientType client_type(std::string_view word);

// commands_tracking.cpp
void client_tracking(Context&);
void client_caching(Context&);
void client_getredir(Context&);
void client_trackinginfo(Context&);

// commands_transaction.cpp; the engine looks for them
void multi(Context&);
void exec(Context&);
void watch(Context&);

// commands_config.cpp
void config_get(Context&);
void config_set(Context&);
void config_resetstat(Context&);
void config_rewrite(Context&);
void config_help(Context&);

// commands_info.cpp
void info(Context&);

// commands_command.cpp
void command(Context&);
void command_count(Context&);
void command_info(Context&);
void command_docs(Context&);
void command_list(Context&);
void command_getkeys(Context&);
void command_getkeysandflags(Context&);
void command_help(Context&);

// commands_latency.cpp: LATENCY and SLOWLOG
void latency_latest(Context&);
void latency_history(Context&);
void latency_reset(Context&);
void latency_doctor(Context&);
void latency_graph(Context&);
void latency_histogram(Context&);
void latency_help(Context&);
void slowlog_get(Context&);
void slowlog_len(Context&);
void slowlog_reset(Context&);
void slowlog_help(Context&);

// Answers a subcommand that has a wrong number of arguments although its arity allows it.
void reply_unknown_subcommand(Context&, std::string_view command);

// Answers HELP: `lines` are one per line of text, as Redis sends them.
void reply_help(Context&, std::string_view command, std::initializer_list<std::string_view> lines);

uint64_t last_save_seconds(Engine& engine);  // commands_snapshot.cpp: Unix time

}  // namespace predis
