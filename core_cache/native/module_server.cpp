// module_server.cpp: what the server around the engine tells it, and does for it.
#include "module.h"

#include <cstring>

namespace predis {

namespace {

// A tuple as core_cache.options.TlsOptions: port, cert, key, ca, auth_clients, min_version, ciphers.
bool read_tls(PyObject* tuple, TlsConfig& tls) {
  long long port;
  const char *cert, *key, *ca, *auth_clients, *min_version, *ciphers;
  if (!PyTuple_Check(tuple) || !PyArg_ParseTuple(tuple, "Lssssss", &port, &cert, &key, &ca, &auth_clients,
                                                 &min_version, &ciphers)) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "tls is a tuple.");
    return false;
  }
  tls = {port, cert, key, ca, auth_clients, min_version, ciphers};
  return true;
}

std::string call_renew_tls(PyObject* callable, const TlsConfig& tls) {
  PyObject* result = PyObject_CallFunction(
      callable, "((Lssssss))", static_cast<long long>(tls.port), tls.cert.c_str(), tls.key.c_str(), tls.ca.c_str(),
      tls.auth_clients.c_str(), tls.min_version.c_str(), tls.ciphers.c_str());
  if (result == nullptr) {
    PyErr_WriteUnraisable(callable);
    return "the server failed to read the files";
  }
  const char* text = PyUnicode_Check(result) ? PyUnicode_AsUTF8(result) : "";
  std::string problem = text != nullptr ? text : "";
  PyErr_Clear();
  Py_DECREF(result);
  return problem;
}

}  // namespace

PyObject* engine_use_tls(PyObject* object, PyObject* args) {
  Engine* engine = engine_of(object);
  PyObject *settings, *renew;
  if (engine == nullptr || !PyArg_ParseTuple(args, "OO", &settings, &renew) ||
      !read_tls(settings, engine->config().tls)) {
    return nullptr;
  }
  auto* self = reinterpret_cast<EngineObject*>(object);
  Py_XSETREF(self->renew_tls, Py_NewRef(renew));
  engine->renew_tls = [renew](const TlsConfig& wanted) { return call_renew_tls(renew, wanted); };
  Py_RETURN_NONE;
}

// For numbers that are known outside of the engine: a counter grows by the value, a gauge becomes it.
PyObject* engine_note(PyObject* self, PyObject* args) {
  Engine* engine = engine_of(self);
  const char* name;
  unsigned long long value;
  if (engine == nullptr || !PyArg_ParseTuple(args, "sK", &name, &value)) return nullptr;
  Stats& stats = engine->stats();
#define PREDIS_ADD(field) \
  if (std::strcmp(name, #field) == 0) return stats.field += value, Py_NewRef(Py_None);
#define PREDIS_SET(field) \
  if (std::strcmp(name, #field) == 0) return stats.field = value, Py_NewRef(Py_None);
  PREDIS_COUNTERS(PREDIS_ADD)
  PREDIS_GAUGES(PREDIS_SET)
#undef PREDIS_ADD
#undef PREDIS_SET
  PyErr_Format(PyExc_ValueError, "There is no number %s.", name);
  return nullptr;
}

}  // namespace predis
