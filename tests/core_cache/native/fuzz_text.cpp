// fuzz_text.cpp: what people and other programs write for the cache: patterns, access rules, ACL files, policy models,
// numbers, inline commands.
//
// Checked: a pattern matches as a plain recursive matcher says; a user, described, is made the same again by what describes
// it, as is an ACL file; a policy model that is taken gives scores; numbers that are read are written the same.
#include <array>
#include <cctype>
#include <cmath>

#include "../../../core_cache/native/acl.h"
#include "../../../core_cache/native/glob.h"
#include "../../../core_cache/native/numbers.h"
#include "../../../core_cache/native/policy_model.h"
#include "../../../core_cache/native/resp.h"
#include "fuzz.h"

using namespace predis;
using namespace predis::fuzz;

namespace {

// By trying everything, a star's every length included: slow, and plainly right.
bool matches_plainly(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') {
    for (size_t i = 0; i <= text.size(); ++i) {
      if (matches_plainly(pattern.substr(1), text.substr(i))) return true;
    }
    return false;
  }
  if (text.empty()) return false;
  size_t at = 0;
  if (!glob_detail::element_matches(pattern, at, text[0])) return false;
  return matches_plainly(pattern.substr(at), text.substr(1));
}

void check_glob(std::string_view input) {
  const size_t cut = std::min(input.find('\n'), input.size());
  const std::string pattern(input.substr(0, cut)), text(input.substr(std::min(cut + 1, input.size())));
  const bool found = glob_matches(pattern, text);
  if (pattern.size() > 12 || text.size() > 12 || text.empty()) return;
  CHECK(found == matches_plainly(pattern, text), "%s and %s", pattern.c_str(), text.c_str());
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    if (!word.empty()) words.push_back(word);
    text.remove_prefix(std::min(text.size(), word.size() + 1));
  }
  return words;
}

bool apply_rules(User& user, std::string_view rules) {
  std::vector<std::string> merged;
  size_t open;
  const auto words = words_of(rules);
  if (!merge_selectors(Args(words), merged, open)) return false;
  bool all = true;
  for (const std::string& rule : merged) all = apply_rule(user, rule, false) == RuleProblem::none && all;
  return all;
}

void check_rules(std::string_view input) {
  // With a NUL, another ')' or white space that is no end of the argument behind it, a selector can hold a pattern that ends
  // in ')', as in Redis. Its description reads as another selector.
  if (input.find('\0') != std::string_view::npos) return;
  for (size_t at = input.find(')'); at != std::string_view::npos; at = input.find(')', at + 1)) {
    const char next = at + 1 < input.size() ? input[at + 1] : ' ';
    if (next == ')' || (next != ' ' && std::isspace(static_cast<unsigned char>(next)))) return;
  }
  User user("ann");
  apply_rules(user, input);
  const std::string described = describe_user(user, true);
  User again("ann");
  CHECK(apply_rules(again, described), "what describes a user is not taken: %s", described.c_str());
  CHECK(describe_user(again, true) == described, "%s became %s", described.c_str(), describe_user(again, true).c_str());
  CHECK(again.unrestricted() == user.unrestricted(), "other rights: %s", described.c_str());
  std::vector<std::string_view> args = {"get", "key"};
  for (const CommandSpec* spec : all_commands()) {
    size_t position = 0;
    args[0] = spec->name;
    const Denied one = check_command(user, *spec, Args(args), position), two = check_command(again, *spec, Args(args), position);
    CHECK(one == two, "%s of %s", std::string(spec->name).c_str(), described.c_str());
  }
}

void check_acl_file(std::string_view input) {
  Acl acl;
  UserMap users;
  if (!acl.parse_file("file", input, users).empty()) return;
  acl.replace(std::move(users));
  const std::string text = acl.file_text();
  Acl again;
  UserMap same;
  const std::string problem = again.parse_file("file", text, same);
  CHECK(problem.empty(), "%s of %s", problem.c_str(), text.c_str());
  again.replace(std::move(same));
  CHECK(again.file_text() == text, "%s became %s", text.c_str(), again.file_text().c_str());
}

uint32_t crc32(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? 0xedb88320u ^ crc >> 1 : crc >> 1;
  }
  return ~crc;
}

void check_model(std::string_view input, bool sign) {
  std::string file(input);
  if (sign) {
    const uint32_t crc = crc32(file);
    file.append(reinterpret_cast<const char*>(&crc), sizeof crc);
  }
  try {
    const PolicyModel model("m", file);
    CHECK(model.cost() <= PolicyModel::kMostCost, "%zu steps", model.cost());
    std::vector<float> rows(8 * model.features().size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = i % 3 == 0 ? 0.0f : static_cast<float>(i) * 1.5f - 3;
    std::array<double, 8> scores;
    model.score(rows.data(), scores.size(), scores.data());
  } catch (const ModelError&) {
  }
}

void check_numbers(std::string_view text) {
  int64_t integer;
  if (parse_int64(text, integer)) CHECK(Int64Text(integer).view() == text, "%lld", static_cast<long long>(integer));
  long double number;
  if (parse_long_double(text, number) && std::isfinite(number)) {
    long double again;
    const std::string written = format_long_double(number);
    CHECK(written.size() > 5000 || number == 0 || std::fabs(number) < 1e-16L || parse_long_double(written, again), "%s",
          written.c_str());
  }
  uint64_t cursor;
  parse_cursor(text, cursor);
}

void check_inline(std::string_view input) {
  std::string line(input), problem;
  std::vector<std::string_view> args;
  split_inline(line.data(), line.data() + line.size(), args);
  for (const std::string_view word : args) {
    CHECK(word.data() >= line.data() && word.data() + word.size() <= line.data() + line.size(), "a word outside the line");
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 7) {
    case 0: check_glob(input); break;
    case 1: check_rules(input); break;
    case 2: check_acl_file(input); break;
    case 3: check_model(input, false); break;
    case 4: check_model(input, true); break;
    case 5: check_numbers(input); break;
    default: check_inline(input);
  }
  return 0;
}
