// policy_model.h: a policy model: says from a few facts about an entry what it is worth keeping.
//
// It comes as an artefact, one small file that core_cache/policy/artefact.py writes and describes. Nothing in the file is
// trusted: sizes, indices and the checksum are looked at, and all numbers must be finite. A model that has been read can
// be run without looking again, and takes a bounded time: its work per entry is limited.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "policy.h"

namespace predis {

// Why a model cannot be used; what() is the rest of a sentence about the file.
struct ModelError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What they mean stands in core_cache/policy/artefact.py. Logarithms are of base 2, straight between powers of two.
enum class Feature : uint8_t { idle, hits, size, ttl, main, writes, key_length, type };
constexpr std::string_view kFeatureNames[] = {"idle", "hits", "size", "ttl", "main", "writes", "key_length", "type"};

class PolicyModel {
 public:
  static constexpr size_t kMostBytes = 1 << 20;
  static constexpr size_t kMostFeatures = 16;
  static constexpr uint32_t kMostUnits = 256;  // in a layer
  // Steps per entry in the worst case, about a nanosecond each: a comparison in a tree, or four multiplications.
  static constexpr size_t kMostCost = 128;
  static constexpr size_t kProductsPerStep = 4;

  PolicyModel(std::string name, std::string_view file);  // throws ModelError
  static std::shared_ptr<const PolicyModel> load(const std::string& path, std::string name);

  const std::string& name() const { return name_; }
  const std::string& metadata() const { return metadata_; }  // JSON, as it was written
  const std::vector<Feature>& features() const { return features_; }
  size_t cost() const { return cost_; }
  uint32_t checksum() const { return checksum_; }  // the one that the file ends with
  // rows: of `count` entries, each with the features in their order.
  void score(const float* rows, size_t count, double* scores) const;

 private:
  struct Layer {
    uint32_t inputs, outputs;
    std::vector<float> weights, bias;  // weights: inputs rows of outputs, so that a row is added up at once
  };
  struct Node {
    uint32_t feature;  // kLeaf: `value` is the result
    float value;       // goes left where the feature is below
    uint32_t left, right;
  };
  static constexpr uint32_t kLeaf = 0xffffffff;
  class Cursor;

  void read_dense(Cursor& in, uint32_t layers);
  void read_trees(Cursor& in, uint32_t trees);
  double run_dense(const float* row) const;
  double run_trees(const float* row) const;

  std::string name_, metadata_;
  std::vector<Feature> features_;
  std::vector<Layer> layers_;
  std::vector<Node> nodes_;
  std::vector<uint32_t> roots_;
  double base_ = 0;  // of trees
  size_t cost_ = 0;
  uint32_t checksum_ = 0;
};

// The facts about entries, a row of `features` for each; `footprint` says how large one is.
void describe(const PolicyHost& host, Footprint footprint, const void* context, std::span<const Feature> features,
              std::span<const Entry* const> entries, float* rows);

// What the model made of the entries, over its life.
struct ModelUse {
  uint64_t scored = 0;  // entries
  uint64_t refused = 0;  // times that a score was no finite number, so that the oldest entry went
};

std::unique_ptr<Scorer> make_model_scorer(const PolicyHost& host, std::shared_ptr<const PolicyModel> model,
                                          Footprint footprint, const void* context, ModelUse& use);

}  // namespace predis
