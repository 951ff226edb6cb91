// snapshot_format.h: what lies where in a snapshot. All numbers are little-endian, as the machines that we run on.
#pragma once

#include <cstdint>

#include "checksum.h"

namespace predis::snapshot {

constexpr uint64_t kMagic = 0x31304e5353444552;  // "REDSSN01"
constexpr uint32_t kVersion = 1;
constexpr uint32_t kBlockMark = 0x4b4c4253, kEndMark = 0x444e4553;  // "SBLK", "SEND"
constexpr size_t kBlockSize = 1024 * 1024;  // an entry that is larger has a block to itself

struct FileHead {
  uint64_t magic;
  uint32_t version, size;
  uint64_t created_unix_ms;
  uint8_t id[16];         // of the cache: DATA_DIR/cache.id
  uint64_t hash_seed[2];  // of the arena; the records of collections have checksums with it
  uint64_t check;         // of all the above
};
static_assert(sizeof(FileHead) == 64);

struct BlockHead {
  uint32_t mark, entries;
  uint64_t number;  // from 0 on
  uint64_t bytes;   // of what follows
  uint64_t check;   // of the three above and what follows
};
static_assert(sizeof(BlockHead) == 32);

struct EndMark {
  uint32_t mark, reserved;
  uint64_t blocks, entries, bytes;  // bytes: of the whole file, this mark included
  uint64_t check;
};
static_assert(sizeof(EndMark) == 40);

// Then the key, then the value: of a collection, its log without the padding in front.
struct EntryHead {
  uint64_t expire_and_tenant;
  uint32_t key_len, value_len;
  uint32_t idle_seconds;
  uint8_t kind, freq;
  uint16_t reserved;
};
static_assert(sizeof(EntryHead) == 24);

template <typename Head>
uint64_t head_check(const Head& head) {
  return digest({reinterpret_cast<const char*>(&head), offsetof(Head, check)}, kMagic);
}
inline uint64_t block_check(const BlockHead& head, std::string_view content) {
  return digest(content, head_check(head));
}

}  // namespace predis::snapshot
