#include "slabs.h"

#include <algorithm>
#include <cstring>

namespace predis {
namespace {

// The list of free slots runs through the second word of each.
Ref& next_free(Entry* slot) { return *reinterpret_cast<Ref*>(reinterpret_cast<char*>(slot) + 8); }

uint32_t pages_for(size_t bytes) { return static_cast<uint32_t>((bytes + kPageSize - 1) / kPageSize); }

}  // namespace

Slabs::Slabs(Arena& arena, Pages& pages)
    : arena_(arena), pages_(pages), infos_(arena.header().pages), heads_(arena.header().pages) {
  const size_t unit = arena.unit();
  for (size_t size = 48; size <= kMaxSlot;) {
    const size_t rounded = (size + unit - 1) / unit * unit;
    if (classes_.empty() || rounded > classes_.back().slot_size) {
      SizeClass c;
      c.slot_size = rounded;
      // The shortest run that wastes at most one part in 32 at its end.
      for (c.run_pages = 1; c.run_pages < 16; ++c.run_pages) {
        const size_t bytes = c.run_pages * kPageSize;
        if (bytes >= rounded && bytes % rounded * 32 <= bytes) break;
      }
      c.slots = static_cast<uint32_t>(c.run_pages * kPageSize / rounded);
      c.most_held = static_cast<uint32_t>(std::clamp<size_t>(kPageSize / 4 / rounded, 1, kMagazine));
      classes_.push_back(c);
    }
    size_t step = 16;
    while (step * 16 <= size) step *= 2;  // 8 to 16 steps an octave
    size += step;
  }
  class_of_units_.resize(kMaxSlot / 16 + 1);
  size_t c = 0;
  for (size_t units = 0; units < class_of_units_.size(); ++units) {
    while (classes_[c].slot_size < units * 16) ++c;
    class_of_units_[units] = static_cast<uint8_t>(c);
  }
}

int Slabs::class_of(size_t bytes) const { return bytes > kMaxSlot ? -1 : class_of_units_[(bytes + 15) / 16]; }

size_t Slabs::footprint(size_t bytes) const {
  const int c = class_of(bytes);
  return c >= 0 ? slot_size(c) : pages_for(bytes) * kPageSize;
}

void Slabs::list(uint32_t page) {
  SlabInfo& info = infos_[page];
  SizeClass& c = classes_[info.size_class];
  info.prev = 0;
  info.next = c.partial;
  if (c.partial) infos_[c.partial].prev = page;
  c.partial = page;
  info.listed = true;
}

void Slabs::unlist(uint32_t page) {
  SlabInfo& info = infos_[page];
  SizeClass& c = classes_[info.size_class];
  if (info.prev) infos_[info.prev].next = info.next;
  else c.partial = info.next;
  if (info.next) infos_[info.next].prev = info.prev;
  info.listed = false;
}

bool Slabs::add_slab(int size_class) {
  SizeClass& c = classes_[static_cast<size_t>(size_class)];
  const uint32_t page = pages_.allocate(c.run_pages);
  if (page == 0) return false;
  SlabInfo& info = infos_[page];
  info = SlabInfo{};
  info.size_class = static_cast<uint8_t>(size_class);
  info.slots = info.free = c.slots;
  set_heads(page, c.run_pages);
  // The pages may have held other things: no slot may look live once the descriptor says "slab".
  for (uint32_t i = c.slots; i-- > 0;) {
    Entry* entry = slot(page, i);
    entry->version = 0;
    next_free(entry) = info.free_head;
    info.free_head = arena_.ref(entry);
  }
  pages_.describe(page, c.run_pages, PageUse::slab, info.size_class);
  c.free += c.slots;
  free_bytes_ += c.slots * c.slot_size;
  ++c.slabs;
  list(page);
  return true;
}

void Slabs::drop_slab(uint32_t page) {
  SlabInfo& info = infos_[page];
  SizeClass& c = classes_[info.size_class];
  if (info.listed) unlist(page);
  c.free -= info.slots;
  free_bytes_ -= info.slots * c.slot_size;
  --c.slabs;
  info = SlabInfo{};
  pages_.free(page, c.run_pages);
}

Entry* Slabs::allocate(size_t bytes) {
  const int size_class = class_of(bytes);
  if (size_class < 0) {
    const uint32_t count = pages_for(bytes);
    const bool offered = offered_ != 0 && offered_pages_ == count;
    const uint32_t page = offered ? offered_ : pages_.allocate(count);
    if (page == 0) return nullptr;
    if (offered) offered_ = 0;
    auto* entry = reinterpret_cast<Entry*>(arena_.page(page));
    entry->version = 0;
    infos_[page] = SlabInfo{};
    set_heads(page, count);
    pages_.describe(page, count, PageUse::large, 0);
    live_bytes_ += count * kPageSize;
    return entry;
  }
  SizeClass& c = classes_[static_cast<size_t>(size_class)];
  Entry* entry;
  if (c.held > 0) {
    entry = arena_.at(c.magazine[--c.held]);
  } else {
    if (c.partial == 0 && !add_slab(size_class)) return nullptr;
    SlabInfo& info = infos_[c.partial];
    entry = arena_.at(info.free_head);
    info.free_head = next_free(entry);
    if (info.free_head) prefetch(arena_.at(info.free_head));
    if (--info.free == 0) unlist(c.partial);
  }
  --c.free;
  free_bytes_ -= c.slot_size;
  live_bytes_ += c.slot_size;
  return entry;
}

void Slabs::push_free(Entry* entry) {
  const uint32_t page = heads_[arena_.page_of(entry)];
  SlabInfo& info = infos_[page];
  next_free(entry) = info.free_head;
  info.free_head = arena_.ref(entry);
  ++info.free;
  if (!info.listed && !info.evacuating) list(page);
}

void Slabs::flush(SizeClass& c, uint32_t keep) {
  while (c.held > keep) {
    Entry* entry = arena_.at(c.magazine[--c.held]);
    const uint32_t page = heads_[arena_.page_of(entry)];
    push_free(entry);
    // A wholly free slab goes back, but the class keeps one in reserve.
    if (infos_[page].free == infos_[page].slots && !infos_[page].evacuating && c.free >= 2 * uint64_t{c.slots})
      drop_slab(page);
  }
}

void Slabs::free(Entry* entry, size_t bytes) {
  const int size_class = class_of(bytes);
  if (size_class < 0) {
    const uint32_t count = pages_for(bytes);
    live_bytes_ -= count * kPageSize;
    pages_.free(arena_.page_of(entry), count);
    return;
  }
  SizeClass& c = classes_[static_cast<size_t>(size_class)];
  ++c.free;
  free_bytes_ += c.slot_size;
  live_bytes_ -= c.slot_size;
  // While slabs are emptied, their slots must not come back out of the magazine.
  if (__builtin_expect(evacuating_ != 0, 0)) return push_free(entry);
  if (c.held == c.most_held) flush(c, c.most_held / 2);
  c.magazine[c.held++] = arena_.ref(entry);
}

void Slabs::flush_magazines() {
  for (SizeClass& c : classes_) flush(c, 0);
}

void Slabs::release_spares() {
  flush_magazines();
  for (SizeClass& c : classes_)
    for (uint32_t page = c.partial; page != 0;) {
      const uint32_t next = infos_[page].next;
      if (infos_[page].free == infos_[page].slots) drop_slab(page);
      page = next;
    }
}

int Slabs::compactable() const {
  int best = -1;
  uint64_t most = 0;
  for (size_t i = 0; i < classes_.size(); ++i) {
    const SizeClass& c = classes_[i];
    if (c.slabs < 2 || c.free < c.slots) continue;
    const uint64_t gain = c.free * c.slot_size;
    if (gain > most) {
      most = gain;
      best = static_cast<int>(i);
    }
  }
  return best;
}

uint32_t Slabs::begin_evacuation(int size_class, const Entry* pin) {
  SizeClass& c = classes_[static_cast<size_t>(size_class)];
  flush(c, 0);
  const uint32_t pinned = pin ? heads_[arena_.page_of(pin)] : 0;
  uint32_t best = 0;
  for (uint32_t page = c.partial; page != 0; page = infos_[page].next)
    if (page != pinned && (best == 0 || infos_[page].free > infos_[best].free)) best = page;
  // The rest of the class must have room for what lives here.
  if (best == 0 || c.free - infos_[best].free < infos_[best].slots - infos_[best].free) return 0;
  evacuate(best);
  return best;
}

void Slabs::end_evacuation(uint32_t page) {
  SlabInfo& info = infos_[page];
  info.evacuating = false;
  --evacuating_;
  if (info.free == info.slots) drop_slab(page);
  else if (info.free > 0) list(page);
}

void Slabs::note_expire(const Entry* entry, uint64_t expire_ms) {
  uint32_t& least = infos_[heads_[arena_.page_of(entry)]].min_expire;
  const auto seconds = static_cast<uint32_t>(std::min<uint64_t>(expire_ms / 1000, 0xfffffffe));
  least = std::min(least, seconds);
}

void Slabs::reset() {
  for (SizeClass& c : classes_) c.partial = c.slabs = c.held = 0, c.free = 0;
  std::fill(infos_.begin(), infos_.end(), SlabInfo{});
  free_bytes_ = live_bytes_ = 0;
  evacuating_ = offered_ = 0;
}

}  // namespace predis
