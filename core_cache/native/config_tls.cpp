// config_tls.cpp: the tls-* parameters. The files are read by the server around the engine, which says what is wrong.
#include "parameter.h"
#include "words.h"

namespace predis {

namespace {

using Text = std::string TlsConfig::*;

Parameter file(std::string_view name, Text field) {
  return {name, [field](Engine& e) { return e.config().tls.*field; },
          [field](Engine& e, std::string_view text) -> std::optional<std::string> {
            e.config().tls.*field = text;
            return std::nullopt;
          },
          true};
}

std::optional<std::string> set_protocols(Engine& e, std::string_view text) {
  bool two = false, three = false;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    if (is_word(word, "tlsv1.2")) two = true;
    else if (is_word(word, "tlsv1.3")) three = true;
    else if (!word.empty()) return "argument must be 'TLSv1.2 TLSv1.3' or 'TLSv1.3'";
    at = end + 1;
  }
  if (two && !three) return "argument must be 'TLSv1.2 TLSv1.3' or 'TLSv1.3'";
  e.config().tls.min_version = three && !two ? "1.3" : "1.2";
  return std::nullopt;
}

std::optional<std::string> set_auth_clients(Engine& e, std::string_view text) {
  for (std::string_view word : {"no", "yes", "optional"}) {
    if (!is_word(text, word)) continue;
    e.config().tls.auth_clients = word == "yes" ? "required" : word;
    return std::nullopt;
  }
  return "argument(s) must be one of the following: no, yes, optional";
}

}  // namespace

void add_tls_parameters(const std::function<void(Parameter)>& add) {
  add({"tls-port", [](Engine& e) { return std::to_string(e.config().tls.port); }, nullptr});
  add(file("tls-cert-file", &TlsConfig::cert));
  add(file("tls-key-file", &TlsConfig::key));
  add(file("tls-ca-cert-file", &TlsConfig::ca));
  add(file("tls-ciphers", &TlsConfig::ciphers));
  add({"tls-auth-clients",
       [](Engine& e) {
         const std::string& word = e.config().tls.auth_clients;
         return word == "required" ? std::string("yes") : word;
       },
       set_auth_clients, true});
  add({"tls-protocols",
       [](Engine& e) { return std::string(e.config().tls.min_version == "1.3" ? "TLSv1.3" : "TLSv1.2 TLSv1.3"); },
       set_protocols, true});
}

std::optional<std::string> renew_tls(Engine& engine) {
  if (!engine.renew_tls) return "TLS is off: start with --tls-port";
  std::string problem = engine.renew_tls(engine.config().tls);
  if (problem.empty()) return std::nullopt;
  return problem;
}

}  // namespace predis
