#include "reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "checksum.h"
#include "store.h"

namespace predis {

Reader::Reader(const std::string& path) : path_(path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw ArenaError("cannot open the arena " + path + ": " + std::strerror(errno));
  struct stat st;
  void* p = MAP_FAILED;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && static_cast<uint64_t>(st.st_size) >= kMinCapacity) {
    bytes_ = static_cast<uint64_t>(st.st_size);
    inode_ = st.st_ino;
    device_ = st.st_dev;
    p = map_for_huge_pages(bytes_, PROT_READ, fd);
  }
  ::close(fd);
  if (p == MAP_FAILED) throw ArenaError("the arena " + path + " cannot be read, or not yet");
  base_ = static_cast<const char*>(p);
  header_ = reinterpret_cast<const Header*>(base_);
  const bool whole = load_acquire(header_->magic) == kMagic;
  const Header head = *header_;
  const uint64_t directories = uint64_t{head.pages} * sizeof(uint32_t);
  const auto fits = [&](uint64_t offset, uint64_t size) {
    return offset % 64 == 0 && offset <= bytes_ && size <= bytes_ - offset;
  };
  if (!whole || head.layout_version != kLayoutVersion || head.check != header_check(head) || head.capacity != bytes_ ||
      uint64_t{head.pages} * kPageSize != bytes_ || head.unit_shift > 12 || !fits(head.directory_offset, directories) ||
      !fits(head.overflow_offset, directories) || !fits(head.stats_offset, sizeof(Stats))) {
    munmap(p, bytes_);
    throw ArenaError("the file " + path + " is not an arena that this build reads");
  }
  pages_ = head.pages;
  first_page_ = head.first_page;
  shift_ = head.unit_shift;
  seed_[0] = head.hash_seed[0];
  seed_[1] = head.hash_seed[1];
  stats_ = reinterpret_cast<const Stats*>(base_ + head.stats_offset);
  directory_ = reinterpret_cast<const uint32_t*>(base_ + head.directory_offset);
  overflow_ = reinterpret_cast<const uint32_t*>(base_ + head.overflow_offset);
}

Reader::~Reader() { munmap(const_cast<char*>(base_), bytes_); }

Reader::File Reader::at_path() const {
  struct stat st;
  if (stat(path_.c_str(), &st) != 0) return errno == ENOENT || errno == ENOTDIR ? File::gone : File::same;
  return st.st_ino == inode_ && st.st_dev == device_ ? File::same : File::other;
}

}  // namespace predis
