// landing.h: room for a large value that is still on its way to the cache, or for a collection's log that is being written
// anew. See landing.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "checksum.h"
#include "layout.h"

namespace predis {

class Store;

// Made by Store::land() or Store::land_log(); its end gives back what it holds and nobody has taken.
class Landing {
 public:
  Landing(Store& store, uint64_t hash, uint32_t tenant, uint32_t pages, size_t value_at, size_t value_len)
      : hash(hash), tenant(tenant), pages(pages), value_at(value_at), value_len(value_len), digest(hash), store_(store) {}
  ~Landing();
  Landing(const Landing&) = delete;

  // Whether all that can be done before its command is done.
  bool over() const { return failed || filled == value_len; }

  const uint64_t hash;             // of the key
  const uint32_t tenant, pages;    // whose key; the length of the run
  const size_t value_at, value_len;  // where in the run the value lies, and how long it is
  const Entry* pin = nullptr;      // what must not be evicted for it
  size_t at = 0;                   // for the caller: where in the command the value begins
  size_t seen = 0;                 // bytes of the value that had arrived at the last slice
  const char* source = nullptr;    // the caller says where the value lies when it has arrived

  uint32_t promised = 0;           // free pages that are kept for it, wherever they lie
  uint32_t start = 0, next = 0;    // the run, 0: not chosen yet; the page in it that is the next to be seen to
  std::vector<bool> held;          // which of the run's pages are kept free
  bool backed = false, cleared = false;  // the pages have memory; the whole run is free
  bool failed = false;             // nothing will come of it
  uint64_t counted = 0;            // bytes of it in its tenant's `coming`
  size_t filled = 0;               // bytes of the value that lie in the run already
  Digest digest;                   // of these

 private:
  Store& store_;
};

}  // namespace predis
