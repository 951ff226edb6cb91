// tenants.h: the tenants as the engine sees them: their users, their numbers, and whose turn it is.
//
// One thread serves all. Left alone, a tenant that sends without end would have every other wait for as long as its
// input lasts. So while anybody else is active, a tenant's connections get turns: short ones (kTurnNs), and a tenant
// whose turns come too often has its connections put aside, unread. What is put aside is served tenant by tenant, one
// turn between two looks at the sockets, whenever there is nothing better to do: nothing is lost but the tenant's
// claim to be served first. A command cannot be cut short. Whoever holds the thread for much longer than a turn waits
// afterwards: the longer it was, the rarer such a moment has to be for the others' 99th percentile to stay where it is.
// See wait_after() for how much rarer.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "acl.h"
#include "client.h"
#include "config.h"
#include "layout.h"
#include "store.h"

namespace predis {

constexpr uint64_t kTurnNs = 6'000;
constexpr uint64_t kLongNs = 9'000;       // a turn that took longer is waited for
constexpr uint64_t kLongFactor = 300;     // and at most so many times as long as it took
constexpr uint64_t kLongestWaitNs = 2'000'000'000;
constexpr uint64_t kLongCreditNs = 50'000'000;  // of such waiting that a tenant need not do at once
constexpr size_t kLittle = 1024;          // bytes of input or output: their transport is not what makes a turn long
constexpr size_t kTurnCommands = 16;      // at most, in one batch of a turn
constexpr size_t kTenantScanKeys = 128;   // that one SCAN of a tenant looks at

// So much a second, and no more at once than a twentieth of it.
class Allowance {
 public:
  explicit Allowance(double per_second = 0) : rate_(per_second / 1e9), most_(per_second / 20) { left_ = most_; }
  bool limited() const { return rate_ > 0; }
  // Takes what was used, though it be too much; gives how many nanoseconds to wait for there to be something again.
  uint64_t take(double used, uint64_t now_ns);

 private:
  double rate_, most_, left_;  // per nanosecond; units
  uint64_t at_ns_ = 0;
};

struct Tenant {
  uint32_t number;  // as in Entry::tenant()
  std::string name, prefix, password_hash;
  TenantStats* stats;
  Allowance operations, nanoseconds;

  std::deque<Client*> waiting;  // put aside, in the order in which they are to be served
  uint64_t debt_ns = 0;         // time used; half of the time that passes is taken off it
  uint64_t debt_at_ns = 0;
  uint64_t wait_until_ns = 0;
  uint64_t paid_until_ns = 0;   // the waiting for its long turns is over then
  double command_ns = 500;      // what a command takes, as of late

  bool limited() const { return operations.limited() || nanoseconds.limited(); }
  void forget(Client& client);
};

class Tenants {
 public:
  Tenants(const std::vector<TenantOptions>& options, const std::vector<TenantLimits>& limits, Stats& stats);

  Tenant* find(std::string_view user);
  // Puts each tenant's user among these, in place of one of that name.
  void add_users(UserMap& users) const;

  // Somebody is active: the tenant, or with nullptr somebody who is none. Tells whether others were of late.
  bool note(const Tenant* who, uint64_t now_ns);
  bool crowded() const { return crowded_; }  // as of the last note
  // Whether the tenant's input is to be put aside.
  bool must_wait(Tenant& tenant, uint64_t now_ns) const;
  // It has used the thread for `used_ns` of its processor time, running so many commands; `own_ns` of it were its own
  // doing, and decide whether the turn was long.
  void charge(Tenant& tenant, uint64_t used_ns, uint64_t own_ns, uint64_t commands, uint64_t now_ns);
  // The tenant whose turn it is; nullptr when none can have one, and then `wait_ns` says when, or -1 that nobody waits.
  Tenant* next(uint64_t now_ns, int64_t& wait_ns);

  bool ended = false;   // nobody waits any more
  bool awake = false;   // on_work was called, and work() has not said since that it is done

 private:
  struct Active {
    const Tenant* who = nullptr;
    uint64_t until_ns = 0;
  };
  std::vector<std::unique_ptr<Tenant>> tenants_;
  std::map<std::string_view, Tenant*> by_name_;
  Active latest_, before_;
  bool crowded_ = false;
  size_t turn_ = 0;
};

}  // namespace predis
