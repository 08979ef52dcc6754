#include "cli/messages/message_writer.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

#include "cli/messages/message.hpp"
#include "sandbox/helper.hpp"

namespace pinfold::cli {
namespace {

/// A longer line becomes several messages. A datagram must fit into the journal's socket.
constexpr std::size_t longest_line = 16384;
/// The descriptors of the process that writes, besides stderr.
constexpr int lines_fd = 3, journal_fd = 4;

std::string failure(const std::string& what) { return fmt::format("{}: {}", what, std::strerror(errno)); }

tl::expected<vmm::Fd, std::string> connect_to_journal(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof address.sun_path)
    return tl::unexpected("the journal: " + path.string() + ": too long for a socket's name");
  std::memcpy(address.sun_path, path.c_str(), path.native().size() + 1);
  vmm::Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  // A journal that takes nothing must not hold up the guests for good.
  const timeval patience{1, 0};
  if (!socket.open() ||
      ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0 ||
      ::connect(socket.get(), std::bit_cast<const sockaddr*>(&address), sizeof address) != 0)
    return tl::unexpected(failure("the journal: " + path.string()));
  return socket;
}

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    // Nobody reads it: the line is lost, and the next one is tried.
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

void write_line(MessageFormat format, std::string_view line, const std::vector<std::string>& guests) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) return;
  const Message message = Message::of_line(line, guests);
  if (format == MessageFormat::json) {
    write_all(STDERR_FILENO, json_of(message, std::chrono::system_clock::now()) + "\n");
    return;
  }
  const std::string datagram = journal_datagram(message);
  ssize_t n = 0;
  while ((n = ::write(journal_fd, datagram.data(), datagram.size())) < 0 && errno == EINTR) {
  }
  if (n < 0) write_all(STDERR_FILENO, std::string(line) + "\n");
}

/// Until the last writer has closed the pipe.
void write_lines(MessageFormat format, const std::vector<std::string>& guests) {
  std::string begun;
  std::array<char, longest_line> piece{};
  for (;;) {
    const ssize_t n = ::read(lines_fd, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    begun.append(piece.data(), static_cast<std::size_t>(n));
    std::size_t used = 0;
    for (std::size_t end = 0; (end = begun.find('\n', used)) != std::string::npos; used = end + 1)
      write_line(format, std::string_view(begun).substr(used, end - used), guests);
    begun.erase(0, used);
    if (begun.size() < longest_line) continue;
    write_line(format, begun, guests);
    begun.clear();
  }
  write_line(format, begun, guests);
}

/// In the child. It keeps open what it needs, and nothing else: others wait for the end of what this process
/// has open.
[[noreturn]] void become_writer(const MessageOptions& options, const std::vector<std::string>& guests,
                                int lines, int journal) {
  // What asks the guest to end does not end its messages.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) (void)std::signal(signal, SIG_IGN);
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(nothing, STDOUT_FILENO);
  // Both are above 4, or where they belong: stdin, stdout and stderr are open.
  const int moved = ::fcntl(journal < 0 ? nothing : journal, F_DUPFD, journal_fd + 1);
  ::dup2(lines, lines_fd);
  ::dup2(moved, journal_fd);
  ::close_range(journal_fd + 1, ~0U, 0);
  if (const auto confined = sandbox::confine_helper(sandbox::Helper::keeper); !confined)
    write_line(
        options.format,
        "pinfold: the process that writes messages is not confined as it should be: " + confined.error(),
        guests);
  write_lines(options.format, guests);
  ::_exit(0);
}

}  // namespace

tl::expected<MessageWriter, std::string> MessageWriter::start(const MessageOptions& options,
                                                              const std::vector<std::string>& guests) {
  MessageWriter writer;
  if (options.format == MessageFormat::text) return writer;
  vmm::Fd journal;
  if (options.format == MessageFormat::journal) {
    auto connected = connect_to_journal(options.journal);
    if (!connected) return tl::unexpected(connected.error());
    journal = std::move(*connected);
  }
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return tl::unexpected(failure("pipe"));
  const vmm::Fd out(ends[0]), in(ends[1]);
  writer.before_ = vmm::Fd(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
  if (!writer.before_.open()) return tl::unexpected(failure("stderr"));
  std::fflush(nullptr);
  const pid_t process = ::fork();
  if (process == 0) become_writer(options, guests, out.get(), journal.get());
  if (process < 0) return tl::unexpected(failure("fork"));
  writer.process_ = process;
  ::dup2(in.get(), STDERR_FILENO);
  return writer;
}

MessageWriter::MessageWriter(MessageWriter&& other) noexcept
    : process_(std::exchange(other.process_, 0)), before_(std::move(other.before_)) {}

MessageWriter::~MessageWriter() {
  if (process_ == 0) return;
  std::fflush(stderr);
  ::dup2(before_.get(), STDERR_FILENO);
  const vmm::Fd process(static_cast<int>(::syscall(SYS_pidfd_open, process_, 0U)));
  constexpr int patience_ms = 2000;
  pollfd ended{process.get(), POLLIN, 0};
  if (::poll(&ended, 1, patience_ms) > 0) (void)::waitpid(process_, nullptr, 0);
}

}  // namespace pinfold::cli
