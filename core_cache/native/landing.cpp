// landing.cpp: room for a large value is made while the value arrives, in slices between which other clients are served.
// Then all that is left for its command to do is to publish it.
//
// As the first third of the value arrives, as many pages are freed as it needs. With the second third a run of them is
// chosen, and what lives in it is moved. With the last, what has arrived is copied into the run. No more is done than the
// share of the value that is there calls for: to announce a value costs nobody a key. What is not ready when the command
// comes is done then, in one go. A collection's log that is written anew gets its room in the same way.
#include <algorithm>
#include <cstring>
#include <utility>

#include "landing.h"
#include "store_impl.h"

namespace predis {
namespace {
constexpr uint32_t kMore = 2;         // pages beyond those that the moves may need
constexpr size_t kCopyPerByte = 2;    // copied in one slice, per byte that has arrived since the last
constexpr size_t kCopyPerNs = 4;      // bytes, with their checksum
constexpr size_t kLeastCopy = 32 * 1024;
constexpr uint32_t kEvictAtOnce = 8;  // keys between two looks at the clock
constexpr uint32_t kBackAtOnce = 16;  // pages
constexpr int kMostEvictions = 64;    // for the sake of one entry that has to move

uint32_t pages_to_gather(const Landing& l) { return l.pages + l.pages / 8 + kMore; }
}  // namespace

Landing::~Landing() { store_.leave(*this); }
std::unique_ptr<Landing> Store::land(std::string_view key, size_t value_len) {
  Impl& s = *impl_;
  const size_t bytes = payload_bytes(key.size(), value_len, Type::string);
  if (s.slabs.class_of(bytes) >= 0 || bytes > uint64_t{s.pages.limit()} * kPageSize / 2) return nullptr;
  // The room for a large part of the memory may be that of the value before, which the command may still want to read.
  constexpr uint64_t kBigShare = 16;
  if (value_len > s.max_memory / kBigShare && peek(key, hash(key)) != nullptr) return nullptr;
  const auto pages = static_cast<uint32_t>((bytes + kPageSize - 1) / kPageSize);
  const size_t value_at = sizeof(Entry) + (key.size() >= Entry::kLongKey ? 4 : 0) + key.size();
  auto landing = std::make_unique<Landing>(*this, hash(key), tenant_of(key), pages, value_at, value_len);
  s.landings.push_back(landing.get());
  return landing;
}

std::unique_ptr<Landing> Store::land_log(const Entry* old, size_t value_len) {
  Impl& s = *impl_;
  const std::string_view key = old->key();
  const size_t bytes = payload_bytes(key.size(), value_len, old->type());
  const uint64_t most = std::min<uint64_t>(uint64_t{s.pages.limit()} * kPageSize / 2, 0xffffffff);
  if (s.slabs.class_of(bytes) >= 0 || bytes > most) return nullptr;
  const auto pages = static_cast<uint32_t>((bytes + kPageSize - 1) / kPageSize);
  const size_t value_at = sizeof(Entry) + old->key_offset() + key.size();
  auto landing = std::make_unique<Landing>(*this, hash(key), tenant_of(key), pages, value_at, value_len);
  landing->pin = old;
  s.landings.push_back(landing.get());
  return landing;
}

char* Store::make_ready(Landing& landing, uint64_t slice_ns) {
  if (landing.failed || !impl_->make_ready(landing, pages_to_gather(landing), monotonic_ns() + slice_ns)) return nullptr;
  return impl_->arena->page(landing.start) + landing.value_at;
}

Entry* Store::prepare_at(Landing& landing, Entry* old) {
  if (landing.failed) return nullptr;
  const char* const room = impl_->arena->page(landing.start);
  offer(landing, nullptr);
  Entry* entry = prepare(old->key(), landing.value_len, old->type(), old);
  impl_->withdraw(landing);
  if (entry == nullptr || reinterpret_cast<char*>(entry) == room) return entry;
  abandon(entry);
  return nullptr;
}

void Store::give_up(Landing& landing) { impl_->give_up(landing); }

void Store::leave(Landing& landing) {
  impl_->withdraw(landing);
  impl_->give_up(landing);
  std::erase(impl_->landings, &landing);
}

void Store::advance(Landing& landing, std::string_view arrived, uint64_t slice_ns) {
  if (!landing.failed) impl_->advance(landing, arrived, monotonic_ns() + slice_ns);
  landing.seen = arrived.size();
}

void Store::offer(Landing& landing, const char* source) {
  landing.source = source;
  impl_->offered = &landing;
  if (landing.cleared && !landing.failed) impl_->slabs.offer(landing.start, landing.pages);
}

void Store::withdraw(Landing& landing) {
  impl_->withdraw(landing);
}

void Store::fill(char* out, std::string_view value, const Landing* landing) const {
  size_t done = 0;
  if (landing != nullptr && landing == impl_->offered && impl_->arena->page(landing->start) + landing->value_at == out) {
    if (landing->source == value.data() && landing->value_len == value.size()) {
      done = landing->filled;
      if (done != 0) impl_->landed = landing;
    }
    impl_->offered->filled = 0;  // the run may be evicted and be another value's before the command is over
  }
  std::memcpy(out + done, value.data() + done, value.size() - done);
}

// The digest of an entry's value, of which the landing has made the most.
uint64_t Store::Impl::landed_digest(const Entry& entry, uint64_t hash) {
  const Landing& landing = *std::exchange(landed, nullptr);
  return (landing.hash == hash ? Digest(landing.digest) : Digest(hash)).end(entry.value());
}

void Store::Impl::withdraw(Landing& l) {
  if (offered != &l) return;
  offered = nullptr;
  if (l.failed || !l.cleared || slabs.withdraw()) return;
  l.held.clear();  // it is taken
  set_counted(l, 0);
  l.failed = true;
}

void Store::Impl::give_up(Landing& l) {
  if (offered == &l) slabs.withdraw();
  pages.promise(l.promised, 0);
  l.promised = 0;
  for (uint32_t i = 0; i < l.held.size(); ++i)
    if (l.held[i]) pages.unhold(l.start + i);
  l.held.clear();
  set_counted(l, 0);
  l.failed = true;
}

// Gives up what another value of the tenant has set aside, which may never arrive; false: there is none.
bool Store::Impl::give_up_one(uint32_t tenant) {
  for (Landing* landing : landings) {
    if (landing->tenant != tenant || landing->counted == 0 || landing == offered) continue;
    give_up(*landing);
    return true;
  }
  return false;
}

// Makes ready as much of the room as `due` pages are a part of. true: all of it is.
bool Store::Impl::make_ready(Landing& l, uint32_t due, uint64_t deadline_ns) {
  const uint32_t target = pages_to_gather(l);
  if (target > pages.limit() / 4 * 3) return give_up(l), false;
  if (l.start == 0) {
    if (!gather(l, due, deadline_ns) || due < target) return false;
    l.start = l.next = find_window(l.pages, l.pin, l.tenant);
    if (l.start == 0) return give_up(l), false;
    l.held.resize(l.pages);
    hold_free(l, l.start, l.start + l.pages);
  }
  return (l.backed || back(l, deadline_ns)) && (l.cleared || clear_run(l, deadline_ns));
}

void Store::Impl::advance(Landing& l, std::string_view arrived, uint64_t deadline_ns) {
  const uint32_t target = pages_to_gather(l);
  const auto due = std::min<uint64_t>(target, 1 + uint64_t{target} * 3 * arrived.size() / l.value_len);
  if (!make_ready(l, static_cast<uint32_t>(due), deadline_ns)) return;
  const uint64_t left_ns = deadline_ns - std::min(deadline_ns, monotonic_ns());
  const size_t slice = std::min<size_t>((arrived.size() - l.seen) * kCopyPerByte, left_ns * kCopyPerNs);
  const size_t most = std::min(arrived.size(), l.filled + std::max(slice, kLeastCopy));
  if (most <= l.filled) return;
  std::memcpy(arena->page(l.start) + l.value_at + l.filled, arrived.data() + l.filled, most - l.filled);
  l.digest.advance(arrived.data(), most, l.value_len);
  l.filled = most;
}

// Frees pages until `due` of them are kept for the landing. false: not yet, or never.
bool Store::Impl::gather(Landing& l, uint32_t due, uint64_t deadline_ns) {
  if (l.promised >= due) return true;
  const auto late = [&] { return monotonic_ns() >= deadline_ns; };
  bool stuck = false;
  if (!partitions.single()) {
    const Partitions::Tenant& t = partitions[l.tenant];
    // With the other values of the tenant that are on their way: who begins many and ends none gets no more than his share.
    const uint64_t bytes = uint64_t{std::min(due, l.pages)} * kPageSize + t.coming - l.counted;
    stuck = bytes > t.quota;
    for (uint32_t n = 1; !stuck && t.bytes + bytes > t.quota; ++n) {
      if (n % kEvictAtOnce == 0 && late()) {  // what is free by now is kept from the tenant's other values
        const uint64_t taken = t.bytes + t.coming - l.counted;
        set_counted(l, std::max(l.counted, t.quota - std::min(t.quota, taken)));
        return false;
      }
      stuck = !evict_from(partitions.donor_in(l.tenant), l.pin);
    }
  }
  pages.promise(l.promised, 0);
  l.promised = 0;
  stuck = stuck || (policy_kind == PolicyKind::noeviction && pages.available() / 2 < due);  // not at the expense of others
  while (!stuck && pages.available() < due && !late()) {
    stuck = true;
    for (uint32_t i = 0; i < kEvictAtOnce && pages.available() < due && evict_one(l.pin, l.tenant); ++i) stuck = false;
    slabs.release_spares();
    while (pages.available() < due && !late() && compact(l.pin)) stuck = false;
  }
  if (stuck) {
    give_up(l);
    return false;
  }
  l.promised = std::min(due, pages.available());
  pages.promise(0, l.promised);
  set_counted(l, uint64_t{std::min(l.promised, l.pages)} * kPageSize);
  return l.promised == due;
}

// What is free of the run from here to there is to stay so.
void Store::Impl::hold_free(Landing& l, uint32_t from, uint32_t to) {
  uint32_t count = 0;
  const uint32_t first = std::max(from, l.start), stop = std::min(to, l.start + l.pages);
  for (uint32_t page = first; page < stop; ++page) {
    if (pages.is_used(page)) continue;
    pages.hold(page);
    l.held[page - l.start] = true;
    ++count;
  }
  const uint32_t rest = l.promised - std::min(l.promised, count);
  pages.promise(l.promised, rest);
  l.promised = rest;
}

// Lets the file system set memory aside for the pages, a few at a time.
bool Store::Impl::back(Landing& l, uint64_t deadline_ns) {
  while (l.next < l.start + l.pages) {
    uint32_t count = 0;
    while (l.next + count < l.start + l.pages && count < kBackAtOnce && l.held[l.next + count - l.start]) ++count;
    if (count != 0 && !pages.back(l.next, count)) {
      give_up(l);
      return false;
    }
    l.next += std::max(count, 1u);
    if (count != 0 && monotonic_ns() >= deadline_ns) break;
  }
  if (l.next < l.start + l.pages) return false;
  l.next = l.start;
  return l.backed = true;
}

// Empties the run, page by page.
bool Store::Impl::clear_run(Landing& l, uint64_t deadline_ns) {
  for (const uint32_t stop = l.start + l.pages; l.next < stop;) {
    const uint32_t page = l.next;
    if (l.held[page - l.start]) {
      ++l.next;
      continue;
    }
    if (!pages.is_used(page)) {
      hold_free(l, page, page + 1);
      if (!pages.back(page, 1)) {
        give_up(l);
        return false;
      }
      continue;
    }
    if (monotonic_ns() >= deadline_ns) return false;
    const uint32_t kept = l.promised;
    pages.promise(kept, 0);  // what moves may have them
    const bool done = empty_page(page, l.tenant, l.pin);
    pages.promise(0, kept);
    if (!done) {
      give_up(l);
      return false;
    }
  }
  pages.promise(l.promised, 0);
  l.promised = 0;
  return l.cleared = true;
}

// Moves what lives in the run of pages that this one is of.
bool Store::Impl::empty_page(uint32_t page, uint32_t tenant, const Entry* pin) {
  if (use_of(page) == PageUse::index) return index.relocate(page);
  const uint32_t head = slabs.head_of(page);
  if (use_of(head) == PageUse::large) {
    auto* entry = reinterpret_cast<Entry*>(arena->page(head));
    if (!entry->live() || entry == pin || !may_take(entry, tenant)) return false;
    erase(entry, index.hash(entry->key()), EraseReason::evicted);
    return true;
  }
  if (use_of(head) != PageUse::slab) return false;  // another landing has it
  slabs.flush_magazines();
  if (!pages.is_used(page)) return true;
  slabs.evacuate(head);
  bool stuck = false;
  for (uint32_t i = 0, n = slabs.slots_in(head); i < n && !stuck; ++i) {
    Entry* entry = slabs.slot(head, i);
    for (int tries = 0; entry->live() && !move(entry); ++tries) {
      if (tries < kMostEvictions && evict_one(pin != nullptr ? pin : entry, tenant)) continue;
      stuck = !may_take(entry, tenant);
      if (!stuck) erase(entry, index.hash(entry->key()), EraseReason::evicted);
      break;
    }
  }
  slabs.end_evacuation(head);
  return !stuck;
}

}  // namespace predis
