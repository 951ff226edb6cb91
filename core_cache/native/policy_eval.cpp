#include "policy_eval.h"

#include <unistd.h>

#include <cstring>

#include "policy_model.h"
#include "store_impl.h"

namespace predis {
namespace {

// An entry's value is what it counts.
size_t weight(const Entry* entry) {
  uint32_t size;
  std::memcpy(&size, entry->value().data(), sizeof size);
  return size;
}

// Stands before a policy and tells it each entry's weight in place of its bytes in the arena.
class Weighed final : public Policy {
 public:
  Weighed(std::unique_ptr<Policy> policy, uint64_t& held, std::vector<uint32_t>* victims)
      : policy_(std::move(policy)), held_(held), victims_(victims) {}
  static size_t footprint(const void*, const Entry* entry) { return weight(entry); }

  void inserted(Entry* entry, uint64_t hash, size_t) override {
    held_ += weight(entry);
    policy_->inserted(entry, hash, weight(entry));
  }
  void replaced(Entry* old, Entry* fresh, size_t, size_t) override {
    policy_->replaced(old, fresh, weight(old), weight(fresh));
  }
  void adopted(Entry* entry, size_t) override { policy_->adopted(entry, weight(entry)); }
  void erased(Entry* entry, size_t) override {
    held_ -= weight(entry);
    policy_->erased(entry, weight(entry));
  }
  Entry* victim(const Entry* pin) override { return policy_->victim(pin); }
  void evicted(const Entry* entry, uint64_t hash) override {
    if (victims_ != nullptr) std::memcpy(&victims_->emplace_back(), entry->key().data(), sizeof(uint32_t));
    policy_->evicted(entry, hash);
  }
  void set_scorer(std::unique_ptr<Scorer> scorer) override { policy_->set_scorer(std::move(scorer)); }
  void set_room(uint64_t bytes) override { policy_->set_room(bytes); }
  void clear() override { policy_->clear(); }
  size_t memory() const override { return policy_->memory(); }

 private:
  std::unique_ptr<Policy> policy_;
  uint64_t& held_;
  std::vector<uint32_t>* victims_;
};

// Stands before a scorer, or where there is none before the rule that the oldest goes, and notes what it is asked about.
class Noting final : public Scorer {
 public:
  Noting(const PolicyHost& host, std::unique_ptr<Scorer> scorer, Candidates& noted, const uint64_t& accesses)
      : host_(host), scorer_(std::move(scorer)), noted_(noted), accesses_(accesses) {}

  void score(std::span<const Entry* const> entries, double* scores) override {
    if (scorer_) scorer_->score(entries, scores);
    else std::fill_n(scores, entries.size(), 0.0);
    if (++asked_ % noted_.every != 0) return;
    constexpr Feature kAll[] = {Feature::idle, Feature::hits, Feature::size, Feature::ttl,
                                Feature::main, Feature::writes, Feature::key_length, Feature::type};
    static_assert(std::size(kAll) == std::size(kFeatureNames));
    const size_t have = noted_.rows.size();
    noted_.rows.resize(have + entries.size() * std::size(kAll));
    describe(host_, Weighed::footprint, nullptr, kAll, entries, &noted_.rows[have]);
    for (const Entry* entry : entries) {
      std::memcpy(&noted_.keys.emplace_back(), entry->key().data(), sizeof(uint32_t));
      noted_.at.push_back(static_cast<uint32_t>(accesses_));
    }
  }

 private:
  const PolicyHost host_;
  std::unique_ptr<Scorer> scorer_;
  Candidates& noted_;
  const uint64_t& accesses_;
  uint64_t asked_ = 0;
};

// Memory for every key at once, so that only the policy's limit counts: an entry of 40 bytes takes a slot of 48, and six
// entries share a bucket of 64.
uint64_t arena_bytes(uint64_t keys) { return 2 * kMinCapacity + keys * 96; }

}  // namespace

PolicyEval::PolicyEval(const EvalOptions& options) : options_(options) {
  store_ = std::make_unique<Store>(StoreOptions{options.arena_path, arena_bytes(options.keys), options.policy, {}});
  unlink(options.arena_path.c_str());
  Store::Impl& s = *store_->impl_;
  s.models[0] = options.model;
  const auto make = [&](uint32_t, uint32_t) {
    auto policy = std::make_unique<Weighed>(s.new_policy(options.policy, Weighed::footprint, 0), held_, options.victims);
    if (options.candidates != nullptr && options.policy == PolicyKind::learned) {
      const PolicyHost host{*s.arena, s.index, s.tick, s.now_ms, s.uses};
      auto scorer = s.new_scorer(options.policy, Weighed::footprint, 0);
      policy->set_scorer(std::make_unique<Noting>(host, std::move(scorer), *options.candidates, result_.accesses));
    }
    return policy;
  };
  s.partitions.make_policies(make, 0);
  s.partitions.first().set_room(options.capacity);
  began_ms_ = now_ms_ = store_->now_ms();
}
PolicyEval::~PolicyEval() = default;
uint64_t PolicyEval::bad_scores() const { return store_->model_use(0).refused; }

void PolicyEval::set_time(uint64_t now_ms) {
  if (now_ms > now_ms_) store_->set_now(now_ms_ = now_ms);
}

void PolicyEval::run(std::span<const uint32_t> keys, std::span<const uint32_t> sizes, std::span<const uint32_t> times) {
  constexpr size_t kAhead = 8;
  const auto hash = [&](size_t i) { return store_->hash({reinterpret_cast<const char*>(&keys[i]), sizeof keys[i]}); };
  for (size_t i = 0; i < keys.size(); ++i) {
    if (i + 2 * kAhead < keys.size()) store_->prefetch_bucket(hash(i + 2 * kAhead));
    if (i + kAhead < keys.size()) store_->prefetch_entry(hash(i + kAhead));
    if (!times.empty()) {
      set_time(began_ms_ + times[i]);
    } else if (++in_tick_ >= options_.accesses_per_tick) {
      in_tick_ = 0;
      set_time(now_ms_ + 16);
    }
    access(keys[i], sizes.empty() ? 1 : sizes[i]);
  }
}

void PolicyEval::access(uint32_t number, uint32_t size) {
  Store& store = *store_;
  const std::string_view key(reinterpret_cast<const char*>(&number), sizeof number);
  const uint64_t hash = store.hash(key);
  ++result_.accesses;
  result_.bytes += size;
  Entry* entry = store.find(key, hash);
  if (options_.missed != nullptr) options_.missed->push_back(entry == nullptr);
  if (entry != nullptr) return store.touch(entry);
  ++result_.misses;
  result_.missed_bytes += size;
  while (held_ + size > options_.capacity && size <= options_.capacity && store.impl_->evict_one(nullptr)) {
    ++result_.evictions;
  }
  if (held_ + size > options_.capacity) {  // larger than the whole cache, or a policy that evicts nothing
    ++result_.refused;
    return;
  }
  Entry* fresh = store.prepare(key, sizeof size);
  if (fresh == nullptr) throw std::runtime_error("the arena of the evaluation is too small for its keys");
  std::memcpy(fresh->value_data(), &size, sizeof size);
  store.commit(fresh, hash, nullptr);
}

}  // namespace predis
