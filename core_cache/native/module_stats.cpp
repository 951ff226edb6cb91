// module_stats.cpp: StatsReader, which reads the counters of a cache from outside, without asking it.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "module.h"

namespace predis {

namespace {

struct StatsReaderObject {
  PyObject_HEAD
  char* path;
  const char* base;
  size_t size;
  dev_t device;
  ino_t inode;
};

StatsReaderObject* reader_of(PyObject* object) { return reinterpret_cast<StatsReaderObject*>(object); }

void unmap(StatsReaderObject* self) {
  if (self->base != nullptr) munmap(const_cast<char*>(self->base), self->size);
  self->base = nullptr;
}

bool refuse(const StatsReaderObject* self, const char* why) {
  PyErr_Format(arena_error, "The arena %s cannot be read: %s.", self->path, why);
  return false;
}

// Maps what is needed of the arena, which is everything up to the end of the statistics.
bool map(StatsReaderObject* self) {
  unmap(self);
  const int fd = open(self->path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return refuse(self, std::strerror(errno));
  Header header;
  struct stat status;
  const bool ok =
      fstat(fd, &status) == 0 && pread(fd, &header, sizeof header, 0) == static_cast<ssize_t>(sizeof header);
  const char* why = nullptr;
  if (!ok || header.magic != kMagic) {
    why = "it is not an arena, or not yet";
  } else if (header.layout_version != kLayoutVersion) {
    why = "another version of the cache made it";
  } else if (header.stats_offset + sizeof(Stats) > static_cast<uint64_t>(status.st_size)) {
    why = "it is cut short";
  }
  if (why != nullptr) {
    close(fd);
    return refuse(self, why);
  }
  self->size = header.stats_offset + sizeof(Stats);
  void* base = mmap(nullptr, self->size, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (base == MAP_FAILED) return refuse(self, std::strerror(errno));
  self->base = static_cast<const char*>(base);
  self->device = status.st_dev;
  self->inode = status.st_ino;
  return true;
}

PyObject* reader_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* keywords[] = {"path", nullptr};
  PyObject* path;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&", const_cast<char**>(keywords), PyUnicode_FSConverter, &path)) {
    return nullptr;
  }
  auto* self = reader_of(type->tp_alloc(type, 0));
  if (self != nullptr) {
    self->path = strdup(PyBytes_AS_STRING(path));
    if (self->path == nullptr || !map(self)) {
      if (self->path == nullptr) PyErr_NoMemory();
      Py_CLEAR(self);
    }
  }
  Py_DECREF(path);
  return reinterpret_cast<PyObject*>(self);
}

void reader_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  unmap(reader_of(object));
  std::free(reader_of(object)->path);
  type->tp_free(object);
  Py_DECREF(type);
}

uint64_t load(const uint64_t& number) {
  return std::atomic_ref<uint64_t>(const_cast<uint64_t&>(number)).load(std::memory_order_relaxed);
}

bool put(PyObject* dict, const char* name, PyObject* value) {
  if (value == nullptr) return false;
  const int failed = PyDict_SetItemString(dict, name, value);
  Py_DECREF(value);
  return failed == 0;
}

bool put(PyObject* dict, const char* name, const uint64_t& number) {
  return put(dict, name, PyLong_FromUnsignedLongLong(load(number)));
}

PyObject* read_counters(const Stats& stats) {
  PyObject* dict = PyDict_New();
  bool ok = dict != nullptr;
#define PREDIS_PUT(name) ok = ok && put(dict, #name, stats.name);
  PREDIS_COUNTERS(PREDIS_PUT)
  if (!ok) Py_CLEAR(dict);
  return dict;
}

PyObject* read_gauges(const Stats& stats) {
  PyObject* dict = PyDict_New();
  bool ok = dict != nullptr;
  PREDIS_GAUGES(PREDIS_PUT)
#undef PREDIS_PUT
  if (!ok) Py_CLEAR(dict);
  return dict;
}

PyObject* read_latency(const uint64_t (&counts)[kLatencyBuckets]) {
  PyObject* latency = PyList_New(kLatencyBuckets);
  for (uint32_t i = 0; latency != nullptr && i < kLatencyBuckets; ++i) {
    PyObject* count = PyLong_FromUnsignedLongLong(load(counts[i]));
    if (count == nullptr) {
      Py_CLEAR(latency);
    } else {
      PyList_SET_ITEM(latency, i, count);
    }
  }
  return latency;
}

PyObject* read_command(const CommandStats& stats) {
  PyObject* dict = PyDict_New();
  bool ok = dict != nullptr && put(dict, "calls", stats.calls) && put(dict, "failed", stats.failed) &&
            put(dict, "rejected", stats.rejected) && put(dict, "nanoseconds", stats.nanoseconds);
  ok = ok && put(dict, "latency", read_latency(stats.latency));
  if (!ok) Py_CLEAR(dict);
  return dict;
}

PyObject* read_arms(const Stats& stats) {
  const auto arm = [&](int i) {
    const ArmStats& a = stats.arms[i];
    return Py_BuildValue("{sKsKsKsK}", "hits", a.hits, "misses", a.misses, "evictions", a.evictions, "bytes", a.bytes);
  };
  return Py_BuildValue("(NN)", arm(0), arm(1));
}

PyObject* read_commands(const Stats& stats) {
  PyObject* dict = PyDict_New();
  for (uint32_t i = 0; dict != nullptr && i < kCommandSlots; ++i) {
    const CommandStats& command = stats.commands[i];
    char name[sizeof stats.command_names[0] + 1] = {};
    std::memcpy(name, stats.command_names[i], sizeof stats.command_names[0]);
    if (name[0] == 0 || (load(command.calls) == 0 && load(command.rejected) == 0)) continue;
    if (!put(dict, name, read_command(command))) Py_CLEAR(dict);
  }
  return dict;
}

PyObject* read_tenant(const TenantStats& stats) {
  PyObject* dict = PyDict_New();
  bool ok = dict != nullptr;
#define PREDIS_PUT(name) ok = ok && put(dict, #name, stats.name);
  PREDIS_TENANT_COUNTERS(PREDIS_PUT)
  PREDIS_TENANT_GAUGES(PREDIS_PUT)
#undef PREDIS_PUT
  ok = ok && put(dict, "latency", read_latency(stats.latency));
  if (!ok) Py_CLEAR(dict);
  return dict;
}

PyObject* read_tenants(const Stats& stats) {
  PyObject* dict = PyDict_New();
  for (const TenantStats& tenant : stats.tenants) {
    char name[sizeof tenant.name + 1] = {};
    std::memcpy(name, tenant.name, sizeof tenant.name);
    if (dict == nullptr || name[0] == 0) continue;
    if (!put(dict, name, read_tenant(tenant))) Py_CLEAR(dict);
  }
  return dict;
}

PyObject* reader_read(PyObject* object, PyObject*) {
  StatsReaderObject* self = reader_of(object);
  struct stat status;
  // A cache that starts anew may have put another file in the place of the one that is mapped.
  if (stat(self->path, &status) != 0) {
    refuse(self, std::strerror(errno));
    return nullptr;
  }
  const bool changed = self->base == nullptr || status.st_ino != self->inode || status.st_dev != self->device;
  if (changed && !map(self)) return nullptr;
  if (static_cast<uint64_t>(status.st_size) < self->size) {
    refuse(self, "it is cut short");
    return nullptr;
  }
  const Header& header = *reinterpret_cast<const Header*>(self->base);
  const Stats& stats = *reinterpret_cast<const Stats*>(self->base + header.stats_offset);
  PyObject* result = PyDict_New();
  if (result == nullptr) return nullptr;
  if (!put(result, "counters", read_counters(stats)) || !put(result, "gauges", read_gauges(stats)) ||
      !put(result, "commands", read_commands(stats)) || !put(result, "arms", read_arms(stats)) ||
      !put(result, "tenants", read_tenants(stats))) {
    Py_CLEAR(result);
  }
  return result;
}

PyMethodDef reader_methods[] = {
    {"read", reader_read, METH_NOARGS,
     "read() -> dict\n\n{'counters': {name: int}, 'gauges': {name: int}, 'commands': {name: {'calls', 'failed',\n"
     "'rejected', 'nanoseconds', 'latency'}}}, latency being calls per bucket of latency_bounds(), 'arms': what\n"
     "the two arms of a test of policy models did ('hits', 'misses', 'evictions', 'bytes'), and 'tenants': {name:\n"
     "numbers}. Raises ArenaError when the file is gone."},
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot reader_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(reader_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(reader_dealloc)},
    {Py_tp_methods, reader_methods},
    {Py_tp_doc, const_cast<char*>("StatsReader(path)\n\nReads a cache's counters out of its arena, without a lock and "
                                  "without "
                                  "asking the cache.\nRaises ArenaError when the file is missing or is no arena.")},
    {0, nullptr}};

PyType_Spec reader_spec = {"core_cache._native.StatsReader", sizeof(StatsReaderObject), 0, Py_TPFLAGS_DEFAULT,
    reader_slots};

}  // namespace

bool add_stats_reader_type(PyObject* module) {
  PyObject* type = PyType_FromSpec(&reader_spec);
  const bool ok = type != nullptr && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type)) == 0;
  Py_XDECREF(type);
  return ok;
}

}  // namespace predis
