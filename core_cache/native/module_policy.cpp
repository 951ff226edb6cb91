// module_policy.cpp: evaluate_policy(), for Python.
#include <algorithm>

#include "module.h"
#include "policy_eval.h"
#include "policy_names.h"

namespace predis {
namespace {

constexpr size_t kSlice = 1 << 20;  // accesses between two looks at Ctrl-C

struct Array {  // a buffer of uint32, given back at the end
  Py_buffer view{};
  bool held = false;
  ~Array() { if (held) PyBuffer_Release(&view); }
  bool take(PyObject* object, const char* name) {
    if (PyObject_GetBuffer(object, &view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) != 0) return false;
    held = true;
    const std::string_view format = view.format != nullptr ? view.format : "B";
    if (view.ndim == 1 && view.itemsize == 4 && (format == "I" || format == "L" || format == "<I" || format == "=I")) return true;
    PyErr_Format(PyExc_TypeError, "%s must be one dimension of uint32", name);
    return false;
  }
  std::span<const uint32_t> values() const {
    return {static_cast<const uint32_t*>(view.buf), static_cast<size_t>(view.len) / 4};
  }
};

}  // namespace

PyObject* evaluate_policy(PyObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"path", "keys", "sizes", "policy", "capacity", "accesses_per_tick", nullptr};
  const char *path, *policy;
  PyObject *key_object, *size_object;
  unsigned long long capacity;
  unsigned int per_tick = 1;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sOOsK|$I", const_cast<char**>(names), &path, &key_object, &size_object,
                                   &policy, &capacity, &per_tick)) {
    return nullptr;
  }
  Array key_array, size_array;
  if (!key_array.take(key_object, "keys")) return nullptr;
  if (size_object != Py_None && !size_array.take(size_object, "sizes")) return nullptr;
  const auto keys = key_array.values();
  const auto sizes = size_object != Py_None ? size_array.values() : std::span<const uint32_t>();
  if (size_object != Py_None && sizes.size() != keys.size()) {
    PyErr_SetString(PyExc_ValueError, "keys and sizes must be as many");
    return nullptr;
  }
  EvalOptions options;
  if (!parse_policy(policy, options.policy)) {
    PyErr_Format(PyExc_ValueError, "The policy is one of %s, not %s.", policy_list().c_str(), policy);
    return nullptr;
  }
  if (capacity < 1 || per_tick < 1) {
    PyErr_SetString(PyExc_ValueError, "capacity and accesses_per_tick are at least 1");
    return nullptr;
  }
  options.arena_path = path;
  options.capacity = capacity;
  options.accesses_per_tick = per_tick;
  options.keys = keys.empty() ? 0 : *std::max_element(keys.begin(), keys.end()) + 1;
  try {
    PolicyEval eval(options);
    for (size_t at = 0; at < keys.size(); at += kSlice) {
      const size_t n = std::min(kSlice, keys.size() - at);
      std::exception_ptr failed;
      Py_BEGIN_ALLOW_THREADS
      try {
        eval.run(keys.subspan(at, n), sizes.empty() ? sizes : sizes.subspan(at, n));
      } catch (...) {
        failed = std::current_exception();
      }
      Py_END_ALLOW_THREADS
      if (failed) std::rethrow_exception(failed);
      if (PyErr_CheckSignals() != 0) return nullptr;
    }
    const EvalResult& r = eval.result();
    return Py_BuildValue("{sKsKsKsKsKsK}", "accesses", r.accesses, "misses", r.misses, "bytes", r.bytes, "missed_bytes",
                         r.missed_bytes, "evictions", r.evictions, "refused", r.refused);
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

}  // namespace predis
