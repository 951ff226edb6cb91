// acl_describe.cpp: users in words. Redis keeps no record of the rules that were given: it looks for rules that come to
// the same set of commands, and so must this to print what Redis prints. It begins with everything or nothing, takes
// the category that fits best as long as one fits more than it spoils, and ends with single commands.
#include <algorithm>

#include "acl.h"
#include "words.h"

namespace predis {

namespace {

// Appends rules to `rules` that bring `built` from where it is to `wanted`, one command at a time.
void describe_single(const Selector& wanted, CommandSet& built, const AclCommand& command, std::string& rules) {
  const bool allowed = wanted.commands.test(command.id);
  if (allowed != built.test(command.id)) {
    rules += concat({allowed ? " +" : " -", command.name});
    built.set(command.id, allowed);
    for (const AclCommand* sub : command.subcommands) built.set(sub->id, allowed);
  }
  for (const AclCommand* sub : command.subcommands) describe_single(wanted, built, *sub, rules);
  if (allowed) return;
  auto found = wanted.first_arguments.find(command.id);
  if (found == wanted.first_arguments.end()) return;
  for (const std::string& argument : found->second) rules += concat({" +", command.name, "|", argument});
}

std::string pattern_text(const KeyPattern& pattern, bool to_be_read = false) {
  if (to_be_read && pattern.access == kAnyKey && pattern.text == "*") return "%RW~*";
  const std::string_view sign = pattern.access == kAnyKey ? "~" : pattern.access == kReadKey ? "%R~" : "%W~";
  return concat({sign, pattern.text});
}

std::string describe_selector(const Selector& selector, bool to_be_read) {
  std::string text;
  if (selector.all_keys) text += "~* ";
  for (const KeyPattern& pattern : selector.keys) text += pattern_text(pattern, to_be_read) + " ";
  text += selector.all_channels ? "&* " : "resetchannels ";
  for (const std::string& channel : selector.channels) text += concat({"&", channel, " "});
  return text + describe_commands(selector);
}

}  // namespace

std::string describe_commands(const Selector& selector) {
  const bool adds = !selector.commands.test(kFutureCommands);
  std::string rules = adds ? "-@all" : "+@all";
  CommandSet built, left = selector.commands;  // left: as `wanted`, but for what the categories so far deal with
  if (!adds) built.set();
  std::vector<const AclCategory*> applied;
  while (true) {
    const AclCategory* best = nullptr;
    size_t fewest_different = SIZE_MAX, most_same = 0;
    for (const AclCategory& category : acl_categories()) {
      if (std::find(applied.begin(), applied.end(), &category) != applied.end()) continue;
      const size_t on = (left & category.members).count(), off = category.members.count() - on;
      const size_t same = adds ? on : off, different = adds ? off : on;
      if (same <= different) continue;
      if (different > fewest_different || (different == fewest_different && same <= most_same)) continue;
      best = &category;
      fewest_different = different;
      most_same = same;
    }
    if (best == nullptr) break;
    rules += concat({adds ? " +@" : " -@", best->name});
    if (adds) {
      built |= best->reach;
      left &= ~best->reach;
    } else {
      built &= ~best->reach;
      left |= best->reach;
    }
    applied.push_back(best);
  }
  for (const AclCommand* command : acl_top_commands()) describe_single(selector, built, *command, rules);
  return rules;
}

std::string describe_keys(const Selector& selector) {
  if (selector.all_keys) return "~*";
  std::string text;
  for (const KeyPattern& pattern : selector.keys) text += (text.empty() ? "" : " ") + pattern_text(pattern);
  return text;
}

std::string describe_channels(const Selector& selector) {
  if (selector.all_channels) return "&*";
  std::string text;
  for (const std::string& channel : selector.channels) text += concat({text.empty() ? "&" : " &", channel});
  return text;
}

std::vector<std::string_view> flag_names(const User& user) {
  std::vector<std::string_view> names = {user.on ? "on" : "off"};
  if (user.no_password) names.push_back("nopass");
  if (user.sanitize_payload == SanitizePayload::skip) names.push_back("skip-sanitize-payload");
  if (user.sanitize_payload == SanitizePayload::yes) names.push_back("sanitize-payload");
  return names;
}

std::string describe_user(const User& user, bool to_be_read) {
  std::string text;
  for (std::string_view flag : flag_names(user)) text += concat({flag, " "});
  for (const std::string& password : user.passwords) text += concat({"#", password, " "});
  for (size_t i = 0; i < user.selectors.size(); ++i) {
    const std::string selector = describe_selector(user.selectors[i], to_be_read);
    text += i == 0 ? selector : concat({" (", selector, ")"});
  }
  return text;
}

}  // namespace predis
