#include "cli/hotplug/keeper.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace pinfold::cli {
namespace {

using Make = std::function<tl::expected<MadeForDevice, std::string>()>;

constexpr char made_it = 'm';

void leave_the_terminal() {
  ::setsid();
  const vmm::Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nothing.get(), fd);
}

void wait_for_end_of(const vmm::Fd& tie) {
  char nothing = 0;
  for (;;) {
    const ssize_t n = ::read(tie.get(), &nothing, 1);
    if (n == 0 || (n < 0 && errno != EINTR)) return;
  }
}

/// In the child. It says what it made, or why not: a byte and descriptors, or a line of text.
[[noreturn]] void become_keeper(const Make& make, const vmm::Fd& tie, vmm::Fd report) {
  auto made = make();
  if (!made) {
    (void)send_all(report, made.error(), -1);
    ::_exit(1);
  }
  std::vector<int> numbers;
  for (const vmm::Fd& fd : made->descriptors) numbers.push_back(fd.get());
  const bool sent = send_with(report, std::string_view(&made_it, 1), numbers);
  report = vmm::Fd();
  // The monitor's copies are to be the last ones.
  made->descriptors.clear();
  leave_the_terminal();
  if (sent) wait_for_end_of(tie);
  made->clean_up.reset();
  ::_exit(0);
}

tl::unexpected<std::string> no_process() {
  return tl::unexpected(std::string("no process can be started: ") + std::strerror(errno));
}

tl::expected<Descriptors, std::string> hear(const vmm::Fd& report) {
  Descriptors descriptors;
  std::string text;
  std::array<char, 4096> chunk{};
  for (;;) {
    const std::ptrdiff_t n = receive(report, chunk, descriptors);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(chunk.data(), static_cast<std::size_t>(n));
    if (text == std::string_view(&made_it, 1) && !descriptors.empty()) return descriptors;
  }
  return tl::unexpected(text.empty() ? "what was to be made for the device ended" : text);
}

}  // namespace

tl::expected<KeptDevice, std::string> make_in_keeper(const Make& make) {
  std::array<int, 2> pipe{-1, -1}, pair{-1, -1};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return no_process();
  vmm::Fd its_tie(pipe[0]), tie(pipe[1]);
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) return no_process();
  vmm::Fd report(pair[0]), its_report(pair[1]);
  const pid_t child = ::fork();
  if (child < 0) return no_process();
  if (child == 0) {
    tie = vmm::Fd();
    report = vmm::Fd();
    become_keeper(make, its_tie, std::move(its_report));
  }
  its_report = vmm::Fd();
  auto descriptors = hear(report);
  if (!descriptors) return tl::unexpected(descriptors.error());
  return KeptDevice{std::move(*descriptors), std::move(tie), child};
}

}  // namespace pinfold::cli
