#include "policy_model.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>

namespace predis {
namespace {

constexpr std::string_view kMagic8 = "PREDISPM";
constexpr uint32_t kFormat = 1;
constexpr uint32_t kDense = 1, kTrees = 2;
constexpr size_t kFeatureName = 16;
constexpr float kNoExpiry = 48;  // the feature ttl of what never expires

uint32_t crc32(std::string_view bytes) {  // as zlib's
  static const auto table = [] {
    std::array<uint32_t, 256> made{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; ++bit) c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
      made[i] = c;
    }
    return made;
  }();
  uint32_t crc = ~0u;
  for (const char byte : bytes) crc = table[(crc ^ static_cast<uint8_t>(byte)) & 0xff] ^ crc >> 8;
  return ~crc;
}

// Base 2, straight between powers of two: log2_linear(0) is 0, of 1 is 1, of 3 is 2.
float log2_linear(uint64_t n) {
  const uint64_t v = n + 1;
  if (v == 0) return 64;
  const int e = 63 - std::countl_zero(v);
  const uint64_t fraction = v << (63 - e) << 1;  // of 2^64, what stands behind the leading bit
  return static_cast<float>(e + static_cast<double>(fraction >> 11) * 0x1p-53);
}

}  // namespace

// Reads little-endian numbers and never beyond the end.
class PolicyModel::Cursor {
 public:
  explicit Cursor(std::string_view bytes) : bytes_(bytes) {}
  std::string_view take(size_t n) {
    if (n > bytes_.size() - at_) throw ModelError("is cut short");
    at_ += n;
    return bytes_.substr(at_ - n, n);
  }
  uint32_t u32() {
    const std::string_view b = take(4);
    uint32_t value = 0;
    for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(b[static_cast<size_t>(i)]);
    return value;
  }
  uint32_t u32(uint32_t least, uint32_t most, const char* what) {
    const uint32_t value = u32();
    if (value >= least && value <= most) return value;
    throw ModelError(std::string("says ") + what + " " + std::to_string(value) + ", where " + std::to_string(least) +
                     " to " + std::to_string(most) + " are allowed");
  }
  float f32() {
    const float value = std::bit_cast<float>(u32());
    if (!std::isfinite(value)) throw ModelError("holds a number that is not finite");
    return value;
  }
  bool at_end() const { return at_ == bytes_.size(); }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
};

PolicyModel::PolicyModel(std::string name, std::string_view file) : name_(std::move(name)) {
  if (file.size() < kMagic8.size() || file.substr(0, kMagic8.size()) != kMagic8) throw ModelError("is no policy model");
  if (file.size() > kMostBytes) throw ModelError("is larger than a policy model may be");
  Cursor in(file.substr(kMagic8.size()));
  const uint32_t format = in.u32();
  if (format != kFormat) {
    throw ModelError("has format " + std::to_string(format) + "; this version reads format " + std::to_string(kFormat));
  }
  if (file.size() < kMagic8.size() + 8) throw ModelError("is cut short");
  Cursor end(file.substr(file.size() - 4));
  checksum_ = end.u32();
  if (checksum_ != crc32(file.substr(0, file.size() - 4))) throw ModelError("is damaged: its checksum is wrong");
  in = Cursor(file.substr(kMagic8.size() + 4, file.size() - kMagic8.size() - 8));

  const uint32_t kind = in.u32(kDense, kTrees, "kind");
  const uint32_t features = in.u32(1, kMostFeatures, "features");
  const uint32_t blocks = in.u32(1, 1024, kind == kDense ? "layers" : "trees");
  const uint32_t metadata = in.u32(0, kMostBytes, "bytes of metadata");
  for (uint32_t i = 0; i < features; ++i) {
    std::string_view text = in.take(kFeatureName);
    text = text.substr(0, text.find('\0'));
    const auto found = std::find(std::begin(kFeatureNames), std::end(kFeatureNames), text);
    if (found == std::end(kFeatureNames)) throw ModelError("wants a feature that this version does not have");
    features_.push_back(static_cast<Feature>(found - std::begin(kFeatureNames)));
  }
  kind == kDense ? read_dense(in, blocks) : read_trees(in, blocks);
  metadata_ = in.take(metadata);
  if (!in.at_end()) throw ModelError("has something behind its end");
  if (cost_ > kMostCost) {
    throw ModelError("is too slow: it takes " + std::to_string(cost_) + " steps per key, where " +
                     std::to_string(kMostCost) + " are allowed");
  }
}

void PolicyModel::read_dense(Cursor& in, uint32_t layers) {
  auto inputs = static_cast<uint32_t>(features_.size());
  for (uint32_t i = 0; i < layers; ++i) {
    Layer layer{inputs, in.u32(1, kMostUnits, "units in a layer"), {}, {}};
    layer.weights.resize(size_t{layer.inputs} * layer.outputs);
    for (uint32_t o = 0; o < layer.outputs; ++o)
      for (uint32_t n = 0; n < layer.inputs; ++n) layer.weights[size_t{n} * layer.outputs + o] = in.f32();
    for (uint32_t n = 0; n < layer.outputs; ++n) layer.bias.push_back(in.f32());
    cost_ += (layer.weights.size() + kProductsPerStep - 1) / kProductsPerStep;
    inputs = layer.outputs;
    layers_.push_back(std::move(layer));
  }
  if (inputs != 1) throw ModelError("ends in a layer of " + std::to_string(inputs) + " units, where 1 is wanted");
}

void PolicyModel::read_trees(Cursor& in, uint32_t trees) {
  const uint32_t nodes = in.u32(1, kMostBytes / sizeof(Node), "nodes");
  base_ = in.f32();
  for (uint32_t i = 0; i < trees; ++i) roots_.push_back(in.u32(0, nodes - 1, "root"));
  // A node's children come after it: every walk ends, and the depths can be told from the last node to the first.
  for (uint32_t i = 0; i < nodes; ++i) {
    Node node{in.u32(), in.f32(), in.u32(), in.u32()};
    if (node.feature != kLeaf && (node.feature >= features_.size() || node.left <= i || node.right <= i ||
                                  node.left >= nodes || node.right >= nodes)) {
      throw ModelError("has a tree that is none, at node " + std::to_string(i));
    }
    nodes_.push_back(node);
  }
  std::vector<uint32_t> depth(nodes, 1);
  for (uint32_t i = nodes; i-- > 0;) {
    if (nodes_[i].feature != kLeaf) depth[i] = 1 + std::max(depth[nodes_[i].left], depth[nodes_[i].right]);
  }
  for (const uint32_t root : roots_) cost_ += depth[root];
}

std::shared_ptr<const PolicyModel> PolicyModel::load(const std::string& path, std::string name) {
  const int fd = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw ModelError(errno == ELOOP ? "is a link, not a file" : std::string("cannot be opened: ") + strerror(errno));
  struct Close {
    int fd;
    ~Close() { close(fd); }
  } guard{fd};
  struct stat status{};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) throw ModelError("is not a file");
  if (static_cast<uint64_t>(status.st_size) > kMostBytes) throw ModelError("is larger than a policy model may be");
  std::string bytes(static_cast<size_t>(status.st_size), '\0');
  size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t n = read(fd, bytes.data() + have, bytes.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw ModelError(n == 0 ? "is cut short" : std::string("cannot be read: ") + strerror(errno));
    have += static_cast<size_t>(n);
  }
  return std::make_shared<const PolicyModel>(std::move(name), bytes);
}

double PolicyModel::run_dense(const float* row) const {
  float a[kMostUnits], b[kMostUnits];
  const float* in = row;
  float* out = a;
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const bool last = l + 1 == layers_.size();
    std::copy(layer.bias.begin(), layer.bias.end(), out);
    const float* w = layer.weights.data();
    for (uint32_t i = 0; i < layer.inputs; ++i, w += layer.outputs)
      for (uint32_t o = 0; o < layer.outputs; ++o) out[o] += w[o] * in[i];
    for (uint32_t o = 0; !last && o < layer.outputs; ++o) out[o] = out[o] < 0 ? 0 : out[o];  // a NaN stays one
    in = out;
    out = out == a ? b : a;
  }
  return static_cast<double>(in[0]);
}

double PolicyModel::run_trees(const float* row) const {
  double sum = base_;
  for (const uint32_t root : roots_) {
    const Node* node = &nodes_[root];
    while (node->feature != kLeaf) node = &nodes_[row[node->feature] < node->value ? node->left : node->right];
    sum += static_cast<double>(node->value);
  }
  return sum;
}

void PolicyModel::score(const float* rows, size_t count, double* scores) const {
  for (size_t i = 0; i < count; ++i, rows += features_.size()) {
    scores[i] = layers_.empty() ? run_trees(rows) : run_dense(rows);
  }
}

namespace {

float value_of(const PolicyHost& host, Footprint footprint, const void* context, Feature feature, const Entry& entry) {
  switch (feature) {
    case Feature::idle: return log2_linear(uint64_t{host.tick - entry.access} << 4);
    case Feature::hits: return static_cast<float>(std::min(entry.freq, kMaxFreq));
    case Feature::size: return log2_linear(footprint(context, &entry));
    case Feature::ttl: {
      const uint64_t at = entry.expire_at();
      return at == 0 ? kNoExpiry : log2_linear(at - std::min(at, host.now_ms));
    }
    case Feature::main: return entry.kind & kFlagMain ? 1.0f : 0.0f;
    case Feature::writes: return log2_linear(host.arena.header().next_version - entry.version);
    case Feature::key_length: return log2_linear(entry.key_len());
    case Feature::type: return static_cast<float>(entry.type());
  }
  return 0;
}

}  // namespace

void describe(const PolicyHost& host, Footprint footprint, const void* context, std::span<const Feature> features,
              std::span<const Entry* const> entries, float* rows) {
  for (const Entry* entry : entries)
    for (const Feature feature : features) *rows++ = value_of(host, footprint, context, feature, *entry);
}

namespace {

class ModelScorer final : public Scorer {
 public:
  ModelScorer(const PolicyHost& host, std::shared_ptr<const PolicyModel> model, Footprint footprint, const void* context,
              ModelUse& use)
      : host_(host), model_(std::move(model)), footprint_(footprint), context_(context), use_(use) {}

  void score(std::span<const Entry* const> entries, double* scores) override {
    constexpr size_t kBatch = 16;
    float rows[kBatch * PolicyModel::kMostFeatures];
    use_.scored += entries.size();
    for (size_t done = 0; done < entries.size(); done += kBatch) {
      const size_t n = std::min(kBatch, entries.size() - done);
      describe(host_, footprint_, context_, model_->features(), entries.subspan(done, n), rows);
      model_->score(rows, n, scores + done);
      if (!std::all_of(scores + done, scores + done + n, [](double s) { return std::isfinite(s); })) ++use_.refused;
    }
  }

 private:
  const PolicyHost host_;
  const std::shared_ptr<const PolicyModel> model_;
  Footprint footprint_;
  const void* context_;
  ModelUse& use_;
};

}  // namespace

std::unique_ptr<Scorer> make_model_scorer(const PolicyHost& host, std::shared_ptr<const PolicyModel> model,
                                          Footprint footprint, const void* context, ModelUse& use) {
  return std::make_unique<ModelScorer>(host, std::move(model), footprint, context, use);
}

}  // namespace predis
