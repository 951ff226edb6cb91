// slabs.h: slots for entries. A slab is a run of pages cut into equal slots of one size class; an entry over 128 KiB has a
// run of its own. Size classes grow by at most an eighth, in steps of the arena's unit.
//
// A slot is free when its first word (Entry::version) is 0. The lists of free slots live inside the slots and in this
// process' memory, and are made anew on recovery. A few just-freed slots per class are kept at hand (the magazine), so
// that an overwrite writes into memory that is still in the processor's cache.
#pragma once

#include <cstdint>
#include <vector>

#include "arena.h"
#include "pages.h"

namespace predis {

constexpr size_t kMaxSlot = 128 * 1024;

class Slabs {
 public:
  Slabs(Arena& arena, Pages& pages);

  int class_of(size_t bytes) const;  // -1: needs a run of its own
  size_t slot_size(int size_class) const { return classes_[static_cast<size_t>(size_class)].slot_size; }
  uint32_t run_pages(int size_class) const { return classes_[static_cast<size_t>(size_class)].run_pages; }
  // Bytes that an entry of this size takes up.
  size_t footprint(size_t bytes) const;

  // Memory for an entry, version word 0; nullptr when neither a slot nor a run is free.
  Entry* allocate(size_t bytes);
  // A run of pages in use with nothing in it, which is what the next entry of this length gets.
  void offer(uint32_t first_page, uint32_t count) {
    offered_ = first_page;
    offered_pages_ = count;
  }
  bool withdraw() {  // false: it is taken
    const bool left = offered_ != 0;
    offered_ = 0;
    return left;
  }
  // The slot's version word is 0 already.
  void free(Entry* entry, size_t bytes);

  bool has_free(int size_class) const {
    const SizeClass& c = classes_[static_cast<size_t>(size_class)];
    return c.held > 0 || c.partial != 0;
  }
  // The class whose free slots would fill a whole slab (and by how much), or -1: compacting it gains a run of pages.
  int compactable() const;
  // Takes the emptiest slab of the class, but not the one `pin` lies in, out of service and gives its first page; its
  // entries are to be moved to allocate()d slots and free()d. 0 when there is none.
  uint32_t begin_evacuation(int size_class, const Entry* pin);
  void evacuate(uint32_t first_page) {  // this slab, whatever lives in it; the magazines are empty
    if (infos_[first_page].listed) unlist(first_page);
    infos_[first_page].evacuating = true;
    ++evacuating_;
  }
  void end_evacuation(uint32_t first_page);  // with all slots free the run is given back, else it is back in service

  void release_spares();  // gives wholly free slabs back
  void reset();

  // Recovery: a slab with its live slots; `live(slot)` says which.
  template <typename Live>
  void adopt(uint32_t first_page, int size_class, Live&& live);

  void adopt_large(uint32_t first_page, uint32_t count) {
    infos_[first_page] = SlabInfo{};
    set_heads(first_page, count);
    live_bytes_ += count * kPageSize;
  }

  size_t classes() const { return classes_.size(); }
  uint32_t slots_in(uint32_t first_page) const { return infos_[first_page].slots; }
  uint64_t live_bytes_in(uint32_t first_page) const {
    const SlabInfo& info = infos_[first_page];
    return (info.slots - info.free) * slot_size(info.size_class);
  }
  uint32_t head_of(uint32_t page) const { return heads_[page]; }
  Entry* slot(uint32_t first_page, uint32_t index) const {
    return reinterpret_cast<Entry*>(arena_.page(first_page) + index * slot_size(infos_[first_page].size_class));
  }
  size_t free_bytes() const { return free_bytes_; }
  size_t live_bytes() const { return live_bytes_; }

  // Earliest expiry, Unix time in s, among the entries of the run: a lower bound, ~0 for none.
  uint32_t& min_expire(uint32_t first_page) { return infos_[first_page].min_expire; }
  void note_expire(const Entry* entry, uint64_t expire_ms);
  void flush_magazines();

 private:
  struct SlabInfo {
    uint32_t free = 0, slots = 0;
    Ref free_head = 0;
    uint32_t min_expire = ~0u;
    uint32_t next = 0, prev = 0;  // list of the class' slabs that have free slots
    uint8_t size_class = 0;
    bool listed = false, evacuating = false;
  };
  static constexpr uint32_t kMagazine = 64;
  struct SizeClass {
    size_t slot_size = 0;
    uint32_t run_pages = 0, slots = 0;
    uint32_t partial = 0;     // first slab with free slots
    uint64_t free = 0;        // free slots over all slabs, the magazine's included
    uint32_t slabs = 0;
    uint32_t held = 0, most_held = 0;
    Ref magazine[kMagazine];
  };

  bool add_slab(int size_class);
  void push_free(Entry* entry);
  void list(uint32_t first_page);
  void unlist(uint32_t first_page);
  void flush(SizeClass& c, uint32_t keep);
  void drop_slab(uint32_t first_page);
  void set_heads(uint32_t first, uint32_t count) {
    for (uint32_t p = first; p < first + count; ++p) heads_[p] = first;
  }

  Arena& arena_;
  Pages& pages_;
  std::vector<SizeClass> classes_;
  std::vector<uint8_t> class_of_units_;  // small sizes: size in units → class
  std::vector<SlabInfo> infos_;          // by first page
  std::vector<uint32_t> heads_;          // page → first page of its run
  size_t free_bytes_ = 0, live_bytes_ = 0;
  uint32_t evacuating_ = 0;              // slabs that are being emptied
  uint32_t offered_ = 0, offered_pages_ = 0;
};

template <typename Live>
void Slabs::adopt(uint32_t first_page, int size_class, Live&& live) {
  SizeClass& c = classes_[static_cast<size_t>(size_class)];
  SlabInfo& info = infos_[first_page];
  info = SlabInfo{};
  info.slots = c.slots;
  info.size_class = static_cast<uint8_t>(size_class);
  set_heads(first_page, c.run_pages);
  ++c.slabs;
  for (uint32_t i = 0; i < c.slots; ++i) {
    Entry* entry = slot(first_page, i);
    if (live(entry)) {
      live_bytes_ += c.slot_size;
      continue;
    }
    ++c.free;
    free_bytes_ += c.slot_size;
    push_free(entry);
  }
}

}  // namespace predis
