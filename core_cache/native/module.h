// module.h: what the files of the Python module share.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "engine.h"

namespace predis {

extern PyObject* arena_error;     // core_cache._native.ArenaError
extern PyObject* acl_file_error;  // core_cache._native.AclFileError
extern PyTypeObject* engine_type;
extern PyTypeObject* connection_type;

struct EngineObject {
  PyObject_HEAD
  Engine* engine;        // nullptr once closed
  PyObject* shared_view; // a memoryview of the shared read buffer
  PyObject* on_stop;     // what SHUTDOWN calls, or nullptr
};

// Each makes its type and adds it to the module; false with an exception set when that fails.
bool add_engine_type(PyObject* module);
bool add_connection_type(PyObject* module);
bool add_stats_reader_type(PyObject* module);
bool add_reader_type(PyObject* module);

// Runs a trace through a policy. (module_policy.cpp)
PyObject* evaluate_policy(PyObject* module, PyObject* args, PyObject* kwargs);

// Reads what has already arrived from the client, answers it and closes the connection.
void drain_connection(Engine& engine, Client& client);

// Turns the C++ exception in flight into a Python one.
void set_python_error();

}  // namespace predis
