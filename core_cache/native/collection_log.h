// collection_log.h: how a hash, a set, a list or a sorted set lies in the arena.
//
// A collection is one entry. Its value begins, behind up to 7 bytes of padding, with a head, and then holds a log: each
// change appends records, and they count once the head's `used` covers them. `used` and `count` are one 64-bit word and
// are published by one store, so a change of many elements is there as a whole or not at all, whenever the writer is
// killed. What stands behind `used` means nothing. When room runs out, or too much of the log is dead, what lives is
// written anew into another entry; a long log bit by bit, before it is full (collection_rewrite.h).
//
// A record is: checksum (4 bytes, keyed by the arena's seed, over its place, its operation and all that follows), operation
// (1 byte), then, as the operation has them, two numbers and the lengths of two strings (LEB128), then the strings.
//
//   hash, sorted set   put(key, value)   update(target, home, value)   remove(target)      a score is 8 bytes
//   set                add(key)                                        remove(target)
//   list               push_left(value)  push_right(value)  pop_left(n)  pop_right(n)  set(i, value)  insert(i, value)
//                      erase(i, n)
//
// `target` is the place of the record that goes out of force, `home` that of the element's first record, which has the
// key. Records out of force are marked as dead, in place: that mark is derived and made anew on recovery.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "checksum.h"
#include "layout.h"

namespace predis {

struct LogSeed {
  uint64_t a, b;  // Header::hash_seed
};

struct LogHead {
  uint32_t used;   // bytes that count, this head included
  uint32_t count;  // elements
  uint32_t dead;   // bytes of them that a rewrite would save: an estimate, good enough to decide by
  uint32_t owner;  // checksum of key, type and version
};
constexpr uint32_t kLogHead = sizeof(LogHead);
static_assert(kLogHead == 16);

enum class Op : uint8_t {
  add = 1, put = 2, update = 3, remove = 4,
  push_left = 5, push_right = 6, pop_left = 7, pop_right = 8, set = 9, insert = 10, erase = 11,
};
constexpr uint8_t kOpMask = 0x0f, kDeadRecord = 0x80;
constexpr uint32_t kRecordFixed = 5;             // checksum and operation
constexpr size_t kRecordMost = kRecordFixed + 20;  // a record's bytes beside its strings, at most

// A collection that Redis would no longer keep in its compact encoding; never taken back.
constexpr uint8_t kFlagLarge = kFlagRaw;

// What OBJECT ENCODING says.
inline std::string_view collection_encoding(const Entry* entry) {
  const bool large = (entry->kind & kFlagLarge) != 0;
  switch (entry->type()) {
    case Type::list: return "quicklist";
    case Type::set: return large ? "hashtable" : "intset";
    case Type::zset: return large ? "skiplist" : "listpack";
    default: return large ? "hashtable" : "listpack";
  }
}

constexpr size_t log_padding(size_t key_len) {
  return (0 - (key_len + (key_len >= Entry::kLongKey ? 4 : 0))) & 7;
}
inline char* log_of(Entry* entry) { return entry->value_data() + log_padding(entry->key_len()); }
inline const char* log_of(const Entry* entry) { return log_of(const_cast<Entry*>(entry)); }
inline size_t log_capacity(const Entry* entry) { return entry->value_len - log_padding(entry->key_len()); }
inline LogHead& head_of(char* log) { return *reinterpret_cast<LogHead*>(log); }
inline const LogHead& head_of(const char* log) { return *reinterpret_cast<const LogHead*>(log); }
inline const LogHead& head_of(const Entry* entry) { return head_of(log_of(entry)); }

// The one store that makes a change count.
inline void publish_log(char* log, uint32_t used, uint32_t count) {
  __atomic_store_n(reinterpret_cast<uint64_t*>(log), uint64_t{count} << 32 | used, __ATOMIC_RELEASE);
}

namespace log_detail {
constexpr uint8_t kX = 1, kY = 2, kA = 4, kB = 8;
constexpr uint8_t kShape[16] = {0,       kA,      kA | kB, kX | kY | kB, kX,      kB, kB, kX,
                                kX,      kX | kB, kX | kB, kX | kY,      0,       0,  0,  0};

inline uint32_t read_number(const char*& p) {
  auto byte = static_cast<uint8_t>(*p++);
  if (__builtin_expect(byte < 0x80, 1)) return byte;
  uint32_t value = byte & 0x7f;
  for (unsigned shift = 7; shift < 35; shift += 7) {
    byte = static_cast<uint8_t>(*p++);
    value |= static_cast<uint32_t>(byte & 0x7f) << (shift & 31);
    if (byte < 0x80) break;
  }
  return value;
}

inline char* write_number(char* p, uint32_t value) {
  for (; value >= 0x80; value >>= 7) *p++ = static_cast<char>(value | 0x80);
  *p++ = static_cast<char>(value);
  return p;
}
}  // namespace log_detail

struct Record {
  uint32_t at, end;
  uint32_t x, y;  // target and home, or index and number
  Op op;
  bool dead;
  std::string_view key, value;

  uint32_t size() const { return end - at; }
  bool is_element() const { return op == Op::add || op == Op::put || op == Op::update; }
};

// Reads a record of a log that is known to be sound.
inline Record read_record(const char* log, uint32_t at) {
  using namespace log_detail;
  const char* p = log + at + 4;
  const auto op = static_cast<uint8_t>(*p++);
  const uint8_t shape = kShape[op & kOpMask];
  Record r;
  r.at = at;
  r.op = static_cast<Op>(op & kOpMask);
  r.dead = (op & kDeadRecord) != 0;
  r.x = shape & kX ? read_number(p) : 0;
  r.y = shape & kY ? read_number(p) : 0;
  const uint32_t a = shape & kA ? read_number(p) : 0, b = shape & kB ? read_number(p) : 0;
  r.key = {p, a};
  r.value = {p + a, b};
  r.end = static_cast<uint32_t>(p + a + b - log);
  return r;
}

// The key of an element, which an update keeps in its home.
inline std::string_view key_of(const char* log, const Record& r) {
  return r.op == Op::update ? read_record(log, r.y).key : r.key;
}
inline uint32_t home_of(const Record& r) { return r.op == Op::update ? r.y : r.at; }
inline void mark_dead(char* log, uint32_t at) { log[at + 4] = static_cast<char>(log[at + 4] | kDeadRecord); }

inline uint32_t record_checksum(const char* log, uint32_t at, uint32_t end, LogSeed seed) {
  const auto op = static_cast<uint8_t>(log[at + 4]) & kOpMask;
  return static_cast<uint32_t>(
      digest({log + at + kRecordFixed, end - at - kRecordFixed}, seed.a ^ (uint64_t{at} << 8 | op)));
}

// `hash` is the key's.
inline uint32_t owner_checksum(uint64_t hash, Type type, uint64_t version) {
  return static_cast<uint32_t>(fold_multiply(hash, version * 0x9e3779b97f4a7c15 + static_cast<uint64_t>(type)) >> 16);
}

// Writes a record at `at`, where there is room for it; gives its end.
inline uint32_t write_record(char* log, uint32_t at, LogSeed seed, Op op, uint32_t x, uint32_t y, std::string_view key,
                             std::string_view value) {
  using namespace log_detail;
  const uint8_t shape = kShape[static_cast<uint8_t>(op)];
  char* p = log + at + 4;
  *p++ = static_cast<char>(op);
  if (shape & kX) p = write_number(p, x);
  if (shape & kY) p = write_number(p, y);
  if (shape & kA) p = write_number(p, static_cast<uint32_t>(key.size()));
  if (shape & kB) p = write_number(p, static_cast<uint32_t>(value.size()));
  if ((shape & kA) && !key.empty()) p = static_cast<char*>(std::memcpy(p, key.data(), key.size())) + key.size();
  if ((shape & kB) && !value.empty()) p = static_cast<char*>(std::memcpy(p, value.data(), value.size())) + value.size();
  const auto end = static_cast<uint32_t>(p - log);
  const uint32_t checksum = record_checksum(log, at, end, seed);
  std::memcpy(log + at, &checksum, 4);
  return end;
}

// Recovery: whether the log is sound up to its `used`, by lengths, checksums and count. Makes the dead marks and
// LogHead::dead anew. `entry` has a value that lies within its slot.
bool recover_log(Entry* entry, LogSeed seed);
// Makes the checksums of a sound log anew, for an arena with another seed.
void reseal_log(Entry* entry, LogSeed seed);

}  // namespace predis
