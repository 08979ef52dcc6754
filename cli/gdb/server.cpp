#include "cli/gdb/server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>

#include "cli/control/socket.hpp"
#include "pvmmu/service_thread.hpp"

namespace pinfold::cli::gdb {
namespace {

constexpr int patience_ms = 5000;

tl::unexpected<std::string> wrong(std::string_view place, std::string_view what) {
  return tl::unexpected("--gdb " + std::string(place) + ": " + std::string(what));
}

template <class Address>
bool listen_at(const vmm::Fd& socket, const Address& address) {
  return ::bind(socket.get(), std::bit_cast<const sockaddr*>(&address), sizeof address) == 0 &&
         ::listen(socket.get(), 1) == 0;
}

vmm::Fd new_socket(int family) { return vmm::Fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

std::optional<std::uint16_t> port_of(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

tl::expected<vmm::Fd, std::string> listen_unix(std::string_view place, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return wrong(place, "not a socket's path");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  vmm::Fd socket = new_socket(AF_UNIX);
  // One of a process that is gone refuses connections; anything else stays what it is.
  struct stat found {};
  if (::lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode)) {
    const vmm::Fd probe = new_socket(AF_UNIX);
    if (::connect(probe.get(), std::bit_cast<const sockaddr*>(&address), sizeof address) != 0 &&
        errno == ECONNREFUSED)
      ::unlink(path.c_str());
  }
  const mode_t before = ::umask(0177);
  const bool listens = socket.open() && listen_at(socket, address);
  const int error = errno;
  ::umask(before);
  if (!listens) return wrong(place, std::strerror(error));
  return socket;
}

tl::expected<vmm::Fd, std::string> listen_tcp(std::string_view place, std::string_view host_and_port) {
  const std::size_t colon = host_and_port.rfind(':');
  const auto port = colon == std::string_view::npos ? std::nullopt : port_of(host_and_port.substr(colon + 1));
  const std::string_view host = host_and_port.substr(0, colon);
  if (!port || (host != "127.0.0.1" && host != "[::1]"))
    return wrong(place, "tcp:127.0.0.1:PORT is meant: only this machine may connect");
  vmm::Fd socket = new_socket(host == "[::1]" ? AF_INET6 : AF_INET);
  const int on = 1;
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  v4.sin_port = htons(*port);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_addr = in6addr_loopback;
  v6.sin6_port = htons(*port);
  if (!(host == "[::1]" ? listen_at(socket, v6) : listen_at(socket, v4)))
    return wrong(place, std::strerror(errno));
  return socket;
}

}  // namespace

tl::expected<Listener, std::string> Listener::open(std::string_view place) {
  Listener listener;
  std::string_view rest = place;
  const bool is_path = take_prefix(rest, "unix:");
  if (!is_path && !take_prefix(rest, "tcp:")) return wrong(place, "unix:PATH or tcp:127.0.0.1:PORT is meant");
  auto socket = is_path ? listen_unix(place, std::string(rest)) : listen_tcp(place, rest);
  if (!socket) return tl::unexpected(socket.error());
  if (is_path) listener.path_ = rest;
  listener.socket_ = std::move(*socket);
  return listener;
}

Listener::~Listener() {
  if (socket_.open() && !path_.empty()) ::unlink(path_.c_str());
}

Server::Server(const Listener& listener, vmm::Domain& domain)
    : listener_(listener),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      target_(domain, [this] { wake(); }) {
  thread_ = service_thread([this] { loop(); });
}

Server::~Server() {
  over_ = true;
  wake();
  thread_.join();
}

void Server::wake() const {
  const std::uint64_t one = 1;
  while (::write(wake_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void Server::loop() {
  while (true) {
    std::array<pollfd, 3> fds{{{wake_.get(), POLLIN, 0},
                               {session_ ? -1 : listener_.socket().get(), POLLIN, 0},
                               {client_.get(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    std::uint64_t woken = 0;
    if (fds[0].revents != 0) (void)!::read(wake_.get(), &woken, sizeof woken);
    if (over_) break;
    if (fds[0].revents != 0)
      if (const auto stop = target_.take_stop(); stop && session_) send(session_->stopped(*stop));
    if (client_.open() && fds[2].revents != 0) serve_client();
    if (fds[1].revents != 0 && !session_) accept_client();
  }
  if (session_ && session_->is_running()) send(framed("W00"));
}

void Server::accept_client() {
  client_ = vmm::Fd(::accept4(listener_.socket().get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!client_.open()) return;
  const int on = 1;
  (void)::setsockopt(client_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/// False: what begins so is no debugger.
bool Server::begin_session(char first) {
  if (!PacketReader::begins(first)) return false;
  const Stop stop = target_.interrupt();
  session_.emplace(target_, stop);
  return true;
}

void Server::serve_client() {
  std::array<char, 4096> chunk{};
  const ssize_t n = ::recv(client_.get(), chunk.data(), chunk.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0 || (!session_ && !begin_session(chunk[0]))) return hang_up();
  send(session_->take(std::string_view(chunk.data(), static_cast<std::size_t>(n))));
  if (session_ && session_->is_over()) hang_up();
}

void Server::hang_up() {
  if (session_) target_.let_go();
  session_.reset();
  client_ = vmm::Fd();
}

void Server::send(std::string_view bytes) {
  // A client that is gone is noticed when it is read from.
  (void)send_all(client_, bytes, patience_ms);
}

}  // namespace pinfold::cli::gdb
