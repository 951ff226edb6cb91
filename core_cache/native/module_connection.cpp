// module_connection.cpp: Connection, an asyncio.BufferedProtocol whose every step is native. Replies go straight to the
// socket where that is possible; only what the socket does not take is handed to the transport.
#include <netinet/in.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

#include "module.h"

namespace predis {

PyTypeObject* connection_type = nullptr;

namespace {

// The names of the transport's methods, made once.
struct Names {
  PyObject *write, *close, *abort, *pause_reading, *resume_reading, *get_write_buffer_size, *get_extra_info;
} names;

class TransportOutlet final : public Outlet {
 public:
  PyObject* transport = nullptr;
  int fd = -1;              // for sending directly; -1 when bytes must pass through the transport (TLS)
  Bytes* collected = nullptr;  // without a transport: feed() takes the replies from here
  // TLS, while the connections are ended: what came through the transport so far, and how often nothing was new.
  uint64_t updates = 0, updates_seen = 0;
  int quiet = 0;

  size_t write(std::string_view data) override {
    if (transport == nullptr) {
      if (collected != nullptr) collected->append(data);
      return 0;
    }
    if (fd >= 0 && (!queued_ || unsent() == 0)) {
      const ssize_t sent = send(fd, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (__builtin_expect(sent == static_cast<ssize_t>(data.size()), 1)) return 0;
      if (sent > 0) {
        data.remove_prefix(static_cast<size_t>(sent));
      } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        abort();
        return 0;
      }
    }
    queued_ = true;
    PyObject* bytes = PyBytes_FromStringAndSize(data.data(), static_cast<Py_ssize_t>(data.size()));
    if (bytes == nullptr) {
      PyErr_Clear();
      abort();
      return 0;
    }
    PyObject* result = PyObject_CallMethodOneArg(transport, names.write, bytes);
    Py_DECREF(bytes);
    if (result == nullptr) {
      PyErr_Clear();
      return 0;
    }
    Py_DECREF(result);
    return unsent();
  }

  size_t unsent() override {
    if (!queued_ || transport == nullptr) return 0;
    PyObject* size = PyObject_CallMethodNoArgs(transport, names.get_write_buffer_size);
    const size_t bytes = size != nullptr ? PyLong_AsSize_t(size) : 0;
    Py_XDECREF(size);
    if (PyErr_Occurred()) {
      PyErr_Clear();
      return 0;
    }
    if (bytes == 0) queued_ = false;
    return bytes;
  }

  void close() override { call(names.close); }
  void abort() override { call(names.abort); }
  void pause() override { call(names.pause_reading); }
  void resume() override { call(names.resume_reading); }

 private:
  void call(PyObject* name) {
    if (transport == nullptr) return;
    PyObject* result = PyObject_CallMethodNoArgs(transport, name);
    if (result == nullptr) PyErr_Clear();  // the connection is going away, which is what it comes to anyhow
    Py_XDECREF(result);
  }

  bool queued_ = false;  // the transport may hold bytes
};

struct ConnectionObject {
  PyObject_HEAD
  EngineObject* owner;
  Client client;
  TransportOutlet outlet;
  bool tls;
  bool shaking_hands;  // TLS, before connection_made()
};

ConnectionObject* connection_of(PyObject* object) { return reinterpret_cast<ConnectionObject*>(object); }

// Whether the engine knows this connection.
bool attached(const ConnectionObject* self) { return self->client.id != 0 && self->owner->engine != nullptr; }

PyObject* connection_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* keywords[] = {"engine", "tls", nullptr};
  PyObject* owner;
  int tls = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!|$p", const_cast<char**>(keywords), engine_type, &owner, &tls)) {
    return nullptr;
  }
  auto* self = connection_of(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  new (&self->client) Client();
  new (&self->outlet) TransportOutlet();
  self->client.outlet = &self->outlet;
  self->owner = reinterpret_cast<EngineObject*>(Py_NewRef(owner));
  self->tls = tls != 0;
  self->shaking_hands = self->tls;
  if (self->tls) ++self->owner->handshakes;
  return reinterpret_cast<PyObject*>(self);
}

int connection_traverse(PyObject* object, visitproc visit, void* arg) {
  ConnectionObject* self = connection_of(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->owner);
  Py_VISIT(self->outlet.transport);
  return 0;
}

void detach(ConnectionObject* self) {
  if (attached(self)) self->owner->engine->remove(self->client);
  self->outlet.fd = -1;
  Py_CLEAR(self->outlet.transport);
}

int connection_clear(PyObject* object) {
  ConnectionObject* self = connection_of(object);
  // The owner stays until the end: there is no way back from the engine to here.
  detach(self);
  return 0;
}

void connection_dealloc(PyObject* object) {
  ConnectionObject* self = connection_of(object);
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  detach(self);
  if (self->shaking_hands) {
    --self->owner->handshakes;
    if (self->owner->engine != nullptr) ++self->owner->engine->stats().tls_handshake_failures;
  }
  Py_CLEAR(self->owner);
  self->client.~Client();
  self->outlet.~TransportOutlet();
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* extra_info(PyObject* transport, const char* what) {
  PyObject* name = PyUnicode_FromString(what);
  if (name == nullptr) return nullptr;
  PyObject* value = PyObject_CallMethodOneArg(transport, names.get_extra_info, name);
  Py_DECREF(name);
  return value;
}

// ("127.0.0.1", 80) -> "127.0.0.1:80", ("::1", 80, 0, 0) -> "[::1]:80", "/path" -> "/path:0".
std::string address_text(PyObject* name) {
  if (PyTuple_Check(name) && PyTuple_GET_SIZE(name) >= 2) {
    const char* host = PyUnicode_AsUTF8(PyTuple_GET_ITEM(name, 0));
    const long port = PyLong_AsLong(PyTuple_GET_ITEM(name, 1));
    if (host != nullptr && !PyErr_Occurred()) {
      const std::string text = host;
      return (text.find(':') != std::string::npos ? "[" + text + "]" : text) + ":" + std::to_string(port);
    }
  } else if (PyUnicode_Check(name)) {
    const char* path = PyUnicode_AsUTF8(name);
    if (path != nullptr) return std::string(path) + ":0";
  }
  PyErr_Clear();
  return "?:0";
}

void set_keepalive(int fd, int seconds) {
  const int on = 1, interval = seconds / 3 > 0 ? seconds / 3 : 1, count = 3;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

bool read_transport(ConnectionObject* self, PyObject* transport) {
  Client& client = self->client;
  PyObject* peer = extra_info(transport, "peername");
  if (peer == nullptr) return false;
  PyObject* local = extra_info(transport, "sockname");
  if (local == nullptr) {
    Py_DECREF(peer);
    return false;
  }
  client.unix_socket = PyUnicode_Check(local);
  client.local_address = address_text(local);
  client.address = client.unix_socket ? client.local_address : address_text(peer);
  Py_DECREF(peer);
  Py_DECREF(local);
  PyObject* socket = extra_info(transport, "socket");
  if (socket == nullptr) return false;
  if (socket != Py_None) {
    PyObject* number = PyObject_CallMethod(socket, "fileno", nullptr);
    const long fd = number != nullptr ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    if (PyErr_Occurred()) PyErr_Clear();
    client.fd = static_cast<int>(fd);
  }
  Py_DECREF(socket);
  if (!self->tls) self->outlet.fd = client.fd;
  const auto keepalive = static_cast<int>(self->owner->engine->config().tcp_keepalive);
  if (client.fd >= 0 && !client.unix_socket && keepalive > 0) set_keepalive(client.fd, keepalive);
  // Any queue at all is to be heard of: pause_writing() and resume_writing() tell when it is empty again. uvloop's TLS
  // transport holds "as much as the limit" against it, where its others mean "more than the limit".
  PyObject* result = PyObject_CallMethod(transport, "set_write_buffer_limits", "ii", self->tls ? 1 : 0, 0);
  Py_XDECREF(result);
  return result != nullptr;
}

PyObject* connection_made(PyObject* object, PyObject* transport) {
  ConnectionObject* self = connection_of(object);
  if (self->owner->engine == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "The engine is closed.");
    return nullptr;
  }
  try {
    if (!read_transport(self, transport)) return nullptr;
    self->outlet.transport = Py_NewRef(transport);
    if (self->shaking_hands) {
      self->shaking_hands = false;
      --self->owner->handshakes;
      ++self->owner->engine->stats().tls_connections;
    }
    self->owner->engine->add(self->client);
  } catch (...) {
    set_python_error();
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* connection_lost(PyObject* object, PyObject*) {
  detach(connection_of(object));
  Py_RETURN_NONE;
}

PyObject* get_buffer(PyObject* object, PyObject*) {
  ConnectionObject* self = connection_of(object);
  EngineObject* owner = self->owner;
  if (owner->engine == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "The engine is closed.");
    return nullptr;
  }
  try {
    const Engine::Span span = owner->engine->read_span(self->client);
    const bool whole =
        self->client.read_mode == ReadMode::shared && self->client.shared_head == 0 && span.size == kReadSize;
    if (whole && owner->shared_view != nullptr) return Py_NewRef(owner->shared_view);
    PyObject* view = PyMemoryView_FromMemory(span.data, static_cast<Py_ssize_t>(span.size), PyBUF_WRITE);
    if (whole && view != nullptr) owner->shared_view = Py_NewRef(view);
    return view;
  } catch (...) {
    self->outlet.abort();
    set_python_error();
    return nullptr;
  }
}

PyObject* buffer_updated(PyObject* object, PyObject* count) {
  ConnectionObject* self = connection_of(object);
  const size_t size = PyLong_AsSize_t(count);
  if (size == static_cast<size_t>(-1) && PyErr_Occurred()) return nullptr;
  if (!attached(self)) Py_RETURN_NONE;
  ++self->outlet.updates;
  try {
    self->owner->engine->received(self->client, size);
  } catch (const std::bad_alloc&) {
    self->outlet.abort();  // one client asked for more than there is; the others go on
    self->client.closing = true;
  } catch (...) {
    self->outlet.abort();
    set_python_error();
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* eof_received(PyObject*, PyObject*) { Py_RETURN_FALSE; }

PyObject* pause_writing(PyObject*, PyObject*) { Py_RETURN_NONE; }

PyObject* resume_writing(PyObject* object, PyObject*) {
  ConnectionObject* self = connection_of(object);
  if (!attached(self)) Py_RETURN_NONE;
  try {
    self->owner->engine->drained(self->client);
  } catch (...) {
    self->outlet.abort();
    set_python_error();
    return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject* feed(PyObject* object, PyObject* data) {
  ConnectionObject* self = connection_of(object);
  Engine* engine = self->owner->engine;
  if (engine == nullptr || self->outlet.transport != nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "feed() is for a connection without a transport, on an open engine.");
    return nullptr;
  }
  Py_buffer view;
  if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) != 0) return nullptr;
  Bytes replies;
  bool failed = false;
  self->outlet.collected = &replies;
  try {
    if (self->client.id == 0 && !self->client.closing) engine->add(self->client);
    const std::string_view bytes(static_cast<const char*>(view.buf), static_cast<size_t>(view.len));
    if (self->client.id != 0) engine->feed(self->client, bytes);
  } catch (...) {
    set_python_error();
    failed = true;
  }
  self->outlet.collected = nullptr;
  PyBuffer_Release(&view);
  if (failed) return nullptr;
  return PyBytes_FromStringAndSize(replies.data(), static_cast<Py_ssize_t>(replies.size()));
}

PyObject* connection_closing(PyObject* object, void*) { return PyBool_FromLong(connection_of(object)->client.closing); }

PyObject* connection_held(PyObject* object, void*) { return PyLong_FromSize_t(connection_of(object)->client.memory()); }

PyMethodDef connection_methods[] = {
    {"connection_made", connection_made, METH_O, "connection_made(transport)\n\nasyncio: the connection stands."},
    {"connection_lost", connection_lost, METH_O, "connection_lost(exc)\n\nasyncio: the connection is gone."},
    {"get_buffer", get_buffer, METH_O,
     "get_buffer(sizehint) -> memoryview\n\nasyncio: where the next bytes go; valid until buffer_updated()."},
    {"buffer_updated", buffer_updated, METH_O,
     "buffer_updated(nbytes)\n\nasyncio: so many bytes have come; runs the commands in them and sends the replies."},
    {"eof_received", eof_received, METH_NOARGS,
     "eof_received() -> False\n\nasyncio: the peer sends no more; the connection ends."},
    {"pause_writing", pause_writing, METH_NOARGS, "pause_writing()\n\nasyncio: the transport holds unsent bytes."},
    {"resume_writing", resume_writing, METH_NOARGS, "resume_writing()\n\nasyncio: the transport has sent everything."},
    {"feed", feed, METH_O,
     "feed(data) -> bytes\n\nWithout a transport: takes a client's bytes and gives the replies (sans-IO)."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef connection_getset[] = {
    {"closing", connection_closing, nullptr, "True once no more commands are taken from this client.", nullptr},
    {"held_bytes", connection_held, nullptr, "Memory that this connection holds, in bytes.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot connection_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(connection_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(connection_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(connection_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(connection_clear)},
    {Py_tp_methods, connection_methods},
    {Py_tp_getset, connection_getset},
    {Py_tp_doc, const_cast<char*>("Connection(engine, *, tls=False)\n\nOne client, as an asyncio.BufferedProtocol. With\n"
                                  "tls, its bytes pass through the transport, which encrypts them.")},
    {0, nullptr}};

PyType_Spec connection_spec = {"core_cache._native.Connection", sizeof(ConnectionObject), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, connection_slots};

}  // namespace

namespace {

constexpr size_t kMostDrained = 4 * 1024 * 1024;  // a client that never stops sending is cut off

// What the kernel holds of a connection: bytes not yet read from it (FIONREAD) or not yet taken by the peer (SIOCOUTQ).
int held_by_kernel(int fd, unsigned long what) {
  int bytes = 0;
  return fd >= 0 && ioctl(fd, what, &bytes) == 0 ? bytes : 0;
}

// Bytes of a TLS connection are read by its transport, in the event loop. What has arrived is through when twice in a
// row there was nothing in the kernel and nothing new came from the transport, which hands on 64 KiB in a turn.
// Gives false when the connection is to be closed now.
bool drain_transport(Client& client, TransportOutlet& outlet, bool last) {
  const bool news = outlet.updates != outlet.updates_seen;
  outlet.updates_seen = outlet.updates;
  if (client.closing) {
    // The transport would wait for the peer's farewell, which does not come from one that is not reading. All is said
    // when the peer's side has taken everything.
    if (outlet.unsent() != 0 || held_by_kernel(client.fd, SIOCOUTQ) != 0) outlet.quiet = 0;
    else if (++outlet.quiet > 2) outlet.abort();
    return true;
  }
  if (last || client.stalled) return false;
  if (news || held_by_kernel(client.fd, FIONREAD) > 0) outlet.quiet = 0;
  return ++outlet.quiet <= 2;
}

}  // namespace

void drain_connection(Engine& engine, Client& client, bool last) {
  auto& outlet = static_cast<TransportOutlet&>(*client.outlet);
  if (outlet.fd < 0) {
    if (drain_transport(client, outlet, last)) return;
    outlet.quiet = 0;
  }
  for (size_t total = 0; outlet.fd >= 0 && !client.closing && !client.stalled && total < kMostDrained;) {
    const Engine::Span span = engine.read_span(client);
    const ssize_t size = recv(outlet.fd, span.data, span.size, MSG_DONTWAIT);
    if (size <= 0) break;
    engine.received(client, static_cast<size_t>(size));
    total += static_cast<size_t>(size);
  }
  if (client.closing) return;
  engine.begin_close(client);
  outlet.close();
}

bool add_connection_type(PyObject* module) {
  const std::pair<PyObject**, const char*> wanted[] = {
      {&names.write, "write"},
      {&names.close, "close"},
      {&names.abort, "abort"},
      {&names.pause_reading, "pause_reading"},
      {&names.resume_reading, "resume_reading"},
      {&names.get_write_buffer_size, "get_write_buffer_size"},
      {&names.get_extra_info, "get_extra_info"}};
  for (const auto& [where, name] : wanted) {
    *where = PyUnicode_InternFromString(name);
    if (*where == nullptr) return false;
  }
  connection_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&connection_spec));
  return connection_type != nullptr && PyModule_AddType(module, connection_type) == 0;
}

}  // namespace predis
