// module_reader.cpp: Reader for Python: values straight out of the arena, for processes on the same machine.
#include <memory>

#include "module.h"
#include "reader.h"

namespace predis {

namespace {

struct ReaderObject {
  PyObject_HEAD
  Reader* reader;
  std::string* path;
};

ReaderObject* reader_of(PyObject* object) { return reinterpret_cast<ReaderObject*>(object); }

PyObject* reader_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* keywords[] = {"path", nullptr};
  PyObject* path;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&", const_cast<char**>(keywords), PyUnicode_FSConverter, &path)) {
    return nullptr;
  }
  auto* self = reader_of(type->tp_alloc(type, 0));
  if (self != nullptr) {
    try {
      self->path = new std::string(PyBytes_AS_STRING(path));
      self->reader = new Reader(*self->path);
    } catch (...) {
      set_python_error();
      Py_CLEAR(self);
    }
  }
  Py_DECREF(path);
  return reinterpret_cast<PyObject*>(self);
}

void reader_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  delete reader_of(object)->reader;
  delete reader_of(object)->path;
  type->tp_free(object);
  Py_DECREF(type);
}

// The bytes of a key: of bytes, or the UTF-8 of a str.
bool key_view(PyObject* object, std::string_view& key) {
  if (PyBytes_Check(object)) {
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

// Out of an arena that the cache has left for another one: the next read is of the new one.
void follow(ReaderObject* self) {
  try {
    if (!self->reader->replaced()) return;
    auto fresh = std::make_unique<Reader>(*self->path);
    delete self->reader;
    self->reader = fresh.release();
  } catch (const std::exception&) {  // not there yet: a miss now, the next read tries again
  }
}

// The value as bytes, None for a miss; nullptr with an exception set when memory runs out.
PyObject* value_of(ReaderObject* self, std::string_view key, uint64_t hash) {
  PyObject* value = nullptr;
  const auto copy = [&](const char* data, size_t size) {
    // A torn length is bounded by the arena; what is right almost always is right the first time.
    if (value == nullptr || static_cast<size_t>(PyBytes_GET_SIZE(value)) != size) {
      Py_XDECREF(value);
      value = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size));
    }
    if (value != nullptr) std::memcpy(PyBytes_AS_STRING(value), data, size);
    return value != nullptr;
  };
  const ReadStatus status = self->reader->get(key, hash, copy);
  if (status == ReadStatus::hit) return value;
  Py_XDECREF(value);
  if (PyErr_Occurred()) return nullptr;
  if (status == ReadStatus::unavailable) follow(self);
  Py_RETURN_NONE;
}

PyObject* reader_get(PyObject* object, PyObject* key_object) {
  std::string_view key;
  if (!key_view(key_object, key)) return nullptr;
  ReaderObject* self = reader_of(object);
  return value_of(self, key, self->reader->hash(key));
}

// Calls each(i, key, hash) for all keys, in groups whose buckets and entries have been prefetched.
template <typename Each>
bool for_each_key(const Reader* const& reader, PyObject* fast, Each&& each) {
  constexpr Py_ssize_t kGroup = 32;
  std::string_view keys[kGroup];
  uint64_t hashes[kGroup];
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(fast);
  for (Py_ssize_t start = 0; start < count; start += kGroup) {
    const Py_ssize_t n = count - start < kGroup ? count - start : kGroup;
    for (Py_ssize_t i = 0; i < n; ++i) {
      if (!key_view(PySequence_Fast_GET_ITEM(fast, start + i), keys[i])) return false;
      hashes[i] = reader->hash(keys[i]);
      reader->prefetch_bucket(hashes[i]);
    }
    for (Py_ssize_t i = 0; i < n; ++i) reader->prefetch_entry(hashes[i]);
    for (Py_ssize_t i = 0; i < n; ++i) {
      if (!each(start + i, keys[i], hashes[i])) return false;
    }
  }
  return true;
}

PyObject* reader_mget(PyObject* object, PyObject* keys) {
  ReaderObject* self = reader_of(object);
  PyObject* fast = PySequence_Fast(keys, "mget() takes a sequence of keys");
  if (fast == nullptr) return nullptr;
  PyObject* values = PyList_New(PySequence_Fast_GET_SIZE(fast));
  const bool ok = values != nullptr &&
                  for_each_key(self->reader, fast, [&](Py_ssize_t i, std::string_view key, uint64_t hash) {
                    PyObject* value = value_of(self, key, hash);
                    if (value != nullptr) PyList_SET_ITEM(values, i, value);
                    return value != nullptr;
                  });
  Py_DECREF(fast);
  if (!ok) Py_CLEAR(values);
  return values;
}

PyObject* reader_mget_into(PyObject* object, PyObject* args) {
  ReaderObject* self = reader_of(object);
  PyObject *keys, *out_object, *found_object = Py_None;
  if (!PyArg_ParseTuple(args, "OO|O", &keys, &out_object, &found_object)) return nullptr;
  PyObject* fast = PySequence_Fast(keys, "mget_into() takes a sequence of keys");
  if (fast == nullptr) return nullptr;
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(fast);
  Py_buffer out{}, found{};
  bool ok = PyObject_GetBuffer(out_object, &out, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) == 0 &&
            (found_object == Py_None || PyObject_GetBuffer(found_object, &found, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) == 0);
  if (ok && ((count > 0 && out.len % count != 0) || (found.buf != nullptr && found.len != count))) {
    PyErr_Format(PyExc_ValueError, "%zd keys need `out` of %zd equal rows, it has %zd bytes, and `found` of %zd bytes", count,
                 count, out.len, count);
    ok = false;
  }
  const auto width = static_cast<size_t>(ok && count > 0 ? out.len / count : 0);
  Py_ssize_t hits = 0;
  ok = ok && for_each_key(self->reader, fast, [&](Py_ssize_t i, std::string_view key, uint64_t hash) {
         char* row = static_cast<char*>(out.buf) + static_cast<size_t>(i) * width;
         size_t other = width;
         const ReadStatus status = self->reader->get(key, hash, [&](const char* data, size_t size) {
           other = size;
           if (size != width) return false;
           std::memcpy(row, data, size);
           return true;
         });
         const bool hit = status == ReadStatus::hit;
         hits += hit;
         if (found.buf != nullptr) static_cast<char*>(found.buf)[i] = hit;
         if (status == ReadStatus::unavailable) follow(self);
         if (hit || other == width) return true;
         PyErr_Format(PyExc_ValueError, "key %zd has a value of %zu bytes, a row of `out` has %zu", i, other, width);
         return false;
       });
  if (out.obj != nullptr) PyBuffer_Release(&out);
  if (found.obj != nullptr) PyBuffer_Release(&found);
  Py_DECREF(fast);
  return ok ? PyLong_FromSsize_t(hits) : nullptr;
}

PyMethodDef reader_methods[] = {
    {"get", reader_get, METH_O, "get(key) -> bytes | None\n\nThe value of a key (bytes or str), None when there is none."},
    {"mget", reader_mget, METH_O, "mget(keys) -> list[bytes | None]\n\nThe values of several keys."},
    {"mget_into", reader_mget_into, METH_VARARGS,
     "mget_into(keys, out, found=None) -> int\n\n"
     "Copies values of one length into the rows of a C-contiguous buffer (out.nbytes == len(keys) * length) and gives\n"
     "how many were found. Rows of keys that are not there stay as they are; `found`, a buffer of len(keys) bytes,\n"
     "says which. Raises ValueError for a value of another length."},
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot reader_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(reader_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(reader_dealloc)},
    {Py_tp_methods, reader_methods},
    {Py_tp_doc, const_cast<char*>("Reader(path)\n\nReads values out of a cache's arena: no lock, no system call, no request.\n"
                                  "While the cache recovers everything is a miss. Raises ArenaError.")},
    {0, nullptr}};

PyType_Spec reader_spec = {"core_cache._native.Reader", sizeof(ReaderObject), 0, Py_TPFLAGS_DEFAULT, reader_slots};

}  // namespace

bool add_reader_type(PyObject* module) {
  PyObject* type = PyType_FromSpec(&reader_spec);
  const bool ok = type != nullptr && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type)) == 0;
  Py_XDECREF(type);
  return ok;
}

}  // namespace predis
