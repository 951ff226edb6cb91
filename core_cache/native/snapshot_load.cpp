// snapshot_load.cpp: from a file into a store.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "collection_log.h"
#include "hash.h"
#include "snapshot.h"
#include "snapshot_format.h"
#include "store_impl.h"

namespace predis {

using namespace snapshot;

namespace {

class MappedFile {
 public:
  explicit MappedFile(const std::string& path) : path_(path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) refuse(std::string("cannot be opened: ") + std::strerror(errno));
    struct stat st;
    void* p = MAP_FAILED;
    const bool plain = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
    const uint64_t bytes = plain ? static_cast<uint64_t>(st.st_size) : 0;
    if (bytes != 0) p = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    ::close(fd);
    if (!plain) refuse("is not a plain file of ours");
    if (p == MAP_FAILED) refuse(bytes == 0 ? "is empty" : "cannot be mapped");
    madvise(p, bytes, MADV_SEQUENTIAL);
    data_ = {static_cast<const char*>(p), bytes};
  }
  ~MappedFile() { munmap(const_cast<char*>(data_.data()), data_.size()); }
  MappedFile(const MappedFile&) = delete;

  std::string_view data() const { return data_; }
  [[noreturn]] void refuse(const std::string& what) const {
    throw SnapshotError("the snapshot " + path_ + " " + what);
  }
  // The next struct, or a refusal.
  template <typename T>
  T take(size_t& at) const {
    T value;
    if (data_.size() - at < sizeof value) refuse("is cut short");
    std::memcpy(&value, data_.data() + at, sizeof value);
    at += sizeof value;
    return value;
  }

 private:
  std::string path_;
  std::string_view data_;
};

// Calls visit(head, key, value) for each entry of a block; false where the lengths do not add up.
template <typename Visit>
bool each_entry(std::string_view content, uint32_t entries, Visit&& visit) {
  for (; entries != 0; --entries) {
    EntryHead head;
    if (content.size() < sizeof head) return false;
    std::memcpy(&head, content.data(), sizeof head);
    content.remove_prefix(sizeof head);
    if (content.size() < uint64_t{head.key_len} + head.value_len) return false;
    visit(head, content.substr(0, head.key_len), content.substr(head.key_len, head.value_len));
    content.remove_prefix(size_t{head.key_len} + head.value_len);
  }
  return content.empty();
}

FileHead check_head(const MappedFile& file, const CacheId& id) {
  size_t at = 0;
  if (file.data().size() < 8 || load64(file.data().data()) != snapshot::kMagic) file.refuse("is no snapshot of a cache");
  const auto head = file.take<FileHead>(at);
  if (head.version != kVersion) {
    file.refuse("has format " + std::to_string(head.version) + ", this version reads " + std::to_string(kVersion));
  }
  if (head.size != sizeof(FileHead) || head.check != head_check(head)) file.refuse("is damaged at its beginning");
  if (std::memcmp(head.id, id, sizeof head.id) != 0) file.refuse("was made for another cache");
  return head;
}

// Looks at every byte of the file before anything is taken from it.
void check_blocks(const MappedFile& file) {
  size_t at = sizeof(FileHead);
  uint64_t blocks = 0, entries = 0;
  for (;;) {
    const size_t began = at;
    size_t peek = at;
    const auto mark = file.take<uint32_t>(peek);
    if (mark == kEndMark) {
      const auto end = file.take<EndMark>(at);
      if (end.check != head_check(end) || end.reserved != 0) file.refuse("is damaged at its end");
      if (end.blocks != blocks || end.entries != entries || end.bytes != file.data().size() || end.bytes != at) {
        file.refuse("has not the parts that its end mark tells of");
      }
      return;
    }
    const std::string where = "is damaged " + std::to_string(began) + " bytes from its beginning";
    if (mark != kBlockMark) file.refuse(where);
    const auto head = file.take<BlockHead>(at);
    if (head.number != blocks || head.entries == 0) file.refuse(where);
    if (head.bytes > file.data().size() - at) file.refuse("is cut short, or damaged " + std::to_string(began) + " bytes from its beginning");
    const std::string_view content = file.data().substr(at, head.bytes);
    if (head.check != block_check(head, content)) file.refuse(where);
    if (!each_entry(content, head.entries, [](const EntryHead&, std::string_view, std::string_view) {})) file.refuse(where);
    at += head.bytes;
    ++blocks;
    entries += head.entries;
  }
}

// Whether the store has taken it.
bool take(Store& store, const EntryHead& head, std::string_view key, std::string_view value, LogSeed source) {
  const auto type = static_cast<Type>(head.kind & kTypeMask);
  if (type > Type::hash) return false;
  if (type != Type::string && value.size() < kLogHead) return false;  // it is written to below
  const size_t padding = type == Type::string ? 0 : log_padding(key.size());
  const uint64_t hash = store.hash(key);
  Entry* old = store.find(key, hash);  // it was copied twice, while the table grew: the later copy counts
  Entry* fresh = store.prepare(key, padding + value.size(), type, old);
  if (fresh == nullptr) return false;
  std::memset(fresh->value_data(), 0, padding);
  std::memcpy(fresh->value_data() + padding, value.data(), value.size());
  fresh->kind = static_cast<uint8_t>((head.kind & (kTypeMask | kFlagRaw | kFlagEmbstr)));
  if (type != Type::string) {
    // The owner's mark goes by the entry's version, which is another here; commit() makes it anew.
    head_of(log_of(fresh)).owner = owner_checksum(hash_bytes(key, source.a, source.b), type, fresh->version);
    if (!recover_log(fresh, source)) {
      store.abandon(fresh);
      return false;
    }
    reseal_log(fresh, store.log_seed());
  }
  if (const uint64_t at = head.expire_and_tenant & Entry::kExpireMask) store.set_expire_at(fresh, hash, at);
  store.commit(fresh, hash, old);
  return true;
}

}  // namespace

SnapshotResult load_snapshot(Store& store, const std::string& path, const CacheId& id) {
  const MappedFile file(path);
  const FileHead head = check_head(file, id);
  check_blocks(file);
  const LogSeed source{head.hash_seed[0], head.hash_seed[1]};
  SnapshotResult result;
  result.bytes = file.data().size();
  store.set_now(realtime_ms());
  for (size_t at = sizeof(FileHead); at + sizeof(EndMark) < file.data().size();) {
    const auto block = file.take<BlockHead>(at);
    each_entry(file.data().substr(at, block.bytes), block.entries,
               [&](const EntryHead& e, std::string_view key, std::string_view value) {
                 const uint64_t expires = e.expire_and_tenant & Entry::kExpireMask;
                 const bool over = expires != 0 && expires < store.now_ms();
                 if (!over && take(store, e, key, value, source)) ++result.entries;
                 else ++result.skipped;
               });
    at += block.bytes;
  }
  return result;
}

}  // namespace predis
