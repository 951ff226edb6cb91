// reader_keys.h: the keys that a Python caller hands to a reader: a list or tuple of bytes and str, or a buffer with one
// key of fixed width in each row.
#pragma once

#include <string_view>

#include "arena.h"
#include "module.h"

namespace predis {

// The bytes of a key: of bytes, or the UTF-8 of a str. false with TypeError set for anything else.
inline bool key_view(PyObject* object, std::string_view& key) {
  if (__builtin_expect(PyBytes_Check(object), 1)) {
    key = {PyBytes_AS_STRING(object), static_cast<size_t>(PyBytes_GET_SIZE(object))};
    return true;
  }
  if (PyUnicode_Check(object)) {
    Py_ssize_t size;
    const char* text = PyUnicode_AsUTF8AndSize(object, &size);
    if (text == nullptr) return false;
    key = {text, static_cast<size_t>(size)};
    return true;
  }
  PyErr_Format(PyExc_TypeError, "a key is bytes or str, not %.100s", Py_TYPE(object)->tp_name);
  return false;
}

// Objects in a list or tuple. They lie all over the memory, so that they are worth fetching ahead themselves.
class ObjectKeys {
 public:
  explicit ObjectKeys(PyObject* fast) : items_(PySequence_Fast_ITEMS(fast)), count_(PySequence_Fast_GET_SIZE(fast)) {}
  Py_ssize_t count() const { return count_; }
  void fetch(Py_ssize_t i) const {
    const auto* object = reinterpret_cast<const char*>(items_[i]);
    prefetch_far(object);
    prefetch_far(object + 48);
  }
  bool view(Py_ssize_t i, std::string_view& key) const { return key_view(items_[i], key); }

 private:
  PyObject* const* items_;
  Py_ssize_t count_;
};

// Rows of bytes. Of numpy's dtype S a row's trailing NULs are padding, as they are for numpy itself.
class RowKeys {
 public:
  RowKeys(const Py_buffer& buffer, bool padded)
      : data_(static_cast<const char*>(buffer.buf)), count_(buffer.shape[0]),
        width_(count_ > 0 ? static_cast<size_t>(buffer.len / count_) : 0), padded_(padded) {}
  Py_ssize_t count() const { return count_; }
  void fetch(Py_ssize_t) const {}  // the processor sees this one coming
  bool view(Py_ssize_t i, std::string_view& key) const {
    key = {data_ + static_cast<size_t>(i) * width_, width_};
    if (padded_)
      while (!key.empty() && key.back() == 0) key.remove_suffix(1);
    return true;
  }

 private:
  const char* data_;
  Py_ssize_t count_;
  size_t width_;
  bool padded_;
};

// Calls use(keys) with what fits the object; gives false with an exception set when it is no keys at all, or what use gives.
template <typename Use>
bool with_keys(PyObject* object, const char* method, Use&& use) {
  if (!PyList_Check(object) && !PyTuple_Check(object) && !PyBytes_Check(object) && PyObject_CheckBuffer(object)) {
    Py_buffer buffer;
    if (PyObject_GetBuffer(object, &buffer, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) == 0) {
      const char kind = buffer.format != nullptr && *buffer.format != 0 ? buffer.format[std::strlen(buffer.format) - 1] : 'B';
      const bool text = buffer.ndim == 1 && (kind == 's' || kind == 'x');
      if (text || (buffer.ndim == 2 && buffer.itemsize == 1)) {
        const bool ok = use(RowKeys(buffer, text && kind == 's'));
        PyBuffer_Release(&buffer);
        return ok;
      }
      PyBuffer_Release(&buffer);
    } else {
      PyErr_Clear();  // not contiguous: item by item it can still be read
    }
  }
  PyObject* fast = PyUnicode_Check(object) || PyBytes_Check(object) ? nullptr : PySequence_Fast(object, "");
  if (fast == nullptr) {
    if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_TypeError)) {
      PyErr_Format(PyExc_TypeError, "%s() takes a sequence of keys, or a buffer with a key in each row, not %.100s", method,
                   Py_TYPE(object)->tp_name);
    }
    return false;
  }
  const bool ok = use(ObjectKeys(fast));
  Py_DECREF(fast);
  return ok;
}

}  // namespace predis
