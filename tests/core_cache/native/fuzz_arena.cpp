// fuzz_arena.cpp: an arena is damaged, while a local reader has it in its hands, and then a cache starts on it.
//
// Checked: the start refuses the arena with ArenaError or repairs it. A repaired cache has sound entries only, each with a
// value that was written for its key; it takes new values, which survive another start. The local reader stays within
// the arena, and gives for a key a value that was written for it, or one that the entry's checksum would give away: a
// reader does not look at that, it trusts the memory that it shares.
//
// An input is a byte of settings, then edits of the arena's file: where, how, and with what.
#include <sys/mman.h>
#include <sys/stat.h>

#include "../../../core_cache/native/reader.h"
#include "../../../core_cache/native/slabs.h"
#include "fuzz_known.h"

using namespace predis;
using namespace predis::fuzz;

namespace {

// A whole arena as the engine left it, and what lies where in it.
struct Base {
  Known known;
  std::string image;
  std::map<uint64_t, std::string> parts;       // the 4 KiB pages that are not all zeros
  std::vector<uint64_t> entries;               // places of live entries, then of freed slots
  std::vector<uint64_t> index_pages, heads;    // places of the index' pages; numbers of pages with a descriptor
  Header header;

  Base() {
    const Scratch arena("base.arena");
    make_arena(arena.path);
    {
      Host host(store_options(arena.path, PolicyKind::s3fifo));
      known.fill(*host.peer);
    }
    image = read_file(arena.path);
    std::memcpy(&header, image.data(), sizeof header);
    for (uint64_t at = 0; at < image.size(); at += 4096) {
      const std::string_view part = std::string_view(image).substr(at, 4096);
      if (part.find_first_not_of('\0') != std::string_view::npos) parts.emplace(at, part);
    }
    Arena opened(arena.path, kCapacity);
    Pages pages(opened);
    const Slabs slabs(opened, pages);
    std::vector<uint64_t> freed;
    for (uint32_t page = header.first_page; page < header.pages; ++page) {
      const PageDesc& desc = opened.descs()[page];
      const auto use = static_cast<PageUse>(desc.use);
      if (use == PageUse::free) continue;
      heads.push_back(page);
      const uint64_t begin = uint64_t{page} * kPageSize;
      if (use == PageUse::index) index_pages.push_back(begin);
      if (use == PageUse::large) entries.push_back(begin);
      if (use == PageUse::slab) {
        const size_t slot = slabs.slot_size(desc.size_class);
        for (uint64_t at = begin; at + slot <= begin + desc.run_pages * kPageSize; at += slot) {
          const auto* entry = reinterpret_cast<const Entry*>(opened.base() + at);
          if (entry->live()) entries.push_back(at);
          else if (entry->key_len16 != 0) freed.push_back(at);
        }
      }
    }
    CHECK(entries.size() > 30 && !freed.empty() && !index_pages.empty(), "the arena to be damaged is too small");
    entries.insert(entries.end(), freed.begin(), freed.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(freed.size(), 60)));
  }

  // Writes the whole arena to the file, in the state before any damage.
  void restore(const std::string& path) const {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && ftruncate(fd, static_cast<off_t>(image.size())) == 0, "%s", path.c_str());
    for (const auto& [at, part] : parts) {
      CHECK(pwrite(fd, part.data(), part.size(), static_cast<off_t>(at)) == static_cast<ssize_t>(part.size()), "write");
    }
    close(fd);
  }
};

const Base& base() {
  static const Base made;
  return made;
}

// The arena's file, open for damage.
class Target {
 public:
  explicit Target(const std::string& path) : fd_(open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    void* p = mmap(nullptr, base().image.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    CHECK(fd_ >= 0 && p != MAP_FAILED, "%s", path.c_str());
    data_ = static_cast<char*>(p);
  }
  ~Target() {
    munmap(data_, size());
    close(fd_);
  }
  Target(const Target&) = delete;

  uint64_t size() const { return base().image.size(); }
  void copy(uint64_t from, uint64_t to, uint64_t length) {
    if (from >= size() || to >= size()) return;
    std::memmove(data_ + to, data_ + from, std::min({length, size() - from, size() - to}));
  }
  void write(uint64_t at, std::string_view bytes) {
    if (at < size()) std::memcpy(data_ + at, bytes.data(), std::min<uint64_t>(bytes.size(), size() - at));
  }
  void flip(uint64_t at, uint8_t bits) {
    if (at < size()) data_[at] = static_cast<char>(data_[at] ^ bits);
  }
  void check_header_anew() {
    auto& header = *reinterpret_cast<Header*>(data_);
    header.check = header_check(header);
  }

 private:
  int fd_;
  char* data_;
};

uint64_t some_entry(Input& in) { return base().entries[in.u16() % base().entries.size()]; }

// Where an edit goes to.
uint64_t place(Input& in, uint8_t area) {
  const Base& b = base();
  const uint32_t which = area == 1 || area == 0 ? in.u16() : in.byte();
  switch (area % 8) {
    case 0: return which % sizeof(Header);
    case 1: return b.entries[which % b.entries.size()] + in.byte() % 80;
    case 2: return b.header.descs_offset + b.heads[which % b.heads.size()] * sizeof(PageDesc) + in.byte() % 16;
    case 3: return b.index_pages[which % b.index_pages.size()] + in.u16();
    case 4: return b.header.directory_offset + which % 16;
    case 5: return b.header.overflow_offset + which % 16;
    case 6: return b.header.stats_offset + in.u32() % sizeof(Stats);
    default: return uint64_t{b.heads[which % b.heads.size()]} * kPageSize + in.u32() % (2 * kPageSize);
  }
}

// The input is read in one order, whatever the compiler makes of the order of arguments.
// Most damage to the header gets the arena refused, and tells nothing of the rest: it takes the setting.
void damage(Target& target, Input& in, bool header) {
  for (int edits = 0; !in.empty() && edits < 200; ++edits) {
    const uint8_t head = in.byte();
    const uint64_t at = place(in, (head & 7) == 0 && !header ? 1 : head & 7);
    switch (head >> 3 & 7) {
      case 0:
      case 1: target.flip(at, in.byte()); break;
      case 2:
      case 3: {
        const size_t length = 1 + in.byte() % 16;
        target.write(at, in.bytes(length));
        break;
      }
      case 4: {  // an entry twice
        const uint64_t from = some_entry(in), to = some_entry(in);
        target.copy(from, to, 32 + in.u16() % 2048);
        break;
      }
      case 5: target.copy(some_entry(in) / kPageSize * kPageSize, at / kPageSize * kPageSize, kPageSize); break;
      case 6: {
        constexpr uint32_t kOdd[] = {0, 1, 0xffffffff, 0x7fffffff, 0x80000000, 0xffff, 0xfffffffe};
        const uint32_t low = kOdd[in.byte() % 7], high = kOdd[in.byte() % 7];
        const uint64_t value = uint64_t{high} << 32 | low;
        target.write(at, {reinterpret_cast<const char*>(&value), sizeof value});
        break;
      }
      default: target.check_header_anew();
    }
  }
}

// Where a reader has mapped the file: nobody else has it for reading only.
const char* mapped_at(const std::string& path) {
  const std::string maps = read_file("/proc/self/maps");
  for (size_t at = 0; (at = maps.find(path, at)) != std::string::npos; at += path.size()) {
    const size_t line = maps.rfind('\n', at) + 1;
    if (maps.find(" r--s ", line) < at) return reinterpret_cast<const char*>(std::strtoull(maps.c_str() + line, nullptr, 16));
  }
  CHECK(false, "%s is not mapped", path.c_str());
}

// Reads every key as a local process does.
void read_locally(const Reader& reader) {
  const char* const begin = mapped_at(reader.path());
  const uint64_t now = coarse_ms();
  int unavailable = 0;  // each costs many tries
  for (const auto& each : base().known.states) {
    const std::string& key = each.first;
    const uint64_t hash = reader.hash(key);
    std::string value;
    bool sound = false;
    const auto copy = [&](const char* data, size_t size) {
      CHECK(data >= begin && data + size <= begin + base().image.size(), "a value outside the arena");
      value.assign(data, size);
      const char* head = data - key.size() - sizeof(Entry) - (key.size() >= Entry::kLongKey ? 4 : 0);
      Entry entry;
      std::memcpy(&entry, head, sizeof entry);
      sound = reinterpret_cast<uintptr_t>(head) % 16 == 0 && data + size + 4 <= begin + base().image.size() &&
              entry.value_len == size && checksum_holds(*reinterpret_cast<const Entry*>(head), hash);
      return true;
    };
    const auto check = [&] {
      const std::string reply = "$" + std::to_string(value.size()) + "\r\n" + value + "\r\n";
      CHECK(!sound || each.second.contains(reply), "a local reader was given %.200s for %.60s", value.c_str(), key.c_str());
    };
    // As reads of many keys do it, and as those of one do.
    const Reader::View view = reader.view();
    Reader::Trail trail;
    reader.find_bucket(trail, hash, view);
    reader.find_entry(trail, hash, 256);
    if (reader.take_value(trail, key, view, now, copy)) check();
    const ReadStatus status = reader.get(key, hash, now, 0, copy);
    if (status == ReadStatus::unavailable && ++unavailable > 2) return;
    if (status == ReadStatus::hit) check();
  }
}

// New values are taken, and are there after another start.
void use_on(const StoreOptions& options) {
  std::map<std::string, std::string> fresh;
  uint64_t damaged = 0;
  {
    Host host(options);
    for (const auto& [key, states] : base().known.states) fresh[key];
    for (int i = 0; i < 40; ++i) fresh["new" + std::to_string(i)];
    size_t length = 0;
    for (auto& [key, value] : fresh) {
      length = (length * 7 + 5) % 3001;
      value = "again:" + key.substr(0, 20) + std::string(length, '.');
      CHECK(host.peer->ask({"SET", key, value}) == "+OK\r\n", "no room for %.60s", key.c_str());
    }
    host.peer->ask({"DEL", "new1", "new2"});
    fresh.erase("new1");
    fresh.erase("new2");
    damaged = host.engine.stats().damaged_entries;
  }
  Host host(options);
  CHECK(host.engine.stats().damaged_entries == damaged, "what was written after the repair is damaged");
  for (const auto& [key, value] : fresh) {
    CHECK(host.peer->ask({"GET", key}) == "$" + std::to_string(value.size()) + "\r\n" + value + "\r\n",
          "%.60s, written after the repair, is gone or another", key.c_str());
  }
  CHECK(host.peer->ask({"EXISTS", "new1", "new2"}) == ":0\r\n", "a key deleted after the repair is back");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Scratch arena("arena.arena");
  const Base& b = base();
  b.restore(arena.path);
  Input in(data, size);
  const uint8_t settings = in.byte();
  {
    const Reader reader(arena.path);
    Target target(arena.path);
    damage(target, in, (settings & 8) != 0);
    read_locally(reader);
  }
  if ((settings & 0xf0) == 0xf0) {  // a file that has another size as well
    CHECK(truncate(arena.path.c_str(), static_cast<off_t>(b.image.size() / 256 * (settings & 15) * 20)) == 0, "truncate");
  }
  try {
    const Reader reader(arena.path);
    read_locally(reader);
  } catch (const ArenaError&) {
  }
  StoreOptions options = store_options(arena.path, settings & 1 ? PolicyKind::lru : PolicyKind::s3fifo);
  if (settings & 2) options.capacity += 1 << 20;  // the entries move to another arena
  try {
    Host host(options);
    b.known.check(host.engine, *host.peer);
    if (size <= 1 && settings < 0xf0) CHECK(host.engine.store().size() == b.known.last.size(), "keys are lost of a sound arena");
  } catch (const ArenaError&) {
    unlink(arena.path.c_str());
    return 0;
  }
  if (settings & 4) use_on(options);
  return 0;
}
