// commands_tracking.cpp: CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO.
#include <algorithm>

#include "arguments.h"
#include "engine.h"
#include "handlers.h"
#include "words.h"

namespace predis {

namespace {

struct Request {
  ClientTracking wanted;
  std::vector<std::string_view> prefixes;
};

bool options_or_reply(Context& c, Request& request) {
  for (size_t i = 3; i < c.args.size(); ++i) {
    const bool more = i + 1 < c.args.size();
    if (is_word(c.args[i], "redirect") && more) {
      if (request.wanted.redirect != 0) {
        c.reply.error("ERR A client can only redirect to a single other client");
        return false;
      }
      int64_t id;
      if (!int64_or_reply(c, c.args[++i], id)) return false;
      const Client* target = c.engine.find_client(static_cast<uint64_t>(id));
      if (target == nullptr || target->killed) {
        c.reply.error("ERR The client ID you want redirect to does not exist");
        return false;
      }
      request.wanted.redirect = static_cast<uint64_t>(id);
    } else if (is_word(c.args[i], "prefix") && more) {
      request.prefixes.push_back(c.args[++i]);
    } else if (is_word(c.args[i], "bcast")) {
      request.wanted.broadcasts = true;
    } else if (is_word(c.args[i], "optin")) {
      request.wanted.opt_in = true;
    } else if (is_word(c.args[i], "optout")) {
      request.wanted.opt_out = true;
    } else if (is_word(c.args[i], "noloop")) {
      request.wanted.no_loop = true;
    } else {
      c.reply.error(errors::kSyntax);
      return false;
    }
  }
  return true;
}

bool overlap(std::string_view a, std::string_view b) { return a.starts_with(b) || b.starts_with(a); }

// Prefixes of one client may not overlap: it would be told of a key twice.
bool prefixes_apart_or_reply(Context& c, const std::vector<std::string_view>& prefixes) {
  constexpr std::string_view kRule = "'. Prefixes for a single client must not overlap.";
  for (size_t i = 0; i < prefixes.size(); ++i) {
    for (const std::string& existing : c.client.tracking.prefixes) {
      if (!overlap(existing, prefixes[i])) continue;
      c.reply.error(concat({"ERR Prefix '", prefixes[i], "' overlaps with an existing prefix '", existing, kRule}));
      return false;
    }
    for (size_t j = i + 1; j < prefixes.size(); ++j) {
      if (!overlap(prefixes[i], prefixes[j])) continue;
      c.reply.error(
          concat({"ERR Prefix '", prefixes[i], "' overlaps with another provided prefix '", prefixes[j], kRule}));
      return false;
    }
  }
  return true;
}

bool fits_or_reply(Context& c, const Request& request) {
  const ClientTracking &wanted = request.wanted, &own = c.client.tracking;
  const char* problem = nullptr;
  if (!wanted.broadcasts && !request.prefixes.empty()) {
    problem = "ERR PREFIX option requires BCAST mode to be enabled";
  } else if ((c.client.modes & kTracks) && own.broadcasts != wanted.broadcasts) {
    problem = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling "
              "it with a different mode.";
  } else if (wanted.broadcasts && (wanted.opt_in || wanted.opt_out)) {
    problem = "ERR OPTIN and OPTOUT are not compatible with BCAST";
  } else if (wanted.opt_in && wanted.opt_out) {
    problem = "ERR You can't specify both OPTIN mode and OPTOUT mode";
  } else if ((wanted.opt_in && own.opt_out) || (wanted.opt_out && own.opt_in)) {
    problem = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling "
              "it with a different mode.";
  } else {
    return !wanted.broadcasts || prefixes_apart_or_reply(c, request.prefixes);
  }
  c.reply.error(problem);
  return false;
}

}  // namespace

void client_tracking(Context& c) {
  Request request;
  if (!options_or_reply(c, request)) return;
  if (is_word(c.args[2], "on")) {
    if (!fits_or_reply(c, request)) return;
    for (std::string_view prefix : request.prefixes) request.wanted.prefixes.emplace(prefix);
    if (request.wanted.broadcasts && request.prefixes.empty()) request.wanted.prefixes.emplace();
    c.engine.tracking.enable(c.client, request.wanted);
  } else if (is_word(c.args[2], "off")) {
    c.engine.tracking.disable(c.client);
  } else {
    return c.reply.error(errors::kSyntax);
  }
  c.engine.update_observer();
  c.reply.ok();
}

void client_caching(Context& c) {
  if (!(c.client.modes & kTracks)) {
    return c.reply.error(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled");
  }
  ClientTracking& own = c.client.tracking;
  if (is_word(c.args[2], "yes")) {
    if (!own.opt_in) {
      return c.reply.error("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
    }
  } else if (is_word(c.args[2], "no")) {
    if (!own.opt_out) {
      return c.reply.error("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
    }
  } else {
    return c.reply.error(errors::kSyntax);
  }
  own.caching = true;
  c.reply.ok();
}

void client_getredir(Context& c) {
  c.reply.integer(c.client.modes & kTracks ? static_cast<int64_t>(c.client.tracking.redirect) : -1);
}

void client_trackinginfo(Context& c) {
  const ClientTracking& own = c.client.tracking;
  std::vector<std::string_view> flags = {c.client.modes & kTracks ? "on" : "off"};
  if (own.broadcasts) flags.push_back("bcast");
  if (own.opt_in) flags.push_back("optin");
  if (own.opt_in && own.caching) flags.push_back("caching-yes");
  if (own.opt_out) flags.push_back("optout");
  if (own.opt_out && own.caching) flags.push_back("caching-no");
  if (own.no_loop) flags.push_back("noloop");
  if (own.redirect_broken) flags.push_back("broken_redirect");
  c.reply.map(3);
  c.reply.bulk("flags");
  c.reply.set(flags.size());
  for (std::string_view flag : flags) c.reply.bulk(flag);
  c.reply.bulk("redirect");
  client_getredir(c);
  c.reply.bulk("prefixes");
  c.reply.array(own.prefixes.size());
  for (const std::string& prefix : own.prefixes) c.reply.bulk(prefix);
}

}  // namespace predis
