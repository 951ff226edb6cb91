// snapshot_write.cpp: from an arena to a file.
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "arena_walk.h"
#include "collection_log.h"
#include "snapshot.h"
#include "snapshot_format.h"
#include "store_impl.h"

namespace predis {

using namespace snapshot;

namespace {

constexpr int kRounds = 3;  // times that it begins again since all keys were removed meanwhile

// A file that nobody sees before it is whole.
class NewFile {
 public:
  NewFile(const std::string& path, uint64_t max_rate) : path_(path), fresh_(path + ".new"), max_rate_(max_rate) {
    unlink(fresh_.c_str());
    fd_ = ::open(fresh_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd_ < 0) fail("cannot be made");
    restart();
  }
  ~NewFile() {
    if (fd_ >= 0) ::close(fd_);
    if (!kept_) unlink(fresh_.c_str());
  }

  void restart() {
    if (ftruncate(fd_, 0) != 0 || lseek(fd_, 0, SEEK_SET) != 0) fail("cannot be written");
    written = 0;
    began_ns_ = monotonic_ns();
  }

  void write(const void* data, size_t size) {
    const char* at = static_cast<const char*>(data);
    while (size != 0) {
      const size_t part = std::min<size_t>(size, 256 * 1024);
      const ssize_t done = ::write(fd_, at, part);
      if (done < 0 && errno == EINTR) continue;
      if (done <= 0) fail("cannot be written");
      at += done;
      size -= static_cast<size_t>(done);
      written += static_cast<uint64_t>(done);
      throttle();
    }
  }

  void keep() {
    if (fsync(fd_) != 0) fail("cannot be brought to the disk");
    if (::close(std::exchange(fd_, -1)) != 0) fail("cannot be closed");
    if (::rename(fresh_.c_str(), path_.c_str()) != 0) fail("cannot take its place");
    kept_ = true;
    const auto slash = path_.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path_.substr(0, std::max<size_t>(slash, 1));
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) fail("is written, but its folder cannot be opened");
    const int status = fsync(fd);
    ::close(fd);
    if (status != 0) fail("is written, but its folder cannot be brought to the disk");
  }

  uint64_t written = 0;

 private:
  [[noreturn]] void fail(const char* what) {
    throw SnapshotError("the snapshot " + path_ + " " + what + ": " + std::strerror(errno));
  }
  void throttle() const {
    if (max_rate_ == 0) return;
    const double due = static_cast<double>(written) / static_cast<double>(max_rate_) * 1e9;
    const double now = static_cast<double>(monotonic_ns() - began_ns_);
    if (due <= now) return;
    const auto wait = static_cast<uint64_t>(due - now);
    const timespec pause = {static_cast<time_t>(wait / 1'000'000'000), static_cast<long>(wait % 1'000'000'000)};
    nanosleep(&pause, nullptr);
  }

  std::string path_, fresh_;
  uint64_t max_rate_, began_ns_ = 0;
  int fd_ = -1;
  bool kept_ = false;
};

class Blocks {
 public:
  explicit Blocks(NewFile& file) : file_(file) {}

  void add(const EntryHead& head, std::string_view key, std::string_view value) {
    if (!content_.empty() && content_.size() + sizeof head + key.size() + value.size() > kBlockSize) flush();
    content_.append(reinterpret_cast<const char*>(&head), sizeof head).append(key).append(value);
    ++in_block_;
    ++entries_;
    if (content_.size() >= kBlockSize) flush();
  }

  void finish() {
    if (!content_.empty()) flush();
    EndMark end{kEndMark, 0, number_, entries_, file_.written + sizeof(EndMark), 0};
    end.check = head_check(end);
    file_.write(&end, sizeof end);
  }

  uint64_t entries() const { return entries_; }

 private:
  void flush() {
    BlockHead head{kBlockMark, in_block_, number_++, content_.size(), 0};
    head.check = block_check(head, content_);
    file_.write(&head, sizeof head);
    file_.write(content_.data(), content_.size());
    content_.clear();
    in_block_ = 0;
  }

  NewFile& file_;
  std::string content_;
  uint32_t in_block_ = 0;
  uint64_t number_ = 0, entries_ = 0;
};

// false: the keys were all removed while it went on.
bool write_entries(const ArenaWalk& arena, NewFile& file, const CacheId& id, SnapshotResult& result) {
  const uint32_t generation = arena.generation();
  if (generation & 1) throw SnapshotError("the cache is recovering its arena, which cannot be saved just now");
  const Header& h = arena.header();
  FileHead head{snapshot::kMagic, kVersion, sizeof(FileHead), realtime_ms(), {}, {h.hash_seed[0], h.hash_seed[1]}, 0};
  std::memcpy(head.id, id, sizeof head.id);
  head.check = head_check(head);
  file.write(&head, sizeof head);
  Blocks blocks(file);
  std::vector<std::string> keys;
  CopiedEntry entry;
  result = {};
  for (uint32_t number = 0; number < arena.buckets(); ++number) {
    arena.keys_of(number, keys);
    for (const std::string& key : keys) {
      if (!arena.copy(key, entry)) continue;
      const uint64_t now = realtime_ms(), at = entry.head.expire_at();
      if (at != 0 && at < now) {
        ++result.skipped;
        continue;
      }
      const uint64_t used_at = h.epoch_unix_ms + (uint64_t{entry.head.access} << 4);
      EntryHead e{};
      e.expire_and_tenant = entry.head.expire_and_tenant;
      e.key_len = static_cast<uint32_t>(key.size());
      e.value_len = static_cast<uint32_t>(entry.value.size());
      e.idle_seconds = static_cast<uint32_t>((now - std::min(now, used_at)) / 1000);
      e.kind = entry.head.kind & (kTypeMask | kFlagRaw | kFlagEmbstr);
      e.freq = entry.head.freq;
      blocks.add(e, key, entry.value);
    }
    if (arena.generation() != generation) return false;
  }
  blocks.finish();
  result.entries = blocks.entries();
  result.bytes = file.written;
  return true;
}

}  // namespace

SnapshotResult write_snapshot(const std::string& arena, const std::string& path, const CacheId& id, uint64_t max_rate) {
  const ArenaWalk walk(arena);
  NewFile file(path, max_rate);
  SnapshotResult result;
  for (int round = 1; !write_entries(walk, file, id, result); ++round) {
    if (round == kRounds) throw SnapshotError("the keys are removed again and again (FLUSHALL): no snapshot was made");
    file.restart();
  }
  file.keep();
  return result;
}

}  // namespace predis
