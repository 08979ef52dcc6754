#include "cli/config/xl_child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "cli/config/xl_library.hpp"

namespace pinfold::cli {
namespace {

constexpr std::chrono::seconds patience{10};
constexpr int could_not_be_confined = 126;

/// Before the answer: it is an answer (then the library could not be used: a text instead).
constexpr char answer_follows = 'a', text_follows = 't';

[[noreturn]] void be_the_child(int to, const std::function<std::string()>& work,
                               const std::function<bool(int)>& confine) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const rlimit no_core{0, 0},
      seconds{static_cast<rlim_t>(patience.count()), static_cast<rlim_t>(patience.count())};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::setrlimit(RLIMIT_CPU, &seconds);
  // The library's own words about its end ("fatal flex scanner internal error") would confuse the user.
  if (const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC); nowhere >= 0) {
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
  }
  if (confine && !confine(to)) ::_exit(could_not_be_confined);
  const std::string answer = work();
  for (std::string_view left = answer; !left.empty();) {
    const auto written = ::write(to, left.data(), left.size());
    if (written < 0 && errno != EINTR) break;
    if (written > 0) left.remove_prefix(static_cast<std::size_t>(written));
  }
  // Not exit(): what the parent has in its buffers and at its end is not the child's.
  ::_exit(0);
}

/// Everything until the end of the file; an error if that takes too long or is too much.
tl::expected<std::string, std::string> read_answer(int from) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  std::string answer;
  std::array<char, 65536> buffer{};
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd waits{from, POLLIN, 0};
    const int ready = left.count() <= 0 ? 0 : ::poll(&waits, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return tl::unexpected(fmt::format("no answer within {} seconds", patience.count()));
    const auto got = ::read(from, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(std::string(std::strerror(errno)));
    if (got == 0) return answer;
    answer.append(buffer.data(), static_cast<std::size_t>(got));
    if (answer.size() > longest_answer) return tl::unexpected(std::string("too long an answer"));
  }
}

int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

tl::expected<std::string, std::string> run_in_child(const std::function<std::string()>& work,
                                                    const std::function<bool(int)>& confine) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return tl::unexpected(std::string(std::strerror(errno)));
  // What is buffered now is written once, by this process.
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    be_the_child(ends[1], work, confine);
  }
  const int forking = errno;
  ::close(ends[1]);
  if (child < 0) {
    ::close(ends[0]);
    return tl::unexpected(std::string(std::strerror(forking)));
  }
  auto answer = read_answer(ends[0]);
  ::close(ends[0]);
  if (!answer) ::kill(child, SIGKILL);
  const int status = wait_for(child);
  if (!answer) return answer;
  if (WIFSIGNALED(status)) return tl::unexpected(fmt::format("it was ended by signal {}", WTERMSIG(status)));
  if (WIFEXITED(status) && WEXITSTATUS(status) == could_not_be_confined)
    return tl::unexpected(std::string("this host can't confine it"));
  if (WEXITSTATUS(status) != 0)
    return tl::unexpected(fmt::format("it ended with exit code {}", WEXITSTATUS(status)));
  return answer;
}

tl::expected<XlAnswer, std::string> ask_xl_child(const XlRequest& request) {
  const auto bytes = run_in_child([&request] {
    const auto answer = ask_xl_library(request);
    return answer ? answer_follows + encode_xl_answer(*answer) : text_follows + answer.error();
  });
  if (!bytes) return tl::unexpected("libxlutil did not parse this: " + bytes.error());
  if (bytes->empty()) return tl::unexpected(std::string("libxlutil did not parse this: no answer"));
  const std::string_view rest = std::string_view(*bytes).substr(1);
  if (bytes->front() == text_follows) return tl::unexpected(std::string(rest));
  auto answer = decode_xl_answer(rest);
  if (!answer) return tl::unexpected("libxlutil's process answered with something else: " + answer.error());
  return answer;
}

}  // namespace pinfold::cli
