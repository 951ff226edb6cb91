// resp.h: the request parser. It reads RESP arrays and inline commands out of a buffer that it does not own and gives
// views into it: nothing is copied. No I/O, no allocation for commands that arrive whole.
//
// Two parsers share the rules. parse_command() reads one whole command in a tight loop. What it finds incomplete goes
// to a PartialCommand, which remembers how far it got as offsets, so that a command that comes in a million pieces is
// still read only once. Nothing is reserved for lengths that a client only announces.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace predis {

struct ParseLimits {
  int64_t max_bulk = int64_t{512} << 20;
  bool authenticated = true;  // else at most 10 arguments of at most 16,384 bytes
};

enum class Parse {
  complete,    // a command; it may have no arguments (an empty line, "*0"), which is to be passed over
  incomplete,  // more bytes are needed
  error,       // the connection is beyond repair: answer ParseError and close
};

constexpr size_t kMaxInline = 64 * 1024;

// Reads one command from [at, end). complete: its arguments are appended to `args` and `at` stands behind it.
// incomplete: `at` and `args` are as before. error: `problem` is Redis' text without "ERR ". An inline command with
// quotes is unescaped in place.
Parse parse_command(char*& at, char* end, const ParseLimits& limits, std::vector<std::string_view>& args,
                    std::string& problem);

// A command of which only the beginning has arrived. `base` is always where the command starts.
class PartialCommand {
 public:
  // Goes on where it stopped; as parse_command(), with `length` set to the command's whole length when complete.
  Parse resume(char* base, size_t size, const ParseLimits& limits, std::vector<std::string_view>& args,
               size_t& length, std::string& problem);
  // How many bytes the command has in all, as far as that is known: up to the end of the bulk under way.
  size_t known_length() const {
    return bulk_length_ < 0 ? position_ : position_ + static_cast<size_t>(bulk_length_) + 2;
  }
  size_t arguments() const { return spans_.size(); }
  std::string_view argument(const char* base, size_t i) const { return {base + spans_[i].offset, spans_[i].length}; }
  // The bulk under way: how long it is, 0 where its header has not been read, and where in the command it begins.
  size_t bulk_length() const { return bulk_length_ < 0 ? 0 : static_cast<size_t>(bulk_length_); }
  size_t position() const { return position_; }
  size_t memory() const { return spans_.capacity() * sizeof(Span); }
  bool active() const { return position_ != 0; }
  void reset();

 private:
  struct Span {
    size_t offset, length;
  };
  std::vector<Span> spans_;
  size_t position_ = 0;        // bytes that are dealt with
  int64_t left_ = 0;           // arguments to come
  int64_t bulk_length_ = -1;   // of the bulk under way; -1: its header has not been read
};

// Redis' sdssplitargs: splits a line at spaces, with "…" (escapes \n \r \t \b \a \xHH) and '…' (escape \').
// Unescapes in place. False when quotes are unbalanced.
bool split_inline(char* at, char* end, std::vector<std::string_view>& args);

}  // namespace predis
