// index.h: the hash index: linear hashing (Litwin, 1980) over buckets of one cache line.
//
// A lookup reads one line for 11 slots: 8-bit tags are compared all at once (SSE2 where there is any), then the entry of
// each matching tag. The table grows by splitting one bucket at a time, so no insert ever waits for a rehash, and SCAN has
// an order that splits do not disturb: by the bits of the hash, reversed. The seldom bucket with more than 11 entries
// continues in an overflow bucket.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "access_log.h"
#include "arena.h"
#include "hash.h"
#include "pages.h"

namespace predis {

inline uint8_t tag_of(uint64_t hash) {
  const auto tag = static_cast<uint8_t>(hash >> 56);
  return tag ? tag : 1;
}

// Bit i is set where tags[i] == tag.
inline uint32_t match_tags(const Bucket& bucket, uint8_t tag) {
#if defined(__SSE2__)
  const __m128i row = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bucket.tags));
  return static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(row, _mm_set1_epi8(static_cast<char>(tag))))) & 0x7ff;
#else
  uint32_t mask = 0;
  for (int i = 0; i < Bucket::kSlots; ++i) mask |= static_cast<uint32_t>(bucket.tags[i] == tag) << i;
  return mask;
#endif
}

// The primary bucket of a hash in a table of `buckets` buckets.
inline uint32_t bucket_number(uint64_t hash, uint32_t buckets) {
  const uint32_t high = buckets <= 1 ? 0 : ~0u >> __builtin_clz(buckets - 1);
  auto number = static_cast<uint32_t>(hash) & high;
  if (number >= buckets) number &= high >> 1;
  return number;
}

class Index {
 public:
  Index(Arena& arena, Pages& pages);

  // Makes an empty index, sized for `keys` keys. false: no pages left.
  bool build(uint64_t keys);

  uint64_t hash(std::string_view key) const { return hash_bytes(key, seed_[0], seed_[1]); }
  Bucket& bucket(uint64_t hash) const { return primary(bucket_number(hash, buckets_)); }

  Entry* find(std::string_view key, uint64_t hash) const {
    const auto tag = static_cast<uint8_t>(hash >> 56);
    return __builtin_expect(tag != 0, 1) ? find(key, hash, tag) : find_sampled(key, hash);
  }
  Entry* find(std::string_view key, uint64_t hash, uint8_t tag) const {
    for (Bucket* b = &bucket(hash);; b = &overflow(b->overflow - 1)) {
      for (uint32_t mask = match_tags(*b, tag); mask; mask &= mask - 1) {
        Entry* entry = arena_.at(b->refs[__builtin_ctz(mask)]);
        if (entry->key() == key) return entry;
      }
      if (b->overflow == 0) return nullptr;
    }
  }
  // The entry whose key has this hash; nullptr for none. For hashes that come without their key.
  Entry* find_hash(uint64_t wanted) const {
    const uint8_t tag = tag_of(wanted);
    for (Bucket* b = &bucket(wanted);; b = &overflow(b->overflow - 1)) {
      for (uint32_t mask = match_tags(*b, tag); mask; mask &= mask - 1) {
        Entry* entry = arena_.at(b->refs[__builtin_ctz(mask)]);
        if (hash(entry->key()) == wanted) return entry;
      }
      if (b->overflow == 0) return nullptr;
    }
  }
  // As find, of keys that may be in the access log's sample: see access_log.h.
  Entry* find_sampled(std::string_view key, uint64_t hash) const;
  AccessSample& sample() const { return *sample_; }
  void prefetch_bucket(uint64_t hash) const { prefetch(&bucket(hash)); }
  // The entry that a find will look at first, nullptr for none. Reads the bucket only.
  const Entry* candidate(uint64_t hash) const {
    const Bucket& b = bucket(hash);
    const uint32_t mask = match_tags(b, tag_of(hash));
    return mask ? arena_.at(b.refs[__builtin_ctz(mask)]) : nullptr;
  }
  void prefetch_entry(uint64_t hash) const {
    if (const auto* entry = reinterpret_cast<const char*>(candidate(hash))) {
      prefetch(entry);
      prefetch(entry + 64);
      prefetch(entry + 128);
    }
  }

  // Sees to it that the next so many inserts cannot run out of memory; false: no pages left.
  bool reserve(size_t inserts = 1) {
    while (overflow_free_.size() + overflow_pages_ * kSpan - overflow_made_ < kReserve + 2 * (inserts - 1))
      if (!add_overflow_page()) return false;
    return true;
  }
  void insert(uint64_t hash, Ref ref);               // grows the table as needed; reserve() has said yes
  void replace(uint64_t hash, Ref from, Ref to);
  void erase(uint64_t hash, Ref ref);

  // Moves one of the index' pages to another, which frees it; false: no page is left.
  bool relocate(uint32_t page);

  // Runs `change` on the entry's fields while readers of its bucket know that something is going on.
  template <typename Change>
  void locked(uint64_t hash, Change&& change) {
    Bucket& b = bucket(hash);
    begin(b);
    change();
    end(b);
  }

  // Calls visit(Ref) for each slot of the bucket at the cursor; gives the next cursor, 0 behind the last bucket.
  template <typename Visit>
  uint64_t scan(uint64_t cursor, Visit&& visit) const;

  uint32_t buckets() const { return buckets_; }
  uint64_t size() const { return size_; }
  size_t bytes() const { return size_t{pages_in_use_} * kPageSize; }
  template <typename Visit>
  void each_in(uint32_t number, Visit&& visit) const {
    for (const Bucket* b = &primary(number);; b = &overflow(b->overflow - 1)) {
      for (int i = 0; i < Bucket::kSlots; ++i)
        if (b->tags[i]) visit(b->refs[i]);
      if (b->overflow == 0) return;
    }
  }

 private:
  static constexpr uint32_t kKeysPerBucket = 6;
  static constexpr uint32_t kSpan = kBucketsPerPage;
  static constexpr size_t kReserve = 8;  // more overflow buckets than an insert with a split can ask for

  Bucket& primary(uint32_t number) const {
    return reinterpret_cast<Bucket*>(arena_.page(directory_[number / kSpan]))[number % kSpan];
  }
  Bucket& overflow(uint32_t number) const {
    return reinterpret_cast<Bucket*>(arena_.page(overflow_directory_[number / kSpan]))[number % kSpan];
  }
  // Sequence lock. The fence keeps the changes behind the odd number, as readers on weakly ordered machines need.
  static void begin(Bucket& b) {
    __atomic_store_n(&b.seq, b.seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
  }
  static void end(Bucket& b) { store_release(b.seq, b.seq + 1); }

  bool add_page(uint32_t* directory, uint32_t slot);
  void put(Bucket& b, uint8_t tag, Ref ref);
  bool add_overflow_page();
  uint32_t new_overflow();  // number + 1
  bool grow();              // splits one bucket
  Ref* slot_of(Bucket& b, uint8_t tag, Ref ref, Bucket** where, int* index) const;

  Arena& arena_;
  Pages& pages_;
  uint32_t* directory_;
  uint32_t* overflow_directory_;
  std::unique_ptr<AccessSample> sample_;
  uint64_t seed_[2];
  uint32_t buckets_ = 0;         // as in the header
  uint32_t primary_pages_ = 0, overflow_pages_ = 0, pages_in_use_ = 0;
  uint32_t overflow_made_ = 0;
  std::vector<uint32_t> overflow_free_;
  uint64_t size_ = 0;
};

inline uint64_t reverse_bits(uint64_t v) {
  v = (v >> 1 & 0x5555555555555555) | (v & 0x5555555555555555) << 1;
  v = (v >> 2 & 0x3333333333333333) | (v & 0x3333333333333333) << 2;
  v = (v >> 4 & 0x0f0f0f0f0f0f0f0f) | (v & 0x0f0f0f0f0f0f0f0f) << 4;
  return __builtin_bswap64(v);
}

// A bucket of b hash bits holds one interval of the reversed hashes, of length 2^(64 - b): a cursor is a place on that
// line (its upper 48 bits). A split cuts an interval in two and moves nothing across the cursor.
template <typename Visit>
uint64_t Index::scan(uint64_t cursor, Visit&& visit) const {
  const uint64_t place = cursor << 16;
  const uint32_t number = bucket_number(reverse_bits(place), buckets_);
  each_in(number, visit);
  const uint32_t high = buckets_ <= 1 ? 0 : ~0u >> __builtin_clz(buckets_ - 1);
  int bits = __builtin_popcount(high);
  // Buckets not yet split in this round answer to one bit less.
  if (bits > 0 && number <= high >> 1 && (number | ((high >> 1) + 1)) >= buckets_) --bits;
  if (bits == 0) return 0;
  const uint64_t length = uint64_t{1} << (64 - bits);
  const uint64_t next = (place & ~(length - 1)) + length;  // 0 on overflow: the end
  return next >> 16;
}

}  // namespace predis
