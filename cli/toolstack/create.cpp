#include "cli/toolstack/create.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

#include "cli/console/client.hpp"
#include "cli/control/guests.hpp"
#include "cli/control/protocol.hpp"
#include "cli/control/runtime_dir.hpp"
#include "cli/exit_codes.hpp"
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
[[noreturn]] void become_keeper(Pipe& messages, Pipe& running, const std::filesystem::path& log) {
  messages.in = vmm::Fd();
  running.in = vmm::Fd();
  leave_the_terminal(-1);
  keep_log(messages.out, log);
  ::_exit(0);
}

[[noreturn]] void become_supervisor(Pipe& messages, Pipe& running, const RunOptions& options) {
  messages.out = vmm::Fd();
  leave_the_terminal(messages.in.get());
  messages.in = vmm::Fd();
  const int code = supervise(options, [&running] {
    const char runs = 0;
    (void)!::write(running.in.get(), &runs, 1);
    running = Pipe();
  });
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
  Pipe messages, running;
  if (!messages.in.open() || !running.in.open()) return complain("the host gives no pipe");
  std::fflush(stdout);
  const pid_t keeper = ::fork();
  if (keeper == 0) become_keeper(messages, running, log);
  const pid_t supervisor = keeper < 0 ? -1 : ::fork();
  if (supervisor == 0) become_supervisor(messages, running, options);
  messages = Pipe();
  running.in = vmm::Fd();
  if (supervisor < 0) return complain("the host gives no process");
  char runs = 0;
  ssize_t n = 0;
  while ((n = ::read(running.out.get(), &runs, 1)) < 0 && errno == EINTR) {
  }
  if (n == 1) {
    if (how.json) fmt::print("{}\n", Json{{"name", options.guest.name}, {"log", log.string()}}.dump(2));
    return how.attach ? attach_console(options.guest.name) : static_cast<int>(exit_powered_off);
  }
  const int code = exit_code_of(supervisor);
  (void)exit_code_of(keeper);
  std::ifstream file(log);
  std::ostringstream said;
  said << file.rdbuf();
  std::cerr << visible_lines(said.view());
  return code == exit_powered_off ? static_cast<int>(exit_bad_image) : code;
}

}  // namespace pinfold::cli
