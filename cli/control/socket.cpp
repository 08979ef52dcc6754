#include "cli/control/socket.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>

#include "cli/control/connect_at_once.hpp"
#include "cli/control/runtime_dir.hpp"

namespace pinfold::cli {
namespace {

constexpr const char *lock_suffix = ".lock", *devices_suffix = ".devices";
/// By GuestSocket.
constexpr std::array<const char*, socket_count> socket_suffixes{".sock", ".xenstore", ".console"};
constexpr const char* control_suffix = socket_suffixes.front();
constexpr int waiting_clients = 64;

std::string failure(const std::filesystem::path& path) {
  return fmt::format("{}: {}", path.string(), std::strerror(errno));
}

/// nullopt: the path is too long for a socket's address (unix(7): 108 bytes).
std::optional<sockaddr_un> address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& text = path.native();
  if (text.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  return address;
}

/// sockets(7) takes every family's address as a sockaddr.
const sockaddr* generic(const sockaddr_un& address) { return std::bit_cast<const sockaddr*>(&address); }

/// Opens the file and locks it; invalid if another process holds the lock. The holder may remove the file
/// between our open and our lock. Then our lock is on a file without a name, and we try again.
vmm::Fd lock_file(const std::filesystem::path& path) {
  for (;;) {
    vmm::Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.open() || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return {};
    struct stat mine {};
    struct stat named {};
    if (::fstat(file.get(), &mine) == 0 && ::stat(path.c_str(), &named) == 0 && mine.st_ino == named.st_ino)
      return file;
  }
}

/// Removes the files that killed processes left behind: those of names whose lock is free.
void remove_leftovers(const std::filesystem::path& directory) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    std::filesystem::path path = entry.path();
    if (path.extension() != lock_suffix) continue;
    const vmm::Fd lock = lock_file(path);
    if (!lock.open()) continue;
    for (const char* suffix : socket_suffixes)
      ::unlink(std::filesystem::path(path).replace_extension(suffix).c_str());
    ::unlink(std::filesystem::path(path).replace_extension(devices_suffix).c_str());
    ::unlink(path.c_str());
  }
}

}  // namespace

tl::expected<ControlName, ControlName::Error> ControlName::hold(const std::filesystem::path& directory,
                                                                std::string_view name) {
  ControlName held;
  held.for_group_ = is_for_group(directory);
  const std::filesystem::path path = lock_path(directory, name);
  held.lock_ = lock_file(path);
  if (!held.lock_.open()) {
    if (errno == EWOULDBLOCK)
      return tl::unexpected(Error{true, fmt::format("a guest named {} is running already", name)});
    return tl::unexpected(Error{false, failure(path)});
  }
  held.lock_path_ = path;
  // The group reads in it which guest it is.
  if (held.for_group_ && ::fchmod(held.lock_.get(), 0640) != 0)
    return tl::unexpected(Error{false, failure(path)});
  return held;
}

tl::expected<ControlName, ControlName::Error> ControlName::claim(const std::filesystem::path& directory,
                                                                 std::string_view name) {
  remove_leftovers(directory);
  auto claimed = hold(directory, name);
  if (!claimed) return claimed;
  for (std::size_t i = 0; i < socket_suffixes.size(); ++i) {
    auto socket = listen_at(directory / (std::string(name) + socket_suffixes[i]), claimed->for_group_);
    if (!socket) return tl::unexpected(Error{false, socket.error()});
    claimed->sockets_[i] = std::move(*socket);
  }
  const auto devices = devices_path(directory, name);
  ::unlink(devices.c_str());
  const vmm::Fd made(::open(devices.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  // Whoever writes to it chooses what the next life of the guest opens: the group only reads it.
  if (!made.open() || (claimed->for_group_ && ::fchmod(made.get(), 0640) != 0))
    return tl::unexpected(Error{false, failure(devices)});
  claimed->devices_path_ = devices;
  return claimed;
}

tl::expected<ControlName, ControlName::Error> ControlName::move_sockets_to(std::string_view other) {
  const std::filesystem::path directory = lock_path_.parent_path();
  auto moved = hold(directory, other);
  if (!moved) return moved;
  for (std::size_t i = 0; i < sockets_.size(); ++i) {
    const auto path = directory / (std::string(other) + socket_suffixes[i]);
    // A client connects to a socket by its path, so the new one must be short enough, too.
    if (!address_of(path))
      return tl::unexpected(Error{false, path.string() + ": too long for a socket's name"});
    if (::rename(sockets_[i].path.c_str(), path.c_str()) != 0)
      return tl::unexpected(Error{false, failure(path)});
    moved->sockets_[i] = {path, std::move(sockets_[i].listener)};
    auto socket = listen_at(sockets_[i].path, for_group_);
    if (!socket) return tl::unexpected(Error{false, socket.error()});
    sockets_[i] = std::move(*socket);
  }
  return moved;
}

/// What has the path is of a process that is gone: the name's lock is ours. A link is removed, not followed.
tl::expected<ControlName::Socket, std::string> ControlName::listen_at(const std::filesystem::path& path,
                                                                      bool for_group) {
  const auto address = address_of(path);
  if (!address) return tl::unexpected(path.string() + ": too long for a socket's name");
  ::unlink(path.c_str());
  Socket socket;
  socket.listener = vmm::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // The file gets the socket's own mode, less what the umask forbids: the group's right is added to the file.
  if (!socket.listener.open() || ::fchmod(socket.listener.get(), 0600) != 0 ||
      ::bind(socket.listener.get(), generic(*address), sizeof *address) != 0 ||
      (for_group && ::chmod(path.c_str(), 0660) != 0))
    return tl::unexpected(failure(path));
  socket.path = path;
  if (::listen(socket.listener.get(), waiting_clients) != 0) return tl::unexpected(failure(path));
  return socket;
}

SocketNumbers ControlName::listeners() const {
  SocketNumbers numbers{};
  std::transform(sockets_.begin(), sockets_.end(), numbers.begin(),
                 [](const Socket& socket) { return socket.listener.get(); });
  return numbers;
}

ControlName::~ControlName() {
  for (const Socket& socket : sockets_)
    if (socket.listener.open()) ::unlink(socket.path.c_str());
  if (lock_.open() && !devices_path_.empty()) ::unlink(devices_path_.c_str());
  if (lock_.open() && !lock_path_.empty()) ::unlink(lock_path_.c_str());
}

void ControlName::note(std::string_view text) const {
  // Readers that come between the two see a note without an ID.
  if (::ftruncate(lock_.get(), 0) == 0) (void)::pwrite(lock_.get(), text.data(), text.size(), 0);
}

std::filesystem::path devices_path(const std::filesystem::path& directory, std::string_view name) {
  return directory / (std::string(name) + devices_suffix);
}

std::filesystem::path lock_path(const std::filesystem::path& directory, std::string_view name) {
  return directory / (std::string(name) + lock_suffix);
}

namespace {

tl::expected<vmm::Fd, std::string> connect_socket(const std::filesystem::path& directory,
                                                  std::string_view name, GuestSocket which, int flags) {
  const auto nobody = [&] { return tl::unexpected(fmt::format("no guest named {} is running", name)); };
  if (!is_guest_name(name)) return nobody();
  const auto address =
      address_of(directory / (std::string(name) + socket_suffixes[static_cast<std::size_t>(which)]));
  if (!address) return nobody();
  vmm::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (!socket.open()) return tl::unexpected(std::string("socket: ") + std::strerror(errno));
  if (::connect(socket.get(), generic(*address), sizeof *address) == 0) return socket;
  if (errno == ENOENT || errno == ECONNREFUSED) return nobody();
  return tl::unexpected(fmt::format("{}: {}", name, std::strerror(errno)));
}

}  // namespace

tl::expected<vmm::Fd, std::string> connect_to_guest(const std::filesystem::path& directory,
                                                    std::string_view name, GuestSocket which) {
  return connect_socket(directory, name, which, 0);
}

tl::expected<vmm::Fd, std::string> connect_at_once(const std::filesystem::path& directory,
                                                   std::string_view name) {
  return connect_socket(directory, name, GuestSocket::control, SOCK_NONBLOCK);
}

std::ptrdiff_t receive(const vmm::Fd& socket, std::span<char> bytes, Descriptors& to) {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(most_descriptors * sizeof(int))> control{};
  iovec place{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &place;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t n = ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
  if (n < 0) return n;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t at = CMSG_LEN(0); at + sizeof(int) <= part->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, std::bit_cast<const std::byte*>(part) + at, sizeof fd);
      to.emplace_back(fd);
    }
  }
  // The kernel closes what does not fit.
  if ((message.msg_flags & MSG_CTRUNC) == 0) return n;
  errno = EMFILE;
  return -1;
}

bool send_with(const vmm::Fd& socket, std::string_view bytes, std::span<const int> descriptors) {
  if (descriptors.empty()) return send_all(socket, bytes, -1);
  if (descriptors.size() > most_descriptors || bytes.empty()) return false;
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(most_descriptors * sizeof(int))> control{};
  std::array<char, 1> first{bytes.front()};
  iovec place{first.data(), first.size()};
  msghdr message{};
  message.msg_iov = &place;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  cmsghdr* const part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(descriptors.size_bytes());
  std::memcpy(CMSG_DATA(part), descriptors.data(), descriptors.size_bytes());
  // They go with one byte, so that what is left can be sent in any pieces.
  ssize_t n = 0;
  while ((n = ::sendmsg(socket.get(), &message, MSG_NOSIGNAL)) < 0 && errno == EINTR) {
  }
  return n == 1 && send_all(socket, bytes.substr(1), -1);
}

bool send_all(const vmm::Fd& socket, std::string_view bytes, int patience_ms, const vmm::Fd* stop) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n == 0 || errno != EAGAIN) return false;
    std::array<pollfd, 2> fds{{{socket.get(), POLLOUT, 0}, {stop == nullptr ? -1 : stop->get(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), patience_ms) <= 0 || fds[1].revents != 0) return false;
  }
  return true;
}

std::vector<std::string> names_in(const std::filesystem::path& directory) {
  remove_leftovers(directory);
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() == control_suffix && is_guest_name(name)) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace pinfold::cli
