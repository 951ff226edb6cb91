// engine_log.cpp: turns what lookups noted during a batch into events of the access log.
#include <algorithm>

#include "command_keys.h"
#include "engine.h"

namespace predis {

namespace {

AccessOp op_of(const CommandSpec& spec, bool present) {
  if (!(spec.flags & kWrite)) return AccessOp::read;
  return present ? AccessOp::write : AccessOp::remove;
}

}  // namespace

// Whether a key of the command has this hash; gives it, and all of the command's keys.
bool Engine::find_key(const CommandSpec& spec, Args args, uint64_t hash, std::vector<KeyArgument>& keys,
                      std::string_view& key) const {
  keys.clear();
  if (!has_keys(spec) || !find_keys(spec, args, keys)) return false;
  for (const KeyArgument& argument : keys) {
    key = args[argument.index];
    if (store_->hash(key) == hash) return true;
  }
  return false;
}

void Engine::start_access_log(const std::string& arena_path, double rate, bool plain_keys) {
  access_log_ = std::make_unique<AccessLog>(arena_path, rate, plain_keys);
  // A hash with its top byte 0 comes once in 256: of those this share.
  sample_.limit = static_cast<uint32_t>(std::min(rate / kMostAccessRate, 1.0) * 65536);
}

// Notes stand in the order of the lookups, which is that of the commands: each belongs to the next command with its key.
void Engine::log_accesses() {
  AccessSample& sample = store_->access_sample();
  size_t command = 0;
  std::vector<KeyArgument> keys;
  for (uint32_t i = 0; i < sample.count; ++i) {
    const AccessSample::Note& note = sample.notes[i];
    // A command may look its key up more than once.
    if (i > 0 && sample.notes[i - 1].hash == note.hash && batch_size_ < 2) continue;
    const CommandSpec* spec = nullptr;
    std::string_view key;
    for (size_t at = command; at < batch_size_; ++at) {
      const Pending& pending = batch_[at];
      if (pending.hash != note.hash && (pending.spec == nullptr || pending.spec->has_one_key())) continue;  // most
      const Args args(args_.data() + pending.first_arg, pending.args);
      const bool one_key = pending.spec->has_one_key();
      if (one_key) key = args[static_cast<size_t>(pending.spec->first_key)];
      else if (!find_key(*pending.spec, args, note.hash, keys, key)) continue;
      spec = pending.spec;
      command = one_key || keys.size() == 1 ? at + 1 : at;
      break;
    }
    if (spec == nullptr && i > 0 && sample.notes[i - 1].hash == note.hash) continue;  // looked up again
    AccessEvent event{};
    event.key_hash = note.hash;
    event.unix_ms = store_->now_ms();
    event.tenant = note.tenant;
    event.found = note.found && (note.expire_at == 0 || note.expire_at >= store_->now_ms());
    event.op = AccessOp::other;
    uint64_t expire_at = note.expire_at;
    event.value_bytes = event.found ? note.value_bytes : 0;
    if (spec != nullptr) {
      event.command = spec->id;
      const Entry* entry = spec->flags & kWrite ? store_->peek(key, note.hash) : nullptr;
      event.op = op_of(*spec, entry != nullptr);
      if (entry != nullptr) {
        event.value_bytes = entry->value_len;
        event.tenant = static_cast<uint16_t>(entry->tenant());
        expire_at = entry->expire_at();
      }
    }
    if (expire_at > event.unix_ms) event.ttl_seconds = static_cast<uint32_t>(std::min<uint64_t>((expire_at - event.unix_ms + 999) / 1000, UINT32_MAX));
    access_log_->append(event, key);
    ++stats().logged_accesses;
  }
  sample.count = 0;
}

}  // namespace predis
