// commands_pubsub.cpp: SUBSCRIBE, PUBLISH and their kin, and PUBSUB.
#include <algorithm>

#include "engine.h"
#include "glob.h"
#include "handlers.h"

namespace predis {

namespace {

// One confirmation: ["subscribe", "channel", 3]. It is a push, so CLIENT REPLY OFF does not hold it back.
void confirm(Context& c, std::string_view kind, const std::string_view* name, size_t count) {
  Reply text;
  text.protocol = c.client.protocol;
  text.array(3);
  text.bulk(kind);
  if (name != nullptr) {
    text.bulk(*name);
  } else {
    text.null();
  }
  text.integer(static_cast<int64_t>(count));
  c.engine.push(c.client, text.buffer.view().substr(1));
}

size_t count_of(const Context& c, ChannelKind kind) {
  const Subscriptions& own = c.client.subscriptions;
  return kind == ChannelKind::plain ? own.plain() : own.shard_channels.size();
}

void subscribe_to(Context& c, std::string_view word, ChannelKind kind) {
  for (std::string_view channel : c.args.subspan(1)) {
    c.engine.pubsub.subscribe(c.client, channel, kind);
    confirm(c, word, &channel, count_of(c, kind));
  }
}

void unsubscribe_from(Context& c, std::string_view word, ChannelKind kind) {
  for (std::string_view channel : c.args.subspan(1)) {
    c.engine.pubsub.unsubscribe(c.client, channel, kind);
    confirm(c, word, &channel, count_of(c, kind));
  }
  if (c.args.size() > 1) return;
  const Subscriptions& own = c.client.subscriptions;
  const auto& names = kind == ChannelKind::plain ? own.channels : own.shard_channels;
  if (names.empty()) return confirm(c, word, nullptr, count_of(c, kind));
  while (!names.empty()) {
    const std::string name(*names.begin());
    const std::string_view channel = name;
    c.engine.pubsub.unsubscribe(c.client, channel, kind);
    confirm(c, word, &channel, count_of(c, kind));
  }
}

void subscribe(Context& c) { subscribe_to(c, "subscribe", ChannelKind::plain); }
void unsubscribe(Context& c) { unsubscribe_from(c, "unsubscribe", ChannelKind::plain); }
void sunsubscribe(Context& c) { unsubscribe_from(c, "sunsubscribe", ChannelKind::shard); }

void ssubscribe(Context& c) {
  if (c.engine.in_exec()) return c.reply.error("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client");
  subscribe_to(c, "ssubscribe", ChannelKind::shard);
}

void psubscribe(Context& c) {
  for (std::string_view pattern : c.args.subspan(1)) {
    c.engine.pubsub.subscribe_pattern(c.client, pattern);
    confirm(c, "psubscribe", &pattern, c.client.subscriptions.plain());
  }
}

void punsubscribe(Context& c) {
  std::vector<std::string> names;
  for (std::string_view pattern : c.args.subspan(1)) names.emplace_back(pattern);
  if (c.args.size() == 1) {
    for (const PatternSubscribers* pattern : c.client.subscriptions.patterns) names.push_back(pattern->pattern);
    if (names.empty()) return confirm(c, "punsubscribe", nullptr, c.client.subscriptions.plain());
  }
  for (const std::string& name : names) {
    const std::string_view pattern = name;
    c.engine.pubsub.unsubscribe_pattern(c.client, pattern);
    confirm(c, "punsubscribe", &pattern, c.client.subscriptions.plain());
  }
}

void publish(Context& c) {
  c.reply.integer(static_cast<int64_t>(c.engine.pubsub.publish(c.args[1], c.args[2])));
}

void spublish(Context& c) {
  c.reply.integer(static_cast<int64_t>(c.engine.pubsub.publish(c.args[1], c.args[2], ChannelKind::shard)));
}

// --- PUBSUB

void list_channels(Context& c, ChannelKind kind) {
  if (c.args.size() > 3) return reply_unknown_subcommand(c, "PUBSUB");
  std::vector<std::string_view> names;
  for (const auto& [name, clients] : c.engine.pubsub.channels(kind)) {
    if (c.args.size() == 2 || glob_matches(c.args[2], name)) names.push_back(name);
  }
  c.reply.array(names.size());
  for (std::string_view name : names) c.reply.bulk(name);
}

void count_subscribers(Context& c, ChannelKind kind) {
  c.reply.array((c.args.size() - 2) * 2);
  for (std::string_view channel : c.args.subspan(2)) {
    c.reply.bulk(channel);
    c.reply.integer(static_cast<int64_t>(c.engine.pubsub.subscribers(channel, kind)));
  }
}

void pubsub_channels(Context& c) { list_channels(c, ChannelKind::plain); }
void pubsub_shardchannels(Context& c) { list_channels(c, ChannelKind::shard); }
void pubsub_numsub(Context& c) { count_subscribers(c, ChannelKind::plain); }
void pubsub_shardnumsub(Context& c) { count_subscribers(c, ChannelKind::shard); }
void pubsub_numpat(Context& c) { c.reply.integer(static_cast<int64_t>(c.engine.pubsub.patterns())); }

void pubsub_help(Context& c) {
  reply_help(c, "PUBSUB",
             {"CHANNELS [<pattern>]", "    Return the currently active channels matching a <pattern> (default: '*').",
              "NUMPAT", "    Return number of subscriptions to patterns.", "NUMSUB [<channel> ...]",
              "    Return the number of subscribers for the specified channels, excluding",
              "    pattern subscriptions(default: no channels).", "SHARDCHANNELS [<pattern>]",
              "    Return the currently active shard level channels matching a <pattern> (default: '*').",
              "SHARDNUMSUB [<shardchannel> ...]",
              "    Return the number of subscribers for the specified shard level channel(s)"});
}

constexpr uint32_t kSubscribes = kPubsub | kNoscript | kLoading | kStale | kForSubscribers;
constexpr uint32_t kPublishes = kPubsub | kLoading | kStale | kFast | kMayReplicate;
constexpr uint32_t kAsks = kPubsub | kLoading | kStale;
constexpr std::string_view kSlowAcl = "pubsub slow", kFastAcl = "pubsub fast";
constexpr std::string_view kPerChannel = "O(N) where N is the number of channels.";
constexpr std::string_view kPerSubscriber = "O(N) where N is the number of the channel's subscribers.";

CommandSpec table[] = {
    {"subscribe", -2, kSubscribes, 0, 0, 0, "pubsub", "2.0.0", kPerChannel, "Subscribes to channels.", kSlowAcl,
     subscribe},
    {"unsubscribe", -1, kSubscribes, 0, 0, 0, "pubsub", "2.0.0", kPerSubscriber,
     "Ends subscriptions to channels, or to all.", kSlowAcl, unsubscribe},
    {"psubscribe", -2, kSubscribes, 0, 0, 0, "pubsub", "2.0.0",
     "O(N) where N is the number of patterns the client has subscribed to.",
     "Subscribes to all channels that match a pattern.", kSlowAcl, psubscribe},
    {"punsubscribe", -1, kSubscribes, 0, 0, 0, "pubsub", "2.0.0",
     "O(N) where N is the number of patterns the client has subscribed to.",
     "Ends subscriptions to patterns, or to all.", kSlowAcl, punsubscribe},
    {"publish", 3, kPublishes, 0, 0, 0, "pubsub", "2.0.0",
     "O(N+M) where N is the number of the channel's subscribers and M the number of patterns.",
     "Sends a message to a channel's subscribers.", kFastAcl, publish},
    {"ssubscribe", -2, kSubscribes, 1, -1, 1, "pubsub", "7.0.0", kPerChannel, "Subscribes to shard channels.", kSlowAcl,
     ssubscribe},
    {"sunsubscribe", -1, kSubscribes, 1, -1, 1, "pubsub", "7.0.0", kPerSubscriber,
     "Ends subscriptions to shard channels, or to all.", kSlowAcl, sunsubscribe},
    {"spublish", 3, kPublishes, 1, 1, 1, "pubsub", "7.0.0", kPerSubscriber,
     "Sends a message to a shard channel's subscribers.", kFastAcl, spublish},
    {"pubsub", -2, 0, 0, 0, 0, "pubsub", "2.8.0", "Depends on subcommand.", "Holds the commands about subscriptions.",
     "slow", nullptr},
    {"pubsub|channels", -2, kAsks, 0, 0, 0, "pubsub", "2.8.0", kPerChannel, "Names the channels with subscribers.",
     kSlowAcl, pubsub_channels},
    {"pubsub|numsub", -2, kAsks, 0, 0, 0, "pubsub", "2.8.0", kPerChannel, "Counts channels' subscribers.", kSlowAcl,
     pubsub_numsub},
    {"pubsub|numpat", 2, kAsks, 0, 0, 0, "pubsub", "2.8.0", "O(1)", "Counts the patterns subscribed to.", kSlowAcl,
     pubsub_numpat},
    {"pubsub|shardchannels", -2, kAsks, 0, 0, 0, "pubsub", "7.0.0", kPerChannel,
     "Names the shard channels with subscribers.", kSlowAcl, pubsub_shardchannels},
    {"pubsub|shardnumsub", -2, kAsks, 0, 0, 0, "pubsub", "7.0.0", kPerChannel, "Counts shard channels' subscribers.",
     kSlowAcl, pubsub_shardnumsub},
    {"pubsub|help", 2, kLoading | kStale, 0, 0, 0, "pubsub", "6.2.0", "O(1)", "Lists the subcommands.", "slow",
     pubsub_help},
};

}  // namespace

std::span<CommandSpec> pubsub_commands() { return table; }

}  // namespace predis
