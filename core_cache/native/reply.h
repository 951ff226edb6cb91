// reply.h: writes RESP2 or RESP3 replies into one growing buffer that is sent at the end of a batch.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bytes.h"

namespace predis {

// Redis' own error texts that more than one command uses.
namespace errors {
constexpr std::string_view kSyntax = "ERR syntax error";
constexpr std::string_view kNotInteger = "ERR value is not an integer or out of range";
constexpr std::string_view kNotFloat = "ERR value is not a valid float";
constexpr std::string_view kWrongType = "WRONGTYPE Operation against a key holding the wrong kind of value";
constexpr std::string_view kNoSuchKey = "ERR no such key";
constexpr std::string_view kOutOfMemory = "OOM command not allowed when used memory > 'maxmemory'.";
}  // namespace errors

class Reply {
 public:
  int protocol = 2;        // 2 or 3
  Bytes buffer;            // what to send
  bool failed = false;     // set by error(): the engine counts the call as failed
  std::string error_code;  // the first word of the last error, for errorstats

  void simple(std::string_view text) {  // +OK
    char* p = buffer.room(text.size() + 3);
    *p++ = '+';
    std::memcpy(p, text.data(), text.size());
    std::memcpy(p + text.size(), "\r\n", 2);
    buffer.advance(text.size() + 3);
  }
  void ok() {
    std::memcpy(buffer.room(5), "+OK\r\n", 5);
    buffer.advance(5);
  }
  void error(std::string_view text);  // "ERR …" with its code, without '-' and line end; line ends become spaces
  void integer(int64_t value) { number(':', value); }
  void bulk(std::string_view value);
  void null() {  // $-1 or _
    if (protocol == 3) {
      std::memcpy(buffer.room(3), "_\r\n", 3);
      buffer.advance(3);
    } else {
      std::memcpy(buffer.room(5), "$-1\r\n", 5);
      buffer.advance(5);
    }
  }
  void null_array();                           // *-1 or _
  void array(size_t count) { number('*', static_cast<int64_t>(count)); }
  void map(size_t pairs) { protocol == 3 ? number('%', static_cast<int64_t>(pairs)) : array(pairs * 2); }
  void set(size_t count) { number(protocol == 3 ? '~' : '*', static_cast<int64_t>(count)); }   // ~n, or *n in RESP2
  void push(size_t count) { number(protocol == 3 ? '>' : '*', static_cast<int64_t>(count)); }  // >n, or *n in RESP2
  void boolean(bool value);                    // #t/#f, or :1/:0 in RESP2
  void dbl(double value);                      // ,1.5 or a bulk string in RESP2
  void verbatim(std::string_view format, std::string_view text);  // =…, or a bulk string in RESP2
  void raw(std::string_view text) { buffer.append(text); }        // already RESP

 private:
  void number(char type, int64_t value);
};

// Writes the decimal digits of `value` at `out` (20 bytes are enough) and gives the end.
char* write_decimal(char* out, uint64_t value);

}  // namespace predis
