#include "cli/supervisor/supervisor.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <optional>
#include <utility>

#include "cli/control/guests.hpp"
#include "cli/control/runtime_dir.hpp"
#include "cli/control/socket.hpp"
#include "cli/gdb/listener.hpp"
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

/// The guest's name, and what its lock file says.
struct ClaimedName {
  ControlName name;
  GuestNote note;
};

tl::expected<ClaimedName, std::string> claim(const std::string& name) {
  const auto directory = runtime_directory();
  if (!directory) return tl::unexpected(directory.error());
  auto claimed = ControlName::claim(*directory, name);
  if (!claimed) return tl::unexpected(claimed.error().message);
  return ClaimedName{std::move(*claimed), {take_guest_id(*directory), ::getpid(), 0}};
}

bool is_request_to_end(int signal) { return signal == SIGTERM || signal == SIGINT || signal == SIGHUP; }

class Supervisor {
 public:
  /// `name` outlives this; null: the guest has none. `debugger` is a listening socket for GDB, or -1.
  Supervisor(const RunOptions& options, ClaimedName* name, int debugger, std::function<void()> on_running)
      : options_(options), name_(name), debugger_(debugger), on_running_(std::move(on_running)) {}

  /// The exit code.
  int run();

 private:
  /// One life. An error is the exit code: none could be started.
  tl::expected<LifeEnd, int> live();
  void on_signals(MonitorProcess& monitor);
  void note_monitor(pid_t monitor) const;

  const RunOptions& options_;
  ClaimedName* const name_;
  const int debugger_;
  std::function<void()> on_running_;  ///< Empty once it was called.
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

void Supervisor::note_monitor(pid_t monitor) const {
  if (name_ == nullptr) return;
  name_->note.monitor = monitor;
  name_->name.note(name_->note.text());
}

tl::expected<LifeEnd, int> Supervisor::live() {
  const SocketNumbers sockets = name_ != nullptr ? name_->name.listeners() : SocketNumbers{-1, -1, -1};
  auto monitor = MonitorProcess::start(options_, sockets, debugger_, signals_.mask_before());
  if (!monitor) return tl::unexpected(complain(exit_monitor_failed, monitor.error()));
  note_monitor(monitor->pid());
  for (;;) {
    std::array<pollfd, 2> fds{{{signals_.fd(), POLLIN, 0}, {monitor->link(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) monitor->kill();
    if (fds[1].revents != 0) monitor->read_link();
    if (monitor->guest_runs() && on_running_) std::exchange(on_running_, nullptr)();
    on_signals(*monitor);
    if (const auto status = monitor->ended()) {
      terminal_.restore();
      note_monitor(0);
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

int supervise(const RunOptions& given, std::function<void()> on_running) {
  RunOptions options = given;
  // Completed once: the guest keeps its name and its UUID when it restarts.
  auto config = completed(std::move(options.guest));
  if (!config) return complain(exit_bad_image, in_terms_of_flags(config.error()));
  options.guest = std::move(*config);
  // Without a socket the guest runs all the same, unless the user gave it a name to be found by.
  auto name = claim(options.guest.name);
  if (!name && !given.guest.name.empty()) return complain(exit_bad_image, "--name: " + name.error());
  if (!name) complain(0, "no control socket: " + name.error());
  std::optional<gdb::Listener> debugger;
  if (!options.watch.gdb.empty()) {
    auto place = gdb::Listener::open(options.watch.gdb);
    if (!place) return complain(exit_bad_image, place.error());
    debugger.emplace(std::move(*place));
  }
  return Supervisor(options, name ? &*name : nullptr, debugger ? debugger->socket().get() : -1,
                    std::move(on_running))
      .run();
}

}  // namespace pinfold::cli
