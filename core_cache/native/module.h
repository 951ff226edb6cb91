// module.h: what the files of the Python module share.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "engine.h"

namespace predis {

extern PyObject* arena_error;     // core_cache._native.ArenaError
extern PyObject* acl_file_error;  // core_cache._native.AclFileError
extern PyObject* snapshot_error;  // core_cache._native.SnapshotError
extern PyTypeObject* engine_type;
extern PyTypeObject* connection_type;

struct EngineObject {
  PyObject_HEAD
  Engine* engine;        // nullptr once closed
  PyObject* shared_view; // a memoryview of the shared read buffer
  PyObject* on_stop;     // what SHUTDOWN calls, or nullptr
  PyObject* on_work;     // what is called when a tenant waits for its turn, or nullptr
  PyObject* renew_tls;   // what engine->renew_tls calls
  PyObject* save;        // what engine->save calls
  long handshakes;       // TLS connections that are not yet made
};

// Each makes its type and adds it to the module; false with an exception set when that fails.
bool add_engine_type(PyObject* module);
bool add_connection_type(PyObject* module);
bool add_stats_reader_type(PyObject* module);
bool add_reader_type(PyObject* module);

// module_tenants.cpp
// A sequence of tuples as core_cache.tenants.Tenant, or nullptr; false with an exception set when it is something else.
bool read_tenants(PyObject* sequence, std::vector<TenantOptions>& tenants, std::vector<TenantLimits>& limits);
PyObject* engine_work(PyObject* self, PyObject*);
PyObject* engine_get_on_work(PyObject* self, void*);
int engine_set_on_work(PyObject* self, PyObject* callback, void*);

// Runs a trace through a policy. (module_policy.cpp)
PyObject* evaluate_policy(PyObject* module, PyObject* args, PyObject* kwargs);
PyObject* score_policy_model(PyObject* module, PyObject* args);

Engine* engine_of(PyObject* object);  // nullptr with an exception set when it is closed

// Methods of Engine. (module_server.cpp)
PyObject* engine_use_tls(PyObject* self, PyObject* args);
PyObject* engine_note(PyObject* self, PyObject* args);
// Methods of Engine, and a function of the module. (module_snapshot.cpp)
PyObject* engine_use_snapshots(PyObject* self, PyObject* callable);
PyObject* engine_note_saving(PyObject* self, PyObject* args);
PyObject* engine_load_snapshot(PyObject* self, PyObject* args);
PyObject* engine_fresh(PyObject* self, void*);
PyObject* module_write_snapshot(PyObject* module, PyObject* args);

// Reads what has already arrived from the client, answers it and closes the connection. Of a TLS connection it does only
// what can be done between two turns of the event loop: it is to be called again until the client is gone. `last`: what
// arrives from now on counts no more.
void drain_connection(Engine& engine, Client& client, bool last);

// Turns the C++ exception in flight into a Python one.
void set_python_error();

}  // namespace predis
