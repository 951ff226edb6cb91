// collection_writer.cpp: the records that changes append to a log, and what they do to what is kept beside it.
#include "collection.h"

namespace predis {

uint32_t Writer::append(Op op, uint32_t x, uint32_t y, std::string_view key, std::string_view value) {
  const uint32_t at = used_;
  used_ = write_record(log_, at, seed_, op, x, y, key, value);
  return at;
}

void Writer::put(uint32_t at, std::string_view member, std::string_view value) {
  if (at == 0) {
    const uint32_t place = append(type_ == Type::set ? Op::add : Op::put, 0, 0, member, value);
    ++count_;
    ranked_.reset();
    if (side_ != nullptr) {
      note_live(static_cast<int64_t>(live_room(type_, member.size(), value.size())));
      side_->members.insert(hash_of(member), place);
      if (type_ == Type::zset) side_->ranking.insert(score_of(value), member, place, log_);
    } else if (wants_index(used_, count_)) {
      made_ = make_side();
      side_ = made_.get();
    }
    return;
  }
  const Record before = record(at);
  const uint32_t place = append(Op::update, at, home_of(before), {}, value);
  mark_dead(log_, at);
  dead_ += before.size();
  ranked_.reset();
  if (side_ == nullptr) return;
  note_live(static_cast<int64_t>(number_room(value.size()) + value.size()) -
            static_cast<int64_t>(number_room(before.value.size()) + before.value.size()));
  if (type_ == Type::zset) {
    side_->ranking.erase(score_of(before.value), member, log_);
    side_->ranking.insert(score_of(value), member, place, log_);
  }
  side_->members.find(hash_of(member), [&](uint32_t other) { return other == at; })->at = place;
}

void Writer::remove(uint32_t at) {
  const Record before = record(at);
  ranked_.reset();
  if (side_ != nullptr) {
    const std::string_view key = key_of(log_, before);
    note_live(-static_cast<int64_t>(live_room(type_, key.size(), before.value.size())));
    if (type_ == Type::zset) side_->ranking.erase(score_of(before.value), key, log_);
    side_->members.erase(side_->members.find(hash_of(key), [&](uint32_t other) { return other == at; }));
  }
  const uint32_t place = append(Op::remove, at, 0, {}, {});
  mark_dead(log_, at);
  dead_ += before.size() + (used_ - place);
  --count_;
}

Sequence* Writer::live_sequence() {
  if (side_ != nullptr) return &side_->sequence;
  return replayed_ ? &*replayed_ : nullptr;
}

// An element of a list that goes out of force.
void Writer::bury(uint32_t place) {
  const Record r = record(place);
  dead_ += r.size();
  note_live(-static_cast<int64_t>(live_room(type_, 0, r.value.size())));
}

void Writer::push(bool left, std::string_view value) {
  const uint32_t at = append(left ? Op::push_left : Op::push_right, 0, 0, {}, value);
  ++count_;
  note_live(static_cast<int64_t>(live_room(type_, 0, value.size())));
  if (Sequence* places = live_sequence()) left ? places->push_front(at) : places->push_back(at);
}

void Writer::pop(bool left, uint32_t number) {
  Sequence& places = sequence();
  for (uint32_t i = 0; i < number; ++i) {
    bury(left ? places.front() : places.back());
    left ? places.pop_front() : places.pop_back();
  }
  const uint32_t at = append(left ? Op::pop_left : Op::pop_right, number, 0, {}, {});
  dead_ += used_ - at;
  count_ -= number;
}

void Writer::set(uint32_t index, std::string_view value) {
  uint32_t& place = sequence()[index];
  bury(place);
  note_live(static_cast<int64_t>(live_room(type_, 0, value.size())));
  place = append(Op::set, index, 0, {}, value);
}

void Writer::insert(uint32_t index, std::string_view value) {
  Sequence& places = sequence();
  note_live(static_cast<int64_t>(live_room(type_, 0, value.size())));
  places.insert(places.begin() + index, append(Op::insert, index, 0, {}, value));
  ++count_;
}

void Writer::erase(uint32_t index, uint32_t number) {
  Sequence& places = sequence();
  const auto first = places.begin() + index, last = first + number;
  for (auto place = first; place != last; ++place) bury(*place);
  places.erase(first, last);
  const uint32_t at = append(Op::erase, index, number, {}, {});
  dead_ += used_ - at;
  count_ -= number;
}

}  // namespace predis
