// commands_lcs.cpp: LCS, the longest common subsequence of two strings.
//
// The textbook's table: cell (i, j) holds the length for the first i bytes of one string and the first j of the other.
// The walk back from the last cell then finds the bytes. Where two ways are equally long it shortens the second string,
// as Redis does, so that both find the same of several longest ones.

#include <algorithm>
#include <memory>
#include <new>
#include <string>

#include "arguments.h"
#include "commands_bit.h"
#include "engine.h"
#include "entries.h"

namespace predis {
namespace {

struct Options {
  bool length = false, index = false, with_match_length = false;
  int64_t least_match = 0;
};

bool options_or_reply(Context& ctx, Options& options) {
  for (size_t i = 3; i < ctx.args.size(); ++i) {
    const std::string_view word = ctx.args[i];
    if (is_option(word, "idx")) {
      options.index = true;
    } else if (is_option(word, "len")) {
      options.length = true;
    } else if (is_option(word, "withmatchlen")) {
      options.with_match_length = true;
    } else if (is_option(word, "minmatchlen") && i + 1 < ctx.args.size()) {
      if (!int64_or_reply(ctx, ctx.args[++i], options.least_match)) return false;
    } else {
      ctx.reply.error(errors::kSyntax);
      return false;
    }
  }
  if (!options.index || !options.length) return true;
  ctx.reply.error("ERR If you want both the length and indexes, please just use IDX.");
  return false;
}

class Lengths {
 public:
  // False when there is no memory for the table.
  bool fill(std::string_view a, std::string_view b) {
    columns_ = b.size() + 1;
    cells_.reset(new (std::nothrow) uint32_t[(a.size() + 1) * columns_]);
    if (cells_ == nullptr) return false;
    std::fill_n(cells_.get(), columns_, 0u);
    for (size_t i = 1; i <= a.size(); ++i) {
      uint32_t* row = cells_.get() + i * columns_;
      const uint32_t* above = row - columns_;
      row[0] = 0;
      for (size_t j = 1; j <= b.size(); ++j) {
        row[j] = a[i - 1] == b[j - 1] ? above[j - 1] + 1 : std::max(above[j], row[j - 1]);
      }
    }
    return true;
  }
  uint32_t at(size_t i, size_t j) const { return cells_[i * columns_ + j]; }

 private:
  size_t columns_ = 0;
  std::unique_ptr<uint32_t[]> cells_;
};

// Walks back through the table and calls match(i, j) for each byte of the subsequence, the last one first, where
// it is a[i] and b[j].
template <class Match>
void walk(const Lengths& lengths, std::string_view a, std::string_view b, Match&& match) {
  for (size_t i = a.size(), j = b.size(); i > 0 && j > 0;) {
    if (a[i - 1] == b[j - 1]) {
      match(--i, --j);
    } else if (lengths.at(i - 1, j) > lengths.at(i, j - 1)) {
      --i;
    } else {
      --j;
    }
  }
}

std::string subsequence(const Lengths& lengths, std::string_view a, std::string_view b) {
  std::string result(lengths.at(a.size(), b.size()), '\0');
  size_t left = result.size();
  walk(lengths, a, b, [&](size_t i, size_t) { result[--left] = a[i]; });
  return result;
}

struct Match {
  size_t a, b, length;
};

// The stretches in which the subsequence's bytes stand side by side in both strings, the last one first.
std::vector<Match> matches(const Lengths& lengths, std::string_view a, std::string_view b, int64_t least) {
  std::vector<Match> found;
  walk(lengths, a, b, [&](size_t i, size_t j) {
    if (!found.empty() && found.back().a == i + 1 && found.back().b == j + 1) {
      found.back() = {i, j, found.back().length + 1};
    } else {
      found.push_back({i, j, 1});
    }
  });
  std::erase_if(found, [&](const Match& match) { return static_cast<int64_t>(match.length) < least; });
  return found;
}

void reply_range(Context& ctx, size_t start, size_t length) {
  ctx.reply.array(2);
  ctx.reply.integer(static_cast<int64_t>(start));
  ctx.reply.integer(static_cast<int64_t>(start + length - 1));
}

void reply_index(Context& ctx, const std::vector<Match>& found, const Options& options, uint32_t length) {
  ctx.reply.map(2);
  ctx.reply.bulk("matches");
  ctx.reply.array(found.size());
  for (const Match& match : found) {
    ctx.reply.array(options.with_match_length ? 3 : 2);
    reply_range(ctx, match.a, match.length);
    reply_range(ctx, match.b, match.length);
    if (options.with_match_length) ctx.reply.integer(static_cast<int64_t>(match.length));
  }
  ctx.reply.bulk("len");
  ctx.reply.integer(length);
}

}  // namespace

void lcs(Context& ctx) {
  const uint64_t second_hash = ctx.store.hash(ctx.args[2]);
  find_to_read(ctx, ctx.args[1], ctx.key_hash);
  const Entry* second = find_to_read(ctx, ctx.args[2], second_hash);
  const Entry* first = ctx.store.find(ctx.args[1], ctx.key_hash);  // the second find may have erased an expired key
  if ((first != nullptr && first->type() != Type::string) || (second != nullptr && second->type() != Type::string)) {
    return ctx.reply.error("ERR The specified keys must contain string values");
  }
  Options options;
  if (!options_or_reply(ctx, options)) return;
  const std::string_view a = first != nullptr ? first->value() : std::string_view();
  const std::string_view b = second != nullptr ? second->value() : std::string_view();
  const unsigned __int128 needed = static_cast<unsigned __int128>(a.size() + 1) * (b.size() + 1) * sizeof(uint32_t);
  if (needed > static_cast<uint64_t>(ctx.engine.config().max_bulk)) {
    return ctx.reply.error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
  }
  Lengths lengths;
  if (!lengths.fill(a, b)) {
    return ctx.reply.error("ERR Insufficient memory, failed allocating transient memory for LCS");
  }
  const uint32_t length = lengths.at(a.size(), b.size());
  if (options.index) {
    reply_index(ctx, matches(lengths, a, b, options.least_match), options, length);
  } else if (options.length) {
    ctx.reply.integer(length);
  } else {
    ctx.reply.bulk(subsequence(lengths, a, b));
  }
}

}  // namespace predis
