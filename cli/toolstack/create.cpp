#include "cli/toolstack/create.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <span>
#include <sstream>
#include <string_view>

#include "cli/console/client.hpp"
#include "cli/control/guests.hpp"
#include "cli/control/protocol.hpp"
#include "cli/control/runtime_dir.hpp"
#include "cli/control/socket.hpp"
#include "cli/exit_codes.hpp"
#include "cli/supervisor/joined_guest.hpp"
#include "cli/supervisor/supervisor.hpp"
#include "cli/toolstack/message_log.hpp"
#include "cli/visible_text.hpp"

namespace pinfold::cli {
namespace {

struct Pipe {
  vmm::Fd out, in;
  Pipe() {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
    out = vmm::Fd(ends[0]);
    in = vmm::Fd(ends[1]);
  }
};

/// Of a connection between this process and the supervisor.
struct Ends {
  vmm::Fd parents, childs;
  static Ends make() {
    std::array<int, 2> both{-1, -1};
    Ends ends;
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both.data()) != 0) return ends;
    ends.parents = vmm::Fd(both[0]);
    ends.childs = vmm::Fd(both[1]);
    return ends;
  }
};

int complain(const std::string& what) {
  fmt::print(stderr, "pinfold: {}\n", what);
  return exit_bad_image;
}

/// Ctrl-C and hang-ups of the user's terminal do not reach what runs in the background.
void leave_the_terminal(int messages) {
  ::setsid();
  const vmm::Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  ::dup2(nothing.get(), STDIN_FILENO);
  ::dup2(nothing.get(), STDOUT_FILENO);
  ::dup2(messages < 0 ? nothing.get() : messages, STDERR_FILENO);
}

int exit_code_of(pid_t process) {
  int status = 0;
  while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(exit_monitor_failed);
}

/// In the child: the log's keeper. It outlives the supervisor, whose last messages it takes.
[[noreturn]] void become_keeper(Pipe& messages, Ends& running, const std::filesystem::path& log) {
  messages.in = vmm::Fd();
  running = Ends();
  leave_the_terminal(-1);
  keep_log(messages.out, log);
  ::_exit(0);
}

/// In the child. The byte that says that the guest runs goes through `running`, and with it, if the user
/// wants to see the console, a connection to it. That is made before the guest runs: so nothing that the
/// guest prints is missed, however soon it ends.
[[noreturn]] void become_supervisor(Pipe& messages, Ends& running, const RunOptions& options,
                                    const CreateOptions& how) {
  messages.out = vmm::Fd();
  running.parents = vmm::Fd();
  leave_the_terminal(messages.in.get());
  messages.in = vmm::Fd();
  vmm::Fd console;
  const auto connect = [&] {
    if (const auto directory = runtime_directory(); how.attach && directory)
      if (auto socket = connect_to_guest(*directory, options.guest.name, GuestSocket::console))
        console = std::move(*socket);
  };
  const auto say_that_it_runs = [&] {
    const std::array<int, 1> connection{console.get()};
    (void)send_with(running.childs, std::string_view("", 1),
                    console.open() ? std::span<const int>(connection) : std::span<const int>{});
    running = Ends();
    console = vmm::Fd();
  };
  const SupervisorEvents events{connect, say_that_it_runs, {}};
  int code = exit_bad_image;
  if (const auto writer = MessageWriter::start(how.messages, {options.guest.name}); !writer)
    complain("--log-format: " + writer.error());
  else
    code = how.with.empty() ? supervise({options}, events) : supervise_joined(options, how.with, events);
  std::fflush(stderr);
  ::_exit(code);
}

}  // namespace

int create(const RunOptions& given, CreateOptions how) {
  RunOptions options = given;
  auto config = completed(options.guest);
  if (!config) return complain(in_terms_of_flags(config.error()));
  options.guest = std::move(*config);
  // Its supervisor would find out, too, but by then the log of the running guest would be an old one.
  if (const auto runtime = runtime_directory())
    for (const RunningGuest& guest : running_guests(*runtime))
      if (guest.name == options.guest.name)
        return complain(fmt::format("a guest named {} is running already", guest.name));
  const auto directory = log_directory();
  if (!directory) return complain(directory.error());
  const auto log = *directory / (options.guest.name + ".log");
  Pipe messages;
  Ends running = Ends::make();
  if (!messages.in.open() || !running.childs.open()) return complain("the host gives no pipe");
  std::fflush(stdout);
  const pid_t keeper = ::fork();
  if (keeper == 0) become_keeper(messages, running, log);
  const pid_t supervisor = keeper < 0 ? -1 : ::fork();
  if (supervisor == 0) become_supervisor(messages, running, options, how);
  messages = Pipe();
  running.childs = vmm::Fd();
  if (supervisor < 0) return complain("the host gives no process");
  std::array<char, 1> runs{};
  Descriptors console;
  std::ptrdiff_t n = 0;
  while ((n = receive(running.parents, runs, console)) < 0 && errno == EINTR) {
  }
  if (n == 1) {
    if (how.json) fmt::print("{}\n", Json{{"name", options.guest.name}, {"log", log.string()}}.dump(2));
    std::fflush(stdout);
    if (!how.attach) return exit_powered_off;
    const auto runtime = runtime_directory();
    if (console.empty() || !runtime) return attach_console(options.guest.name);
    return attach_console(*runtime, options.guest.name, std::move(console.front()));
  }
  const int code = exit_code_of(supervisor);
  (void)exit_code_of(keeper);
  std::ifstream file(log);
  std::ostringstream said;
  said << file.rdbuf();
  std::cerr << visible_lines(said.view());
  if (said.view().empty() && how.messages.format == MessageFormat::journal)
    complain("the guest does not run; `journalctl PINFOLD_GUEST=" + options.guest.name + "` says why");
  return code == exit_powered_off ? static_cast<int>(exit_bad_image) : code;
}

}  // namespace pinfold::cli
