#include "arena.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "checksum.h"
#include "store.h"

namespace predis {

uint64_t realtime_ms() {
  timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1000 + static_cast<uint64_t>(ts.tv_nsec) / 1000000;
}

namespace {

std::string mebibytes(uint64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

std::string reason() { return std::strerror(errno); }

uint64_t round_up(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash == 0 ? 1 : slash);
}

// Where the fixed parts lie in an arena of so many pages.
struct Plan {
  uint64_t stats, descs, directory, overflow, end;
  explicit Plan(uint64_t pages) {
    stats = round_up(sizeof(Header), 4096);
    descs = round_up(stats + sizeof(Stats), 4096);
    directory = round_up(descs + pages * sizeof(PageDesc), 4096);
    overflow = round_up(directory + pages * sizeof(uint32_t), 4096);
    end = round_up(overflow + pages * sizeof(uint32_t), kPageSize);
  }
};

}  // namespace

Arena::Arena(const std::string& path, uint64_t capacity, int64_t readers_group) : path_(path) {
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd_ < 0) {
    if (errno == ENOENT)
      throw ArenaError("the arena's folder " + folder_of(path) + " does not exist: create it or set another arena_dir");
    if (errno == ELOOP)
      throw ArenaError("the arena " + path + " is a symbolic link, which we do not follow: remove it or set another arena_dir");
    throw ArenaError("cannot open the arena " + path + ": " + reason());
  }
  try {
    struct stat st;
    if (fstat(fd_, &st) != 0) throw ArenaError("cannot examine the arena " + path + ": " + reason());
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink > 1)
      throw ArenaError("the arena " + path + " is not a plain file of ours: remove it or set another arena_dir");
    if (flock(fd_, LOCK_EX | LOCK_NB) != 0)
      throw ArenaError("the arena " + path + " is in use by another cache process: stop that one first");
    const bool shared = readers_group >= 0;
    if ((shared && fchown(fd_, static_cast<uid_t>(-1), static_cast<gid_t>(readers_group)) != 0) ||
        fchmod(fd_, shared ? 0640 : 0600) != 0)
      throw ArenaError("the arena " + path + " cannot be given to the group of its readers: " + reason());
    uint64_t magic = 0;
    if (st.st_size >= static_cast<off_t>(kMinCapacity) && pread(fd_, &magic, 8, 0) != 8)
      throw ArenaError("cannot read the arena " + path + ": " + reason());
    if (magic == 0) {  // new, or its creator was killed before it was finished
      if (st.st_size > 0 && st.st_size < static_cast<off_t>(kMinCapacity) && pread(fd_, &magic, 8, 0) == 8 && magic != 0)
        throw ArenaError("the file " + path + " is not a Predis arena: remove it or set another arena_dir");
      create(capacity);
    } else {
      map(static_cast<uint64_t>(st.st_size));
      check();
    }
    unit_shift_ = header().unit_shift;
  } catch (...) {
    if (base_) munmap(base_, mapped_);
    ::close(fd_);
    throw;
  }
}

Arena::~Arena() {
  huge_pages_.reset();
  munmap(base_, mapped_);
  ::close(fd_);
}

void Arena::map(uint64_t bytes) {
  void* p = map_for_huge_pages(bytes, PROT_READ | PROT_WRITE, fd_);
  if (p == MAP_FAILED) throw ArenaError("cannot map " + mebibytes(bytes) + " of the arena " + path_ + ": " + reason());
  base_ = static_cast<char*>(p);
  mapped_ = bytes;
  madvise(base_, bytes, MADV_DONTDUMP);  // values are the users' data: not into core files
}

void Arena::create(uint64_t capacity) {
  if (capacity < kMinCapacity)
    throw ArenaError("the cache's memory is " + mebibytes(capacity) + ": it needs at least " + mebibytes(kMinCapacity));
  capacity = round_up(capacity, kPageSize);
  const uint64_t pages = capacity / kPageSize;
  struct statvfs fs;
  if (fstatvfs(fd_, &fs) == 0 && fs.f_bavail * fs.f_frsize < capacity) {
    unlink(path_.c_str());
    throw ArenaError("the arena needs " + mebibytes(capacity) + " but " + folder_of(path_) + " has " +
                     mebibytes(fs.f_bavail * fs.f_frsize) + " left: lower memory or set another arena_dir");
  }
  if (ftruncate(fd_, 0) != 0 || ftruncate(fd_, static_cast<off_t>(capacity)) != 0)
    throw ArenaError("cannot size the arena " + path_ + ": " + reason());
  map(capacity);
  const Plan plan(pages);
  if (!reserve(0, static_cast<uint32_t>(plan.end / kPageSize))) throw ArenaError("no memory left in " + folder_of(path_));
  Header& h = header();
  h.layout_version = kLayoutVersion;
  h.unit_shift = 4;  // 2^32 units of 16 bytes: 64 GiB; larger arenas have larger units
  while ((capacity >> h.unit_shift) > 0xffffffffULL) ++h.unit_shift;
  h.capacity = capacity;
  h.pages = static_cast<uint32_t>(pages);
  h.first_page = static_cast<uint32_t>(plan.end / kPageSize);
  if (getrandom(h.hash_seed, sizeof h.hash_seed, 0) != sizeof h.hash_seed)
    throw ArenaError("the system gives no random numbers: " + reason());
  h.epoch_unix_ms = realtime_ms();
  h.stats_offset = plan.stats;
  h.descs_offset = plan.descs;
  h.directory_offset = plan.directory;
  h.overflow_offset = plan.overflow;
  h.generation = 1;
  Header whole = h;
  whole.magic = kMagic;
  h.check = header_check(whole);
  h.next_version = 1;
  store_release(h.magic, kMagic);
  fresh_ = true;
}

void Arena::check() const {
  const Header& h = header();
  const std::string remedy = ": remove the file to start with an empty cache";
  if (h.magic != kMagic) throw ArenaError("the file " + path_ + " is not a Predis arena" + remedy);
  if (h.layout_version != kLayoutVersion)
    throw ArenaError("the arena " + path_ + " has layout " + std::to_string(h.layout_version) + ", this build reads " +
                     std::to_string(kLayoutVersion) + remedy);
  const Plan plan(h.pages);
  if (h.capacity != mapped_ || uint64_t{h.pages} * kPageSize != h.capacity || h.unit_shift < 4 || h.unit_shift > 12 ||
      h.stats_offset != plan.stats || h.descs_offset != plan.descs || h.directory_offset != plan.directory ||
      h.overflow_offset != plan.overflow || h.check != header_check(h) || uint64_t{h.first_page} * kPageSize != plan.end)
    throw ArenaError("the arena " + path_ + " has a damaged header" + remedy);
}

bool Arena::reserve(uint32_t first_page, uint32_t pages) {
  const auto offset = static_cast<off_t>(first_page) * static_cast<off_t>(kPageSize);
  const auto length = static_cast<off_t>(pages) * static_cast<off_t>(kPageSize);
  int status;
  do status = fallocate(fd_, 0, offset, length);
  while (status != 0 && errno == EINTR);
  if (status != 0 && errno != EOPNOTSUPP) return false;
#ifdef MADV_POPULATE_WRITE
  madvise(page(first_page), static_cast<size_t>(length), MADV_POPULATE_WRITE);  // one call instead of a fault a page
#endif
  return true;
}

void Arena::release(uint32_t first_page, uint32_t pages) {
  madvise(page(first_page), size_t{pages} * kPageSize, MADV_REMOVE);
}

void Arena::use_huge_pages() {
  if (!huge_pages_) huge_pages_ = std::make_unique<HugePages>(base_, mapped_, fd_);
}

void Arena::rename(const std::string& path) {
  if (::rename(path_.c_str(), path.c_str()) != 0)
    throw ArenaError("cannot rename the arena " + path_ + " to " + path + ": " + reason());
  path_ = path;
}

}  // namespace predis
