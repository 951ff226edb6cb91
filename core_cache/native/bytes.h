// bytes.h: a growing byte buffer that leaves new room uninitialised and can refuse to grow over a limit.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace predis {

class Bytes {
 public:
  Bytes() = default;
  ~Bytes() { std::free(data_); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  void swap(Bytes& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    std::swap(limit_, other.limit_);
    std::swap(overflowed_, other.overflowed_);
  }

  char* data() { return data_; }
  const char* data() const { return data_; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  bool empty() const { return size_ == 0; }
  std::string_view view() const { return {data_, size_}; }
  operator std::string_view() const { return view(); }

  // Room for `n` more bytes; gives where they go. Throws std::bad_alloc.
  char* room(size_t n) {
    if (__builtin_expect(capacity_ - size_ < n, 0)) grow(n);
    return data_ + size_;
  }
  void advance(size_t n) { size_ += n; }
  void append(std::string_view text) {
    if (text.empty()) return;
    std::memcpy(room(text.size()), text.data(), text.size());
    size_ += text.size();
  }
  void push_back(char c) {
    *room(1) = c;
    ++size_;
  }
  void clear() { size_ = 0; }
  void truncate(size_t size) { size_ = size; }
  void drop_front(size_t n) {
    size_ -= n;
    if (size_ != 0 && n != 0) std::memmove(data_, data_ + n, size_);
  }
  // Gives the memory back, down to what `size` needs.
  void shrink_to(size_t size) {
    if (size < size_) size = size_;
    if (size == 0) {
      std::free(data_);
      data_ = nullptr;
      capacity_ = 0;
    } else if (capacity_ > size) {
      resize_storage(size);
    }
  }

  // No more than this many bytes: what goes beyond is thrown away, and overflowed() says so from then on. What the
  // buffer holds is then worth nothing and must not be sent.
  void set_limit(size_t limit) { limit_ = limit; }
  bool overflowed() const { return overflowed_; }
  void reset_overflow() { overflowed_ = false; }

 private:
  void grow(size_t n) {
    if (n > SIZE_MAX / 4) throw std::bad_alloc();
    if (size_ + n > limit_) {
      overflowed_ = true;
      size_ = 0;
      if (n <= capacity_) return;
    }
    size_t want = size_ + n;
    size_t next = capacity_ < 1024 ? 1024 : capacity_ * 2;
    if (next > capacity_ + (size_t{256} << 20)) next = capacity_ + (size_t{256} << 20);
    resize_storage(next < want ? want : next);
  }
  void resize_storage(size_t capacity) {
    void* moved = std::realloc(data_, capacity);
    if (moved == nullptr) throw std::bad_alloc();
    data_ = static_cast<char*>(moved);
    capacity_ = capacity;
  }

  char* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
  size_t limit_ = SIZE_MAX;
  bool overflowed_ = false;
};

}  // namespace predis
