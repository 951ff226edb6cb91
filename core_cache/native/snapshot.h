// snapshot.h: the keys of an arena in a file, for a start after a reboot.
//
// A writer walks the arena as a reader does, from another process, and never stalls the cache: each key is copied as it
// is at that moment, not all keys at one. The file is a header, blocks of entries and an end mark; each has a checksum,
// keyed by its number, and the end mark has the totals. A file that is cut short, changed, made by another version or for
// another cache is refused as a whole, before the first entry is taken from it.
#pragma once

#include <cstdint>
#include <string>

#include "store.h"

namespace predis {

// Why a snapshot cannot be written or is not loaded; what() is a sentence for people.
struct SnapshotError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using CacheId = uint8_t[16];

struct SnapshotResult {
  uint64_t entries = 0, bytes = 0, skipped = 0;  // skipped: entries that were expired, or that found no room
};

// Writes the arena's entries to `path`: into PATH.new first, which takes its place when it is whole and on the disk. An
// older file at `path` stays as it is when that fails. max_rate: bytes per second, 0 for no limit. Throws SnapshotError,
// ArenaError.
SnapshotResult write_snapshot(const std::string& arena, const std::string& path, const CacheId& id, uint64_t max_rate);

// Puts the entries of a snapshot into a store; those whose time is over are left out. Throws SnapshotError, and then the
// store is as it was.
SnapshotResult load_snapshot(Store& store, const std::string& path, const CacheId& id);

}  // namespace predis
