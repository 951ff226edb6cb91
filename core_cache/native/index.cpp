#include "index.h"

#include <algorithm>
#include <cstring>

namespace predis {

Index::Index(Arena& arena, Pages& pages)
    : arena_(arena), pages_(pages), directory_(arena.directory()), overflow_directory_(arena.overflow_directory()),
      sample_(std::make_unique<AccessSample>()) {
  seed_[0] = arena.header().hash_seed[0];
  seed_[1] = arena.header().hash_seed[1];
}

Entry* Index::find_sampled(std::string_view key, uint64_t hash) const {
  Entry* entry = find(key, hash, tag_of(hash));
  sample_->note(hash, entry);
  return entry;
}

bool Index::add_page(uint32_t* directory, uint32_t slot) {
  const uint32_t page = pages_.allocate_high();
  if (page == 0) return false;
  std::memset(arena_.page(page), 0, kPageSize);
  pages_.describe(page, 1, PageUse::index, 0);
  store_release(directory[slot], page);
  ++pages_in_use_;
  return true;
}

bool Index::relocate(uint32_t page) {
  const auto slot_in = [page](uint32_t* directory, uint32_t count) {
    uint32_t* slot = std::find(directory, directory + count, page);
    return slot == directory + count ? nullptr : slot;
  };
  uint32_t* slot = slot_in(directory_, primary_pages_);
  if (!slot) slot = slot_in(overflow_directory_, overflow_pages_);
  const uint32_t fresh = slot ? pages_.allocate_high() : 0;
  if (fresh == 0) return false;
  std::memcpy(arena_.page(fresh), arena_.page(page), kPageSize);
  pages_.describe(fresh, 1, PageUse::index, 0);
  store_release(*slot, fresh);
  // A reader that has begun on the old page finds another generation at its end, and begins anew.
  Header& h = arena_.header();
  store_release(h.generation, h.generation + 2);
  pages_.free(page, 1);
  return true;
}

bool Index::build(uint64_t keys) {
  size_ = 0;
  overflow_made_ = overflow_pages_ = primary_pages_ = pages_in_use_ = 0;
  overflow_free_.clear();
  const uint64_t wanted = std::max<uint64_t>(keys / kKeysPerBucket + 1, kSpan);
  const auto pages = static_cast<uint32_t>((wanted + kSpan - 1) / kSpan);
  while (primary_pages_ < pages && add_page(directory_, primary_pages_)) ++primary_pages_;
  if (primary_pages_ < pages || !reserve()) {
    while (primary_pages_ > 0) pages_.free(directory_[--primary_pages_], 1);
    return false;
  }
  buckets_ = static_cast<uint32_t>(wanted);
  store_release(arena_.header().buckets, buckets_);
  return true;
}

bool Index::add_overflow_page() {
  if (overflow_pages_ == arena_.header().pages || !add_page(overflow_directory_, overflow_pages_)) return false;
  ++overflow_pages_;
  return true;
}

uint32_t Index::new_overflow() {
  if (overflow_free_.empty()) return ++overflow_made_;  // there is one: see reserve()
  const uint32_t number = overflow_free_.back();
  overflow_free_.pop_back();
  return number + 1;
}

void Index::put(Bucket& first, uint8_t tag, Ref ref) {
  for (Bucket* b = &first;; b = &overflow(b->overflow - 1)) {
    if (const uint32_t empty = match_tags(*b, 0)) {
      const int i = __builtin_ctz(empty);
      b->refs[i] = ref;
      b->tags[i] = tag;
      return;
    }
    if (b->overflow == 0) b->overflow = new_overflow();
  }
}

void Index::insert(uint64_t hash, Ref ref) {
  // One split is enough to keep up with one insert; growing stops, harmlessly, when no page is left.
  if (size_ >= uint64_t{buckets_} * kKeysPerBucket) grow();
  Bucket& b = bucket(hash);
  begin(b);
  put(b, tag_of(hash), ref);
  end(b);
  ++size_;
}

Ref* Index::slot_of(Bucket& first, uint8_t tag, Ref ref, Bucket** where, int* index) const {
  for (Bucket* b = &first;; b = &overflow(b->overflow - 1)) {
    for (uint32_t mask = match_tags(*b, tag); mask; mask &= mask - 1) {
      const int i = __builtin_ctz(mask);
      if (b->refs[i] != ref) continue;
      *where = b;
      *index = i;
      return &b->refs[i];
    }
    if (b->overflow == 0) return nullptr;
  }
}

void Index::replace(uint64_t hash, Ref from, Ref to) {
  Bucket& first = bucket(hash);
  Bucket* where;
  int i;
  if (Ref* slot = slot_of(first, tag_of(hash), from, &where, &i)) {
    begin(first);
    *slot = to;
    end(first);
  }
}

void Index::erase(uint64_t hash, Ref ref) {
  Bucket& first = bucket(hash);
  Bucket* where;
  int i;
  if (!slot_of(first, tag_of(hash), ref, &where, &i)) return;
  begin(first);
  where->tags[i] = 0;
  where->refs[i] = 0;
  // An overflow bucket that is empty now, and the last of its chain, goes back.
  for (Bucket* b = &first; b->overflow != 0;) {
    Bucket& next = overflow(b->overflow - 1);
    if (next.overflow == 0 && match_tags(next, 0) == 0x7ff) {
      overflow_free_.push_back(b->overflow - 1);
      b->overflow = 0;
      break;
    }
    b = &next;
  }
  end(first);
  --size_;
}

bool Index::grow() {
  if (buckets_ == primary_pages_ * kSpan) {
    if (primary_pages_ == arena_.header().pages || !add_page(directory_, primary_pages_)) return false;
    ++primary_pages_;
  }
  const uint32_t added = buckets_;
  const uint32_t high = ~0u >> __builtin_clz(added);  // mask that tells `added` from its older sibling
  const uint32_t sibling = added & (high >> 1);
  Bucket& from = primary(sibling);
  Bucket& to = primary(added);

  struct Item { Ref ref; uint8_t tag; };
  Item items[256];
  int count = 0;
  for (Bucket* b = &from;; b = &overflow(b->overflow - 1)) {
    for (int i = 0; i < Bucket::kSlots && count < 256; ++i)
      if (b->tags[i]) {
        items[count++] = {b->refs[i], b->tags[i]};
        prefetch(arena_.at(b->refs[i]));
      }
    if (count == 256) return false;  // no hash of ours makes such a chain; leave it whole
    if (b->overflow == 0) break;
  }
  bool moves[256];
  for (int i = 0; i < count; ++i)
    moves[i] = (static_cast<uint32_t>(hash(arena_.at(items[i].ref)->key())) & high) == added;

  begin(from);
  begin(to);
  for (Bucket* b = &from;;) {
    std::memset(b->tags, 0, sizeof b->tags);
    const uint32_t next = b->overflow;
    b->overflow = 0;
    if (b != &from) std::memset(b->refs, 0, sizeof b->refs);
    if (next == 0) break;
    overflow_free_.push_back(next - 1);
    b = &overflow(next - 1);
  }
  for (int i = 0; i < count; ++i) put(moves[i] ? to : from, items[i].tag, items[i].ref);
  buckets_ = added + 1;
  store_release(arena_.header().buckets, buckets_);
  end(to);
  end(from);
  return true;
}

}  // namespace predis
