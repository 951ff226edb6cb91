// collection_rewrite.cpp: how much of a rewrite is done when, and how a log is brought over. See collection_rewrite.h.
#include "collection_rewrite.h"

#include <algorithm>
#include <utility>

#include "arena.h"
#include "slabs.h"
#include "store_impl.h"

namespace predis {
namespace {

constexpr uint64_t kRoomSliceNs = 300'000;        // in one turn
constexpr uint64_t kRoomSliceNsShared = 30'000;  // where tenants take short turns
// Bytes of the old log that are brought over for each that is appended, at least. With what must be done before the log is
// full that makes, for the 64 KiB that come in one turn, a millisecond or two.
constexpr uint64_t kCopyPerByte = 16, kWritePerByte = 4;
constexpr uint64_t kLeastCopy = 8 * 1024, kLeastWrite = 2 * 1024;     // worth while
constexpr uint64_t kMostCopy = 2 << 20, kMostWrite = 256 * 1024;      // at once, whatever comes
constexpr uint64_t kUpkeepCopy = 128 * 1024, kUpkeepWrite = 16 * 1024;  // between two looks at the clock

}  // namespace

SideIndex::SideIndex(Type of) : type(of) {}
SideIndex::~SideIndex() = default;
size_t SideIndex::rewrite_bytes() const { return rewrite->bytes(); }
void SideIndex::stop_rewrite() { rewrite->give_up(); }

bool SideIndex::release() {
  constexpr size_t kAtOnce = 16 * 1024;
  if (rewrite != nullptr && rewrite->release()) return true;
  if (members.release() || ranking.release()) return true;
  sequence.resize(sequence.size() - std::min(sequence.size(), kAtOnce));
  return !sequence.empty();
}

bool SideIndexes::release(uint64_t deadline_ns) {
  while (!gone_.empty()) {
    if (monotonic_ns() >= deadline_ns) return true;
    if (!gone_.begin()->second->release()) gone_.erase(gone_.begin());
  }
  return false;
}

Rewrite::Target::Target(Store& store, Type type, char* log, uint32_t capacity) : Writer(store, nullptr), capacity_(capacity) {
  type_ = type;
  log_ = log;
  made_ = std::make_unique<SideIndex>(type);
  side_ = made_.get();
}

bool Rewrite::begin(Store& store, Entry* old, SideIndex& side) {
  const LogHead& head = head_of(old);
  const auto capacity = static_cast<uint32_t>(log_capacity(old));
  const uint32_t left = capacity - head.used;
  const bool compact = head.dead > head.used / 4;
  // A copy is quick, so it may begin late: until it is over, it takes up memory.
  const bool due = left < capacity / 8 || (compact && left < capacity / 4) || head.dead > head.used / 2;
  if (!due || head.used < side.rewrite_from) return false;
  // As roomy as after a rewrite in one go, with what comes meanwhile.
  uint64_t wanted = kLogHead + (compact ? side.live + std::min(left, head.used / 4) : head.used + left / 2);
  wanted = std::max<uint64_t>(wanted + wanted / 2 + log_padding(old->key_len()), kMaxSlot);
  std::unique_ptr<Landing> landing = store.land_log(old, store.roomy_length(old->key_len(), wanted));
  if (landing == nullptr) return false;
  side.rewrite.reset(new Rewrite(store, old, side, std::move(landing), compact));
  store.side_indexes().rewriting().push_back(old->version);
  return true;
}

Rewrite::Rewrite(Store& store, Entry* old, SideIndex& side, std::unique_ptr<Landing> landing, bool compact)
    : store_(store), old_(old), side_(side), landing_(std::move(landing)), compact_(compact), from_(log_of(old)),
      first_used_(head_of(old).used), size_(head_of(old).count) {}
Rewrite::~Rewrite() = default;

bool Rewrite::make_ready(uint64_t slice_ns) {
  if (to_ != nullptr) return true;
  char* const value = store_.make_ready(*landing_, slice_ns);
  if (value == nullptr) return false;
  const size_t padding = log_padding(old_->key_len());
  to_ = value + padding;
  if (compact_) {
    const auto capacity = static_cast<uint32_t>(landing_->value_len - padding);
    target_ = std::make_unique<Target>(store_, old_->type(), to_, capacity);
  }
  return true;
}

uint64_t Rewrite::left() const {
  const uint32_t used = head_of(from_).used;
  if (!compact_ || old_->type() != Type::list) return used - done_;
  return uint64_t{used} * (size_ - over_) / size_;
}

void Rewrite::pay(size_t bytes) {
  if (to_ == nullptr) {
    if (turn_ == store_.turns()) return;
    turn_ = store_.turns();
    if (!make_ready(store_.tenants() > 1 ? kRoomSliceNsShared : kRoomSliceNs)) return;
  }
  if (failed()) return;
  const uint64_t rest = left();
  const uint64_t room = std::max<uint64_t>(1, log_capacity(old_) - head_of(from_).used);
  // To be done before the room is used up, with a quarter of it to spare.
  owed_ += bytes * std::max(compact_ ? kWritePerByte : kCopyPerByte, rest * 4 / 3 / room);
  if (owed_ < std::min(rest, compact_ ? kLeastWrite : kLeastCopy)) return;
  work(std::min(owed_, compact_ ? kMostWrite : kMostCopy));
  owed_ = 0;
}

bool Rewrite::advance(uint64_t deadline_ns) {
  const uint64_t now = monotonic_ns();
  if (now >= deadline_ns) return true;
  if (!make_ready(deadline_ns - now)) return !failed();
  while (!failed() && left() != 0) {
    if (monotonic_ns() >= deadline_ns) return true;
    work(compact_ ? kUpkeepWrite : kUpkeepCopy);
  }
  return false;
}

void Rewrite::work(uint64_t bytes) {
  const uint32_t used = head_of(from_).used;
  uint64_t& count = store_.side_indexes().rewritten_bytes;
  if (!compact_) {
    const auto part = static_cast<uint32_t>(std::min<uint64_t>(bytes, used - done_));
    std::memcpy(to_ + done_, from_ + done_, part);
    done_ += part;
    count += part;
    return;
  }
  if (old_->type() == Type::list) {
    for (uint64_t done = 0; done < bytes && over_ != size_;) {
      const Record r = read_record(from_, side_.sequence[over_]);
      if (!fits(live_room(Type::list, 0, r.value.size()))) return;
      target_->push(false, r.value);
      ++over_;
      done += r.size();
      count += r.size();
    }
    return;
  }
  const uint32_t stop = static_cast<uint32_t>(std::min<uint64_t>(used, done_ + bytes));
  const uint32_t began = done_;
  while (done_ < stop && !failed()) {
    const Record r = read_record(from_, done_);
    bring(r);
    done_ = r.end;
  }
  count += done_ - began;
}

void Rewrite::bring(const Record& r) {
  const bool later = r.at >= first_used_;  // before, each member comes once, and what removes one comes too late
  if (r.is_element()) {
    if (r.dead) return;
    const std::string_view key = key_of(from_, r);
    if (fits(record_room(key.size(), r.value.size()))) target_->put(later ? target_->find(key) : 0, key, r.value);
  } else if (later) {
    const uint32_t at = target_->find(key_of(from_, read_record(from_, r.x)));
    if (at != 0 && fits(kRemoveRoom)) target_->remove(at);
  }
}

void Rewrite::mirror(const Record& r) {
  if (!fits(record_room(0, r.value.size()) + kRemoveRoom)) return;
  switch (r.op) {
    case Op::push_left:
      target_->push(true, r.value);
      ++over_;
      ++size_;
      return;
    case Op::push_right: ++size_; return;
    case Op::pop_left:
      if (const uint32_t number = std::min(r.x, over_)) target_->pop(true, number), over_ -= number;
      size_ -= r.x;
      return;
    case Op::pop_right:
      size_ -= r.x;
      if (over_ > size_) target_->pop(false, over_ - size_), over_ = size_;
      return;
    case Op::set:
      if (r.x < over_) target_->set(r.x, r.value);
      return;
    case Op::insert:
      ++size_;
      if (r.x < over_) target_->insert(r.x, r.value), ++over_;
      return;
    default:
      size_ -= r.y;
      if (r.x < over_) {
        const uint32_t number = std::min(r.y, over_ - r.x);
        target_->erase(r.x, number);
        over_ -= number;
      }
  }
}

void Rewrite::follow(uint32_t from) {
  const bool list = old_->type() == Type::list;
  if (to_ == nullptr) {
    size_ = head_of(from_).count;
    return;
  }
  if (failed() || list != compact_) return;
  const uint32_t used = head_of(from_).used;
  for (uint32_t at = from; at < used && !failed();) {
    const Record r = read_record(from_, at);
    if (list) mirror(r);
    else if ((r.op == Op::update || r.op == Op::remove) && r.x < done_) mark_dead(to_, r.x);
    at = r.end;
  }
}

bool Rewrite::fits(size_t bytes) {
  if (target_->fits(bytes)) return true;
  give_up();
  return false;
}

bool Rewrite::take(std::unique_ptr<Rewrite>& rewrite, size_t bytes, Result& result) {
  Rewrite& r = *rewrite;
  const uint32_t used = head_of(r.from_).used;
  if (!r.failed()) {
    if (r.to_ == nullptr || r.left() != 0) return false;
    result.used = r.compact_ ? r.target_->used() : used;
    if (r.landing_->value_len - log_padding(r.old_->key_len()) - result.used < bytes) return false;
    result.entry = r.store_.prepare_at(*r.landing_, r.old_);
  }
  SideIndexes& sides = r.store_.side_indexes();
  SideIndex& side = r.side_;
  const std::unique_ptr<Rewrite> ended = std::move(rewrite);
  if (result.entry == nullptr) {
    // Another time, if there is more room then.
    side.rewrite_from = used + static_cast<uint32_t>((log_capacity(r.old_) - used) / 4);
    return false;
  }
  result.dead = r.compact_ ? r.target_->dead() : head_of(r.from_).dead;
  result.side = r.compact_ ? r.target_->take_side() : sides.take(r.old_->version);
  result.entry->kind |= r.old_->kind & kFlagLarge;
  result.entry->expire_and_tenant = r.old_->expire_and_tenant;
  return true;
}

bool Rewrite::publish() {
  Result result;
  Entry* const old = old_;
  Store& store = store_;
  SideIndexes& sides = store.side_indexes();
  const uint64_t hash = store.hash(old->key());
  const uint32_t count = head_of(old).count;
  if (!take(side_.rewrite, 0, result)) return false;
  char* const log = log_of(result.entry);
  head_of(log).dead = result.dead;
  publish_log(log, result.used, count);
  store.commit_moved(result.entry, hash, old);
  if (wants_index(result.used, count)) sides.put(result.entry->version, std::move(result.side));
  return true;
}

bool advance_rewrites(Store& store, uint64_t deadline_ns) {
  SideIndexes& sides = store.side_indexes();
  std::vector<uint64_t>& rewriting = sides.rewriting();
  bool more = false;
  for (size_t i = rewriting.size(); i-- > 0;) {
    SideIndex* side = sides.find(rewriting[i]);
    if (side != nullptr && side->rewrite != nullptr && side->rewrite->advance(deadline_ns)) {
      more = true;
      continue;
    }
    rewriting.erase(rewriting.begin() + static_cast<ptrdiff_t>(i));
    if (side != nullptr && side->rewrite != nullptr) side->rewrite->publish();
  }
  return more;
}

}  // namespace predis
