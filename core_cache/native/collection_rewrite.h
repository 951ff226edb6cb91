// collection_rewrite.h: a long log is written anew bit by bit, so that no command waits for all of it.
//
// While there is room left in the log (collection_log.h), room for the next one is made ready in slices (landing.h). Then
// what the log holds is brought over, a little with each change and some in upkeep. Until all of it is, the old log is the
// one in force and changes are appended to it; the new one is in no entry yet, and a recovery knows nothing of it. Whoever
// then begins a change goes on in the new log, which is published with that change; where none comes, upkeep publishes it.
//
// Two ways lead there. A log in which little is dead is copied, and its places stay what they are; what is marked as dead
// later is marked in the copy too. Else only what lives is written. For hashes, sets and sorted sets the records are gone
// through in their order, those behind the ones there were at the beginning included: they change the new log as they
// changed the old one. A record that is dead by then is left out, since one behind it has what counts. The records of a
// list tell positions and mean nothing by themselves: the elements are brought over from left to right, and what changes
// those that are over already is done to the new log at once.
//
// How much is done with a change is by the bytes that it appends, so that the old log does not become full before. Where
// it does, be it for want of room, all is done in one go (Edit::relocate).
#pragma once

#include <memory>

#include "collection.h"
#include "landing.h"

namespace predis {

constexpr uint32_t kLongLog = 128 * 1024;  // bytes; a shorter log is written anew in one go

class Rewrite {
 public:
  // Begins one if it is time for it: side.rewrite. `old` has a long log. false: there is none.
  static bool begin(Store& store, Entry* old, SideIndex& side);
  ~Rewrite();

  // Does as much as a change calls for that is about to append so many bytes. It may evict other keys.
  void pay(size_t bytes);
  bool advance(uint64_t deadline_ns);  // in upkeep; true: there is more to do
  void follow(uint32_t from);          // the old log has become longer, from there on

  struct Result {
    Entry* entry = nullptr;  // prepared, with the log in it but for its head
    uint32_t used = 0, dead = 0;
    std::unique_ptr<SideIndex> side;
  };
  // The new log, when all is in it and it has room for so many bytes more; it is to be committed in place of the old one.
  // false: not yet, or never. Ends the rewrite, but for "not yet".
  static bool take(std::unique_ptr<Rewrite>& rewrite, size_t bytes, Result& result);
  bool publish();  // does that for a log to which nothing is added; false: it is not ready

  bool failed() const { return landing_->failed; }
  void give_up() { store_.give_up(*landing_); }
  size_t bytes() const { return target_ != nullptr ? target_->side().bytes() : 0; }
  bool release() { return target_ != nullptr && target_->side().release(); }

 private:
  // The new log, where only what lives is written to it.
  class Target : public Writer {
   public:
    Target(Store& store, Type type, char* log, uint32_t capacity);
    SideIndex& side() { return *side_; }
    std::unique_ptr<SideIndex> take_side() { return std::move(made_); }
    uint32_t used() const { return used_; }
    uint32_t dead() const { return dead_; }
    bool fits(size_t bytes) const { return capacity_ - used_ >= bytes; }

   private:
    uint32_t capacity_;
  };

  Rewrite(Store& store, Entry* old, SideIndex& side, std::unique_ptr<Landing> landing, bool compact);
  bool make_ready(uint64_t slice_ns);
  uint64_t left() const;        // bytes of the old log that are not brought over, about
  void work(uint64_t bytes);    // brings over about so many
  void bring(const Record& r);  // of a hash, a set, a sorted set
  void mirror(const Record& r); // of a list
  bool fits(size_t bytes);      // else the rewrite has failed

  Store& store_;
  Entry* const old_;
  SideIndex& side_;  // the old log's
  const std::unique_ptr<Landing> landing_;
  const bool compact_;
  char* const from_;            // the old log
  char* to_ = nullptr;          // the new one, once there is room for it
  std::unique_ptr<Target> target_;
  const uint32_t first_used_;   // of the old log, at the beginning
  uint32_t done_ = kLogHead;    // so far the old log is brought over, where it is gone through record by record
  uint32_t over_ = 0, size_;    // lists: how many elements are over; of how many
  uint64_t owed_ = 0;           // bytes that changes have called for, and that were not worth while yet
  uint64_t turn_ = 0;           // the last in which room was made
};

// Goes on with all rewrites in a store. true: there is more to do.
bool advance_rewrites(Store& store, uint64_t deadline_ns);

}  // namespace predis
