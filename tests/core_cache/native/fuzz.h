// fuzz.h: what the fuzz targets share: how a broken promise is told, how the fuzzer's bytes are taken apart, and where
// a target's files lie.
//
// A target is LLVMFuzzerTestOneInput() in a fuzz_*.cpp: `make fuzz` links it with libFuzzer, the ordinary tests with
// fuzz_main.cpp, which needs no clang. What a target finds is told by aborting.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "check.h"

extern "C" {
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);  // the fuzzer's own, for targets with a mutator
}

namespace predis::fuzz {

// The fuzzer's bytes, taken from the front; behind the end there are zeros.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
  bool empty() const { return rest_.empty(); }
  uint8_t byte() { return static_cast<uint8_t>(number(1)); }
  uint32_t u16() { return static_cast<uint32_t>(number(2)); }
  uint32_t u32() { return static_cast<uint32_t>(number(4)); }
  std::string_view bytes(size_t n) {
    const std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(taken.size());
    return taken;
  }

 private:
  uint64_t number(size_t n) {
    uint64_t value = 0;
    if (!rest_.empty()) std::memcpy(&value, rest_.data(), std::min(n, rest_.size()));
    bytes(n);
    return value;
  }
  std::string_view rest_;
};

// A file of this process in shared memory, removed at its end.
class Scratch {
 public:
  explicit Scratch(const char* name)
      : path("/dev/shm/predis-fuzz-" + std::to_string(getpid()) + "-" + name) {}
  ~Scratch() {
    unlink(path.c_str());
    if (path.ends_with(".arena")) unlink((path.substr(0, path.size() - 6) + ".readers").c_str());
  }
  Scratch(const Scratch&) = delete;
  const std::string path;
};

inline std::string read_file(const std::string& path) {
  std::string text;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  CHECK(fd >= 0, "%s", path.c_str());
  char buffer[65536];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
  close(fd);
  return text;
}

inline void write_file(const std::string& path, std::string_view text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK(fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "%s", path.c_str());
  close(fd);
}

}  // namespace predis::fuzz
