#include "cli/gdb/listener.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "cli/gdb/packet.hpp"

namespace pinfold::cli::gdb {
namespace {

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

}  // namespace pinfold::cli::gdb
