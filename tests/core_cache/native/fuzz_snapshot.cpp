// fuzz_snapshot.cpp: a snapshot is damaged and loaded.
//
// Checked: as it is, it is refused, and nothing was taken from it, or it gives what was saved and nothing else. With its
// checksums made anew over the damage (a snapshot by another hand, or by a writer with a mistake) it may give anything,
// but what the cache then holds is sound, can be read and written, and survives another start.
//
// An input is a byte of settings, then edits: where, how, and with what.
#include "../../../core_cache/native/snapshot.h"
#include "../../../core_cache/native/snapshot_format.h"
#include "fuzz_known.h"

using namespace predis;
using namespace predis::fuzz;

namespace {

constexpr CacheId kId = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

struct Base {
  Known known;
  std::string file;
  std::vector<size_t> entries;  // places of the entries' heads

  Base() {
    const Scratch arena("saved.arena"), path("saved");
    make_arena(arena.path);
    {
      Host host(store_options(arena.path, PolicyKind::s3fifo));
      known.fill(*host.peer);
      for (const auto& [key, state] : std::map(known.last)) {  // small ones, so that the damage hits their structure
        if (state.size() > 3000 || key.size() > 3000) host.peer->ask({"DEL", key}), known.last.erase(key);
      }
      write_snapshot(arena.path, path.path, kId, 0);
    }
    file = read_file(path.path);
    size_t at = sizeof(snapshot::FileHead);
    snapshot::BlockHead block;
    std::memcpy(&block, file.data() + at, sizeof block);
    at += sizeof block;
    for (uint32_t i = 0; i < block.entries; ++i) {
      snapshot::EntryHead head;
      std::memcpy(&head, file.data() + at, sizeof head);
      entries.push_back(at);
      at += sizeof head + head.key_len + head.value_len;
    }
    CHECK(at + sizeof(snapshot::EndMark) == file.size() && entries.size() > 20, "the snapshot to be damaged is another");
  }
};

const Base& base() {
  static const Base made;
  return made;
}

template <typename T>
T take(const std::string& file, size_t at) {
  T value{};
  if (at + sizeof value <= file.size()) std::memcpy(&value, file.data() + at, sizeof value);
  return value;
}
template <typename T>
void put(std::string& file, size_t at, const T& value) {
  if (at + sizeof value <= file.size()) std::memcpy(file.data() + at, &value, sizeof value);
}

// Makes head, blocks and end mark agree with what the file holds, as far as there is a structure to it.
void sign(std::string& file) {
  using namespace snapshot;
  auto head = take<FileHead>(file, 0);
  head.check = head_check(head);
  put(file, 0, head);
  uint64_t blocks = 0, entries = 0;
  size_t at = sizeof(FileHead);
  while (at + sizeof(BlockHead) + sizeof(EndMark) <= file.size() && take<uint32_t>(file, at) == kBlockMark) {
    auto block = take<BlockHead>(file, at);
    const size_t begin = at + sizeof block;
    block.number = blocks++;
    block.bytes = std::min<uint64_t>(block.bytes, file.size() - begin - sizeof(EndMark));
    // As many entries as their lengths make; what is left over goes to the last.
    size_t place = begin;
    const size_t stop = begin + block.bytes;
    block.entries = 0;
    while (place + sizeof(EntryHead) <= stop) {
      auto entry = take<EntryHead>(file, place);
      const size_t room = stop - place - sizeof entry;
      entry.key_len = static_cast<uint32_t>(std::min<size_t>(entry.key_len, room));
      entry.value_len = static_cast<uint32_t>(std::min<size_t>(entry.value_len, room - entry.key_len));
      size_t next = place + sizeof entry + entry.key_len + entry.value_len;
      if (next + sizeof(EntryHead) > stop) entry.value_len += static_cast<uint32_t>(stop - next), next = stop;
      put(file, place, entry);
      place = next;
      ++block.entries;
    }
    entries += block.entries;
    block.check = block_check(block, std::string_view(file).substr(begin, block.bytes));
    put(file, at, block);
    at = begin + block.bytes;
  }
  file.resize(at + sizeof(EndMark));
  EndMark end{kEndMark, 0, blocks, entries, file.size(), 0};
  end.check = head_check(end);
  put(file, at, end);
}

void damage(std::string& file, Input& in) {
  const Base& b = base();
  for (int edits = 0; !in.empty() && edits < 100; ++edits) {
    const uint8_t head = in.byte();
    const size_t entry = b.entries[in.byte() % b.entries.size()];
    size_t at = 0;
    switch (head & 3) {
      case 0: at = entry + in.byte() % 24; break;
      case 1: at = entry + 24 + in.byte(); break;
      case 2: at = in.byte() % 96; break;
      default: at = file.size() - std::min<size_t>(file.size(), in.u16());
    }
    at = std::min(at, file.size());
    switch (head >> 2 & 7) {
      case 0:
      case 1: if (at < file.size()) file[at] = static_cast<char>(file[at] ^ in.byte()); break;
      case 2:
      case 3: {
        const size_t length = 1 + in.byte() % 16;
        const std::string_view bytes = in.bytes(length);
        file.replace(at, bytes.size(), bytes);
        break;
      }
      case 4: put(file, entry + 8, uint32_t{in.byte()}); break;   // the length of a key
      case 5: put(file, entry + 12, uint32_t{in.byte()}); break;  // and of a value
      case 6: file.erase(at, in.byte()); break;
      default: {
        const size_t length = in.byte() % 64;
        file.insert(at, in.bytes(length));
      }
    }
  }
}

// Everything can be read and written.
void use(Engine& engine, Peer& peer) {
  std::vector<std::string> keys;
  for (const auto& [key, print] : content_of(engine.store())) keys.push_back(key);
  for (const std::string& key : keys) {
    for (const Words& words : {Words{"GET", key}, Words{"HGETALL", key}, Words{"SMEMBERS", key}, Words{"LRANGE", key, "0", "-1"},
                               Words{"ZRANGE", key, "0", "-1", "WITHSCORES"}, Words{"ZRANGEBYSCORE", key, "-inf", "50"},
                               Words{"OBJECT", "ENCODING", key}, Words{"HSET", key, "f", "v"}, Words{"SADD", key, "m"},
                               Words{"LPUSH", key, "e"}, Words{"LINSERT", key, "BEFORE", "e", "e2"}, Words{"ZADD", key, "1", "m"},
                               Words{"APPEND", key, "x"}, Words{"TTL", key}, Words{"LPOP", key}, Words{"SPOP", key}}) {
      peer.ask(words);
    }
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Scratch arena("loaded.arena"), path("loaded");
  const Base& b = base();
  make_arena(arena.path);
  Input in(data, size);
  const uint8_t settings = in.byte();
  std::string file = b.file;
  damage(file, in);
  const bool signed_anew = (settings & 1) != 0;
  if (signed_anew) sign(file);
  write_file(path.path, file);
  const StoreOptions options = store_options(arena.path, PolicyKind::s3fifo);
  size_t keys = 0;
  {
    Host host(options);
    try {
      const SnapshotResult result = load_snapshot(host.engine.store(), path.path, kId);
      CHECK(result.entries + result.skipped >= host.engine.store().size(), "more keys than entries");
      if (file == b.file) CHECK(host.engine.store().size() == b.known.last.size(), "keys are lost of a sound snapshot");
      if (signed_anew) use(host.engine, *host.peer);
      else b.known.check(host.engine, *host.peer);
    } catch (const SnapshotError&) {
      CHECK(host.engine.store().size() == 0, "a snapshot that was refused left something behind");
    }
    keys = content_of(host.engine.store()).size();
  }
  Store store(options);
  CHECK(store.stats().damaged_entries == 0 && content_of(store).size() <= keys, "damaged after another start");
  return 0;
}
