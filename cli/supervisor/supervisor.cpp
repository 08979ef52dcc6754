#include "cli/supervisor/supervisor.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "cli/images/image_servers.hpp"
#include "cli/networks/networks.hpp"
#include "cli/options_of_each.hpp"
#include "cli/supervisor/claimed_name.hpp"
#include "cli/supervisor/ending_servers.hpp"
#include "cli/supervisor/life_end.hpp"
#include "cli/supervisor/member.hpp"
#include "cli/supervisor/monitor_process.hpp"
#include "cli/supervisor/neighbours.hpp"
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

/// Each event happens once.
void say(std::function<void()>& event) {
  if (event) std::exchange(event, nullptr)();
}

/// A machine, at its end.
struct Life {
  LifeEnd end;                              ///< Of the last guest, or of the monitor.
  std::optional<MonitorProcess> preserved;  ///< Its monitor, if that keeps its only guest for inspection.
};

class Supervisor {
 public:
  Supervisor(Members members, SupervisorEvents events)
      : members_(std::move(members)), events_(std::move(events)) {}

  /// Until the last life has ended and no guest is preserved any more; the exit code.
  int run();

 private:
  /// One machine after the other; the exit code.
  int live();
  /// One machine, until its monitor ends or preserves its only guest. Those that have ended are no members
  /// any more. An error is the exit code: none could be started.
  tl::expected<Life, int> live_once();
  tl::expected<MonitorProcess, int> start();
  /// Waits for a signal, or for what `monitor` writes if there is one, and does what follows; for at most
  /// `milliseconds`, if that is not -1. What the monitor wrote.
  std::vector<link::Message> wait(MonitorProcess* monitor, int milliseconds = -1);
  void on_signals(MonitorProcess* monitor);
  /// Of a machine with several guests.
  void on_message(const MonitorProcess& monitor, link::Message message);
  /// Says what became of helpers. False: the guests can't start.
  [[nodiscard]] bool look_at_helpers(const MonitorProcess& monitor);
  [[nodiscard]] int patience() const;
  /// Keeps a guest that has ended, under its name or, if another life is to begin, under another one. The
  /// exit code; nullopt: another life is to begin.
  std::optional<int> keep(Member& member, MonitorProcess monitor, GuestEnd end);
  /// The guest, which was alone when its machine was made, leaves it to those that have joined.
  [[nodiscard]] Life part_from(MonitorProcess monitor, GuestEnd end);
  [[nodiscard]] bool starts_beside(const Member& member, GuestEnd end) const;
  void note_monitor(pid_t monitor);
  int complain_of(const Member& member, int code, const std::string& what) const;
  /// The exit code is the worst of all guests': the largest.
  int worst(int code) { return worst_ = std::max(worst_, code); }

  Members members_;          ///< Those that have not ended.
  SupervisorEvents events_;  ///< Those that were called are empty.
  SupervisorSignals signals_;
  TerminalModes terminal_;
  PreservedGuests preserved_;
  EndingServers ending_;
  RestartRule rule_;
  int worst_ = exit_powered_off;
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
    say(events_.ending);
  }
}

int Supervisor::complain_of(const Member& member, int code, const std::string& what) const {
  return complain(code, (member.options.console.named ? member.options.guest.name + ": " : "") + what);
}

void Supervisor::note_monitor(pid_t monitor) {
  for (const auto& member : members_) {
    if (!member->name) continue;
    member->name->note_shared(members_.size() > 1);
    member->name->note_monitor(monitor);
  }
}

std::vector<link::Message> Supervisor::wait(MonitorProcess* monitor, int milliseconds) {
  std::array<pollfd, 2> fds{
      {{signals_.fd(), POLLIN, 0}, {monitor == nullptr ? -1 : monitor->link(), POLLIN, 0}}};
  if (::poll(fds.data(), fds.size(), milliseconds) < 0 && errno != EINTR) {
    if (monitor != nullptr) monitor->kill();
    preserved_.kill();
  }
  std::vector<link::Message> messages;
  if (fds[1].revents != 0) messages = monitor->read_link();
  on_signals(monitor);
  preserved_.forget_ended();
  ending_.forget_ended();
  return messages;
}

tl::expected<MonitorProcess, int> Supervisor::start() {
  std::vector<GuestHandover> guests;
  for (const auto& member : members_) {
    if (auto started = member->start_helpers(); !started)
      return tl::unexpected(complain_of(*member, exit_bad_image, started.error()));
    guests.push_back({member->of_life, member->name ? member->name->listeners() : SocketNumbers{-1, -1, -1},
                      member->debugger ? member->debugger->socket().get() : -1,
                      member->networks->descriptors(), member->images->sockets()});
  }
  auto monitor = MonitorProcess::start(guests, signals_.mask_before());
  if (!monitor) return tl::unexpected(complain(exit_monitor_failed, monitor.error()));
  for (const auto& member : members_) {
    member->networks->drop_descriptors();
    member->images->drop_sockets();
  }
  note_monitor(monitor->pid());
  return std::move(*monitor);
}

int Supervisor::patience() const {
  int shortest = ending_.patience();
  for (const auto& member : members_) {
    const int its = member->helpers ? member->helpers->patience() : -1;
    if (its >= 0) shortest = shortest < 0 ? its : std::min(shortest, its);
  }
  return shortest;
}

bool Supervisor::look_at_helpers(const MonitorProcess& monitor) {
  bool failed = false;
  for (const auto& member : members_) {
    if (!member->helpers) continue;
    for (const std::string& line : member->helpers->lines(monitor.guests_run())) {
      complain_of(*member, 0, line);
      failed = failed || !monitor.guests_run();
    }
  }
  return !failed;
}

void Supervisor::on_message(const MonitorProcess& monitor, link::Message message) {
  if (message.guest >= members_.size() || members_[message.guest]->gone) return;
  Member& member = *members_[message.guest];
  if (message.word == link::has_company) {
    for (const auto& each : members_)
      if (each->name && !each->gone) each->name->note_shared(true), each->name->note_monitor(monitor.pid());
  } else if (message.word == link::started_again) {
    rule_ = RestartRule();
    if (member.name) member.name->note_next_life();
  } else if (const auto end = link::preserved_end(message.word)) {
    if (member.preserved) return;
    member.preserved = true;
    member.end_helpers(ending_, true);
    worst(code_of(*end));
    if (!member.name) return;
    member.name->note_preserved(monitor.pid());
    complain_of(member, 0,
                fmt::format("the guest is preserved; `pinfold destroy {}` ends it", member.name->text()));
  } else if (const auto code = link::end_code(message.word)) {
    worst(*code);
    member.gone = true;
    // Whoever takes the name may want the images, too.
    member.end_helpers(ending_, false);
  }
}

tl::expected<Life, int> Supervisor::live_once() {
  rule_ = RestartRule();
  const bool alone = members_.size() == 1;
  auto monitor = start();
  if (!monitor) return tl::unexpected(monitor.error());
  bool helper_failed = false;  // before the guests ran
  for (;;) {
    const auto messages = wait(&*monitor, patience());
    if (monitor->guests_run()) say(events_.running);
    for (const link::Message message : messages) {
      if (const auto leaves = link::leaving_end(message.word); alone && leaves)
        return part_from(std::move(*monitor), *leaves);
      if (!alone || !link::preserved_end(message.word)) {
        on_message(*monitor, message);
      } else if (const auto end = link::preserved_end(message.word)) {
        monitor->stop_reading();
        members_[0]->end_helpers(ending_, true);
        return Life{{end, code_of(*end), 0, {}}, std::move(*monitor)};
      }
    }
    // Helpers end with the monitor, which is no trouble.
    if (const auto status = monitor->ended()) {
      // What it wrote last.
      for (const link::Message message : monitor->read_link())
        if (!alone || link::end_code(message.word)) on_message(*monitor, message);
      terminal_.restore();
      note_monitor(0);
      std::erase_if(members_, [](const auto& member) { return member->gone; });
      for (const auto& member : members_) member->end_helpers(ending_, true);
      // The next life needs the images.
      ending_.wait_for_all();
      if (helper_failed) return tl::unexpected(int{exit_bad_image});
      return Life{life_end(*status), std::nullopt};
    }
    if (!look_at_helpers(*monitor) && !std::exchange(helper_failed, true)) monitor->kill();
  }
}

Life Supervisor::part_from(MonitorProcess monitor, GuestEnd end) {
  monitor.stop_reading();
  members_[0]->end_helpers(ending_, true);
  // The next life needs the images.
  ending_.wait_for_all();
  preserved_.add(std::move(monitor), std::nullopt);
  return Life{{end, code_of(end), 0, {}}, std::nullopt};
}

bool Supervisor::starts_beside(const Member& member, GuestEnd end) const {
  if (leaving_ || action_for(member.options.guest, end) != EndAction::rename_restart) return false;
  auto objection = rule_.objection_to_restart(end);
  if (!objection && preserved_.size() + 1 >= PreservedGuests::most)
    objection =
        fmt::format("the guest is not started again: {} of its lives are preserved", PreservedGuests::most);
  if (objection) complain(0, *objection);
  return !objection;
}

std::optional<int> Supervisor::keep(Member& member, MonitorProcess monitor, GuestEnd end) {
  const EndAction action = action_for(member.options.guest, end);
  if (action != EndAction::preserve && action != EndAction::rename_restart) {
    monitor.kill();
    return complain(exit_monitor_failed, "the guest's monitor keeps a guest that is not to be preserved");
  }
  // It has no eye for the user's wish between the guest's end and now.
  if (leaving_) monitor.ask_to_leave();
  bool another = starts_beside(member, end);
  std::optional<ClaimedName> its_name;
  if (another && member.name) {
    if (auto aside = member.name->set_aside()) {
      its_name.emplace(std::move(*aside));
    } else {
      another = false;
      complain(0, "the guest is not started again: " + aside.error());
    }
  }
  if (!another && member.name) {
    its_name.emplace(std::move(*member.name));
    member.name.reset();
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
    auto life = live_once();
    if (!life) return worst(life.error());
    const LifeEnd& end = life->end;
    if (life->preserved) {
      if (const auto code = keep(*members_[0], std::move(*life->preserved), *end.guest)) return worst(*code);
      continue;
    }
    if (hurrying_ != 0) return worst(end.code);
    // Before the guests ran, only a signal could end the monitor.
    if (leaving_ && is_request_to_end(end.signal)) return worst(exit_powered_off);
    if (!end.complaint.empty()) return complain(worst(end.code), end.complaint);
    // Of the last guest alone: the others have ended before.
    if (!end.guest || leaving_ || members_.size() != 1 || members_[0]->preserved) return worst(end.code);
    if (action_for(members_[0]->options.guest, *end.guest) != EndAction::restart) return worst(end.code);
    if (const auto objection = rule_.objection_to_restart(*end.guest))
      return complain_of(*members_[0], worst(end.code), *objection);
  }
}

int Supervisor::run() {
  const int code = live();
  say(events_.ending);
  members_.clear();
  while (preserved_.size() != 0) (void)wait(nullptr);
  if (hurrying_ != 0) end_by(hurrying_);
  return code;
}

}  // namespace

int supervise(Members members, SupervisorEvents events) {
  return Supervisor(std::move(members), std::move(events)).run();
}

int supervise(const MachineOptions& given, SupervisorEvents events) {
  MachineOptions guests = given;
  const auto names = names_of(guests);
  for (std::size_t n = 0; n < guests.size(); ++n) {
    RunOptions& options = guests[n];
    // Completed once: the guest keeps its name and its UUID when it restarts.
    options.guest.name = names[n];
    auto config = completed(std::move(options.guest));
    if (!config) return complain(exit_bad_image, in_terms_of_flags(config.error()));
    options.guest = std::move(*config);
    options.console.named = guests.size() > 1;
    name_files(options);
  }
  if (const auto objection = objection_to_neighbours(guests)) return complain(exit_bad_image, *objection);
  Members members;
  for (std::size_t n = 0; n < guests.size(); ++n) {
    // Without a socket the guest runs all the same, unless the user gave it a name to be found by.
    auto name = ClaimedName::claim(guests[n].guest.name);
    if (!name && !given[n].guest.name.empty())
      return complain(exit_bad_image, (guests.size() == 1 ? "--name: " : "") + name.error());
    if (!name) complain(0, "no control socket: " + name.error());
    auto& member = members.emplace_back(std::make_unique<Member>(Member{.options = guests[n]}));
    if (name) member->name.emplace(std::move(*name));
    const std::string& place = guests[n].watch.gdb;
    if (place.empty()) continue;
    auto listener = gdb::Listener::open(place);
    if (!listener) return complain(exit_bad_image, listener.error());
    member->debugger.emplace(std::move(*listener));
  }
  if (members[0]->name && events.named) events.named();
  return supervise(std::move(members), std::move(events));
}

}  // namespace pinfold::cli
