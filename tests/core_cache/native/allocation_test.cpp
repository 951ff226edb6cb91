// allocation_test.cpp: commands on strings that are there take no memory from the heap, however many there are.
//
// AddressSanitizer tells of every allocation. A few in thousands of commands are others': on a busy machine a command may
// be slow enough for the log of slow ones.
#include <cstdio>

#include "fuzz_host.h"

// Of the sanitizer's run time; not all compilers bring the header that declares it.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*, size_t),
                                                         void (*on_free)(const volatile void*));

namespace predis::fuzz {
namespace {

constexpr size_t kOthers = 32;

size_t allocations = 0;
void count_malloc(const volatile void*, size_t) { ++allocations; }
void ignore_free(const volatile void*) {}

// An outlet that keeps nothing.
class Sink final : public Outlet {
 public:
  size_t bytes = 0;
  size_t write(std::string_view data) override {
    bytes += data.size();
    return 0;
  }
  size_t unsent() override { return 0; }
  void close() override {}
  void abort() override {}
  void pause() override {}
  void resume() override {}
};

size_t allocated(Engine& engine, Client& client, const std::string& batch, int rounds) {
  const size_t before = allocations;
  for (int i = 0; i < rounds; ++i) engine.feed(client, batch);
  return allocations - before;
}

std::string batch_of(int commands, const std::vector<std::string>& words) {
  std::string batch;
  for (int i = 0; i < commands; ++i) batch += as_command(words);
  return batch;
}

void run() {
  const Scratch arena("allocation.arena");
  make_arena(arena.path);
  const ServerConfig config;
  Engine engine(store_options(arena.path, PolicyKind::s3fifo), config);
  Sink sink;
  Client client;
  client.outlet = &sink;
  client.address = "127.0.0.1:1";
  engine.add(client);
  engine.feed(client, as_command({"SET", "key", std::string(100, 'v')}));
  engine.feed(client, as_command({"SET", "number", "1"}));
  const std::vector<std::vector<std::string>> cases = {
      {"GET", "key"}, {"GET", "absent"}, {"EXISTS", "key"}, {"STRLEN", "key"}, {"TTL", "key"}, {"PING"},
      {"INCR", "number"}, {"SET", "key", std::string(100, 'w')}, {"MGET", "key", "number", "absent"}};
  for (const auto& words : cases) {
    const std::string batch = batch_of(64, words);
    allocated(engine, client, batch, 10);  // buffers come to their sizes
    const size_t count = allocated(engine, client, batch, 100);
    CHECK(count <= kOthers, "%s: 6,400 commands take memory %zu times", words[0].c_str(), count);
  }
  const size_t before = allocations;
  engine.feed(client, as_command({"SET", std::string(200, 'k'), std::string(1 << 18, 'v')}));  // the hook does count
  engine.feed(client, as_command({"HSET", "hash", "field", "value"}));
  CHECK(allocations > before, "nothing is counted");
  engine.remove(client);
}

}  // namespace
}  // namespace predis::fuzz

int main() {
  CHECK(__sanitizer_install_malloc_and_free_hooks(predis::fuzz::count_malloc, predis::fuzz::ignore_free) > 0, "no hooks");
  predis::fuzz::run();
  std::puts("ok");
}
