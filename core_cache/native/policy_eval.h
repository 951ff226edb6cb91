// policy_eval.h: how a policy does on an access trace: the engine's own store and policy, without a server around them.
//
// Every access is a lookup, a miss is followed by storing the key. What limits the store is not memory but a number of
// entries or, for sized traces, the sum of their sizes: before a key is stored, the policy's victims go until it fits.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "store.h"

namespace predis {

// What the policy could choose from at some evictions: a row of facts about each candidate, all that a model can know, in
// the order of kFeatureNames; which key it is, and after how many accesses.
struct Candidates {
  uint32_t every = 1;  // of so many evictions one is noted
  std::vector<float> rows;
  std::vector<uint32_t> keys, at;
};

struct EvalOptions {
  std::string arena_path;  // of the arena, a file that is removed again at once
  PolicyKind policy = PolicyKind::s3fifo;
  uint64_t capacity = 0;   // entries; bytes when the trace is sized
  uint32_t keys = 0;       // all keys are below
  std::shared_ptr<const PolicyModel> model;
  std::vector<uint32_t>* victims = nullptr;  // where evicted keys are noted, if anybody wants to know
  Candidates* candidates = nullptr;          // likewise; for the policy `learned` alone
  std::vector<uint8_t>* missed = nullptr;    // likewise: 1 for each access that is a miss
  uint32_t accesses_per_tick = 1;  // how time passes where the accesses have no times: a tick is 16 ms
};

struct EvalResult {
  uint64_t accesses = 0, misses = 0, bytes = 0, missed_bytes = 0, evictions = 0, refused = 0;
};

class PolicyEval {
 public:
  explicit PolicyEval(const EvalOptions& options);  // throws ArenaError
  ~PolicyEval();
  // Goes on with the trace: sizes are as many as the keys, or none where each entry counts 1; so are the times, in ms
  // since the trace's beginning, or none. Time does not go back.
  void run(std::span<const uint32_t> keys, std::span<const uint32_t> sizes, std::span<const uint32_t> times);
  const EvalResult& result() const { return result_; }
  uint64_t bad_scores() const;  // times that the model gave no number

 private:
  void access(uint32_t key, uint32_t size);
  void set_time(uint64_t now_ms);

  EvalOptions options_;
  EvalResult result_;
  std::unique_ptr<Store> store_;
  uint64_t held_ = 0;   // what the entries in the store count together
  uint64_t began_ms_, now_ms_;
  uint32_t in_tick_ = 0;
};

}  // namespace predis
