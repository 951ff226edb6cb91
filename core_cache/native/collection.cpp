#include "collection.h"

#include <algorithm>

#include "arena.h"
#include "collection_rewrite.h"
#include "numbers.h"

namespace predis {

uint64_t random64() {
  static uint64_t state = 0x9e3779b97f4a7c15 ^ realtime_ms();
  state += 0x9e3779b97f4a7c15;
  return fold_multiply(state ^ 0x2545f4914f6cdd1d, state * 0xd1b54a32d192ed03 | 1);
}

Collection::Collection(Store& store, Entry* entry) : store_(store), entry_(entry) {
  if (entry == nullptr) return;
  type_ = entry->type();
  log_ = log_of(entry);
  const LogHead& head = head_of(log_);
  used_ = head.used;
  count_ = head.count;
  dead_ = head.dead;
  if (!wants_index(used_, count_)) return;
  side_ = store.side_indexes().find(entry->version);
  if (side_ != nullptr) return;
  auto made = make_side();
  side_ = made.get();
  store.side_indexes().put(entry->version, std::move(made));
}

std::unique_ptr<SideIndex> Collection::make_side() const {
  auto made = std::make_unique<SideIndex>(type_);
  if (type_ == Type::list) {
    replay(made->sequence);
    for (const uint32_t at : made->sequence) made->live += live_room(type_, 0, value(at).size());
    return made;
  }
  for (uint32_t at = kLogHead; at < used_;) {
    const Record r = read_record(log_, at);
    if (!r.dead && r.is_element()) {
      const std::string_view key = key_of(log_, r);
      made->members.insert(hash_of(key), at);
      made->live += live_room(type_, key.size(), r.value.size());
    }
    at = r.end;
  }
  if (type_ == Type::zset) rank_all(made->ranking);
  return made;
}

uint32_t Collection::find(std::string_view member) const {
  if (side_ != nullptr) {
    const MemberTable::Slot* slot = side_->members.find(
        hash_of(member), [&](uint32_t at) { return key_of(log_, read_record(log_, at)) == member; });
    return slot != nullptr ? slot->at : 0;
  }
  for (uint32_t at = kLogHead; at < used_;) {
    const Record r = read_record(log_, at);
    if (!r.dead && r.is_element() && key_of(log_, r) == member) return at;
    at = r.end;
  }
  return 0;
}

// By home, since an updated element keeps its place in the order; an intset by number, a sorted set by score.
std::vector<uint32_t> Collection::places() const {
  if (type_ == Type::zset && !large()) {
    Ranking ranking;
    rank_all(ranking);
    std::vector<uint32_t> ranked;
    if (count_ != 0) ranking.each(0, count_, false, [&](const Ranking::Item& item) { ranked.push_back(item.place); });
    return ranked;
  }
  std::vector<std::pair<int64_t, uint32_t>> found;
  found.reserve(count_);
  const bool numbers = type_ == Type::set && !large();
  bool sorted = true;
  for (uint32_t at = kLogHead; at < used_;) {
    const Record r = read_record(log_, at);
    if (!r.dead && r.is_element()) {
      int64_t rank = home_of(r);
      if (numbers) parse_int64(r.key, rank);
      sorted = sorted && (found.empty() || found.back().first < rank);
      found.emplace_back(rank, at);
    }
    at = r.end;
  }
  if (!sorted) std::sort(found.begin(), found.end());
  std::vector<uint32_t> places(found.size());
  for (size_t i = 0; i < found.size(); ++i) places[i] = found[i].second;
  return places;
}

uint32_t Collection::pick() const {
  if (side_ != nullptr) return side_->members.pick(random64);
  uint64_t left = random64() % count_;
  for (uint32_t at = kLogHead;;) {
    const Record r = read_record(log_, at);
    if (!r.dead && r.is_element() && left-- == 0) return at;
    at = r.end;
  }
}

void Collection::rank_all(Ranking& into) const {
  std::vector<Ranking::Item> items;
  items.reserve(count_);
  for (uint32_t at = kLogHead; at < used_;) {
    const Record r = read_record(log_, at);
    if (!r.dead && r.is_element()) items.push_back({score_of(r.value), at});
    at = r.end;
  }
  into.fill(std::move(items), log_);
}

const Ranking& Collection::ranking() {
  if (side_ != nullptr) return side_->ranking;
  if (!ranked_) rank_all(ranked_.emplace());
  return *ranked_;
}

// --- lists

void Collection::replay(Sequence& into) const {
  for (uint32_t at = kLogHead; at < used_;) {
    const Record r = read_record(log_, at);
    const auto index = into.begin() + (r.op >= Op::set ? r.x : 0);
    switch (r.op) {
      case Op::push_left: into.push_front(at); break;
      case Op::push_right: into.push_back(at); break;
      case Op::pop_left: into.erase(into.begin(), into.begin() + r.x); break;
      case Op::pop_right: into.erase(into.end() - r.x, into.end()); break;
      case Op::set: *index = at; break;
      case Op::insert: into.insert(index, at); break;
      default: into.erase(index, index + r.y); break;
    }
    at = r.end;
  }
}

Sequence& Collection::sequence() {
  if (side_ != nullptr) return side_->sequence;
  if (!replayed_) replay(replayed_.emplace());
  return *replayed_;
}

// --- changes

Edit::Edit(Store& store, Reply& reply, std::string_view key, uint64_t hash, Entry* entry, Type type)
    : Writer(store, entry), reply_(reply), name_(key), hash_(hash), old_(entry) {
  type_ = type;
  large_ = large();
}

Edit::~Edit() {
  if (!begun_) return;
  if (fresh_ != nullptr) {
    store_.abandon(fresh_);
  } else {
    recover_log(old_, seed_);
    store_.side_indexes().drop(old_->version);
  }
}

bool Edit::begin(size_t bytes) {
  if (begun_ || take_rewrite(bytes)) return begun_ = true;
  constexpr uint32_t kWorthIt = 1024;  // bytes; a shorter log is not written anew for its dead records alone
  // A long one is, but bit by bit: see take_rewrite().
  const bool stale = dead_ > used_ / 2 && used_ > kWorthIt && used_ <= kLongLog;
  if ((!fits(bytes) || stale) && !relocate(bytes, dead_ > used_ / 4) && !fits(bytes)) {
    reply_.error(errors::kOutOfMemory);
    return false;
  }
  return begun_ = true;
}

bool Edit::begin_removal(size_t bytes) {
  if (begun_ || fits(bytes)) return begin(bytes);
  if (take_rewrite(bytes) || relocate(bytes, dead_ > used_ / 4)) return begun_ = true;
  store_.use_reserve(true);
  begun_ = relocate(bytes, true);
  store_.use_reserve(false);
  if (!begun_) reply_.error(errors::kOutOfMemory);
  return begun_;
}

// Goes on with writing the log anew, or begins to. true: that is done, and the new log has room for so many bytes.
bool Edit::take_rewrite(size_t bytes) {
  if (used_ <= kLongLog || entry_ == nullptr || side_ == nullptr) return false;
  if (side_->rewrite == nullptr && !(fits(bytes) && Rewrite::begin(store_, entry_, *side_))) return false;
  side_->rewrite->pay(bytes);
  Rewrite::Result result;
  if (!Rewrite::take(side_->rewrite, bytes, result)) return false;
  entry_ = fresh_ = result.entry;
  log_ = log_of(fresh_);
  used_ = result.used;
  dead_ = result.dead;
  made_ = std::move(result.side);
  side_ = made_.get();
  return true;
}

size_t Edit::compact_size() const {
  size_t bytes = kLogHead;
  if (side_ != nullptr) return bytes + side_->live;
  const auto add = [&](const Record& r, std::string_view key) { bytes += live_room(type_, key.size(), r.value.size()); };
  if (type_ == Type::list) {
    for (const uint32_t at : const_cast<Edit*>(this)->sequence()) add(record(at), {});
  } else {
    each(add);
  }
  return bytes;
}

uint32_t Edit::write_compact(char* to, SideIndex* side) const {
  uint32_t at = kLogHead;
  if (type_ == Type::list) {
    for (const uint32_t place : const_cast<Edit*>(this)->sequence()) {
      if (side != nullptr) side->sequence.push_back(at);
      at = write_record(to, at, seed_, Op::push_right, 0, 0, {}, value(place));
    }
    return at;
  }
  if (side != nullptr && type_ == Type::zset) {  // in their order, which need not be found anew
    std::vector<Ranking::Item> items;
    items.reserve(count_);
    side_->ranking.each(0, count_, false, [&](const Ranking::Item& item) {
      const Record r = record(item.place);
      const std::string_view key = key_of(log_, r);
      side->members.insert(hash_of(key), at);
      items.push_back({item.score, at});
      at = write_record(to, at, seed_, Op::put, 0, 0, key, r.value);
    });
    side->ranking.take(items);
    return at;
  }
  each([&](const Record& r, std::string_view key) {
    if (side != nullptr) side->members.insert(hash_of(key), at);
    at = write_record(to, at, seed_, type_ == Type::set ? Op::add : Op::put, 0, 0, key, r.value);
  });
  return at;
}

bool Edit::relocate(size_t bytes, bool compact) {
  compact = compact && entry_ != nullptr;
  if (side_ != nullptr) side_->rewrite.reset();  // it comes too late
  const size_t padding = log_padding(name_.size());
  const size_t least = padding + (compact ? compact_size() : used_) + bytes;
  // Room to grow, so that copying costs little on the whole.
  const size_t wanted = entry_ == nullptr ? least : least + least / 2;
  fresh_ = store_.prepare(name_, store_.roomy_length(name_.size(), wanted), type_, old_);
  if (fresh_ == nullptr && wanted != least) fresh_ = store_.prepare(name_, least, type_, old_);
  if (fresh_ == nullptr) return false;
  char* to = log_of(fresh_);
  SideIndexes& sides = store_.side_indexes();
  if (large_) fresh_->kind |= kFlagLarge;
  if (entry_ != nullptr || keep_expiry_) fresh_->expire_and_tenant = old_->expire_and_tenant;
  if (entry_ != nullptr) {
    sides.rewritten_bytes += used_;
    if (compact) {
      if (side_ != nullptr) made_ = std::make_unique<SideIndex>(type_);
      used_ = write_compact(to, made_.get());
      dead_ = 0;
      if (made_ != nullptr) made_->live = side_->live;
    } else {
      std::memcpy(to + kLogHead, log_ + kLogHead, used_ - kLogHead);  // places stay what they are
      made_ = sides.take(old_->version);
    }
  }
  side_ = made_.get();
  if (compact) replayed_.reset();
  ranked_.reset();
  log_ = to;
  entry_ = fresh_;
  return true;
}

void Edit::set_large(bool large) {
  large_ = large;
  if (entry_ != nullptr) {
    entry_->kind = static_cast<uint8_t>(large ? entry_->kind | kFlagLarge : entry_->kind & ~kFlagLarge);
  }
}

bool Edit::finish() {
  if (!begun_) return count_ != 0;
  begun_ = false;
  SideIndexes& sides = store_.side_indexes();
  if (count_ == 0) {
    if (fresh_ != nullptr) store_.abandon(fresh_);
    fresh_ = entry_ = nullptr;
    made_.reset();
    if (old_ != nullptr) store_.erase(old_, hash_);
    return false;
  }
  const uint32_t used_before = head_of(log_).used;
  head_of(log_).dead = dead_;
  publish_log(log_, used_, count_);
  if (fresh_ != nullptr) {
    entry_ = fresh_;
    fresh_ = nullptr;
    store_.commit(entry_, hash_, old_);
  } else {
    if (side_ != nullptr && side_->rewrite != nullptr) side_->rewrite->follow(used_before);
    store_.changed_in_place(entry_);
  }
  const bool wanted = wants_index(used_, count_);
  if (made_ != nullptr) {
    if (wanted) sides.put(entry_->version, std::move(made_));
    else made_.reset();
  } else if (side_ != nullptr) {
    if (wanted) sides.recount(*side_);
    else sides.drop(entry_->version);
  }
  side_ = nullptr;
  return true;
}

}  // namespace predis
