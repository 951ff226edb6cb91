// parameter.h: what CONFIG GET and CONFIG SET know of one parameter.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "engine.h"

namespace predis {

// One parameter: how it reads, and how it is set. `set` gives nullopt, or why the value is no good.
struct Parameter {
  std::string_view name;
  std::function<std::string(Engine&)> get;
  std::function<std::optional<std::string>(Engine&, std::string_view)> set;  // none: cannot be changed while it runs
  bool tls = false;  // takes effect by renew_tls()
};

// config_tls.cpp
void add_tls_parameters(const std::function<void(Parameter)>& add);
std::optional<std::string> renew_tls(Engine& engine);  // puts the TLS settings in force, or says why that cannot be

}  // namespace predis
