#include "tenants.h"

#include <algorithm>
#include <cstring>

#include "words.h"

namespace predis {

namespace {

// For how long somebody who has sent something counts as active. Those who are no tenants are short-lived as a rule:
// the agent's question whether the cache is alive.
constexpr uint64_t kTenantActiveNs = 2'000'000'000, kOtherActiveNs = 250'000'000;

// How long to wait after a turn that took `used_ns`, while others are active. A moment that holds a command up by T
// moves their 99th percentile as much as its share of the time times e^(T/10 µs), roughly: that is how their latencies
// fall off above it on a machine that does nothing else. So the wait grows with the fourth power of T, which is close
// to that up to 60 µs; beyond, one command in three hundred may meet the moment, however long it lasts.
uint64_t wait_after(uint64_t used_ns) {
  if (used_ns <= kLongNs) return 0;
  const double times = static_cast<double>(used_ns) / kLongNs;
  const double factor = std::min(times * times * times * times, static_cast<double>(kLongFactor));
  return std::min(static_cast<uint64_t>(static_cast<double>(used_ns) * factor), kLongestWaitNs);
}

std::string escaped(std::string_view prefix) {
  std::string pattern;
  for (const char c : prefix) {
    if (std::strchr("*?[]\\", c) != nullptr) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

}  // namespace

uint64_t Allowance::take(double used, uint64_t now_ns) {
  left_ = std::min(most_, left_ + rate_ * static_cast<double>(now_ns - std::min(now_ns, at_ns_))) - used;
  at_ns_ = now_ns;
  return left_ >= 0 ? 0 : static_cast<uint64_t>(-left_ / rate_);
}

void Tenant::forget(Client& client) {
  waiting.erase(std::remove(waiting.begin(), waiting.end(), &client), waiting.end());
  client.aside = nullptr;
}

Tenants::Tenants(const std::vector<TenantOptions>& options, const std::vector<TenantLimits>& limits, Stats& stats) {
  std::memset(stats.tenants, 0, sizeof stats.tenants);
  for (size_t i = 0; i < options.size(); ++i) {
    TenantStats& numbers = stats.tenants[i];
    const size_t length = std::min(options[i].name.size(), sizeof numbers.name - 1);
    std::memcpy(numbers.name, options[i].name.data(), length);
    auto tenant = std::make_unique<Tenant>();
    tenant->number = static_cast<uint32_t>(i + 1);
    tenant->name = options[i].name;
    tenant->prefix = options[i].prefix;
    tenant->password_hash = limits[i].password_hash;
    tenant->stats = &numbers;
    tenant->operations = Allowance(static_cast<double>(limits[i].ops_per_second));
    tenant->nanoseconds = Allowance(limits[i].cpu_share * 1e9);
    by_name_.emplace(tenant->name, tenant.get());
    tenants_.push_back(std::move(tenant));
  }
}

Tenant* Tenants::find(std::string_view user) {
  const auto found = by_name_.find(user);
  return found == by_name_.end() ? nullptr : found->second;
}

void Tenants::add_users(UserMap& users) const {
  for (const auto& tenant : tenants_) {
    auto user = std::make_unique<User>(tenant->name);
    const std::string keys = escaped(tenant->prefix) + "*";
    // Nothing that tells of others' keys: no walk over all of them (SCAN and DBSIZE see the tenant's own), no channel
    // names, no numbers of the whole server (INFO tells a tenant of itself).
    for (const std::string& rule :
         {std::string("on"), "#" + tenant->password_hash, "~" + keys, "&" + keys, "&__keyspace@0__:" + keys,
          std::string("+@all"), std::string("-@admin"), std::string("-@dangerous"), std::string("-randomkey"),
          std::string("-memory"), std::string("+memory|usage"), std::string("-pubsub"), std::string("+info")}) {
      if (const RuleProblem problem = apply_rule(*user, rule, false); problem != RuleProblem::none) {
        throw std::runtime_error(concat({"The tenant ", tenant->name, " cannot be a user: ", problem_text(problem)}));
      }
    }
    users.insert_or_assign(tenant->name, std::move(user));
  }
}

bool Tenants::note(const Tenant* who, uint64_t now_ns) {
  const uint64_t until = now_ns + (who != nullptr ? kTenantActiveNs : kOtherActiveNs);
  if (who == latest_.who) {
    latest_.until_ns = until;
  } else if (until >= latest_.until_ns) {
    before_ = latest_;
    latest_ = {who, until};
  } else if (who == before_.who || until > before_.until_ns) {
    before_ = {who, until};
  }
  crowded_ = (who == latest_.who ? before_ : latest_).until_ns > now_ns;
  return crowded_;
}

bool Tenants::must_wait(Tenant& tenant, uint64_t now_ns) const {
  if (ended) return false;
  if (now_ns < tenant.wait_until_ns) return true;
  if (!crowded_) return false;
  if (!tenant.waiting.empty()) return true;  // behind those that wait already
  return tenant.debt_ns > kTurnNs + (now_ns - std::min(now_ns, tenant.debt_at_ns)) / 2;
}

void Tenants::charge(Tenant& tenant, uint64_t used_ns, uint64_t own_ns, uint64_t commands, uint64_t now_ns) {
  const uint64_t passed = (now_ns - std::min(now_ns, tenant.debt_at_ns)) / 2;
  tenant.debt_ns = tenant.debt_ns - std::min(tenant.debt_ns, passed) + used_ns;
  tenant.debt_at_ns = now_ns;
  if (commands != 0) {
    const double cost = static_cast<double>(used_ns) / static_cast<double>(commands);
    tenant.command_ns += (cost - tenant.command_ns) / (cost > tenant.command_ns ? 2 : 16);
  }
  uint64_t wait = 0;
  if (const uint64_t due = crowded_ ? wait_after(own_ns) : 0; due != 0) {
    // A turn that is long now and then, for a page fault or an interrupt, is paid for by the time between.
    tenant.paid_until_ns = std::min(std::max(tenant.paid_until_ns, now_ns) + due, now_ns + kLongestWaitNs);
    wait = tenant.paid_until_ns - now_ns;
    wait -= std::min(wait, kLongCreditNs);
  }
  if (tenant.operations.limited()) wait = std::max(wait, tenant.operations.take(static_cast<double>(commands), now_ns));
  if (tenant.nanoseconds.limited()) wait = std::max(wait, tenant.nanoseconds.take(static_cast<double>(used_ns), now_ns));
  if (wait != 0) tenant.wait_until_ns = std::max(tenant.wait_until_ns, now_ns + wait);
}

Tenant* Tenants::next(uint64_t now_ns, int64_t& wait_ns) {
  wait_ns = -1;
  for (size_t i = 0; i < tenants_.size(); ++i) {
    const size_t number = (turn_ + i) % tenants_.size();
    Tenant& tenant = *tenants_[number];
    if (tenant.waiting.empty()) continue;
    if (tenant.wait_until_ns <= now_ns || ended) {
      turn_ = number + 1;
      return &tenant;
    }
    const auto wait = static_cast<int64_t>(tenant.wait_until_ns - now_ns);
    wait_ns = wait_ns < 0 ? wait : std::min(wait_ns, wait);
  }
  return nullptr;
}

}  // namespace predis
