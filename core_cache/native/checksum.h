// checksum.h: 32 bits behind each string's value, which tell at recovery whether the entry is still what was written.
//
// They cover key, value, version, type and encoding; not the expiry, which changes in place, nor the policy's fields. A
// collection has checksums of its own, one for each record of its log.
#pragma once

#include "hash.h"
#include "layout.h"

namespace predis {

// A keyed digest of many bytes: four independent lanes, so that the multiplier is never waited for.
inline uint64_t digest(std::string_view bytes, uint64_t seed) {
  constexpr uint64_t k0 = 0xa0761d6478bd642f, k1 = 0xe7037ed1a0b428db, k2 = 0x8ebc6af09c88c6e3, k3 = 0x589965cc75374cc3;
  const char* p = bytes.data();
  size_t n = bytes.size();
  if (n > 64) {
    uint64_t a = seed, b = seed ^ k1, c = seed ^ k2, d = seed ^ k3;
    for (; n > 64; p += 64, n -= 64) {
      a = fold_multiply(load64(p) ^ a, load64(p + 8) ^ k0);
      b = fold_multiply(load64(p + 16) ^ b, load64(p + 24) ^ k1);
      c = fold_multiply(load64(p + 32) ^ c, load64(p + 40) ^ k2);
      d = fold_multiply(load64(p + 48) ^ d, load64(p + 56) ^ k3);
    }
    seed = fold_multiply(a ^ b, c ^ d ^ k0);
  }
  return hash_bytes({p, n}, seed, bytes.size() ^ k0);
}

// Of what does not change in an arena's header.
inline uint64_t header_check(const Header& h) {
  return digest({reinterpret_cast<const char*>(&h), offsetof(Header, check)}, kMagic);
}

constexpr size_t checksum_bytes(Type type) { return type == Type::string ? sizeof(uint32_t) : 0; }

// `hash` is the key's, keyed with the arena's seed: an entry of another arena does not pass either.
inline uint32_t checksum_of(const Entry& entry, uint64_t hash, uint64_t version) {
  const uint64_t kind = entry.kind & (kTypeMask | kFlagRaw | kFlagEmbstr);
  return static_cast<uint32_t>(digest(entry.value(), fold_multiply(hash, version * 0x9e3779b97f4a7c15 + kind + 1)));
}
inline void store_checksum(Entry& entry, uint64_t hash, uint64_t version) {
  const uint32_t sum = checksum_of(entry, hash, version);
  std::memcpy(entry.value_data() + entry.value_len, &sum, sizeof sum);
}
inline bool checksum_holds(const Entry& entry, uint64_t hash) {
  return load32(entry.value().data() + entry.value_len) == checksum_of(entry, hash, entry.version);
}

}  // namespace predis
