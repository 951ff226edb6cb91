// commands_latency.cpp: LATENCY and SLOWLOG.
#include <algorithm>
#include <cmath>

#include "engine.h"
#include "handlers.h"
#include "numbers.h"
#include "words.h"

namespace predis {

// --- LATENCY

void latency_latest(Context& c) {
  c.reply.array(c.engine.latency_events.size());
  for (const auto& [name, event] : c.engine.latency_events) {
    c.reply.array(4);
    c.reply.bulk(name);
    c.reply.integer(static_cast<int64_t>(event.samples.back().unix_seconds));
    c.reply.integer(static_cast<int64_t>(event.samples.back().milliseconds));
    c.reply.integer(static_cast<int64_t>(event.worst));
  }
}

void latency_history(Context& c) {
  auto found = c.engine.latency_events.find(c.args[2]);
  if (found == c.engine.latency_events.end()) return c.reply.array(0);
  c.reply.array(found->second.samples.size());
  for (const auto& sample : found->second.samples) {
    c.reply.array(2);
    c.reply.integer(static_cast<int64_t>(sample.unix_seconds));
    c.reply.integer(static_cast<int64_t>(sample.milliseconds));
  }
}

void latency_reset(Context& c) {
  auto& events = c.engine.latency_events;
  int64_t removed = 0;
  if (c.args.size() == 2) {
    removed = static_cast<int64_t>(events.size());
    events.clear();
  }
  for (std::string_view name : c.args.subspan(2)) {
    auto found = events.find(name);
    if (found == events.end()) continue;
    events.erase(found);
    ++removed;
  }
  c.reply.integer(removed);
}

void latency_doctor(Context& c) {
  if (c.engine.config().latency_threshold == 0) {
    return c.reply.verbatim("txt",
                            "Latency monitoring is off. \"CONFIG SET latency-monitor-threshold <milliseconds>\" "
                            "turns it on.\n");
  }
  if (c.engine.latency_events.empty()) {
    return c.reply.verbatim("txt", "No event has taken longer than latency-monitor-threshold so far.\n");
  }
  std::string text;
  int number = 0;
  for (const auto& [name, event] : c.engine.latency_events) {
    uint64_t sum = 0, least = UINT64_MAX;
    for (const auto& sample : event.samples) {
      sum += sample.milliseconds;
      least = std::min(least, sample.milliseconds);
    }
    const uint64_t mean = sum / event.samples.size();
    text += std::to_string(++number) + ". " + name + ": " + std::to_string(event.samples.size()) + " spikes (average " +
            std::to_string(mean) + " ms, least " + std::to_string(least) + " ms, worst " +
            std::to_string(event.worst) + " ms).\n";
    if (name == "expire-cycle") {
      text += "   Upkeep took that long: very many keys expired at once, or the machine had no time for the cache.\n";
    } else {
      text += "   SLOWLOG GET names the commands; KEYS and commands with very many keys or very large values are "
          "slow.\n";
    }
  }
  c.reply.verbatim("txt", text);
}

void latency_graph(Context& c) {
  auto found = c.engine.latency_events.find(c.args[2]);
  if (found == c.engine.latency_events.end()) {
    return c.reply.error("ERR No samples available for event '" + std::string(c.args[2]) + "'");
  }
  const auto& samples = found->second.samples;
  constexpr size_t kRows = 4, kColumns = 80;
  const size_t first = samples.size() > kColumns ? samples.size() - kColumns : 0;
  uint64_t high = 0, low = UINT64_MAX;
  for (size_t i = first; i < samples.size(); ++i) {
    high = std::max(high, samples[i].milliseconds);
    low = std::min(low, samples[i].milliseconds);
  }
  std::string text = found->first + " - high " + std::to_string(high) + " ms, low " + std::to_string(low) +
                     " ms (all time high " + std::to_string(found->second.worst) + " ms)\n";
  text += std::string(kColumns, '-') + "\n";
  for (size_t row = kRows; row > 0; --row) {
    for (size_t i = first; i < samples.size(); ++i) {
      const double share = high != 0 ? static_cast<double>(samples[i].milliseconds) / static_cast<double>(high) : 0;
      text += share * kRows > static_cast<double>(row) - 0.5 ? '#' : row == 1 ? '_' : ' ';
    }
    text += '\n';
  }
  c.reply.verbatim("txt", text);
}

void latency_histogram(Context& c) {
  std::vector<const CommandSpec*> chosen;
  auto choose = [&](const CommandSpec* spec) {
    if (c.engine.stats().commands[spec->id].calls != 0) chosen.push_back(spec);
  };
  if (c.args.size() == 2) {
    for (const CommandSpec* spec : all_commands()) choose(spec);
  }
  for (std::string_view name : c.args.subspan(2)) {
    const CommandSpec* spec = find_command(name);
    if (spec == nullptr) continue;
    if (spec->container) {
      for (const CommandSpec* sub : all_commands()) {
        if (sub->subcommand && sub->name.substr(0, sub->name.find('|')) == spec->name) choose(sub);
      }
    }
    choose(spec);
  }
  c.reply.map(chosen.size());
  for (const CommandSpec* spec : chosen) {
    const CommandStats& stats = c.engine.stats().commands[spec->id];
    // Redis' buckets: powers of two from 1,024 ns on, as microseconds rounded down, cumulative, empty ones left out.
    std::vector<std::pair<uint64_t, uint64_t>> points;
    uint64_t total = 0, shown = 0, bound = 1024;
    for (uint32_t i = 0; i < kLatencyBuckets; ++i) {
      while (latency_bound_ns(i) > bound && bound < (uint64_t{1} << 38)) {
        if (total > shown) points.emplace_back(bound / 1000, shown = total);
        bound *= 2;
      }
      total += stats.latency[i];
    }
    if (total > shown) points.emplace_back(bound / 1000, total);
    c.reply.bulk(spec->name);
    c.reply.map(2);
    c.reply.bulk("calls");
    c.reply.integer(static_cast<int64_t>(stats.calls));
    c.reply.bulk("histogram_usec");
    c.reply.map(points.size());
    for (const auto& [us, count] : points) {
      c.reply.integer(static_cast<int64_t>(us));
      c.reply.integer(static_cast<int64_t>(count));
    }
  }
}

void latency_help(Context& c) {
  reply_help(c, "LATENCY",
             {"DOCTOR", "    Return a human readable latency analysis report.", "GRAPH <event>",
              "    Return an ASCII latency graph for the <event> class.", "HISTORY <event>",
              "    Return time-latency samples for the <event> class.", "LATEST",
              "    Return the latest latency samples for all events.", "RESET [<event> ...]",
              "    Reset latency data of one or more <event> classes.",
              "    (default: reset all data for all event classes)", "HISTOGRAM [COMMAND ...]",
              "    Return a cumulative distribution of latencies in the format of a histogram for the specified "
              "command names.",
              "    If no commands are specified then all histograms are replied."});
}

// --- SLOWLOG

void slowlog_get(Context& c) {
  if (c.args.size() > 3) {
    return c.reply.error("ERR unknown subcommand or wrong number of arguments for '" + std::string(c.args[1]) +
                         "'. Try SLOWLOG HELP.");
  }
  int64_t count = 10;
  if (c.args.size() == 3 && (!parse_int64(c.args[2], count) || count < -1)) {
    return c.reply.error("ERR count should be greater than or equal to -1");
  }
  const auto& log = c.engine.slowlog;
  const size_t shown = count == -1 ? log.size() : std::min(log.size(), static_cast<size_t>(count));
  c.reply.array(shown);
  for (size_t i = 0; i < shown; ++i) {
    const SlowlogEntry& entry = log[i];
    c.reply.array(6);
    c.reply.integer(static_cast<int64_t>(entry.id));
    c.reply.integer(static_cast<int64_t>(entry.unix_seconds));
    c.reply.integer(static_cast<int64_t>(entry.microseconds));
    c.reply.array(entry.args.size());
    for (const std::string& arg : entry.args) c.reply.bulk(arg);
    c.reply.bulk(entry.address);
    c.reply.bulk(entry.name);
  }
}

void slowlog_len(Context& c) { c.reply.integer(static_cast<int64_t>(c.engine.slowlog.size())); }

void slowlog_reset(Context& c) {
  c.engine.slowlog.clear();
  c.reply.ok();
}

void slowlog_help(Context& c) {
  reply_help(c, "SLOWLOG",
             {"GET [<count>]", "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
              "    Entries are made of:", "    id, timestamp, time in microseconds, arguments array, client IP and "
              "port,",
              "    client name", "LEN", "    Return the length of the slowlog.", "RESET", "    Reset the slowlog."});
}

}  // namespace predis
