// engine_access.cpp: who may connect, who a connection is, and what it may do.
//
// Client::unrestricted is the whole check for a connection that may do everything, which is why everything that changes
// a user must call rights_changed().
#include <string.h>

#include <algorithm>

#include "engine.h"
#include "handlers.h"
#include "sha256.h"
#include "tenants.h"
#include "words.h"

namespace predis {

namespace {

constexpr size_t kMaxWarnings = 100;  // between two times that they are taken

// Redis' own words.
constexpr std::string_view kProtectedMode =
    "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set "
    "for the default user. In this mode connections are only accepted from the loopback interface. If you "
    "want to connect from external computers to Redis you may adopt one of the following solutions: 1) "
    "Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback "
    "interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis "
    "is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change "
    "permanent. 2) Alternatively you can just disable the protected mode by editing the Redis "
    "configuration file, and setting the protected mode option to 'no', and then restarting the server. "
    "3) If you started the server manually just for testing, restart it with the '--protected-mode no' "
    "option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of "
    "the above things in order for the server to start accepting connections from the outside.\r\n";

}  // namespace

void Engine::start_users(std::string_view default_password) {
  acl_.set_default_password(default_password);
  if (tenants_ != nullptr) tenants_->add_users(acl_.users());
  if (config_.acl_file.empty()) return;
  if (const std::string problem = load_users(nullptr); !problem.empty()) throw AclFileError(problem);
}

// Gives true where the server, protected mode on, takes nobody from another machine: there is no password.
bool Engine::refused_by_protected_mode(const Client& client) const {
  if (!config_.protected_mode || !acl_.default_user().no_password || client.unix_socket) return false;
  const std::string_view address = client.address;
  return !address.empty() && !address.starts_with("127.") && !address.starts_with("[::1]:") &&
         !address.starts_with("[::ffff:127.");
}

void Engine::refuse_protected(Client& client) {
  ++stats().rejected_connections;
  client.closing = true;
  client.outlet->write(kProtectedMode);
  client.outlet->close();
}

bool Engine::needs_login(const Client& client) const {
  return !client.authenticated && !acl_.default_user().open();
}

void Engine::log_in(Client& client, const User& user) {
  client.user = &user;
  client.authenticated = true;
  client.unrestricted = user.unrestricted() && !client.monitoring;
  if (__builtin_expect(tenants_ != nullptr, 0)) client.tenant = tenants_->find(user.name);
}

void Engine::log_out(Client& client) {
  client.user = &acl_.default_user();
  client.tenant = nullptr;
  client.authenticated = client.user->open();
  client.unrestricted = client.authenticated && client.user->unrestricted() && !client.monitoring;
}

void Engine::rights_changed() {
  for (Client* client = clients_; client != nullptr; client = client->next) {
    client->unrestricted = client->user->unrestricted() && !needs_login(*client) && !client->monitoring;
  }
}

void Engine::let_go(const User& user, const Client* asking) {
  for (Client* client = clients_; client != nullptr; client = client->next) {
    if (client->user != &user) continue;
    client->user = &acl_.default_user();
    client->authenticated = client->unrestricted = false;
    if (client == asking) {
      begin_close(*client);  // it is still to get its reply
    } else {
      kill(*client);
    }
  }
}

const char* Engine::access_problem(Client& client, const CommandSpec& spec, Args args) {
  if (needs_login(client)) return spec.flags & kNoAuth ? nullptr : "NOAUTH Authentication required.";
  if (client.monitoring && (spec.flags & (kWrite | kReadonly))) return "ERR Replica can't interact with the keyspace";
  if (client.tenant != nullptr) {
    if (const char* problem = tenant_problem(client, spec, args)) return problem;
  }
  size_t position = 0;
  const Denied denied = check_command(*client.user, spec, args, position);
  if (denied == Denied::none) return nullptr;
  client.last_command = &spec;
  note_denied(client, denied, denied == Denied::command ? spec.name : args[position], client.user->name);
  if (denied == Denied::command) {
    refusal_ = concat({"NOPERM this user has no permissions to run the '", spec.name, "' command"});
    return refusal_.c_str();
  }
  if (denied == Denied::key) {
    return "NOPERM this user has no permissions to access one of the keys used as arguments";
  }
  return "NOPERM this user has no permissions to access one of the channels used as arguments";
}

// Whether a queued command may still be run: rights may have changed since it was queued. Answers with an error if not.
bool Engine::still_allowed(Client& client, const CommandSpec& spec, Args args) {
  size_t position = 0;
  const Denied denied = check_command(*client.user, spec, args, position);
  if (denied == Denied::none) return true;
  note_denied(client, denied, denied == Denied::command ? spec.name : args[position], client.user->name);
  const char* reason = denied == Denied::command ? "no permission to execute the command or subcommand"
                       : denied == Denied::key   ? "no permission to touch the specified keys"
                                                 : "no permission to access one of the channels used as arguments";
  reply_.error(concat({"NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. "
                       "This command is no longer allowed for the following reason: ",
                       reason}));
  count_error(reply_.error_code);
  return false;
}

void Engine::note_denied(Client& client, Denied reason, std::string_view object, std::string_view user) {
  if (reason == Denied::auth) {
    ++stats().auth_failures;
  } else {
    ++stats().access_denied;
  }
  const bool multi = in_exec_ || (client.modes & kInTransaction);
  acl_.note({1, reason, multi ? "multi" : "toplevel", std::string(object), std::string(user), unix_ms(), client_line(*this, client)},
            static_cast<size_t>(config_.acl_log_max_length));
}

bool Engine::authenticate(Client& client, std::string_view command, std::string_view name, std::string_view password) {
  if (const User* user = acl_.authenticate(name, password)) {
    log_in(client, *user);
    return true;
  }
  note_denied(client, Denied::auth, command, name);
  return false;
}

void Engine::log_warning(std::string text) {
  if (warnings.size() < kMaxWarnings) warnings.push_back(std::move(text));
}

void Engine::delete_user(std::string_view name, const Client* asking) {
  if (const std::unique_ptr<User> user = acl_.remove(name)) let_go(*user, asking);
}

std::string Engine::load_users(const Client* asking) {
  std::string text, problem;
  if (!read_acl_file(config_.acl_file, text, problem)) return problem;
  UserMap users;
  problem = acl_.parse_file(config_.acl_file, text, users);
  explicit_bzero(text.data(), text.size());  // a file written by hand may hold passwords
  if (!problem.empty()) return problem;
  if (tenants_ != nullptr) tenants_->add_users(users);
  const UserMap old = acl_.replace(std::move(users));
  for (const auto& [name, user] : old) let_go(*user, asking);
  rights_changed();
  return {};
}

void Engine::forget_secrets(Client& client, Args args) {
  const CommandSpec* spec = find_command_of(args);
  for (size_t i = 1; i < args.size(); ++i) {
    if (spec == nullptr || !holds_secret(*spec, args, i)) continue;
    // The engine's own input buffers: nobody reads these bytes again.
    explicit_bzero(const_cast<char*>(args[i].data()), args[i].size());
  }
  // The beginning of a command that came in pieces lay here before it was put in front of the rest.
  if (client.read_mode == ReadMode::shared && client.input.capacity() != 0)
    explicit_bzero(client.input.data(), client.input.capacity());
}

}  // namespace predis
