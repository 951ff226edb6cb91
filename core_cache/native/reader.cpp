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
  if (fstat(fd, &st) == 0 && static_cast<uint64_t>(st.st_size) >= kMinCapacity) {
    bytes_ = static_cast<uint64_t>(st.st_size);
    inode_ = st.st_ino;
    p = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd, 0);
  }
  ::close(fd);
  if (p == MAP_FAILED) throw ArenaError("the arena " + path + " cannot be read, or not yet");
  base_ = static_cast<const char*>(p);
  header_ = reinterpret_cast<const Header*>(base_);
  pages_ = header_->pages;
  first_page_ = header_->first_page;
  shift_ = header_->unit_shift;
  const uint64_t directories = uint64_t{pages_} * sizeof(uint32_t);
  if (load_acquire(header_->magic) != kMagic || header_->layout_version != kLayoutVersion ||
      header_->check != header_check(*header_) || header_->capacity != bytes_ || uint64_t{pages_} * kPageSize != bytes_ || shift_ > 12 ||
      header_->directory_offset + directories > bytes_ || header_->overflow_offset + directories > bytes_) {
    munmap(p, bytes_);
    throw ArenaError("the file " + path + " is not an arena that this build reads");
  }
  directory_ = reinterpret_cast<const uint32_t*>(base_ + header_->directory_offset);
  overflow_ = reinterpret_cast<const uint32_t*>(base_ + header_->overflow_offset);
}

Reader::~Reader() { munmap(const_cast<char*>(base_), bytes_); }

void Reader::prefetch_entry(uint64_t hash) const {
  const Bucket* b = first_bucket(hash);
  const uint32_t mask = b ? match_tags(*b, tag_of(hash)) : 0;
  if (mask == 0) return;
  const uint64_t offset = uint64_t{b->refs[__builtin_ctz(mask)]} << shift_;
  for (int line = 0; line < 3; ++line) prefetch(base_ + offset + 64 * line);
}

bool Reader::replaced() const {
  struct stat st;
  return stat(path_.c_str(), &st) == 0 && st.st_ino != inode_;
}

}  // namespace predis
