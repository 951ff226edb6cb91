// checksum.h: 32 bits behind each string's value, which tell at recovery whether the entry is still what was written.
//
// They cover key, value, version, type and encoding; not the expiry, which changes in place, nor the policy's fields. A
// collection has checksums of its own, one for each record of its log.
#pragma once

#include "hash.h"
#include "layout.h"

namespace predis {

// A keyed digest of many bytes: four independent lanes, so that the multiplier is never waited for. All but the last
// bytes can be taken in as they arrive.
class Digest {
 public:
  static constexpr uint64_t k0 = 0xa0761d6478bd642f, k1 = 0xe7037ed1a0b428db, k2 = 0x8ebc6af09c88c6e3,
                            k3 = 0x589965cc75374cc3;

  explicit Digest(uint64_t seed) : seed_(seed), a_(seed), b_(seed ^ k1), c_(seed ^ k2), d_(seed ^ k3) {}

  // Takes in what is there of `total` bytes, and has not been taken in before.
  void advance(const char* bytes, size_t there, size_t total) {
    uint64_t a = a_, b = b_, c = c_, d = d_;
    size_t at = done_;
    for (; there - at >= kBlock && total - at > kBlock; at += kBlock) {
      const char* p = bytes + at;
      a = fold_multiply(load64(p) ^ a, load64(p + 8) ^ k0);
      b = fold_multiply(load64(p + 16) ^ b, load64(p + 24) ^ k1);
      c = fold_multiply(load64(p + 32) ^ c, load64(p + 40) ^ k2);
      d = fold_multiply(load64(p + 48) ^ d, load64(p + 56) ^ k3);
    }
    a_ = a, b_ = b, c_ = c, d_ = d, done_ = at;
  }

  uint64_t end(std::string_view bytes) {
    uint64_t seed = seed_;
    if (bytes.size() > kBlock) {
      advance(bytes.data(), bytes.size(), bytes.size());
      seed = fold_multiply(a_ ^ b_, c_ ^ d_ ^ k0);
    }
    return hash_bytes(bytes.substr(done_), seed, bytes.size() ^ k0);
  }

 private:
  static constexpr size_t kBlock = 64;
  uint64_t seed_, a_, b_, c_, d_;
  size_t done_ = 0;
};

inline uint64_t digest(std::string_view bytes, uint64_t seed) { return Digest(seed).end(bytes); }

// Of what does not change in an arena's header.
inline uint64_t header_check(const Header& h) {
  return digest({reinterpret_cast<const char*>(&h), offsetof(Header, check)}, kMagic);
}

constexpr size_t checksum_bytes(Type type) { return type == Type::string ? sizeof(uint32_t) : 0; }

// `hash` is the key's, keyed with the arena's seed: an entry of another arena does not pass either. The value's digest
// begins with it and knows no version, so that it can be made while the value arrives.
inline uint32_t checksum_of(const Entry& entry, uint64_t value_digest, uint64_t version) {
  const uint64_t kind = entry.kind & (kTypeMask | kFlagRaw | kFlagEmbstr);
  return static_cast<uint32_t>(fold_multiply(value_digest ^ version * 0x9e3779b97f4a7c15, (kind + 1) ^ Digest::k1));
}
inline void store_checksum(Entry& entry, uint64_t value_digest, uint64_t version) {
  const uint32_t sum = checksum_of(entry, value_digest, version);
  std::memcpy(entry.value_data() + entry.value_len, &sum, sizeof sum);
}
inline bool checksum_holds(const Entry& entry, uint64_t hash) {
  return load32(entry.value().data() + entry.value_len) == checksum_of(entry, digest(entry.value(), hash), entry.version);
}

}  // namespace predis
