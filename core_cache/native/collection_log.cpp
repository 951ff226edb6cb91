#include "collection_log.h"

#include <algorithm>

namespace predis {
namespace {

// Reads a number of at most 32 bits that ends before `end`.
bool checked_number(const char*& p, const char* end, uint32_t& out) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 35; shift += 7) {
    if (p == end) return false;
    const auto byte = static_cast<uint8_t>(*p++);
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) {
      out = static_cast<uint32_t>(value);
      return value <= 0xffffffff;
    }
  }
  return false;
}

bool checked_record(const char* log, uint32_t at, uint32_t limit, LogSeed seed, Record& r) {
  using namespace log_detail;
  if (limit - at < kRecordFixed) return false;
  const char* p = log + at + 4;
  const char* const end = log + limit;
  const auto op = static_cast<uint8_t>(*p++);
  const uint8_t shape = kShape[op & kOpMask];
  if (shape == 0 || (op & ~(kOpMask | kDeadRecord)) != 0) return false;
  uint32_t x = 0, y = 0, a = 0, b = 0;
  if (((shape & kX) && !checked_number(p, end, x)) || ((shape & kY) && !checked_number(p, end, y)) ||
      ((shape & kA) && !checked_number(p, end, a)) || ((shape & kB) && !checked_number(p, end, b)) ||
      uint64_t{a} + b > static_cast<uint64_t>(end - p)) {
    return false;
  }
  r = read_record(log, at);
  uint32_t stored;
  std::memcpy(&stored, log + at, 4);
  return stored == record_checksum(log, at, r.end, seed);
}

bool belongs_to(Op op, Type type) {
  switch (op) {
    case Op::add: return type == Type::set;
    case Op::put:
    case Op::update: return type == Type::hash || type == Type::zset;
    case Op::remove: return type == Type::set || type == Type::hash || type == Type::zset;
    default: return type == Type::list;
  }
}

// What a log's records come to, as they are read one by one.
struct Tally {
  uint64_t count = 0;  // elements
  uint64_t dead = 0;
  uint64_t values = 0;  // lists: records with a value

  // false: the record does not fit what came before it.
  bool take(char* log, const Record& r, Type type, LogSeed seed) {
    if (!belongs_to(r.op, type) || (type == Type::zset && r.op != Op::remove && r.value.size() != 8)) return false;
    log[r.at + 4] = static_cast<char>(log[r.at + 4] & ~kDeadRecord);
    switch (r.op) {
      case Op::add:
      case Op::put: return ++count, true;
      case Op::update:
      case Op::remove: return kill(log, r, seed);
      case Op::push_left:
      case Op::push_right: return ++count, ++values, true;
      case Op::insert: return r.x <= count && (++count, ++values, true);
      case Op::set: return ++values, r.x < count;
      case Op::pop_left:
      case Op::pop_right: return r.x <= count && (count -= r.x, true);
      case Op::erase: return uint64_t{r.x} + r.y <= count && (count -= r.y, true);
    }
    return false;
  }

 private:
  bool kill(char* log, const Record& r, LogSeed seed) {
    Record target, home;
    if (r.x < kLogHead || r.x >= r.at || !checked_record(log, r.x, r.at, seed, target)) return false;
    if (!target.is_element() || target.dead) return false;
    if (r.op == Op::update) {
      if (r.y != home_of(target) || !checked_record(log, r.y, r.at, seed, home) || home.op != Op::put) return false;
    } else {
      --count;
      dead += r.size();
    }
    mark_dead(log, r.x);
    dead += target.size();
    return true;
  }
};

}  // namespace

bool recover_log(Entry* entry, LogSeed seed) {
  const size_t padding = log_padding(entry->key_len());
  if (entry->value_len < padding + kLogHead) return false;
  char* log = log_of(entry);
  LogHead& head = head_of(log);
  if (head.used < kLogHead || head.used > entry->value_len - padding) return false;
  const uint64_t hash = hash_bytes(entry->key(), seed.a, seed.b);
  if (head.owner != owner_checksum(hash, entry->type(), entry->version)) return false;
  Tally tally;
  Record r;
  for (uint32_t at = kLogHead; at < head.used; at = r.end) {
    if (!checked_record(log, at, head.used, seed, r) || !tally.take(log, r, entry->type(), seed)) return false;
  }
  if (tally.count != head.count || tally.count == 0) return false;
  if (tally.values != 0) tally.dead = head.used * (tally.values - std::min(tally.values, tally.count)) / tally.values;
  head.dead = static_cast<uint32_t>(tally.dead);
  return true;
}

void reseal_log(Entry* entry, LogSeed seed) {
  char* log = log_of(entry);
  const uint32_t used = head_of(log).used;
  for (uint32_t at = kLogHead; at < used;) {
    const uint32_t end = read_record(log, at).end;
    const uint32_t checksum = record_checksum(log, at, end, seed);
    std::memcpy(log + at, &checksum, 4);
    at = end;
  }
}

}  // namespace predis
