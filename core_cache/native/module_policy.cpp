// module_policy.cpp: policies on traces and models by themselves, for Python.
#include <algorithm>
#include <memory>

#include "module.h"
#include "policy_eval.h"
#include "policy_model.h"
#include "policy_names.h"

namespace predis {
namespace {

struct Drop {
  void operator()(PyObject* object) const { Py_XDECREF(object); }
};
using Owned = std::unique_ptr<PyObject, Drop>;

template <typename T>
PyObject* bytes_of(const std::vector<T>& values) {
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(values.data()),
                                   static_cast<Py_ssize_t>(values.size() * sizeof(T)));
}

constexpr size_t kSlice = 1 << 20;  // accesses between two looks at Ctrl-C

struct Array {  // a buffer of numbers of 4 bytes, given back at the end
  Py_buffer view{};
  bool held = false;
  ~Array() {
    if (held) PyBuffer_Release(&view);
  }
  // formats: the letters that struct has for the type; "I" and "L" are both a uint32 where numpy says so.
  bool take(PyObject* object, const char* name, std::string_view formats) {
    if (PyObject_GetBuffer(object, &view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) != 0) return false;
    held = true;
    const std::string_view format = view.format != nullptr ? view.format : "B";
    if (view.itemsize == 4 && format.size() == 1 && formats.find(format[0]) != std::string_view::npos) return true;
    PyErr_Format(PyExc_TypeError, "%s must be of %s", name, formats[0] == 'f' ? "float32" : "uint32");
    return false;
  }
  std::span<const uint32_t> values() const {
    return {static_cast<const uint32_t*>(view.buf), static_cast<size_t>(view.len) / 4};
  }
};

}  // namespace

PyObject* evaluate_policy(PyObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"path", "keys", "sizes", "policy", "capacity", "accesses_per_tick", "times", "model",
                                "victims", "missed", "candidates", nullptr};
  const char *path, *policy, *model = nullptr;
  int want_victims = 0, want_missed = 0;
  unsigned int every = 0;
  PyObject *key_object, *size_object, *time_object = Py_None;
  unsigned long long capacity;
  unsigned int per_tick = 1;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sOOsK|$IOzppI", const_cast<char**>(names), &path, &key_object,
                                   &size_object, &policy, &capacity, &per_tick, &time_object, &model, &want_victims,
                                   &want_missed, &every)) {
    return nullptr;
  }
  Array key_array, size_array, time_array;
  if (!key_array.take(key_object, "keys", "IL")) return nullptr;
  if (size_object != Py_None && !size_array.take(size_object, "sizes", "IL")) return nullptr;
  if (time_object != Py_None && !time_array.take(time_object, "times", "IL")) return nullptr;
  const auto keys = key_array.values();
  const auto times = time_object != Py_None ? time_array.values() : std::span<const uint32_t>();
  const auto sizes = size_object != Py_None ? size_array.values() : std::span<const uint32_t>();
  if ((size_object != Py_None && sizes.size() != keys.size()) || (time_object != Py_None && times.size() != keys.size())) {
    PyErr_SetString(PyExc_ValueError, "keys, sizes and times must be as many");
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
  std::vector<uint32_t> victims;
  if (want_victims) options.victims = &victims;
  std::vector<uint8_t> missed;
  if (want_missed) options.missed = &missed;
  Candidates candidates;
  candidates.every = every;
  if (every > 0) options.candidates = &candidates;
  try {
    if (model != nullptr) options.model = PolicyModel::load(model, model);
    PolicyEval eval(options);
    for (size_t at = 0; at < keys.size(); at += kSlice) {
      const size_t n = std::min(kSlice, keys.size() - at);
      std::exception_ptr failed;
      Py_BEGIN_ALLOW_THREADS
      try {
        const auto slice = [&](std::span<const uint32_t> all) { return all.empty() ? all : all.subspan(at, n); };
        eval.run(keys.subspan(at, n), slice(sizes), slice(times));
      } catch (...) {
        failed = std::current_exception();
      }
      Py_END_ALLOW_THREADS
      if (failed) std::rethrow_exception(failed);
      if (PyErr_CheckSignals() != 0) return nullptr;
    }
    const EvalResult& r = eval.result();
    Owned list(PyList_New(static_cast<Py_ssize_t>(victims.size())));
    if (!list) return nullptr;
    for (size_t i = 0; i < victims.size(); ++i) {
      PyObject* key = PyLong_FromUnsignedLong(victims[i]);
      if (key == nullptr) return nullptr;
      PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), key);
    }
    // An argument that could not be made, of "N", leaves its exception and makes the whole nullptr.
    return Py_BuildValue("{sKsKsKsKsKsKsKsOsNsNsNsN}", "accesses", r.accesses, "misses", r.misses, "bytes", r.bytes,
                         "missed_bytes", r.missed_bytes, "evictions", r.evictions, "refused", r.refused, "bad_scores",
                         eval.bad_scores(), "victims", list.get(), "missed", bytes_of(missed), "candidate_rows",
                         bytes_of(candidates.rows), "candidate_keys", bytes_of(candidates.keys), "candidate_at",
                         bytes_of(candidates.at));
  } catch (const ModelError& error) {
    PyErr_Format(PyExc_ValueError, "the policy model %s %s", model, error.what());
    return nullptr;
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyObject* score_policy_model(PyObject*, PyObject* args) {
  const char* path;
  PyObject* object;
  if (!PyArg_ParseTuple(args, "sO", &path, &object)) return nullptr;
  Array array;
  if (!array.take(object, "rows", "f")) return nullptr;
  try {
    const auto model = PolicyModel::load(path, path);
    const size_t values = static_cast<size_t>(array.view.len) / sizeof(float), count = values / model->features().size();
    if (count * model->features().size() != values) {
      PyErr_Format(PyExc_ValueError, "rows of %zu features are wanted", model->features().size());
      return nullptr;
    }
    std::vector<double> scores(count);
    model->score(static_cast<const float*>(array.view.buf), count, scores.data());
    Owned list(PyList_New(static_cast<Py_ssize_t>(count)));
    for (size_t i = 0; list && i < count; ++i) {
      PyObject* score = PyFloat_FromDouble(scores[i]);
      if (score == nullptr) return nullptr;
      PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), score);
    }
    return list.release();
  } catch (const ModelError& error) {
    return PyErr_Format(PyExc_ValueError, "the policy model %s %s", path, error.what());
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

}  // namespace predis
