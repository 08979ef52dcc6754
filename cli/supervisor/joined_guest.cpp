#include "cli/supervisor/joined_guest.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "cli/control/client.hpp"
#include "cli/control/guests.hpp"
#include "cli/control/runtime_dir.hpp"
#include "cli/join/pack.hpp"
#include "cli/networks/helper_watch.hpp"
#include "cli/options_of_each.hpp"
#include "cli/supervisor/life_end.hpp"
#include "cli/supervisor/link.hpp"
#include "cli/supervisor/restart_rule.hpp"
#include "cli/supervisor/signals.hpp"

namespace pinfold::cli {
namespace {

int complain(int code, const std::string& what) {
  fmt::print(stderr, "pinfold: {}\n", what);
  return code;
}

/// In a process of its own, which has the supervisor's descriptors.
int send_and_ask(const RunningGuest& with, const vmm::Fd& ours, const vmm::Fd& theirs, const Member& member) {
  constexpr time_t patience_s = 120;
  const auto sockets = member.name ? member.name->listeners() : SocketNumbers{-1, -1, -1};
  const auto sent =
      join::send_guest(ours, member.of_life, sockets, member.debugger ? member.debugger->socket().get() : -1,
                       member.networks->descriptors());
  if (!sent) return complain(sent.error().code, sent.error().message);
  const std::array<int, 1> passed{theirs.get()};
  const auto joined = ask_guest_named(with, "join", Json::object(), patience_s, passed);
  if (!joined)
    return complain(exit_bad_image,
                    fmt::format("the machine of {} does not take the guest: {}", with.name, joined.error()));
  return exit_powered_off;
}

/// Its supervisor's view of a guest in another's machine.
class JoinedGuest {
 public:
  JoinedGuest(std::unique_ptr<Member> member, RunningGuest with)
      : member_(std::move(member)), with_(std::move(with)) {}

  /// The exit code of a guest that can't join; 0: it runs.
  [[nodiscard]] int join();
  /// Until it has ended for good, or leaves the machine.
  int supervise();

 private:
  void on_signals();
  /// The exit code, if that is the end.
  [[nodiscard]] std::optional<int> on_word(std::uint8_t word);
  [[nodiscard]] int leave_machine(GuestEnd end);

  std::unique_ptr<Member> member_;
  const RunningGuest with_;
  SupervisorSignals signals_;
  vmm::Fd link_;
  RestartRule rule_;
  EndingServers ending_;
  std::optional<int> code_;  ///< Of a guest that is preserved.
  bool leaving_ = false;
};

int JoinedGuest::join() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return complain(exit_monitor_failed, "the host gives no socket");
  link_ = vmm::Fd(ends[0]);
  const vmm::Fd theirs(ends[1]);
  if (auto started = member_->start_helpers(); !started) return complain(exit_bad_image, started.error());
  const pid_t parent = ::getpid();
  const pid_t sender = ::fork();
  if (sender == 0) {
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) ::_exit(exit_monitor_failed);
    ::pthread_sigmask(SIG_SETMASK, &signals_.mask_before(), nullptr);
    const int code = send_and_ask(with_, link_, theirs, *member_);
    std::fflush(stderr);
    ::_exit(code);
  }
  if (sender < 0) return complain(exit_monitor_failed, "the host gives no process");
  int status = 0;
  while (::waitpid(sender, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status)) return complain(exit_monitor_failed, "the process that sends the guest was killed");
  if (WEXITSTATUS(status) != 0) return WEXITSTATUS(status);
  member_->networks->drop_descriptors();
  if (member_->name) {
    member_->name->note_shared(true);
    member_->name->note_monitor(with_.note.monitor);
  }
  return exit_powered_off;
}

void JoinedGuest::on_signals() {
  while (const int signal = signals_.next()) {
    if (signal == SIGCHLD) continue;
    // The machine is another's: nothing more can be done to it than to ask, and then to hang up.
    if (leaving_) link_ = vmm::Fd();
    if (link_.open()) (void)::send(link_.get(), &link::leave, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    leaving_ = true;
  }
}

int JoinedGuest::leave_machine(GuestEnd end) {
  member_->end_helpers(ending_, true);
  ending_.wait_for_all();
  if (leaving_) return code_of(end);
  if (const auto objection = rule_.objection_to_restart(end)) return complain(code_of(end), *objection);
  link_ = vmm::Fd();
  member_->options.console.named = false;
  Members members;
  members.push_back(std::move(member_));
  return cli::supervise(std::move(members), {});
}

std::optional<int> JoinedGuest::on_word(std::uint8_t word) {
  if (word == link::started_again) {
    rule_ = RestartRule();
    if (member_->name) member_->name->note_next_life();
  } else if (const auto end = link::leaving_end(word)) {
    return leave_machine(*end);
  } else if (const auto preserved = link::preserved_end(word)) {
    code_ = code_of(*preserved);
    member_->end_helpers(ending_, true);
    if (!member_->name) return std::nullopt;
    member_->name->note_preserved(with_.note.monitor);
    complain(0, fmt::format("the guest is preserved; `pinfold destroy {}` ends it", member_->name->text()));
  } else if (const auto code = link::end_code(word)) {
    return code_.value_or(*code);
  }
  return std::nullopt;
}

int JoinedGuest::supervise() {
  for (;;) {
    const int patience = member_->helpers ? member_->helpers->patience() : -1;
    std::array<pollfd, 2> fds{{{signals_.fd(), POLLIN, 0}, {link_.get(), POLLIN, 0}}};
    (void)::poll(fds.data(), fds.size(), patience);
    on_signals();
    if (!link_.open()) return exit_powered_off;
    if (member_->helpers)
      for (const std::string& line : member_->helpers->lines(true)) complain(0, line);
    if (fds[1].revents == 0) continue;
    // A monitor that a guest has taken over may send anything.
    std::array<std::uint8_t, 2> message{};
    const ssize_t n = ::recv(link_.get(), message.data(), message.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n != static_cast<ssize_t>(message.size()))
      return complain(
          exit_monitor_failed,
          fmt::format("the monitor of the machine of {} ended, and the guest with it", with_.name));
    if (const auto code = on_word(message[1])) return *code;
  }
}

}  // namespace

int supervise_joined(const RunOptions& given, const std::string& with, SupervisorEvents events) {
  auto config = completed(given.guest);
  if (!config) return complain(exit_bad_image, in_terms_of_flags(config.error()));
  RunOptions options = given;
  options.guest = std::move(*config);
  options.console.named = true;
  name_files(options);
  if (const auto objection = join::objection_to(options); !objection.empty())
    return complain(exit_bad_image, objection);
  const auto directory = runtime_directory();
  if (!directory) return complain(exit_bad_image, directory.error());
  auto found = find_guest(*directory, with);
  if (!found) return complain(exit_bad_image, "--with: " + found.error());
  auto name = ClaimedName::claim(options.guest.name);
  if (!name) return complain(exit_bad_image, name.error());
  auto member = std::make_unique<Member>(Member{.options = options});
  member->name.emplace(std::move(*name));
  if (!options.watch.gdb.empty()) {
    auto listener = gdb::Listener::open(options.watch.gdb);
    if (!listener) return complain(exit_bad_image, listener.error());
    member->debugger.emplace(std::move(*listener));
  }
  if (events.named) events.named();
  JoinedGuest guest(std::move(member), std::move(*found));
  if (const int code = guest.join(); code != exit_powered_off) return code;
  if (events.running) events.running();
  return guest.supervise();
}

}  // namespace pinfold::cli
