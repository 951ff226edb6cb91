// fuzz_main.cpp: runs a fuzz target without libFuzzer, the same way each time, for the ordinary tests.
//
//   PROGRAM RUNS SEED CRASH [FILE…]   the files as they are, then RUNS inputs made from them by chance
//   PROGRAM 0 0 CRASH FILE            one file: a crash again
//
// The input that a target fails on is written to the file CRASH. No coverage guides this; `make fuzz` is for finding,
// this is for what was found, and for the targets to stay alive.
#include <sanitizer/common_interface_defs.h>
#include <signal.h>

#include <random>
#include <vector>

#include "fuzz.h"

extern "C" __attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed);

namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kMost = 4096;
std::mt19937_64 rng;
std::vector<Bytes> corpus;
Bytes current;
std::string crash_path;

void save_current() {
  const int fd = open(crash_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || write(fd, current.data(), current.size()) < 0) return;
  close(fd);
  std::fprintf(stderr, "the input is in %s\n", crash_path.c_str());
}

void on_abort(int) {
  save_current();
  signal(SIGABRT, SIG_DFL);
  raise(SIGABRT);
}

void run(const Bytes& input) {
  current = input;
  // A copy of just this size, so that reading beyond it is noticed.
  const Bytes exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

}  // namespace

size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most) {
  const auto below = [](size_t n) { return n == 0 ? 0 : static_cast<size_t>(rng() % n); };
  Bytes bytes(data, data + size);
  const auto at = [&] { return bytes.begin() + static_cast<std::ptrdiff_t>(below(bytes.size() + 1)); };
  switch (below(6)) {
    case 0:
      if (!bytes.empty()) bytes[below(bytes.size())] ^= static_cast<uint8_t>(1u << below(8));
      break;
    case 1:
      if (!bytes.empty()) bytes[below(bytes.size())] = static_cast<uint8_t>(rng());
      break;
    case 2: bytes.insert(at(), static_cast<uint8_t>(rng())); break;
    case 3: {
      const auto from = at();
      bytes.erase(from, from + static_cast<std::ptrdiff_t>(below(static_cast<size_t>(bytes.end() - from) + 1)));
      break;
    }
    case 4: {
      const Bytes& other = corpus.empty() ? current : corpus[below(corpus.size())];
      const size_t from = below(other.size()), n = below(other.size() - from + 1);
      bytes.insert(at(), other.begin() + static_cast<std::ptrdiff_t>(from),
                   other.begin() + static_cast<std::ptrdiff_t>(from + n));
      break;
    }
    default:
      if (bytes.size() >= 4) {
        constexpr uint32_t kOdd[] = {0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff};
        const uint32_t value = kOdd[below(std::size(kOdd))];
        std::memcpy(bytes.data() + below(bytes.size() - 3), &value, 4);
      }
  }
  bytes.resize(std::min(bytes.size(), most));
  std::copy(bytes.begin(), bytes.end(), data);
  return bytes.size();
}

int main(int argc, char** argv) {
  if (argc < 4) return std::fprintf(stderr, "usage: %s RUNS SEED CRASH [FILE...]\n", argv[0]), 2;
  const long runs = std::atol(argv[1]);
  rng.seed(std::strtoull(argv[2], nullptr, 10));
  crash_path = argv[3];
  signal(SIGABRT, on_abort);
  __sanitizer_set_death_callback(save_current);
  for (int i = 4; i < argc; ++i) {
    const std::string text = predis::fuzz::read_file(argv[i]);
    corpus.emplace_back(text.begin(), text.end());
    run(corpus.back());
  }
  if (corpus.empty()) corpus.emplace_back();
  for (long i = 0; i < runs; ++i) {
    Bytes input = corpus[rng() % corpus.size()];
    for (auto rounds = 1 + rng() % 4; rounds > 0; --rounds) {
      const size_t size = input.size();
      input.resize(std::max(size, kMost));
      input.resize(LLVMFuzzerCustomMutator != nullptr
                       ? LLVMFuzzerCustomMutator(input.data(), size, input.size(), static_cast<unsigned>(rng()))
                       : LLVMFuzzerMutate(input.data(), size, input.size()));
    }
    run(input);
  }
  std::printf("%ld inputs of %zu seeds: ok\n", runs, corpus.size());
  return 0;
}
