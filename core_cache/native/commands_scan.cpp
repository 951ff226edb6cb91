// commands_scan.cpp: going through the keys. Nothing is allocated in the store meanwhile, so the keys that a walk meets
// are gathered as views into the arena and written once their number is known.

#include <vector>

#include "arguments.h"
#include "commands_key.h"
#include "entries.h"
#include "glob.h"
#include "tenants.h"

namespace predis {
namespace {

using Keys = std::vector<std::string_view>;

// More keys than there can be, and far enough from overflow for the store to count with.
constexpr size_t kEveryKey = size_t{1} << 48;

void reply_keys(Context& ctx, const Keys& found) {
  ctx.reply.array(found.size());
  for (const std::string_view key : found) ctx.reply.bulk(key);
}

struct ScanOptions {
  int64_t count = 10;
  std::string_view pattern = "*";
  bool typed = false;
  std::string_view type;
};

bool scan_options_or_reply(Context& ctx, ScanOptions& options) {
  const Args args = ctx.args;
  for (size_t i = 2; i < args.size(); i += 2) {
    const bool has_value = i + 1 < args.size();
    bool understood = has_value;
    if (has_value && is_option(args[i], "count")) {
      if (!int64_or_reply(ctx, args[i + 1], options.count)) return false;
      understood = options.count >= 1;
    } else if (has_value && is_option(args[i], "match")) {
      options.pattern = args[i + 1];
    } else if (has_value && is_option(args[i], "type")) {
      options.typed = true;
      options.type = args[i + 1];
    } else {
      understood = false;
    }
    if (!understood) {
      ctx.reply.error(errors::kSyntax);
      return false;
    }
  }
  return true;
}

// A tenant sees its own keys. Those of others cost time as well: however large its COUNT, and however few of the keys are
// its own, no call looks at more than kTenantScanKeys of them or so.
void scan_of_tenant(Context& ctx, const Tenant& tenant, uint64_t cursor, const ScanOptions& options) {
  constexpr size_t kStep = 16;
  const auto wanted = static_cast<size_t>(options.count);
  Keys found;
  size_t seen = 0, own = 0;
  do {
    seen += kStep;
    cursor = ctx.store.scan(cursor, std::min(kStep, wanted), [&](Entry* entry) {
      if (entry->tenant() != tenant.number) return;
      ++own;
      if (options.pattern != "*" && !glob_matches(options.pattern, entry->key())) return;
      if (options.typed) ++ctx.store.stats().keyspace_hits;
      if (!options.typed || is_option(options.type, type_name(entry->type()))) found.push_back(entry->key());
    });
  } while (cursor != 0 && own < wanted && seen < kTenantScanKeys);
  ctx.reply.array(2);
  ctx.reply.bulk(std::to_string(cursor));
  reply_keys(ctx, found);
}

}  // namespace

void keys(Context& ctx) {
  const std::string_view pattern = ctx.args[1];
  const bool all = pattern == "*";
  Keys found;
  uint64_t cursor = 0;
  do {
    cursor = ctx.store.scan(cursor, kEveryKey, [&](Entry* entry) {
      if (all || glob_matches(pattern, entry->key())) found.push_back(entry->key());
    });
  } while (cursor != 0);
  reply_keys(ctx, found);
}

void scan(Context& ctx) {
  uint64_t cursor;
  if (!parse_cursor(ctx.args[1], cursor)) return ctx.reply.error("ERR invalid cursor");
  ScanOptions options;
  if (!scan_options_or_reply(ctx, options)) return;
  if (ctx.client.tenant != nullptr) return scan_of_tenant(ctx, *ctx.client.tenant, cursor, options);
  const bool all = options.pattern == "*";
  Keys found;
  cursor = ctx.store.scan(cursor, std::min(static_cast<size_t>(options.count), kEveryKey), [&](Entry* entry) {
    if (!all && !glob_matches(options.pattern, entry->key())) return;
    if (options.typed) ++ctx.store.stats().keyspace_hits;  // Redis counts looking at the types as hits
    if (!options.typed || is_option(options.type, type_name(entry->type()))) found.push_back(entry->key());
  });
  ctx.reply.array(2);
  ctx.reply.bulk(std::to_string(cursor));
  reply_keys(ctx, found);
}

void randomkey(Context& ctx) {
  const Entry* entry = ctx.store.random();
  entry != nullptr ? ctx.reply.bulk(entry->key()) : ctx.reply.null();
}

}  // namespace predis
