// module_tenants.cpp: the tenants of an Engine, and the turns they take.
#include "module.h"

namespace predis {

bool read_tenants(PyObject* sequence, std::vector<TenantOptions>& tenants, std::vector<TenantLimits>& limits) {
  if (sequence == nullptr) return true;
  PyObject* items = PySequence_Fast(sequence, "tenants is a sequence of tuples.");
  if (items == nullptr) return false;
  bool ok = true;
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(items);
  if (count > static_cast<Py_ssize_t>(kMaxTenants)) {
    PyErr_Format(PyExc_ValueError, "At most %u tenants are possible, not %zd.", kMaxTenants, count);
    ok = false;
  }
  for (Py_ssize_t i = 0; ok && i < count; ++i) {
    const char *name, *prefix, *hash;
    unsigned long long quota, operations;
    double share;
    PyObject* item = PySequence_Fast_GET_ITEM(items, i);
    ok = PyTuple_Check(item) && PyArg_ParseTuple(item, "ssKsKd", &name, &prefix, &quota, &hash, &operations, &share);
    if (!ok) break;
    tenants.push_back({name, prefix, quota});
    limits.push_back({hash, operations, share});
  }
  if (!ok && !PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "A tenant is a tuple.");
  Py_DECREF(items);
  return ok;
}

PyObject* engine_work(PyObject* self, PyObject*) {
  Engine* engine = engine_of(self);
  if (engine == nullptr) return nullptr;
  try {
    return PyFloat_FromDouble(static_cast<double>(engine->work()) / 1e9);
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyObject* engine_get_on_work(PyObject* object, void*) {
  PyObject* callback = reinterpret_cast<EngineObject*>(object)->on_work;
  return Py_NewRef(callback != nullptr ? callback : Py_None);
}

int engine_set_on_work(PyObject* object, PyObject* callback, void*) {
  Engine* engine = engine_of(object);
  if (engine == nullptr) return -1;
  if (callback == Py_None) callback = nullptr;
  if (callback != nullptr && !PyCallable_Check(callback)) {
    PyErr_SetString(PyExc_TypeError, "on_work must be callable or None.");
    return -1;
  }
  auto* self = reinterpret_cast<EngineObject*>(object);
  Py_XINCREF(callback);
  Py_XSETREF(self->on_work, callback);
  engine->on_work = nullptr;
  if (callback == nullptr) return 0;
  engine->on_work = [self] {
    PyObject* done = PyObject_CallNoArgs(self->on_work);
    if (done == nullptr) PyErr_WriteUnraisable(self->on_work);
    Py_XDECREF(done);
  };
  return 0;
}

}  // namespace predis
