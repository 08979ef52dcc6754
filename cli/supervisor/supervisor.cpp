#include "cli/supervisor/supervisor.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>

#include "cli/control/runtime_dir.hpp"
#include "cli/control/socket.hpp"
#include "cli/supervisor/life_end.hpp"
#include "cli/supervisor/monitor_process.hpp"
#include "cli/supervisor/restart_rule.hpp"
#include "cli/supervisor/signals.hpp"
#include "cli/supervisor/terminal_modes.hpp"

namespace pinfold::cli {
namespace {

int complain(int code, const std::string& what) {
  fmt::print(stderr, "pinfold: {}\n", what);
  return code;
}

tl::expected<ControlName, std::string> claim(const std::string& name) {
  const auto directory = runtime_directory();
  if (!directory) return tl::unexpected(directory.error());
  auto claimed = ControlName::claim(*directory, name);
  if (!claimed) return tl::unexpected(claimed.error().message);
  return std::move(*claimed);
}

bool is_request_to_end(int signal) { return signal == SIGTERM || signal == SIGINT || signal == SIGHUP; }

class Supervisor {
 public:
  Supervisor(const RunOptions& options, const vmm::Fd& listener) : options_(options), listener_(listener) {}

  /// The exit code.
  int run();

 private:
  /// One life. An error is the exit code: none could be started.
  tl::expected<LifeEnd, int> live();
  void on_signals(MonitorProcess& monitor);

  const RunOptions& options_;
  const vmm::Fd& listener_;
  SupervisorSignals signals_;
  TerminalModes terminal_;
  bool leaving_ = false;  ///< The user asked for the end.
  int hurrying_ = 0;      ///< The signal by which the user asked for it again; 0: none.
};

void Supervisor::on_signals(MonitorProcess& monitor) {
  while (const int signal = signals_.next()) {
    if (signal == SIGCHLD) continue;
    if (leaving_) {
      hurrying_ = signal;
      monitor.kill();
    } else {
      monitor.ask_to_leave();
    }
    leaving_ = true;
  }
}

tl::expected<LifeEnd, int> Supervisor::live() {
  auto monitor = MonitorProcess::start(options_, listener_, signals_.mask_before());
  if (!monitor) return tl::unexpected(complain(exit_monitor_failed, monitor.error()));
  for (;;) {
    std::array<pollfd, 2> fds{{{signals_.fd(), POLLIN, 0}, {monitor->link(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) monitor->kill();
    if (fds[1].revents != 0) monitor->read_link();
    on_signals(*monitor);
    if (const auto status = monitor->ended()) {
      terminal_.restore();
      return life_end(*status);
    }
  }
}

int Supervisor::run() {
  for (;;) {
    RestartRule rule;
    const auto end = live();
    if (!end) return end.error();
    if (hurrying_ != 0) end_by(hurrying_);
    // Before the guest ran, only a signal could end the monitor.
    if (leaving_ && is_request_to_end(end->signal)) return exit_powered_off;
    if (!end->complaint.empty()) return complain(end->code, end->complaint);
    if (!end->guest || leaving_) return end->code;
    if (action_for(options_.guest, *end->guest) != EndAction::restart) return end->code;
    if (const auto objection = rule.objection_to_restart(*end->guest)) return complain(end->code, *objection);
  }
}

}  // namespace

int supervise(const RunOptions& given) {
  RunOptions options = given;
  // Completed once: the guest keeps its name and its UUID when it restarts.
  auto config = completed(std::move(options.guest));
  if (!config) return complain(exit_bad_image, in_terms_of_flags(config.error()));
  options.guest = std::move(*config);
  // Without a socket the guest runs all the same, unless the user gave it a name to be found by.
  auto name = claim(options.guest.name);
  if (!name && !given.guest.name.empty()) return complain(exit_bad_image, "--name: " + name.error());
  if (!name) complain(0, "no control socket: " + name.error());
  const vmm::Fd none;
  return Supervisor(options, name ? name->listener() : none).run();
}

}  // namespace pinfold::cli
