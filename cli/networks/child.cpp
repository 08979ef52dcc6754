#include "cli/networks/child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace pinfold::cli {
namespace {

/// In the child. The error of execvp(3) goes to `failure`, which a program that starts closes.
[[noreturn]] void become(const ChildPlan& plan, std::vector<char*>& argv, pid_t parent, int output,
                         int failure) {
  // The parent may have died before the prctl, and then sends no signal.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) ::_exit(127);
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(null, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  for (const int fd : plan.kept) ::fcntl(fd, F_SETFD, 0);
  for (const auto& [name, value] : plan.environment) ::setenv(name.c_str(), value.c_str(), 1);
  ::execvp(argv[0], argv.data());
  const int error = errno;
  [[maybe_unused]] const auto written = ::write(failure, &error, sizeof error);
  ::_exit(127);
}

}  // namespace

tl::expected<Child, std::string> Child::start(const ChildPlan& plan) {
  std::vector<std::string> words = plan.words;
  const auto failed = [&](const char* what, int error) {
    return tl::unexpected(fmt::format("{}: {}: {}", words[0], what, std::strerror(error)));
  };
  vmm::Fd output(::memfd_create("pinfold-child", MFD_CLOEXEC));
  std::array<int, 2> pipe{-1, -1};
  if (!output.open() || ::pipe2(pipe.data(), O_CLOEXEC) != 0) return failed("can't be started", errno);
  const vmm::Fd failure(pipe[0]);
  vmm::Fd its_failure(pipe[1]);
  // Both of its outputs write where the other has left off.
  ::fcntl(output.get(), F_SETFL, O_APPEND);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become(plan, argv, parent, output.get(), its_failure.get());
  if (pid < 0) return failed("can't be started", errno);
  its_failure = vmm::Fd();
  Child child(pid, std::move(output));
  int error = 0;
  ssize_t n = 0;
  while ((n = ::read(failure.get(), &error, sizeof error)) < 0 && errno == EINTR) {
  }
  if (n == sizeof error) return failed("can't be executed", error);
  return child;
}

Child::~Child() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::optional<int> Child::ended() {
  int status = 0;
  if (pid_ < 0 || ::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = -1;
  return status;
}

std::optional<int> Child::wait(int milliseconds) {
  for (int n = 0;; ++n) {
    if (const auto status = ended()) return status;
    if (n >= milliseconds) return std::nullopt;
    const timespec millisecond{0, 1'000'000};
    ::nanosleep(&millisecond, nullptr);
  }
}

std::string Child::last_line() const {
  std::array<char, 4096> text{};
  const off_t size = ::lseek(output_.get(), 0, SEEK_END);
  const off_t from = size > static_cast<off_t>(text.size()) ? size - static_cast<off_t>(text.size()) : 0;
  const ssize_t n = ::pread(output_.get(), text.data(), text.size(), from);
  std::string_view all(text.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  while (!all.empty() && (all.back() == '\n' || all.back() == '\r')) all.remove_suffix(1);
  const auto line = all.rfind('\n');
  return std::string(line == std::string_view::npos ? all : all.substr(line + 1));
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("was killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  return fmt::format("ended with status {}", WEXITSTATUS(status));
}

std::string how_helper_ended(int status) {
  return how_it_ended(status) + (status == 0 ? ", as signal 15 (Terminated) ends it" : "");
}

}  // namespace pinfold::cli
