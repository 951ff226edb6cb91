// commands_zset.h: the sorted set commands that stand in another file than their table, commands_zset.cpp.
#pragma once

#include <string>
#include <vector>

#include "commands_collection.h"

namespace predis {

// A number as Redis reads scores: what strtod takes, without spaces around it; not NaN.
bool parse_double(std::string_view text, double& out);

// A score as it is stored.
struct ScoreBytes {
  explicit ScoreBytes(double score) { std::memcpy(bytes, &score, sizeof bytes); }
  std::string_view view() const { return {bytes, sizeof bytes}; }
  char bytes[8];
};

// Adds a member that is not there, or gives it another score; begin() has found room for it.
void put_score(Context& ctx, Edit& edit, uint32_t at, std::string_view member, double score);
constexpr size_t score_room(std::string_view member) { return record_room(member.size(), sizeof(double)); }

// Members with their scores that are to replace what a key holds.
struct Scored {
  std::string member;
  double score;
};
// Stores them, tells of it and replies with their number; without any, the key is deleted.
void store_scored(Context& ctx, std::string_view key, const std::vector<Scored>& members, std::string_view event);

// Replies with a member, and with its score where `scores` asks for it: in RESP3 as a pair.
void reply_scored(Context& ctx, std::string_view member, double score, bool scores);

// commands_zset_range.cpp
void zrange(Context& ctx);
void zrangestore(Context& ctx);
void zrangebyscore(Context& ctx);
void zrangebylex(Context& ctx);
void zrevrange(Context& ctx);
void zrevrangebyscore(Context& ctx);
void zrevrangebylex(Context& ctx);
void zcount(Context& ctx);
void zlexcount(Context& ctx);
void zremrangebyrank(Context& ctx);
void zremrangebyscore(Context& ctx);
void zremrangebylex(Context& ctx);

// commands_zset_algebra.cpp
void zunion(Context& ctx);
void zinter(Context& ctx);
void zdiff(Context& ctx);
void zunionstore(Context& ctx);
void zinterstore(Context& ctx);
void zdiffstore(Context& ctx);
void zintercard(Context& ctx);

}  // namespace predis
