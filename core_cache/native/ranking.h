// ranking.h: the elements of a sorted set in their order, by score and then by member. Derived from the log, in this
// process' memory only.
//
// Sorted blocks of at most kMost items: a place is found by binary search over the blocks and then within one; a rank is a
// sum over the blocks' sizes, which for a million elements are a few thousand.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "collection_log.h"
#include "heap_pages.h"

namespace predis {

inline double score_of(std::string_view value) {
  double score;
  std::memcpy(&score, value.data(), sizeof score);
  return score;
}

class Ranking {
 public:
  struct Item {
    double score;
    uint32_t place;  // in the log
  };

  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(Item) * 3 / 2 + blocks_.capacity() * sizeof(Block); }

  // Takes items in any order.
  void fill(std::vector<Item> items, const char* log) {
    std::sort(items.begin(), items.end(), [&](const Item& a, const Item& b) {
      return before(a, b.score, key_of(log, read_record(log, b.place)), log);
    });
    take(items);
  }

  void take(const std::vector<Item>& items) {  // which are in their order
    blocks_.clear();
    size_ = items.size();
    for (size_t at = 0; at < items.size(); at += kMost / 2) {
      const auto first = items.begin() + static_cast<ptrdiff_t>(at);
      blocks_.emplace_back(first, first + static_cast<ptrdiff_t>(std::min<size_t>(kMost / 2, items.size() - at)));
    }
  }

  bool release() {  // gives memory back, of which the ranking is of no more use; false: there is none left
    constexpr size_t kAtOnce = 16;
    for (size_t i = 0; i < kAtOnce && !blocks_.empty(); ++i) {
      give_pages_back(blocks_.back().data(), blocks_.back().capacity() * sizeof(Item));
      blocks_.pop_back();
    }
    return !blocks_.empty();
  }

  void insert(double score, std::string_view key, uint32_t place, const char* log) {
    ++size_;
    const auto earlier = [&](const Item& item) { return before(item, score, key, log); };
    if (blocks_.empty()) blocks_.emplace_back();
    auto block = std::partition_point(blocks_.begin(), blocks_.end(),
                                      [&](const Block& b) { return !b.empty() && earlier(b.back()); });
    if (block == blocks_.end()) --block;
    block->insert(std::partition_point(block->begin(), block->end(), earlier), Item{score, place});
    if (block->size() < kMost) return;
    Block upper(block->begin() + kMost / 2, block->end());
    block->resize(kMost / 2);
    blocks_.insert(block + 1, std::move(upper));
  }

  void erase(double score, std::string_view key, const char* log) {
    const auto earlier = [&](const Item& item) { return before(item, score, key, log); };
    const auto block = std::partition_point(blocks_.begin(), blocks_.end(),
                                            [&](const Block& b) { return earlier(b.back()); });
    block->erase(std::partition_point(block->begin(), block->end(), earlier));
    if (block->empty()) blocks_.erase(block);
    --size_;
  }

  // How many items come first for which earlier(item) holds; the items must be parted by it.
  template <typename Earlier>
  size_t count(Earlier&& earlier) const {
    size_t rank = 0;
    auto block = blocks_.begin();
    const auto end = std::partition_point(block, blocks_.end(), [&](const Block& b) { return earlier(b.back()); });
    for (; block != end; ++block) rank += block->size();
    if (block == blocks_.end()) return rank;
    return rank + static_cast<size_t>(std::partition_point(block->begin(), block->end(), earlier) - block->begin());
  }
  size_t rank(double score, std::string_view key, const char* log) const {
    return count([&](const Item& item) { return before(item, score, key, log); });
  }

  // Calls visit(item) for `number` items from the one of this rank on, in falling order where `reverse` says so.
  template <typename Visit>
  void each(size_t rank, size_t number, bool reverse, Visit&& visit) const {
    size_t block = 0;
    while (number != 0 && rank >= blocks_[block].size()) rank -= blocks_[block++].size();
    for (; number != 0; --number) {
      visit(blocks_[block][rank]);
      if (!reverse) {
        if (++rank == blocks_[block].size()) ++block, rank = 0;
      } else if (rank-- == 0 && block != 0) {
        rank = blocks_[--block].size() - 1;
      }
    }
  }

 private:
  static constexpr size_t kMost = 512;
  using Block = std::vector<Item>;

  static bool before(const Item& item, double score, std::string_view key, const char* log) {
    if (item.score != score) return item.score < score;
    return key_of(log, read_record(log, item.place)) < key;
  }

  std::vector<Block> blocks_;  // none is empty, but for an only one that is being made
  size_t size_ = 0;
};

}  // namespace predis
