// acl_file.cpp: users in a file, one a line: "user NAME RULE …". Nobody but the owner may read it, since the hash of
// a weak password is as good as the password.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "acl.h"
#include "words.h"

namespace predis {

namespace {

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

std::string_view trimmed(std::string_view text, std::string_view what) {
  const size_t first = text.find_first_not_of(what);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(what) - first + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t at = 0;;) {
    const size_t end = text.find(separator, at);
    parts.push_back(text.substr(at, end - at));
    if (end == std::string_view::npos) return parts;
    at = end + 1;
  }
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

std::string reason() { return std::strerror(errno); }

}  // namespace

bool read_acl_file(const std::string& path, std::string& text, std::string& problem) {
  const File file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (file.get() < 0 || fstat(file.get(), &status) != 0) {
    problem = concat({"Error loading ACLs, opening file '", path, "': ", reason()});
    return false;
  }
  if (!S_ISREG(status.st_mode)) {
    problem = concat({"Error loading ACLs, opening file '", path, "': it is no regular file"});
    return false;
  }
  if ((status.st_mode & 077) != 0 || (status.st_uid != geteuid() && status.st_uid != 0)) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(status.st_mode & 07777));
    const bool foreign = (status.st_mode & 077) == 0;
    problem = foreign ? concat({"The ACL file ", path, " belongs to another user: make it this user's"})
                      : concat({"The ACL file ", path, " can be used by others (its mode is ", mode,
                                "): make it private with chmod 600"});
    return false;
  }
  text.clear();
  char buffer[16 * 1024];
  while (true) {
    const ssize_t size = read(file.get(), buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) {
      problem = concat({"Error loading ACLs, reading file '", path, "': ", reason()});
      return false;
    }
    if (size == 0) return true;
    text.append(buffer, static_cast<size_t>(size));
  }
}

bool write_acl_file(const std::string& path, std::string_view text, std::string& problem) {
  const std::string fresh = path + ".tmp-" + std::to_string(getpid());
  const auto fail = [&](std::string_view what) {
    problem = concat({what, " ", fresh, " failed: ", reason()});
    unlink(fresh.c_str());
    return false;
  };
  unlink(fresh.c_str());  // of a process that was killed amid this
  {
    const File file(open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.get() < 0) return fail("making");
    if (!write_all(file.get(), text)) return fail("writing");
    if (fsync(file.get()) != 0) return fail("syncing");
  }
  if (rename(fresh.c_str(), path.c_str()) != 0) return fail("renaming");
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const File directory(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() >= 0) fsync(directory.get());  // the file is in place; at worst a power cut brings the old one
  return true;
}

std::string Acl::parse_file(std::string_view path, std::string_view text, UserMap& users) const {
  std::string problems;
  // Redis reads the file as a C string.
  const auto lines = split(text.substr(0, text.find('\0')), '\n');
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string_view line = trimmed(lines[i], " \t\r\n");
    if (line.empty()) continue;
    const std::string number = std::to_string(i + 1);
    const std::string where = concat({path, ":", number});
    const auto words = split(line, ' ');
    if (words[0] != "user" || words.size() < 2) {
      problems += concat({where, " should start with user keyword followed by the username. "});
      continue;
    }
    const std::string_view name = words[1];
    if (has_spaces(name)) {
      problems += concat({"'", where, ": username '", name, "' contains invalid characters. "});
      continue;
    }
    auto [place, fresh] = users.emplace(name, std::make_unique<User>(name, all_channels_by_default));
    if (!fresh) {
      problems += concat({"WARNING: Duplicate user '", name, "' found on line ", number, ". "});
      continue;
    }
    std::vector<std::string> rules;
    size_t open = 0;
    if (!merge_selectors(Args(words).subspan(2), rules, open)) {
      problems += concat({where, ": Unmatched parenthesis in selector definition."});
      continue;
    }
    bool told = false;  // of what is not an unknown command, only the first: it may have caused the others
    for (const std::string& part : rules) {
      const std::string_view rule = trimmed(part, "\t\r\n");
      const RuleProblem problem = apply_rule(*place->second, rule, all_channels_by_default);
      if (problem == RuleProblem::unknown_command) {
        problems += concat({where, ": Error in applying operation '", shown_rule(rule), "': ", problem_text(problem)});
        problems += ". ";
      } else if (problem != RuleProblem::none && !told) {
        problems += concat({where, ": ", problem_text(problem), ". "});
        told = true;
      }
    }
  }
  if (!problems.empty()) {
    problems += "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
  }
  return problems;
}

std::string Acl::file_text() const {
  std::string text;
  for (const auto& [name, user] : users_) text += concat({"user ", name, " ", describe_user(*user, true), "\n"});
  return text;
}

}  // namespace predis
