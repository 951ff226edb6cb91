// commands_zset_algebra.cpp: ZUNION, ZINTER, ZDIFF and their kin. They take sets too, whose members have the score 1.
#include <cmath>
#include <deque>
#include <unordered_map>

#include "commands_zset.h"

namespace predis {
namespace {

enum class Kind { unite, intersect, subtract };
enum class Aggregate { sum, least, greatest };

struct Input {
  Input(Store& store, Entry* entry) : members(store, entry), scored(entry != nullptr && entry->type() == Type::zset) {}
  Collection members;
  bool scored;
  double weight = 1;

  double weighted(uint32_t place) const {
    const double score = weight * (scored ? members.score(place) : 1.0);
    return std::isnan(score) ? 0 : score;
  }
};

struct Question {
  std::deque<Input> inputs;
  Aggregate aggregate = Aggregate::sum;
  bool scores = false;
  int64_t limit = 0;
};

double combine(Aggregate aggregate, double a, double b) {
  if (aggregate == Aggregate::least) return std::min(a, b);
  if (aggregate == Aggregate::greatest) return std::max(a, b);
  const double sum = a + b;
  return std::isnan(sum) ? 0 : sum;  // infinities of both signs
}

// Reads args[first …]: how many keys, the keys, the options.
bool ask(Context& ctx, std::string_view command, size_t first, Kind kind, bool store, bool card, Question& question) {
  const Args args = ctx.args;
  int64_t keys;
  if (!int64_or_reply(ctx, args[first], keys)) return false;
  if (keys < 1) {
    ctx.reply.error("ERR at least 1 input key is needed for '" + std::string(command) + "' command");
    return false;
  }
  if (keys > static_cast<int64_t>(args.size() - first - 1)) return ctx.reply.error(errors::kSyntax), false;
  const auto count = static_cast<size_t>(keys);
  for (const std::string_view key : args.subspan(first + 1, count)) {
    Entry* entry = find_to_read(ctx, key, ctx.store.hash(key));
    if (entry != nullptr && entry->type() != Type::set && !is_type_or_reply(ctx, entry, Type::zset)) return false;
    question.inputs.emplace_back(ctx.store, entry);
  }
  for (size_t i = first + 1 + count; i < args.size(); ++i) {
    const size_t left = args.size() - i;
    const bool weighs = kind != Kind::subtract && !card;
    if (weighs && left >= count + 1 && is_option(args[i], "weights")) {
      for (Input& input : question.inputs) {
        if (!parse_double(args[++i], input.weight)) return ctx.reply.error("ERR weight value is not a float"), false;
      }
    } else if (weighs && left >= 2 && is_option(args[i], "aggregate")) {
      const std::string_view how = args[++i];
      if (is_option(how, "sum")) question.aggregate = Aggregate::sum;
      else if (is_option(how, "min")) question.aggregate = Aggregate::least;
      else if (is_option(how, "max")) question.aggregate = Aggregate::greatest;
      else return ctx.reply.error(errors::kSyntax), false;
    } else if (!store && !card && is_option(args[i], "withscores")) {
      question.scores = true;
    } else if (card && left >= 2 && is_option(args[i], "limit")) {
      if (!limit_or_reply(ctx, args[++i], question.limit)) return false;
    } else {
      return ctx.reply.error(errors::kSyntax), false;
    }
  }
  return true;
}

// By size, which is the order that Redis adds scores in.
std::vector<const Input*> by_size(const Question& question) {
  std::vector<const Input*> order;
  for (const Input& input : question.inputs) order.push_back(&input);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->members.size() < b->members.size(); });
  return order;
}

std::vector<Scored> unite(Context& ctx, const Question& question) {
  const auto hash = [&ctx](std::string_view member) { return static_cast<size_t>(ctx.store.hash(member)); };
  std::unordered_map<std::string_view, size_t, decltype(hash)> seen(16, hash);
  std::vector<Scored> found;
  for (const Input* input : by_size(question)) {
    input->members.each([&](const Record& record, std::string_view member) {
      const double score = input->weighted(record.at);
      const auto [at, fresh] = seen.emplace(member, found.size());
      if (fresh) found.push_back({std::string(member), score});
      else found[at->second].score = combine(question.aggregate, found[at->second].score, score);
    });
  }
  return found;
}

std::vector<Scored> intersect(const Question& question) {
  const auto order = by_size(question);
  std::vector<Scored> found;
  bool more = order[0]->members.size() != 0;
  if (!more) return found;
  order[0]->members.each([&](const Record& record, std::string_view member) {
    if (!more) return;
    double score = order[0]->weighted(record.at);
    for (size_t i = 1; i < order.size(); ++i) {
      const uint32_t at = order[i]->members.find(member);
      if (at == 0) return;
      score = combine(question.aggregate, score, order[i]->weighted(at));
    }
    found.push_back({std::string(member), score});
    more = question.limit == 0 || found.size() < static_cast<uint64_t>(question.limit);
  });
  return found;
}

std::vector<Scored> subtract(const Question& question) {
  std::vector<Scored> found;
  const Input& first = question.inputs.front();
  first.members.each([&](const Record& record, std::string_view member) {
    for (size_t i = 1; i < question.inputs.size(); ++i) {
      if (question.inputs[i].members.find(member) != 0) return;
    }
    found.push_back({std::string(member), first.weighted(record.at)});
  });
  return found;
}

std::vector<Scored> answer(Context& ctx, Kind kind, const Question& question) {
  return kind == Kind::unite ? unite(ctx, question) : kind == Kind::intersect ? intersect(question) : subtract(question);
}

void reply_generic(Context& ctx, std::string_view command, Kind kind) {
  Question question;
  if (!ask(ctx, command, 1, kind, false, false, question)) return;
  std::vector<Scored> found = answer(ctx, kind, question);
  std::sort(found.begin(), found.end(), [](const Scored& a, const Scored& b) {
    return a.score != b.score ? a.score < b.score : a.member < b.member;
  });
  reply_pairs_head(ctx, found.size(), question.scores);
  for (const Scored& scored : found) reply_scored(ctx, scored.member, scored.score, question.scores);
}

void store_generic(Context& ctx, std::string_view command, Kind kind) {
  std::vector<Scored> found;
  {
    Question question;
    if (!ask(ctx, command, 2, kind, true, false, question)) return;
    found = answer(ctx, kind, question);
  }
  store_scored(ctx, ctx.args[1], found, command);
}

}  // namespace

void zunion(Context& ctx) { reply_generic(ctx, "zunion", Kind::unite); }
void zinter(Context& ctx) { reply_generic(ctx, "zinter", Kind::intersect); }
void zdiff(Context& ctx) { reply_generic(ctx, "zdiff", Kind::subtract); }
void zunionstore(Context& ctx) { store_generic(ctx, "zunionstore", Kind::unite); }
void zinterstore(Context& ctx) { store_generic(ctx, "zinterstore", Kind::intersect); }
void zdiffstore(Context& ctx) { store_generic(ctx, "zdiffstore", Kind::subtract); }

void zintercard(Context& ctx) {
  Question question;
  if (!ask(ctx, "zintercard", 1, Kind::intersect, false, true, question)) return;
  ctx.reply.integer(static_cast<int64_t>(intersect(question).size()));
}

}  // namespace predis
