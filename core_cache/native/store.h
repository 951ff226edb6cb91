// store.h: the key-value store in the arena, as commands see it. One thread, the writer, uses it.
//
// Entry pointers stay valid until the next call that can allocate or free: prepare, commit, erase, clear, or a find
// that meets an expired key. `pin` (see prepare) is the exception.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "layout.h"
#include "policy_kind.h"

namespace predis {

class Landing;      // landing.h
struct LogSeed;     // collection_log.h
class SideIndexes;  // side_index.h

// Keys that begin with `prefix` belong to the tenant; they take up at most `quota` bytes, which are kept free for them.
struct TenantOptions {
  std::string name, prefix;
  uint64_t quota = 0;
};

struct StoreOptions {
  std::string path;            // arena file; created with mode 0600 when missing
  uint64_t capacity = 0;       // bytes, at least 8 MiB
  PolicyKind policy = PolicyKind::s3fifo;
  std::vector<TenantOptions> tenants;  // their numbers count from 1; 0 is what belongs to none
  int64_t readers_group = -1;  // whose members may read the arena; -1: nobody but its owner
};

// Why an arena cannot be opened; what() is a sentence for people.
struct ArenaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class EraseReason { deleted, evicted, expired_lazy, expired_active };

// What happened to a key: for WATCH, CLIENT TRACKING and keyspace notifications.
enum class Change { created, written, deleted, evicted, expired };

// Is told of every change of a key, whoever made it. It must not use the store: a change may be half done.
class KeyObserver {
 public:
  virtual ~KeyObserver() = default;
  virtual void changed(std::string_view key, Change change) = 0;
  virtual void cleared() = 0;  // FLUSHALL: all keys at once
};

struct AccessSample;
class PolicyModel;
struct ModelUse;

class Store {
 public:
  explicit Store(const StoreOptions& options);  // throws ArenaError
  ~Store();
  Store(const Store&) = delete;

  // --- time: the caller sets it once per batch; nothing in here reads a clock.
  void set_now(uint64_t unix_ms);
  uint64_t now_ms() const;
  uint64_t turns() const;  // how often it was set: other clients have had their turn since the last time
  bool reserve_inserts(size_t count);  // room in the index for what is prepared and committed later; false: there is none
  void use_huge_pages();  // for the arena, from now on; see huge_pages.h

  // --- lookup
  uint64_t hash(std::string_view key) const;
  void prefetch_bucket(uint64_t hash) const;  // first of two steps before a find
  void prefetch_entry(uint64_t hash) const;   // second: the bucket should be in the cache by now
  void prefetch_change(uint64_t hash) const;  // third, before an overwrite or an erase: the entry should be there by now
  // The live, unexpired entry or nullptr. An expired entry is erased and counted as expired_lazy.
  Entry* find(std::string_view key, uint64_t hash);
  Entry* peek(std::string_view key, uint64_t hash) const;  // as find, but nobody notices: not for commands
  AccessSample& access_sample();                           // what find noted
  // Tells the eviction policy that the entry was read or overwritten.
  void touch(Entry* entry);
  // The same for reads that others did (local_reads.h). The hashes may be anything.
  void touch_hashes(const uint64_t* hashes, size_t count);

  // --- change
  // A free slot for `key` with room for `value_len` bytes, evicting others as needed; key, lengths, type and expiry
  // (none) are set, the value is not. nullptr when there is no room. `pin`, if given, is neither evicted nor moved.
  Entry* prepare(std::string_view key, size_t value_len, Type type = Type::string, Entry* pin = nullptr);
  // Publishes a prepared entry in place of `old` (what find gave for this key just before prepare, which must have had
  // it as its pin) or as a new key where old is nullptr. The overwritten key's place in the policy's queue passes on.
  void commit(Entry* fresh, uint64_t hash, Entry* old);
  void abandon(Entry* fresh);  // gives a prepared slot back

  // Where a full cache evicts nothing, some memory is kept for changes that make a collection smaller: whether it may be used.
  void use_reserve(bool yes);

  // --- room ahead of time (landing.cpp), for a value that is still arriving
  std::unique_ptr<Landing> land(std::string_view key, size_t value_len);  // nullptr: it needs none, or cannot have any
  // A slice of work that ends soon after `slice_ns`. `arrived`: the value as far as it is there.
  void advance(Landing& landing, std::string_view arrived, uint64_t slice_ns);
  void leave(Landing& landing);                              // its end
  // The same for a collection, which is to lie in a run of its own with `value_len` bytes. `old`, what it is now, in a run
  // of its own too, is neither evicted nor moved for it.
  std::unique_ptr<Landing> land_log(const Entry* old, size_t value_len);  // nullptr: it cannot have any
  char* make_ready(Landing& landing, uint64_t slice_ns);  // a slice of work; where the value will lie, once that may be written
  Entry* prepare_at(Landing& landing, Entry* old);        // prepare() with what was written there; nullptr: there is no room
  void give_up(Landing& landing);                         // gives back what it holds; nothing comes of it
  // What is prepared between these two may lie there. `source`: where the value lies that the landing is for.
  void offer(Landing& landing, const char* source);
  void withdraw(Landing& landing);
  // Writes a value to where it was prepared, but for what the landing has brought there already. nullptr: there is none.
  void fill(char* out, std::string_view value, const Landing* landing) const;

  void erase(Entry* entry, uint64_t hash, EraseReason reason = EraseReason::deleted);
  void set_expire_at(Entry* entry, uint64_t hash, uint64_t unix_ms);  // 0: never
  void clear();                                        // FLUSHALL
  // After a value was changed in place (collections): tells the observer, and the policy that it was used.
  void changed_in_place(Entry* entry);
  // A commit of what is the same value in another place: nobody is told, and it is no use of the key.
  void commit_moved(Entry* fresh, uint64_t hash, Entry* old);
  SideIndexes& side_indexes();
  LogSeed log_seed() const;  // for the checksums of collections
  // The most bytes of value that take up no more memory than `value_len` bytes do.
  size_t roomy_length(size_t key_len, size_t value_len) const;
  void set_observer(KeyObserver* observer);  // nullptr: nobody listens, which costs nothing

  // --- walk
  using Visit = std::function<void(Entry*)>;
  // One step of SCAN: visits the live, unexpired entries of whole buckets until about `count` were visited; gives the
  // next cursor, 0 at the end. Every key that is present from the first call to the last is visited.
  uint64_t scan(uint64_t cursor, size_t count, const Visit& visit);
  Entry* random();  // nullptr when empty

  // --- upkeep, with a time budget (microseconds); gives true when more work is waiting
  bool upkeep(uint64_t budget_us);

  // --- numbers
  Stats& stats();
  size_t size() const;              // keys
  bool fresh() const;               // the arena was made just now: nothing is known of any key
  uint64_t writes() const;          // so many versions of entries were written, ever
  size_t expires() const;           // keys with an expiry
  size_t entry_size(const Entry* entry) const;  // bytes it takes up in the arena, overhead included (MEMORY USAGE)
  uint64_t idle_ms(const Entry* entry) const;
  void refresh_gauges();            // brings the gauges in stats() up to date
  uint64_t max_memory() const;
  bool set_max_memory(uint64_t bytes);  // false when over the arena's capacity or under the least that works
  uint64_t capacity() const;
  PolicyKind policy() const;
  void set_policy(PolicyKind kind);
  // LFU policies: how hard it is to raise an entry's counter, and the minutes in which it falls by one (0: never).
  void set_lfu(uint32_t log_factor, uint32_t decay_minutes);
  uint8_t frequency(const Entry* entry) const;  // the counter as it is now
  struct TenantUse {
    std::string_view name, prefix;
    uint64_t quota, keys, bytes;
  };
  uint32_t tenants() const;  // with tenant 0
  uint64_t quotas() const;   // of all tenants but 0
  TenantUse tenant(uint32_t number) const;
  uint32_t tenant_of(std::string_view key) const;
  // What the policy "learned" scores with; nullptr: nothing, so that it is S3-FIFO. Takes effect with the next eviction.
  void set_model(std::shared_ptr<const PolicyModel> model, uint32_t arm = 0);
  const std::shared_ptr<const PolicyModel>& model(uint32_t arm = 0) const;
  const ModelUse& model_use(uint32_t arm = 0) const;
  // A test of two models: this share (0 to 1) of the keys, chosen by their hash, and of the memory is arm 1, which has its
  // own queues and the model given for it (none: S3-FIFO). 0 ends the test. Only policies with queues take part.
  void set_test_share(double share);
  double test_share() const;
  bool testing() const { return testing_; }
  void count_in_test(uint64_t hash, bool hit);  // of a lookup, while testing
  bool out_of_memory() const;       // policy is noeviction and nothing more fits: commands that add data are refused

 private:
  friend class PolicyEval;
  struct Impl;
  std::unique_ptr<Impl> impl_;
  bool testing_ = false;  // as in Impl, for every lookup to see
};

}  // namespace predis
