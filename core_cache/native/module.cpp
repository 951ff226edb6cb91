// module.cpp: the Python module core_cache._native: Engine, and what belongs to no class.
#include "module.h"

#include <exception>

#include "policy_model.h"
#include "policy_names.h"

namespace predis {

PyObject* arena_error = nullptr;
PyObject* acl_file_error = nullptr;
PyTypeObject* engine_type = nullptr;

void set_python_error() {
  try {
    throw;
  } catch (const ArenaError& error) {
    PyErr_SetString(arena_error, error.what());
  } catch (const AclFileError& error) {
    PyErr_SetString(acl_file_error, error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
}

namespace {

PyObject* engine_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"path", "capacity", "policy", "password", "max_clients", "host", "port",
                                "unix_socket", "data_dir", "arena_file", "version", "log_level", "acl_file", "readers_group",
                                "tenants",
                                nullptr};
  const char *path, *policy, *password = "", *host = "", *unix_socket = "", *data_dir = "", *arena_file = "",
                             *version = "0", *log_level = "notice", *acl_file = "";
  Py_ssize_t password_size = 0;
  PyObject* tenants = nullptr;
  unsigned long long capacity;
  long long max_clients = 10000, port = 0, readers_group = -1;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sKs|$s#LsLssssssLO", const_cast<char**>(names), &path, &capacity,
                                   &policy, &password, &password_size, &max_clients, &host, &port, &unix_socket, &data_dir,
                                   &arena_file, &version, &log_level, &acl_file, &readers_group, &tenants)) {
    return nullptr;
  }
  StoreOptions options;
  options.path = path;
  options.capacity = capacity;
  options.readers_group = readers_group;
  if (!parse_policy(policy, options.policy)) {
    PyErr_Format(PyExc_ValueError, "The policy is one of %s, not %s.", policy_list().c_str(), policy);
    return nullptr;
  }
  if (max_clients < 1) {
    PyErr_Format(PyExc_ValueError, "At least one client must be allowed, not %lld.", max_clients);
    return nullptr;
  }
  ServerConfig config;
  config.max_clients = max_clients;
  config.bind = host;
  config.port = port;
  config.unix_socket = unix_socket;
  config.data_dir = data_dir;
  config.arena_file = arena_file;
  config.version = version;
  config.log_level = log_level;
  config.acl_file = acl_file;
  if (!read_tenants(tenants, options.tenants, config.tenants)) return nullptr;
  if (!options.tenants.empty() && !fits_tenants(options.policy)) {
    PyErr_Format(PyExc_ValueError, "With tenants the policy is s3fifo, learned or noeviction, not %s.", policy);
    return nullptr;
  }
  auto* self = reinterpret_cast<EngineObject*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  try {
    self->engine = new Engine(options, std::move(config));
    self->engine->start_users({password, static_cast<size_t>(password_size)});
  } catch (...) {
    set_python_error();
    Py_DECREF(self);
    return nullptr;
  }
  return reinterpret_cast<PyObject*>(self);
}

void close_engine(EngineObject* self) {
  Engine* engine = self->engine;
  if (engine == nullptr) return;
  self->engine = nullptr;
  while (Client* client = engine->first_client()) {
    client->outlet->abort();
    engine->remove(*client);
  }
  delete engine;
  Py_CLEAR(self->save);
  Py_CLEAR(self->renew_tls);  // they may know the server, which knows this engine
  Py_CLEAR(self->on_work);
}

void engine_dealloc(PyObject* object) {
  auto* self = reinterpret_cast<EngineObject*>(object);
  PyTypeObject* type = Py_TYPE(object);
  close_engine(self);
  Py_CLEAR(self->renew_tls);
  Py_CLEAR(self->shared_view);
  Py_CLEAR(self->on_work);
  Py_CLEAR(self->on_stop);
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* engine_cron(PyObject* self, PyObject* budget) {
  Engine* engine = engine_of(self);
  if (engine == nullptr) return nullptr;
  const unsigned long long microseconds = PyLong_AsUnsignedLongLong(budget);
  if (PyErr_Occurred()) return nullptr;
  try {
    return PyBool_FromLong(engine->cron(microseconds));
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyObject* engine_drain(PyObject* self, PyObject* argument) {
  Engine* engine = engine_of(self);
  const int last = engine != nullptr ? PyObject_IsTrue(argument) : -1;
  if (last < 0) return nullptr;
  try {
    engine->end_turns();
    for (Client *client = engine->first_client(), *next; client != nullptr; client = next) {
      next = client->next;
      drain_connection(*engine, *client, last != 0);
    }
  } catch (...) {
    set_python_error();
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* engine_start_access_log(PyObject* self, PyObject* args) {
  Engine* engine = engine_of(self);
  const char* path;
  double rate;
  int plain;
  if (engine == nullptr || !PyArg_ParseTuple(args, "sdp", &path, &rate, &plain)) return nullptr;
  if (!(rate > 0 && rate <= kMostAccessRate)) {
    PyErr_SetString(PyExc_ValueError, "The rate of the access log is over 0 and at most 1/256.");
    return nullptr;
  }
  try {
    engine->start_access_log(path, rate, plain != 0);
  } catch (...) {
    set_python_error();
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* engine_use_huge_pages(PyObject* self, PyObject*) {
  Engine* engine = engine_of(self);
  if (engine == nullptr) return nullptr;
  engine->store().use_huge_pages();
  Py_RETURN_NONE;
}

PyObject* engine_abort_all(PyObject* self, PyObject*) {
  Engine* engine = engine_of(self);
  if (engine == nullptr) return nullptr;
  for (Client *client = engine->first_client(), *next; client != nullptr; client = next) {
    next = client->next;
    client->outlet->abort();
  }
  Py_RETURN_NONE;
}

PyObject* engine_take_warnings(PyObject* self, PyObject*) {
  Engine* engine = engine_of(self);
  if (engine == nullptr) return nullptr;
  PyObject* list = PyList_New(0);
  for (const std::string& text : engine->warnings) {
    PyObject* item = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "backslashreplace");
    if (list == nullptr || item == nullptr || PyList_Append(list, item) != 0) {
      Py_XDECREF(item);
      Py_XDECREF(list);
      return nullptr;
    }
    Py_DECREF(item);
  }
  engine->warnings.clear();
  return list;
}

PyObject* engine_close(PyObject* self, PyObject*) {
  close_engine(reinterpret_cast<EngineObject*>(self));
  Py_RETURN_NONE;
}

PyObject* engine_load_policy_model(PyObject* self, PyObject* args) {
  Engine* engine = engine_of(self);
  const char *path, *name;
  if (engine == nullptr || !PyArg_ParseTuple(args, "ss", &path, &name)) return nullptr;
  try {
    engine->store().set_model(PolicyModel::load(path, name));
  } catch (const ModelError& error) {
    return PyErr_Format(PyExc_ValueError, "the policy model %s %s", path, error.what());
  } catch (...) {
    set_python_error();
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* engine_clients(PyObject* self, void*) {
  Engine* engine = engine_of(self);
  return engine != nullptr ? PyLong_FromSize_t(engine->client_count()) : nullptr;
}

PyObject* engine_handshakes(PyObject* self, void*) {
  return PyLong_FromLong(reinterpret_cast<EngineObject*>(self)->handshakes);
}

PyObject* engine_keys(PyObject* self, void*) {
  Engine* engine = engine_of(self);
  return engine != nullptr ? PyLong_FromSize_t(engine->store().size()) : nullptr;
}

PyObject* engine_log_level(PyObject* self, void*) {
  Engine* engine = engine_of(self);
  return engine != nullptr ? PyUnicode_FromString(engine->config().log_level.c_str()) : nullptr;
}

PyObject* engine_recovered(PyObject* self, void*) {
  Engine* engine = engine_of(self);
  return engine != nullptr ? PyLong_FromUnsignedLongLong(engine->stats().recovered_entries) : nullptr;
}

PyObject* engine_get_on_stop(PyObject* object, void*) {
  PyObject* callback = reinterpret_cast<EngineObject*>(object)->on_stop;
  return Py_NewRef(callback != nullptr ? callback : Py_None);
}

int engine_set_on_stop(PyObject* object, PyObject* callback, void*) {
  Engine* engine = engine_of(object);
  if (engine == nullptr) return -1;
  if (callback == Py_None) callback = nullptr;
  if (callback != nullptr && !PyCallable_Check(callback)) {
    PyErr_SetString(PyExc_TypeError, "on_stop must be callable or None.");
    return -1;
  }
  auto* self = reinterpret_cast<EngineObject*>(object);
  Py_XINCREF(callback);
  Py_XSETREF(self->on_stop, callback);
  engine->on_stop = nullptr;
  if (callback != nullptr) {
    engine->on_stop = [self] {
      PyObject* done = PyObject_CallNoArgs(self->on_stop);
      if (done == nullptr) PyErr_WriteUnraisable(self->on_stop);
      Py_XDECREF(done);
    };
  }
  return 0;
}

PyMethodDef engine_methods[] = {
    {"cron", engine_cron, METH_O,
     "cron(budget_us) -> bool\n\nUpkeep, to be called about ten times a second: expiry, idle clients, gauges,\n"
     "the heartbeat. Works for about budget_us microseconds; True means that more is waiting."},
    {"take_warnings", engine_take_warnings, METH_NOARGS,
     "take_warnings() -> list[str]\n\nWhat is to be written to the log; each is given once."},
    {"drain", engine_drain, METH_O,
     "drain(last)\n\nAnswers what has arrived on every connection, then closes it once its replies are sent. With TLS\n"
     "it takes some turns of the event loop, with a call in each; last: what has not come through by now is too late."},
    {"work", engine_work, METH_NOARGS,
     "work() -> float\n\nGives a tenant that waits its turn, when on_work has asked for it. To be called again after so\n"
     "many seconds, 0: after the sockets were looked at; negative: not before on_work."},
    {"note", engine_note, METH_VARARGS, "note(name, value)\n\nAdds to a counter, or sets a gauge."},
    {"use_snapshots", engine_use_snapshots, METH_O,
     "use_snapshots(save)\n\nWho makes snapshots: save(background) gives why it cannot."},
    {"note_saving", engine_note_saving, METH_VARARGS,
     "note_saving(running, failed)\n\nA snapshot is in the making, or is done."},
    {"load_snapshot", engine_load_snapshot, METH_VARARGS,
     "load_snapshot(path, id) -> (entries, bytes, skipped)\n\nTakes a snapshot's entries. Raises SnapshotError."},
    {"use_tls", engine_use_tls, METH_VARARGS,
     "use_tls(settings, renew)\n\nTells the settings in force, and who takes others: renew(settings) gives why it cannot."},
    {"start_access_log", engine_start_access_log, METH_VARARGS,
     "start_access_log(arena_path, rate, plain_keys)\n\nLogs the accesses to this share of the keys, chosen by their hash,\n"
     "into the ring beside the arena. Raises ArenaError."},
    {"use_huge_pages", engine_use_huge_pages, METH_NOARGS,
     "use_huge_pages()\n\nFrom now on a thread has the arena's memory put into pages of 2 MiB, where the kernel can."},
    {"load_policy_model", engine_load_policy_model, METH_VARARGS,
     "load_policy_model(path, name)\n\nGives the policy learned the model in this file; CONFIG GET policy-model then tells\n"
     "the name. Raises ValueError, with the reason, when the file is no good."},
    {"abort_all", engine_abort_all, METH_NOARGS, "abort_all()\n\nEnds every connection at once."},
    {"close", engine_close, METH_NOARGS,
     "close()\n\nEnds every connection and lets the arena go. The data stay in it."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef engine_getset[] = {
    {"clients", engine_clients, nullptr, "How many clients are connected.", nullptr},
    {"handshakes", engine_handshakes, nullptr, "TLS connections that have not shaken hands yet.", nullptr},
    {"fresh", engine_fresh, nullptr, "Whether the arena was made just now.", nullptr},
    {"keys", engine_keys, nullptr, "How many keys are stored.", nullptr},
    {"log_level", engine_log_level, nullptr, "What CONFIG SET loglevel asked for: debug, verbose, notice or warning.",
     nullptr},
    {"on_stop", engine_get_on_stop, engine_set_on_stop,
     "What SHUTDOWN calls, without arguments; None, as at first: SHUTDOWN is refused.", nullptr},
    {"on_work", engine_get_on_work, engine_set_on_work,
     "Called without arguments when work() is to be called soon; None, as at first: no tenant ever waits.", nullptr},
    {"recovered_keys", engine_recovered, nullptr, "How many keys were found in the arena when it was opened.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot engine_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(engine_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(engine_dealloc)},
    {Py_tp_methods, engine_methods},
    {Py_tp_getset, engine_getset},
    {Py_tp_doc, const_cast<char*>(
                    "Engine(path, capacity, policy, *, password='', max_clients=10000, host='', port=0,\n"
                    "       unix_socket='', data_dir='', arena_file='', version='0', log_level='notice', acl_file='',\n"
                    "       tenants=())\n\n"
                    "The cache: opens or recovers the arena at path (capacity in bytes) and runs what Connections bring.\n"
                    "Raises ArenaError when the arena cannot be opened, AclFileError when the users cannot be\n"
                    "read from the ACL file.")},
    {0, nullptr}};

PyType_Spec engine_spec = {"core_cache._native.Engine", sizeof(EngineObject), 0, Py_TPFLAGS_DEFAULT, engine_slots};

PyObject* latency_bounds(PyObject*, PyObject*) {
  PyObject* bounds = PyTuple_New(kLatencyBuckets);
  if (bounds == nullptr) return nullptr;
  for (uint32_t i = 0; i < kLatencyBuckets; ++i) {
    const uint64_t ns = latency_bound_ns(i);
    PyObject* bound = PyFloat_FromDouble(ns == UINT64_MAX ? Py_HUGE_VAL : static_cast<double>(ns) / 1e9);
    if (bound == nullptr) {
      Py_DECREF(bounds);
      return nullptr;
    }
    PyTuple_SET_ITEM(bounds, i, bound);
  }
  return bounds;
}

PyMethodDef functions[] = {
    {"write_snapshot", module_write_snapshot, METH_VARARGS,
     "write_snapshot(arena, path, id, max_rate) -> (entries, bytes, skipped)\n\n"
     "Writes the keys of an arena to a file, at most so many bytes per second (0: as fast as can be). Raises\n"
     "SnapshotError, ArenaError."},
    {"latency_bounds", latency_bounds, METH_NOARGS,
     "latency_bounds() -> tuple[float, ...]\n\nUpper bounds of the latency buckets in seconds; the last is infinity."},
    {"evaluate_policy", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(evaluate_policy)),
     METH_VARARGS | METH_KEYWORDS,
     "evaluate_policy(path, keys, sizes, policy, capacity, *, accesses_per_tick=1, times=None, model=None,\n"
     "                victims=False, missed=False, candidates=0)\n\n"
     "Runs a trace (uint32 keys below 2**32 - 1, and uint32 sizes or None) through a store of its own with this policy\n"
     "and gives the counts of accesses, misses, bytes, missed_bytes, evictions and refused. capacity: in entries, or in\n"
     "bytes where there are sizes. path: a file that does not exist yet, for the arena; it is removed again at once.\n"
     "times: uint32, ms since the trace's beginning, in place of accesses_per_tick.\n"
     "model: path of the artefact for the policy learned; ValueError when it is no good. victims: list evicted keys.\n"
     "missed: a byte for each access, 1 where it is a miss. candidates: of every so many evictions of the policy learned,\n"
     "note those that it chooses from: float32 rows of all features, in the order of artefact.FEATURES, with each one's key\n"
     "and the number of accesses by then, that one included (uint32)."},
    {"score_policy_model", score_policy_model, METH_VARARGS,
     "score_policy_model(path, rows) -> list[float]\n\nThe model's scores of rows of its features (float32, row by row).\n"
     "Raises ValueError when the file is no good."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "core_cache._native", "The cache core: store, protocol and commands, in C++.", -1,
    functions, nullptr, nullptr, nullptr, nullptr};

}  // namespace

Engine* engine_of(PyObject* object) {
  Engine* engine = reinterpret_cast<EngineObject*>(object)->engine;
  if (engine == nullptr) PyErr_SetString(PyExc_RuntimeError, "The engine is closed.");
  return engine;
}

bool add_engine_type(PyObject* module) {
  engine_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&engine_spec));
  return engine_type != nullptr && PyModule_AddType(module, engine_type) == 0;
}

}  // namespace predis

PyMODINIT_FUNC PyInit__native() {
  using namespace predis;
  PyObject* module = PyModule_Create(&definition);
  if (module == nullptr) return nullptr;
  arena_error = PyErr_NewExceptionWithDoc("core_cache._native.ArenaError",
                                          "The arena cannot be opened; the message is a sentence for people.",
                                          PyExc_RuntimeError, nullptr);
  acl_file_error = PyErr_NewExceptionWithDoc("core_cache._native.AclFileError",
                                             "The ACL file is no good; the message is a sentence for people.",
                                             PyExc_RuntimeError, nullptr);
  snapshot_error = PyErr_NewExceptionWithDoc("core_cache._native.SnapshotError",
                                             "A snapshot cannot be written, or is refused; the message is for people.",
                                             PyExc_RuntimeError, nullptr);
  if (snapshot_error == nullptr || PyModule_AddObjectRef(module, "SnapshotError", snapshot_error) != 0 ||
      arena_error == nullptr || PyModule_AddIntConstant(module, "LAYOUT_VERSION", kLayoutVersion) != 0 ||
      PyModule_AddObjectRef(module, "ArenaError", arena_error) != 0 ||
      acl_file_error == nullptr || PyModule_AddObjectRef(module, "AclFileError", acl_file_error) != 0 ||
      !add_engine_type(module) || !add_connection_type(module) || !add_stats_reader_type(module) ||
      !add_reader_type(module)) {
    Py_DECREF(module);
    return nullptr;
  }
  return module;
}
