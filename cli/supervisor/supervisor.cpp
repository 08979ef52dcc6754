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

#include "cli/gdb/listener.hpp"
#include "cli/images/image_servers.hpp"
#include "cli/networks/networks.hpp"
#include "cli/supervisor/claimed_name.hpp"
#include "cli/supervisor/life_end.hpp"
#include "cli/supervisor/monitor_process.hpp"
#include "cli/supervisor/preserved_guests.hpp"
#include "cli/supervisor/restart_rule.hpp"
#include "cli/supervisor/signals.hpp"
#include "cli/supervisor/terminal_modes.hpp"

namespace pinfold::cli {
namespace {

int complain(int code, const std::string& what) {
  fmt::print(stderr, "pinfold: {}\n", what);
  return code;
}

bool is_request_to_end(int signal) { return signal == SIGTERM || signal == SIGINT || signal == SIGHUP; }

/// A life of the guest, at its end.
struct Life {
  LifeEnd end;
  std::optional<MonitorProcess> preserved;  ///< Its monitor, if that keeps the guest for inspection.
};

class Supervisor {
 public:
  /// `debugger` is a listening socket for GDB, or -1.
  Supervisor(const RunOptions& options, std::optional<ClaimedName> name, int debugger,
             std::function<void()> on_running)
      : options_(options), name_(std::move(name)), debugger_(debugger), on_running_(std::move(on_running)) {}

  /// Until the last life has ended and no guest is preserved any more; the exit code.
  int run();

 private:
  /// One life after the other; the exit code.
  int live();
  /// An error is the exit code: none could be started.
  tl::expected<Life, int> live_once();
  /// Waits for a signal, or for what `monitor` writes if there is one, and does what follows; for at most
  /// `milliseconds`, if that is not -1.
  void wait(MonitorProcess* monitor, int milliseconds = -1);
  void on_signals(MonitorProcess* monitor);
  /// Keeps a guest that has ended, under its name or, if another life is to begin, under another one. The
  /// exit code; nullopt: another life is to begin.
  std::optional<int> keep(MonitorProcess monitor, GuestEnd end, const RestartRule& rule);
  [[nodiscard]] bool starts_beside(GuestEnd end, const RestartRule& rule) const;
  void note_monitor(pid_t monitor);

  const RunOptions& options_;
  std::optional<ClaimedName> name_;  ///< None: commands don't find the guest.
  const int debugger_;
  std::function<void()> on_running_;  ///< Empty once it was called.
  SupervisorSignals signals_;
  TerminalModes terminal_;
  PreservedGuests preserved_;
  bool leaving_ = false;  ///< The user asked for the end.
  int hurrying_ = 0;      ///< The signal by which the user asked for it again; 0: none.
};

void Supervisor::on_signals(MonitorProcess* monitor) {
  while (const int signal = signals_.next()) {
    if (signal == SIGCHLD) continue;
    if (leaving_) {
      hurrying_ = signal;
      if (monitor != nullptr) monitor->kill();
      preserved_.kill();
    } else {
      if (monitor != nullptr) monitor->ask_to_leave();
      preserved_.ask_to_leave();
    }
    leaving_ = true;
  }
}

void Supervisor::note_monitor(pid_t monitor) {
  if (name_) name_->note_monitor(monitor);
}

void Supervisor::wait(MonitorProcess* monitor, int milliseconds) {
  std::array<pollfd, 2> fds{
      {{signals_.fd(), POLLIN, 0}, {monitor == nullptr ? -1 : monitor->link(), POLLIN, 0}}};
  if (::poll(fds.data(), fds.size(), milliseconds) < 0 && errno != EINTR) {
    if (monitor != nullptr) monitor->kill();
    preserved_.kill();
  }
  if (fds[1].revents != 0) monitor->read_link();
  on_signals(monitor);
  preserved_.forget_ended();
}

tl::expected<Life, int> Supervisor::live_once() {
  const SocketNumbers sockets = name_ ? name_->listeners() : SocketNumbers{-1, -1, -1};
  auto networks =
      Networks::open(options_.guest, name_ ? name_->id() : static_cast<std::uint32_t>(::getpid()));
  if (!networks) return tl::unexpected(complain(exit_bad_image, networks.error()));
  auto images = ImageServers::open(options_);
  if (!images) return tl::unexpected(complain(exit_bad_image, images.error()));
  HelperWatch helpers([&] {
    auto troubles = networks->troubles();
    for (HelperTrouble& trouble : images->troubles()) troubles.push_back(std::move(trouble));
    return troubles;
  });
  bool helper_failed = false;  // before the guest ran
  auto monitor = MonitorProcess::start(
      options_, {sockets, debugger_, networks->descriptors(), images->sockets()}, signals_.mask_before());
  if (!monitor) return tl::unexpected(complain(exit_monitor_failed, monitor.error()));
  networks->drop_descriptors();
  images->drop_sockets();
  note_monitor(monitor->pid());
  for (;;) {
    wait(&*monitor, helpers.patience());
    if (monitor->guest_runs() && on_running_) std::exchange(on_running_, nullptr)();
    // Helpers end with the monitor, which is no trouble.
    if (const auto status = monitor->ended()) {
      terminal_.restore();
      note_monitor(0);
      if (helper_failed) return tl::unexpected(int{exit_bad_image});
      return Life{life_end(*status), std::nullopt};
    }
    for (const std::string& line : helpers.lines(monitor->guest_runs())) {
      complain(0, line);
      if (monitor->guest_runs() || helper_failed) continue;
      helper_failed = true;
      monitor->kill();
    }
    if (const auto end = monitor->preserved()) return Life{{end, code_of(*end), 0, {}}, std::move(*monitor)};
  }
}

bool Supervisor::starts_beside(GuestEnd end, const RestartRule& rule) const {
  if (leaving_ || action_for(options_.guest, end) != EndAction::rename_restart) return false;
  auto objection = rule.objection_to_restart(end);
  if (!objection && preserved_.size() + 1 >= PreservedGuests::most)
    objection =
        fmt::format("the guest is not started again: {} of its lives are preserved", PreservedGuests::most);
  if (objection) complain(0, *objection);
  return !objection;
}

std::optional<int> Supervisor::keep(MonitorProcess monitor, GuestEnd end, const RestartRule& rule) {
  const EndAction action = action_for(options_.guest, end);
  if (action != EndAction::preserve && action != EndAction::rename_restart) {
    monitor.kill();
    return complain(exit_monitor_failed, "the guest's monitor keeps a guest that is not to be preserved");
  }
  // It has no eye for the user's wish between the guest's end and now.
  if (leaving_) monitor.ask_to_leave();
  bool another = starts_beside(end, rule);
  std::optional<ClaimedName> its_name;
  if (another && name_) {
    if (auto aside = name_->set_aside()) {
      its_name.emplace(std::move(*aside));
    } else {
      another = false;
      complain(0, "the guest is not started again: " + aside.error());
    }
  }
  if (!another && name_) {
    its_name.emplace(std::move(*name_));
    name_.reset();
  }
  if (its_name) {
    its_name->note_preserved(monitor.pid());
    complain(0, fmt::format("the guest is preserved; `pinfold destroy {}` ends it", its_name->text()));
  }
  if (another) monitor.say_renamed();
  preserved_.add(std::move(monitor), std::move(its_name));
  return another ? std::nullopt : std::optional<int>(code_of(end));
}

int Supervisor::live() {
  for (;;) {
    RestartRule rule;
    auto life = live_once();
    if (!life) return life.error();
    const LifeEnd& end = life->end;
    if (life->preserved) {
      if (const auto code = keep(std::move(*life->preserved), *end.guest, rule)) return *code;
      continue;
    }
    if (hurrying_ != 0) return end.code;
    // Before the guest ran, only a signal could end the monitor.
    if (leaving_ && is_request_to_end(end.signal)) return exit_powered_off;
    if (!end.complaint.empty()) return complain(end.code, end.complaint);
    if (!end.guest || leaving_) return end.code;
    if (action_for(options_.guest, *end.guest) != EndAction::restart) return end.code;
    if (const auto objection = rule.objection_to_restart(*end.guest)) return complain(end.code, *objection);
  }
}

int Supervisor::run() {
  const int code = live();
  name_.reset();
  while (preserved_.size() != 0) wait(nullptr);
  if (hurrying_ != 0) end_by(hurrying_);
  return code;
}

}  // namespace

int supervise(const RunOptions& given, SupervisorEvents events) {
  RunOptions options = given;
  // Completed once: the guest keeps its name and its UUID when it restarts.
  auto config = completed(std::move(options.guest));
  if (!config) return complain(exit_bad_image, in_terms_of_flags(config.error()));
  options.guest = std::move(*config);
  // Without a socket the guest runs all the same, unless the user gave it a name to be found by.
  auto name = ClaimedName::claim(options.guest.name);
  if (!name && !given.guest.name.empty()) return complain(exit_bad_image, "--name: " + name.error());
  if (!name) complain(0, "no control socket: " + name.error());
  std::optional<gdb::Listener> debugger;
  if (!options.watch.gdb.empty()) {
    auto place = gdb::Listener::open(options.watch.gdb);
    if (!place) return complain(exit_bad_image, place.error());
    debugger.emplace(std::move(*place));
  }
  std::optional<ClaimedName> claimed;
  if (name) claimed.emplace(std::move(*name));
  if (claimed && events.named) events.named();
  return Supervisor(options, std::move(claimed), debugger ? debugger->socket().get() : -1,
                    std::move(events.running))
      .run();
}

}  // namespace pinfold::cli
