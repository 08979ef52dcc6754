#include "cli/supervisor/life_end.hpp"

#include <fmt/format.h>
#include <sys/wait.h>

#include <csignal>
#include <cstring>

namespace pinfold::cli {
namespace {

/// Above all exit codes.
constexpr int first_status = 64;

LifeEnd failed(int signal, std::string complaint) {
  return {std::nullopt, exit_monitor_failed, signal, std::move(complaint)};
}

}  // namespace

int status_of(GuestEnd end) { return first_status + static_cast<int>(end); }

ExitCode code_of(GuestEnd end) {
  return end == GuestEnd::poweroff || end == GuestEnd::reboot ? exit_powered_off : exit_crashed;
}

LifeEnd life_end(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    if (signal == SIGSYS)
      return failed(
          signal, "the guest's monitor was ended, and the guest with it: its sandbox refused a system call");
    return failed(
        signal, fmt::format("the guest's monitor was ended by signal {} ({}), and the guest with it", signal,
                            ::strsignal(signal)));
  }
  const int status = WEXITSTATUS(wait_status);
  for (const auto end : {GuestEnd::poweroff, GuestEnd::reboot, GuestEnd::crash, GuestEnd::watchdog}) {
    if (status == status_of(end)) return {end, code_of(end), 0, {}};
  }
  for (const auto code : {exit_powered_off, exit_usage, exit_bad_image, exit_no_usable_kvm, exit_crashed,
                          exit_isolation_fault, exit_monitor_failed})
    if (status == code) return {std::nullopt, code, 0, {}};
  return failed(0,
                fmt::format("the guest's monitor ended with status {}, which monitors do not have", status));
}

EndAction action_for(const GuestConfig& config, GuestEnd end) {
  switch (end) {
    case GuestEnd::poweroff: return config.on_poweroff;
    case GuestEnd::reboot: return config.on_reboot;
    case GuestEnd::crash: return config.on_crash;
    case GuestEnd::watchdog: break;
  }
  return config.on_watchdog;
}

}  // namespace pinfold::cli
