#include "sandbox/helper.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "sandbox/call_rules.hpp"
#include "sandbox/host_support.hpp"
#include "sandbox/landlock.hpp"
#include "sandbox/privileges.hpp"
#include "sandbox/program.hpp"
#include "sandbox/refusal.hpp"

namespace pinfold::sandbox {
namespace {

Kinds kinds_of(Helper helper) {
  switch (helper) {
    case Helper::unpacker: return unpacking;
    case Helper::reader: return reading;
    case Helper::keeper: break;
  }
  return keeping;
}

const char* name_of(Helper helper) {
  switch (helper) {
    case Helper::unpacker: return "the process that unpacks a kernel";
    case Helper::reader: return "a command that reads what a guest can have written";
    case Helper::keeper: break;
  }
  return "the process that keeps a guest's messages";
}

/// The C library asks what stdout is when it first writes to it, by a call that takes paths, too.
void settle_stdout() {
  static char buffer[BUFSIZ];
  (void)std::setvbuf(stdout, buffer, ::isatty(STDOUT_FILENO) == 1 ? _IOLBF : _IOFBF, sizeof buffer);
}

}  // namespace

bool confines_nothing() {
#ifdef PINFOLD_CONFINES_NOTHING
  return true;
#else
  return false;
#endif
}

tl::expected<void, std::string> confine_helper(Helper helper, Mode mode) {
  if (mode != Mode::on || confines_nothing()) return {};
  const auto failure = [](const char* what, const std::string& why) {
    return tl::unexpected(fmt::format("{}: {}", what, why));
  };
  const HostSupport host = host_support();
  if (const int error = drop_privileges(); error != 0) return failure("capabilities", std::strerror(error));
  if (host.landlock_version != 0)
    if (const int error = forbid_paths(host.landlock_version); error != 0)
      return failure("Landlock", std::strerror(error));
  if (!host.no_seccomp.empty()) return failure("no seccomp filters", host.no_seccomp);
  const auto program = compile(kinds_of(helper), Mode::on);
  if (!program) return tl::unexpected(program.error());
  note_process(name_of(helper));
  take_refusals(Mode::on);
  if (const int error = install(*program); error != 0) return failure("seccomp", std::strerror(error));
  if (host.landlock_version == 0) return failure("no Landlock", host.no_landlock);
  return {};
}

void confine_reader() {
  settle_stdout();
  if (const auto confined = confine_helper(Helper::reader); !confined)
    fmt::print(stderr, "pinfold: this command is not confined as it should be: {}\n", confined.error());
}

}  // namespace pinfold::sandbox
