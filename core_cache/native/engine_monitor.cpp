// engine_monitor.cpp: MONITOR. What clients run is told, line by line, to those that have asked for it; passwords are
// left out as in SLOWLOG, and administration is not told at all. While nobody monitors, a command pays one test for
// it.
#include <algorithm>
#include <cstdio>

#include "engine.h"

namespace predis {

namespace {

// An argument as Redis quotes it.
void append_quoted(Bytes& out, std::string_view text) {
  constexpr std::string_view kNamed = "\"\\\n\r\t\a\b", kNames = "\"\\nrtab";
  out.push_back('"');
  for (const char c : text) {
    const size_t named = kNamed.find(c);
    if (named != std::string_view::npos) {
      out.push_back('\\');
      out.push_back(kNames[named]);
    } else if (c >= 0x20 && c < 0x7f) {
      out.push_back(c);
    } else {
      char hex[5];
      std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out.append(hex);
    }
  }
  out.push_back('"');
}

}  // namespace

bool Engine::begin_monitor(Client& client) {
  if (client.monitoring) return false;
  monitors_.push_back(&client);
  client.monitoring = true;
  client.unrestricted = false;  // every command goes through access_problem(), which keeps it from the keys
  return true;
}

void Engine::end_monitor(Client& client) {
  if (!client.monitoring) return;
  client.monitoring = false;
  std::erase(monitors_, &client);
}

void Engine::show_to_monitors(const Client& client, const CommandSpec& spec, Args args) {
  if (spec.flags & (kAdmin | kSkipMonitor)) return;
  const uint64_t now = unix_us();
  char time[48];
  std::snprintf(time, sizeof time, "+%llu.%06llu [0 ", static_cast<unsigned long long>(now / 1'000'000),
                static_cast<unsigned long long>(now % 1'000'000));
  Bytes& out = monitor_text_;
  out.append(time);
  if (client.unix_socket) {
    out.append("unix:");
    out.append(config_.unix_socket);
  } else {
    out.append(client.address);
  }
  out.push_back(']');
  for (size_t i = 0; i < args.size(); ++i) {
    out.push_back(' ');
    append_quoted(out, holds_secret(spec, args, i) ? "(redacted)" : args[i]);
  }
  out.append("\r\n");
}

void Engine::deliver_to_monitors() {
  for (Client* monitor : monitors_) {
    if (monitor->killed || monitor->closing) continue;
    stats().net_output_bytes += monitor_text_.size();
    monitor->unsent = monitor->outlet->write(monitor_text_);
    const int64_t limit = output_limit(*monitor).hard;
    if (limit > 0 && monitor->unsent > static_cast<size_t>(limit)) kill(*monitor);
  }
  monitor_text_.clear();
  monitor_text_.shrink_to(0);
}

}  // namespace predis
