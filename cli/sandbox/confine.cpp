#include "sandbox/confine.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "pvmmu/service_thread.hpp"
#include "sandbox/allocator.hpp"
#include "sandbox/host_support.hpp"
#include "sandbox/landlock.hpp"
#include "sandbox/limits.hpp"
#include "sandbox/privileges.hpp"
#include "sandbox/program.hpp"
#include "sandbox/refusal.hpp"

namespace pinfold::sandbox {
namespace {

constexpr int exit_no_usable_host = 4;  // cli/exit_codes.hpp
constexpr std::array kinds{ThreadKind::vcpu, ThreadKind::io, ThreadKind::control, ThreadKind::log,
                           ThreadKind::machine};

/// By ThreadKind. Made before the first thread, and only read afterwards.
std::array<Program, all_thread_kinds>& programs() {
  static std::array<Program, all_thread_kinds> all;
  return all;
}

/// A thread begins, or becomes another kind (ThreadEntry).
void enter(ThreadKind kind) {
  note_kind(kind);
  if (const int error = install(programs()[static_cast<std::size_t>(kind)]); error != 0) {
    fmt::print(stderr, "pinfold: a thread of kind {} can't be confined: {}\n", name_of(kind),
               std::strerror(error));
    ::_exit(exit_no_usable_host);
  }
}

tl::unexpected<std::string> failure(const char* what, int error) {
  return tl::unexpected(fmt::format("the monitor can't be confined: {}: {}", what, std::strerror(error)));
}

/// Without Landlock the filters still refuse every call that takes a path.
tl::expected<void, std::string> restrict_paths(const HostSupport& host) {
  if (host.landlock_version == 0) {
    fmt::print(stderr,
               "pinfold: no Landlock: {}; the filter of system calls alone keeps the monitor from files\n",
               host.no_landlock);
    return {};
  }
  if (const int error = forbid_paths(host.landlock_version); error != 0) return failure("Landlock", error);
  return {};
}

tl::expected<void, std::string> filter_calls(Mode mode) {
  Kinds all = preparing;
  for (const ThreadKind kind : kinds) {
    all |= kind_bit(kind);
    auto program = compile(kind == ThreadKind::machine ? kind_bit(kind) | serving : kind_bit(kind), mode);
    if (!program) return tl::unexpected(program.error());
    programs()[static_cast<std::size_t>(kind)] = std::move(*program);
  }
  const auto first = compile(all, mode);
  if (!first) return tl::unexpected(first.error());
  take_refusals(mode);
  if (const int error = install(*first, true); error != 0) return failure("seccomp", error);
  on_thread_entry(enter);
  return {};
}

}  // namespace

tl::expected<void, std::string> confinable(Mode mode) {
#ifdef PINFOLD_CONFINES_NOTHING
  return {};
#endif
  if (mode == Mode::off) return {};
  const HostSupport host = host_support();
  if (host.no_seccomp.empty()) return {};
  return tl::unexpected(
      fmt::format("no seccomp filters: {}; --sandbox=off runs the guest in a monitor that is not confined",
                  host.no_seccomp));
}

tl::expected<void, std::string> confine(const Policy& policy) {
  if (policy.user)
    if (const int error = become_user(*policy.user); error != 0) return failure("--user", error);
#ifdef PINFOLD_CONFINES_NOTHING
  return {};
#endif
  if (policy.mode == Mode::off) return {};
  if (auto possible = confinable(policy.mode); !possible) return possible;
  const HostSupport host = host_support();
  settle_allocator();
  if (auto set = set_limits(policy.descriptors, policy.more_descriptors); !set) return set;
  if (const int error = drop_privileges(); error != 0) return failure("capabilities", error);
  if (policy.mode == Mode::log)
    fmt::print(stderr, "pinfold: --sandbox=log: refused calls are made, and Landlock is not used\n");
  else if (auto restricted = restrict_paths(host); !restricted)
    return restricted;
  return filter_calls(policy.mode);
}

}  // namespace pinfold::sandbox
