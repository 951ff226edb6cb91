// module_reader.cpp: Reader for Python: values straight out of the arena, for processes on the same machine.
#include <memory>

#include "local_reads.h"
#include "module.h"
#include "reader.h"
#include "reader_keys.h"

namespace predis {

namespace {

constexpr size_t kEntryAhead = 256;  // of an entry whose size is not known: most values end in there

struct ReaderObject {
  PyObject_HEAD
  Reader* reader;
  ReadSlot* slot;
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
      self->reader = new Reader(PyBytes_AS_STRING(path));
      self->slot = new ReadSlot(self->reader->path());
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
  delete reader_of(object)->slot;
  type->tp_free(object);
  Py_DECREF(type);
}

// Sees to it, before a read, that it is of the arena in use. Gives false where there is none: everything is a miss.
bool follow(ReaderObject* self) {
  try {
    const Reader::File file = self->reader->at_path();
    if (file == Reader::File::gone) return false;
    if (file == Reader::File::same && !self->slot->inherited()) return true;
    auto slot = std::make_unique<ReadSlot>(self->reader->path());
    if (file == Reader::File::other) {
      auto reader = std::make_unique<Reader>(self->reader->path());
      delete self->reader;
      self->reader = reader.release();
    }
    delete self->slot;
    self->slot = slot.release();
    return true;
  } catch (const std::exception&) {  // half made: the next read tries again
    return false;
  }
}

// What every call begins with. Costs no system call while the cache process is alive.
bool ready(ReaderObject* self, uint64_t now_ms) {
  if (__builtin_expect(self->reader->in_use(now_ms) && !self->slot->inherited(), 1)) return true;
  return follow(self);
}

// One call's reads: takes the keys through the reader's steps, and counts them at the end.
class Pipeline {
 public:
  explicit Pipeline(ReaderObject* self)
      : self_(self), now_ms_(coarse_ms()), ready_(ready(self, now_ms_)), reader_(*self->reader) {}
  ~Pipeline() {
    self_->slot->count(hits_, misses_);
    if (unavailable_) follow(self_);  // the next call reads the new arena; this one stays with what it has begun with
  }

  Py_ssize_t hits() const { return static_cast<Py_ssize_t>(hits_); }

  // A key on its way through the pipeline.
  struct Item {
    std::string_view key;
    uint64_t hash;
    Reader::Trail trail;
  };

  // Calls each(i, item) for all keys until it gives false. `entry_bytes`: what will be read of an entry behind its key.
  template <typename Keys, typename Each>
  bool run(const Keys& keys, size_t entry_bytes, Each&& each) {
    constexpr Py_ssize_t kBlock = 16;
    Item items[4][kBlock];
    Reader::View views[4];
    const Py_ssize_t count = keys.count(), blocks = (count + kBlock - 1) / kBlock;
    // A block of keys is at each of the four steps at a time.
    for (Py_ssize_t block = 0; block < blocks + 3; ++block) {
      const auto step = [&](Py_ssize_t behind, auto&& work) {
        const Py_ssize_t at = block - behind;
        if (at < 0 || at >= blocks) return true;
        const Py_ssize_t first = at * kBlock, n = std::min(kBlock, count - first);
        view_ = views[at % 4];
        for (Py_ssize_t i = 0; i < n; ++i)
          if (!work(first + i, items[at % 4][i])) return false;
        return true;
      };
      step(0, [&](Py_ssize_t i, Item&) { return keys.fetch(i), true; });
      if (block > 0) views[(block - 1) % 4] = reader_.view();
      const bool keys_ok = step(1, [&](Py_ssize_t i, Item& item) {
        if (!keys.view(i, item.key)) return false;
        item.hash = reader_.hash(item.key);
        reader_.find_bucket(item.trail, item.hash, view_);
        return true;
      });
      if (!keys_ok) return false;
      step(2, [&](Py_ssize_t, Item& item) {
        reader_.find_entry(item.trail, item.hash, sizeof(Entry) + item.key.size() + entry_bytes);
        return true;
      });
      if (block % 8 == 7) now_ms_ = coarse_ms();
      if (!step(3, each)) return false;
    }
    return true;
  }

  // `ahead`: how much of the entry to fetch at once; 0 for what has come through the pipeline.
  template <typename Copy>
  ReadStatus read(const Item& item, size_t ahead, Copy&& copy) {
    ReadStatus status = ReadStatus::unavailable;
    if (__builtin_expect(ready_, 1)) {
      if (__builtin_expect(reader_.take_value(item.trail, item.key, view_, now_ms_, copy), 1)) status = ReadStatus::hit;
      else status = reader_.get(item.key, item.hash, now_ms_, ahead, copy);
    }
    if (__builtin_expect(status == ReadStatus::hit, 1)) {
      ++hits_;
      self_->slot->hit(item.hash);
      return status;
    }
    ++misses_;
    unavailable_ |= status == ReadStatus::unavailable;
    return status;
  }

  // The value as bytes, None for a miss; nullptr with an exception set when memory runs out.
  PyObject* value(const Item& item, size_t ahead) {
    PyObject* value = nullptr;
    bool no_memory = false;
    const auto copy = [&](const char* data, size_t size) {
      // A torn length is bounded by the arena; what is right almost always is right the first time.
      if (value == nullptr || static_cast<size_t>(PyBytes_GET_SIZE(value)) != size) {
        Py_XDECREF(value);
        value = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size));
        no_memory = value == nullptr;
        if (no_memory) PyErr_Clear();  // the length may have been a torn one
      }
      if (value != nullptr) std::memcpy(PyBytes_AS_STRING(value), data, size);
      return value != nullptr;
    };
    if (__builtin_expect(read(item, ahead, copy) == ReadStatus::hit, 1)) return value;
    Py_XDECREF(value);
    if (__builtin_expect(no_memory, 0)) return PyErr_NoMemory();
    Py_RETURN_NONE;
  }

 private:
  ReaderObject* self_;
  uint64_t now_ms_;
  bool ready_, unavailable_ = false;
  const Reader& reader_;
  Reader::View view_{};  // of the block of keys in hand
  uint64_t hits_ = 0, misses_ = 0;
};

PyObject* reader_get(PyObject* object, PyObject* key_object) {
  Pipeline::Item item;
  if (!key_view(key_object, item.key)) return nullptr;
  ReaderObject* self = reader_of(object);
  Pipeline pipeline(self);
  item.hash = self->reader->hash(item.key);
  return pipeline.value(item, kEntryAhead);
}

PyObject* reader_mget(PyObject* object, PyObject* keys_object) {
  PyObject* values = nullptr;
  const bool ok = with_keys(keys_object, "mget", [&](const auto& keys) {
    values = PyList_New(keys.count());
    if (values == nullptr) return false;
    Pipeline pipeline(reader_of(object));
    return pipeline.run(keys, kEntryAhead, [&](Py_ssize_t i, const Pipeline::Item& item) {
      PyObject* value = pipeline.value(item, 0);
      if (value != nullptr) PyList_SET_ITEM(values, i, value);
      return value != nullptr;
    });
  });
  if (!ok) Py_CLEAR(values);
  return values;
}

// A writable buffer for as long as this lives; empty for None.
class Target {
 public:
  ~Target() {
    if (view_.obj != nullptr) PyBuffer_Release(&view_);
  }
  bool open(PyObject* object) {
    return object == Py_None || PyObject_GetBuffer(object, &view_, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) == 0;
  }
  char* data() const { return static_cast<char*>(view_.buf); }
  Py_ssize_t size() const { return view_.len; }

 private:
  Py_buffer view_{};
};

template <typename Keys>
bool read_rows(ReaderObject* self, const Keys& keys, const Target& out, const Target& found, Py_ssize_t& hits) {
  const Py_ssize_t count = keys.count();
  if ((count > 0 && out.size() % count != 0) || (found.data() != nullptr && found.size() != count)) {
    PyErr_Format(PyExc_ValueError, "%zd keys need `out` of %zd equal rows, it has %zd bytes, and `found` of %zd bytes", count,
                 count, out.size(), count);
    return false;
  }
  const auto width = static_cast<size_t>(count > 0 ? out.size() / count : 0);
  Pipeline pipeline(self);
  const bool ok = pipeline.run(keys, width, [&](Py_ssize_t i, const Pipeline::Item& item) {
    char* row = out.data() + static_cast<size_t>(i) * width;
    size_t length = width;
    const ReadStatus status = pipeline.read(item, 0, [&](const char* data, size_t size) {
      length = size;
      if (size != width) return false;
      std::memcpy(row, data, size);
      return true;
    });
    if (found.data() != nullptr) found.data()[i] = status == ReadStatus::hit;
    if (__builtin_expect(status != ReadStatus::refused, 1)) return true;
    PyErr_Format(PyExc_ValueError, "key %zd has a value of %zu bytes, a row of `out` has %zu", i, length, width);
    return false;
  });
  hits = pipeline.hits();
  return ok;
}

PyObject* reader_mget_into(PyObject* object, PyObject* const* args, Py_ssize_t count) {
  if (count < 2 || count > 3) {
    PyErr_Format(PyExc_TypeError, "mget_into() takes keys, out and found, not %zd arguments", count);
    return nullptr;
  }
  Target out, found;
  Py_ssize_t hits = 0;
  if (args[1] == Py_None) {
    PyErr_SetString(PyExc_TypeError, "mget_into() needs a buffer to read into");
    return nullptr;
  }
  if (!out.open(args[1]) || !found.open(count > 2 ? args[2] : Py_None)) return nullptr;
  const bool ok = with_keys(args[0], "mget_into",
                            [&](const auto& keys) { return read_rows(reader_of(object), keys, out, found, hits); });
  return ok ? PyLong_FromSsize_t(hits) : nullptr;
}

PyObject* reader_counted(PyObject* object, void*) { return PyBool_FromLong(reader_of(object)->slot->counts()); }

PyGetSetDef reader_getset[] = {
    {"counted", reader_counted, nullptr,
     "Whether the cache learns of these reads: False where the file for it may not be written, or is full.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef reader_methods[] = {
    {"get", reader_get, METH_O, "get(key) -> bytes | None\n\nThe value of a key (bytes or str), None when there is none."},
    {"mget", reader_mget, METH_O,
     "mget(keys) -> list[bytes | None]\n\nThe values of several keys: a sequence of bytes and str, or a C-contiguous buffer\n"
     "with a key in each row, such as a numpy array of dtype S16 (where NULs at the end are padding)."},
    {"mget_into", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(reader_mget_into)), METH_FASTCALL,
     "mget_into(keys, out, found=None) -> int\n\n"
     "Copies values of one length into the rows of a C-contiguous buffer (out.nbytes == len(keys) * length) and gives\n"
     "how many were found. Rows of keys that are not there hold nothing of use; `found`, a buffer of len(keys) bytes,\n"
     "says which. Keys are given as for mget. Raises ValueError for a value of another length."},
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot reader_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(reader_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(reader_dealloc)},
    {Py_tp_methods, reader_methods},
    {Py_tp_getset, reader_getset},
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
