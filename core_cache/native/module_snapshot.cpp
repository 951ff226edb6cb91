// module_snapshot.cpp: snapshots for Python: writing, loading, and what SAVE and BGSAVE call.
#include <cstring>

#include "module.h"
#include "snapshot.h"

namespace predis {

PyObject* snapshot_error = nullptr;

namespace {

bool read_id(Py_buffer& bytes, CacheId& id) {
  const bool right = bytes.len == sizeof id;
  if (right) std::memcpy(id, bytes.buf, sizeof id);
  else PyErr_SetString(PyExc_ValueError, "A cache's id has 16 bytes.");
  PyBuffer_Release(&bytes);
  return right;
}

PyObject* result_tuple(const SnapshotResult& result) {
  return Py_BuildValue("KKK", static_cast<unsigned long long>(result.entries),
                       static_cast<unsigned long long>(result.bytes), static_cast<unsigned long long>(result.skipped));
}

void set_snapshot_error() {
  try {
    throw;
  } catch (const SnapshotError& error) {
    PyErr_SetString(snapshot_error, error.what());
  } catch (...) {
    set_python_error();
  }
}

std::string call_save(PyObject* callable, bool background) {
  PyObject* result = PyObject_CallFunctionObjArgs(callable, background ? Py_True : Py_False, nullptr);
  if (result == nullptr) {
    PyErr_WriteUnraisable(callable);
    return "the server failed to save: see its log";
  }
  const char* text = PyUnicode_Check(result) ? PyUnicode_AsUTF8(result) : "";
  std::string problem = text != nullptr ? text : "";
  PyErr_Clear();
  Py_DECREF(result);
  return problem;
}

}  // namespace

PyObject* engine_use_snapshots(PyObject* object, PyObject* callable) {
  Engine* engine = engine_of(object);
  if (engine == nullptr) return nullptr;
  auto* self = reinterpret_cast<EngineObject*>(object);
  Py_XSETREF(self->save, Py_NewRef(callable));
  engine->save = [callable](bool background) { return call_save(callable, background); };
  Py_RETURN_NONE;
}

PyObject* engine_note_saving(PyObject* object, PyObject* args) {
  Engine* engine = engine_of(object);
  int running, failed;
  if (engine == nullptr || !PyArg_ParseTuple(args, "pp", &running, &failed)) return nullptr;
  if (running != 0) {
    engine->save_began_ms = unix_us() / 1000;
    engine->writes_at_save = engine->store().writes();
  } else {
    engine->save_failed = failed != 0;
    if (failed == 0) engine->writes_saved = engine->writes_at_save;
  }
  engine->saving = running != 0;
  Py_RETURN_NONE;
}

PyObject* engine_load_snapshot(PyObject* object, PyObject* args) {
  Engine* engine = engine_of(object);
  const char* path;
  Py_buffer bytes;
  CacheId id;
  if (engine == nullptr || !PyArg_ParseTuple(args, "sy*", &path, &bytes) || !read_id(bytes, id)) return nullptr;
  try {
    const SnapshotResult result = load_snapshot(engine->store(), path, id);
    engine->writes_saved = engine->store().writes();
    return result_tuple(result);
  } catch (...) {
    set_snapshot_error();
    return nullptr;
  }
}

PyObject* engine_fresh(PyObject* self, void*) {
  Engine* engine = engine_of(self);
  return engine != nullptr ? PyBool_FromLong(engine->store().fresh()) : nullptr;
}

PyObject* module_write_snapshot(PyObject*, PyObject* args) {
  const char *arena, *path;
  Py_buffer bytes;
  CacheId id;
  unsigned long long max_rate;
  if (!PyArg_ParseTuple(args, "ssy*K", &arena, &path, &bytes, &max_rate) || !read_id(bytes, id)) return nullptr;
  SnapshotResult result;
  bool failed = false;
  PyThreadState* state = PyEval_SaveThread();
  try {
    result = write_snapshot(arena, path, id, max_rate);
  } catch (...) {
    PyEval_RestoreThread(state);
    failed = true;
    set_snapshot_error();
  }
  if (failed) return nullptr;
  PyEval_RestoreThread(state);
  return result_tuple(result);
}

}  // namespace predis
