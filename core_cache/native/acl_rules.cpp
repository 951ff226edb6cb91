// acl_rules.cpp: reads access rules. Where Redis takes a rule for a C string, so does this: it ends at a NUL.
#include <string.h>

#include <algorithm>

#include "acl.h"
#include "resp.h"
#include "sha256.h"
#include "words.h"

namespace predis {

namespace {

std::string_view c_string(std::string_view text) { return text.substr(0, text.find('\0')); }

bool is_hash(std::string_view text) {
  if (text.size() != kSha256Hex) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

void set_command(Selector& selector, const AclCommand& command, bool allow) {
  selector.commands.set(command.id, allow);
  for (const AclCommand* sub : command.subcommands) selector.commands.set(sub->id, allow);
  selector.first_arguments.erase(command.id);
}

void set_category(Selector& selector, const AclCategory& category, bool allow) {
  if (allow) {
    selector.commands |= category.reach;
  } else {
    selector.commands &= ~category.reach;
  }
  std::erase_if(selector.first_arguments, [&](const auto& entry) { return category.members.test(entry.first); });
}

void set_all_commands(Selector& selector, bool allow) {
  allow ? selector.commands.set() : selector.commands.reset();
  selector.first_arguments.clear();
}

// "+name", "-name", "+@category", "-@category", "+name|argument".
RuleProblem command_rule(Selector& selector, std::string_view rule) {
  const bool allow = rule[0] == '+';
  const std::string_view name = rule.substr(1);
  if (name.starts_with('@')) {
    const AclCategory* category = find_acl_category(name.substr(1));
    if (category == nullptr) return RuleProblem::unknown_command;
    set_category(selector, *category, allow);
    return RuleProblem::none;
  }
  const size_t bar = name.rfind('|');
  const AclCommand* command = find_acl_command(name);
  if (allow && bar != std::string_view::npos) {
    const AclCommand* container = find_acl_command(name.substr(0, bar));
    const std::string_view argument = name.substr(bar + 1);
    if (container == nullptr) return RuleProblem::unknown_command;
    if (container->subcommand) return RuleProblem::argument_of_subcommand;
    if (argument.empty()) return RuleProblem::syntax;
    if (container->subcommands.empty()) {
      auto& arguments = selector.first_arguments[container->id];
      const auto same = [&](const std::string& known) { return is_word(argument, lowered(known)); };
      if (std::none_of(arguments.begin(), arguments.end(), same)) arguments.emplace_back(argument);
      return RuleProblem::none;
    }
  }
  if (command == nullptr) return RuleProblem::unknown_command;
  set_command(selector, *command, allow);
  return RuleProblem::none;
}

// "~pattern", "%R~pattern", "%RW~pattern".
RuleProblem key_rule(Selector& selector, std::string_view rule) {
  if (selector.all_keys) return RuleProblem::after_all_keys;
  uint8_t access = kAnyKey;
  size_t at = 1;
  if (rule[0] == '%') {
    access = 0;
    for (; at < rule.size(); ++at) {
      const char c = to_lower(rule[at]);
      if (c == 'r' && !(access & kReadKey)) {
        access |= kReadKey;
      } else if (c == 'w' && !(access & kWriteKey)) {
        access |= kWriteKey;
      } else if (c == '~' && access != 0) {
        ++at;
        break;
      } else {
        return RuleProblem::syntax;
      }
    }
    if (access == 0) return RuleProblem::syntax;
  }
  const std::string_view pattern = rule.substr(at);
  if (has_spaces(pattern)) return RuleProblem::syntax;
  for (KeyPattern& known : selector.keys) {
    if (known.text != pattern) continue;
    known.access |= access;
    return RuleProblem::none;
  }
  selector.keys.emplace_back(pattern, access);
  return RuleProblem::none;
}

RuleProblem channel_rule(Selector& selector, std::string_view rule) {
  if (selector.all_channels) return RuleProblem::after_all_channels;
  const std::string_view pattern = rule.substr(1);
  if (has_spaces(pattern)) return RuleProblem::syntax;
  if (std::find(selector.channels.begin(), selector.channels.end(), pattern) == selector.channels.end()) {
    selector.channels.emplace_back(pattern);
  }
  return RuleProblem::none;
}

RuleProblem selector_rule(Selector& selector, std::string_view rule) {
  const std::string_view word = c_string(rule);
  if (is_word(word, "allkeys") || word == "~*") {
    selector.all_keys = true;
    selector.keys.clear();
  } else if (is_word(word, "resetkeys")) {
    selector.all_keys = false;
    selector.keys.clear();
  } else if (is_word(word, "allchannels") || word == "&*") {
    selector.all_channels = true;
    selector.channels.clear();
  } else if (is_word(word, "resetchannels")) {
    selector.all_channels = false;
    selector.channels.clear();
  } else if (is_word(word, "allcommands") || is_word(word, "+@all")) {
    set_all_commands(selector, true);
  } else if (is_word(word, "nocommands") || is_word(word, "-@all")) {
    set_all_commands(selector, false);
  } else if (word.starts_with('~') || word.starts_with('%')) {
    return key_rule(selector, rule);
  } else if (word.starts_with('&')) {
    return channel_rule(selector, rule);
  } else if (word.starts_with('+') || word.starts_with('-')) {
    return command_rule(selector, word);
  } else {
    return RuleProblem::syntax;
  }
  return RuleProblem::none;
}

// "(rule rule …)"
RuleProblem add_selector(User& user, std::string_view rule, bool all_channels) {
  std::string inner(c_string(rule.substr(1, rule.size() - 2)));
  std::vector<std::string_view> rules;
  if (!split_inline(inner.data(), inner.data() + inner.size(), rules)) rules.clear();
  Selector selector;
  selector.all_channels = all_channels;
  RuleProblem problem = RuleProblem::none;
  for (size_t i = 0; i < rules.size() && problem == RuleProblem::none; ++i) {
    problem = selector_rule(selector, rules[i]);
  }
  explicit_bzero(inner.data(), inner.size());  // a password that is here is a mistake, but a password
  if (problem == RuleProblem::none) user.selectors.push_back(std::move(selector));
  return problem;
}

RuleProblem password_rule(User& user, std::string_view rule) {
  const bool plain = rule[0] == '>' || rule[0] == '<', adds = rule[0] == '>' || rule[0] == '#';
  const std::string_view given = rule.substr(1);
  if (!plain && !is_hash(given)) return RuleProblem::bad_hash;
  const std::string hash = plain ? sha256_hex(given) : std::string(given);
  auto found = std::find(user.passwords.begin(), user.passwords.end(), hash);
  if (adds) {
    if (found == user.passwords.end()) user.passwords.push_back(hash);
    user.no_password = false;
  } else {
    if (found == user.passwords.end()) return RuleProblem::no_such_password;
    user.passwords.erase(found);
  }
  return RuleProblem::none;
}

}  // namespace

std::string_view problem_text(RuleProblem problem) {
  switch (problem) {
    case RuleProblem::syntax:
      return "Syntax error";
    case RuleProblem::unknown_command:
      return "Unknown command or category name in ACL";
    case RuleProblem::after_all_keys:
      return "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. "
             "Try 'resetkeys' to start with an empty list of patterns";
    case RuleProblem::after_all_channels:
      return "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any "
             "effect. Try 'resetchannels' to start with an empty list of channels";
    case RuleProblem::no_such_password:
      return "The password you are trying to remove from the user does not exist";
    case RuleProblem::bad_hash:
      return "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
    case RuleProblem::argument_of_subcommand:
      return "Allowing first-arg of a subcommand is not supported";
    case RuleProblem::none:
      break;
  }
  return "";
}

bool has_spaces(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0'; };
  return std::any_of(text.begin(), text.end(), is_space);
}

std::string shown_rule(std::string_view rule) {
  if (rule.starts_with('<') || rule.starts_with('>')) return concat({rule.substr(0, 1), "(redacted)"});
  const bool selector = rule.starts_with('(');
  if (selector && rule.find_first_of("<>") != std::string_view::npos) return "((redacted))";
  return std::string(c_string(rule));
}

RuleProblem apply_rule(User& user, std::string_view rule, bool all_channels_by_default) {
  if (rule.empty()) return RuleProblem::none;
  const std::string_view word = c_string(rule);
  if (is_word(word, "on")) {
    user.on = true;
  } else if (is_word(word, "off")) {
    user.on = false;
  } else if (is_word(word, "skip-sanitize-payload")) {
    user.sanitize_payload = SanitizePayload::skip;
  } else if (is_word(word, "sanitize-payload")) {
    user.sanitize_payload = SanitizePayload::yes;
  } else if (is_word(word, "nopass")) {
    user.no_password = true;
    user.passwords.clear();
  } else if (is_word(word, "resetpass")) {
    user.no_password = false;
    user.passwords.clear();
  } else if (rule[0] == '>' || rule[0] == '#' || rule[0] == '<' || rule[0] == '!') {
    return password_rule(user, rule);
  } else if (rule[0] == '(' && rule.back() == ')') {
    return add_selector(user, rule, all_channels_by_default);
  } else if (is_word(word, "clearselectors")) {
    user.selectors.resize(1);
  } else if (is_word(word, "reset")) {
    user = User(user.name, all_channels_by_default);
    user.sanitize_payload = SanitizePayload::yes;
  } else {
    return selector_rule(user.root(), rule);
  }
  return RuleProblem::none;
}

bool merge_selectors(Args rules, std::vector<std::string>& merged, size_t& open) {
  constexpr size_t kNone = static_cast<size_t>(-1);
  open = kNone;
  std::string selector;
  for (size_t i = 0; i < rules.size(); ++i) {
    const std::string_view rule = rules[i];
    if (rule.starts_with('(') && !rule.ends_with(')')) {
      selector = rule;
      open = i;
    } else if (open != kNone) {
      selector += concat({" ", c_string(rule)});
      if (!rule.ends_with(')')) continue;
      open = kNone;
      merged.push_back(std::move(selector));
    } else {
      merged.emplace_back(rule);
    }
  }
  return open == kNone;
}

}  // namespace predis
