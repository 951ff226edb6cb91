// engine_landing.cpp: for which values that are still arriving room is made, and when.
#include "engine.h"
#include "slabs.h"

namespace predis {
namespace {
constexpr uint64_t kSliceNs = 1'000'000;
}

// To be called when a command is there in part: `data` is its beginning, and `size` bytes of it have come.
void Engine::expect(Client& client, const char* data, size_t size) {
  const PartialCommand& command = client.partial;
  std::unique_ptr<Landing>& landing = client.landing;
  if (!command.active()) return landing.reset();
  if (command.bulk_length() > kMaxSlot && (landing == nullptr || landing->at != command.position())) {
    landing.reset();  // of a value before it, as in MSET
    if (!stores_values(client, data)) return;
    const size_t key = command.arguments() % 2 == 0 ? command.arguments() - 1 : 1;  // MSET has many
    landing = store_->land(command.argument(data, key), command.bulk_length());
    if (landing == nullptr) return;
    landing->at = command.position();
  }
  // Where tenants take turns, the next turn begins with it.
  if (landing != nullptr && turn_end_ == UINT64_MAX) land_more(client, data, size, kSliceNs);
}

// A slice of work for the value that is arriving in data[0, size).
void Engine::land_more(Client& client, const char* data, size_t size, uint64_t slice_ns) {
  Landing& landing = *client.landing;
  store_->advance(landing, {data + landing.at, std::min(size - landing.at, landing.value_len)}, slice_ns);
}

// Whether the client is in the middle of a command that may store values, and which it may send.
bool Engine::stores_values(const Client& client, const char* data) const {
  const PartialCommand& command = client.partial;
  if (command.arguments() < 2 || needs_login(client) || (client.modes & kInTransaction)) return false;
  const CommandSpec* spec = find_command(command.argument(data, 0));
  constexpr uint32_t kStores = kWrite | kDenyOom;
  if (spec == nullptr || (spec->flags & kStores) != kStores || spec->first_key != 1) return false;
  if (client.unrestricted) return true;
  std::vector<std::string_view> args;
  for (size_t i = 0; i < command.arguments(); ++i) args.push_back(command.argument(data, i));
  size_t position = 0;
  return check_command(*client.user, *spec, args, position) == Denied::none;
}

}  // namespace predis
