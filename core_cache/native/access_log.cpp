#include "access_log.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "arena.h"
#include "store.h"

namespace predis {

namespace {
constexpr size_t kHeaderBytes = 4096;
}

std::string access_log_path(const std::string& arena_path) {
  constexpr std::string_view kSuffix = ".arena";
  const bool has_it = arena_path.size() > kSuffix.size() && arena_path.ends_with(kSuffix);
  return arena_path.substr(0, arena_path.size() - (has_it ? kSuffix.size() : 0)) + ".accesses";
}

AccessLog::AccessLog(const std::string& arena_path, double rate, bool plain_keys) {
  const std::string path = access_log_path(arena_path);
  const auto fail = [&](const std::string& what) {
    throw ArenaError("the access log " + path + " " + what + ": remove it, or switch the access log off");
  };
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) fail("cannot be opened (" + std::string(std::strerror(errno)) + ")");
  const auto event_bytes = static_cast<uint32_t>(sizeof(AccessEvent) + (plain_keys ? kAccessLogKeyBytes : 0));
  bytes_ = kHeaderBytes + size_t{kAccessLogEvents} * event_bytes;
  struct stat st;
  AccessLogHeader old{};
  const bool ours = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_nlink == 1;
  const bool same = ours && static_cast<size_t>(st.st_size) == bytes_ &&
                    pread(fd, &old, sizeof old, 0) == static_cast<ssize_t>(sizeof old) && old.magic == kAccessLogMagic &&
                    old.capacity == kAccessLogEvents && old.event_bytes == event_bytes;
  void* p = MAP_FAILED;
  // Sparse: its pages come with the events.
  if (ours && fchmod(fd, 0600) == 0 &&
      (same || (ftruncate(fd, 0) == 0 && ftruncate(fd, static_cast<off_t>(bytes_)) == 0)) &&
      fallocate(fd, 0, 0, kHeaderBytes) == 0) {
    p = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  const std::string why = std::strerror(errno);
  ::close(fd);
  if (!ours) fail("is not a plain file of ours");
  if (p == MAP_FAILED) fail("cannot be made (" + why + ")");
  madvise(p, bytes_, MADV_DONTDUMP);
  header_ = static_cast<AccessLogHeader*>(p);
  events_ = static_cast<char*>(p) + kHeaderBytes;
  if (!same) {
    header_->capacity = kAccessLogEvents;
    header_->event_bytes = event_bytes;
    header_->written = 0;
  }
  header_->rate = rate;
  store_release(header_->magic, kAccessLogMagic);
}

AccessLog::~AccessLog() { munmap(header_, bytes_); }

void AccessLog::append(const AccessEvent& event, std::string_view key) {
  char* at = events_ + (header_->written & (kAccessLogEvents - 1)) * header_->event_bytes;
  AccessEvent whole = event;
  whole.key_bytes = plain_keys() ? static_cast<uint16_t>(std::min(key.size(), kAccessLogKeyBytes)) : uint16_t{0};
  std::memcpy(at, &whole, sizeof whole);
  if (whole.key_bytes != 0) std::memcpy(at + sizeof whole, key.data(), whole.key_bytes);
  store_release(header_->written, header_->written + 1);
}

}  // namespace predis
