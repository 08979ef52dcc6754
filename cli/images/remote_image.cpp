#include "cli/images/remote_image.hpp"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

namespace pinfold::cli::images {
namespace {

using Failed = tl::unexpected<std::string>;

constexpr std::string_view default_port = "10809";
constexpr int milliseconds_to_connect = 10'000;

/// With its %XX.
tl::expected<std::string, std::string> decoded(std::string_view text) {
  std::string all;
  for (std::size_t n = 0; n < text.size(); ++n) {
    if (text[n] != '%') {
      all += text[n];
      continue;
    }
    unsigned value = 0;
    const auto* const digits = text.data() + n + 1;
    if (n + 2 >= text.size() ||
        std::from_chars(digits, digits + 2, value, 16) != std::from_chars_result{digits + 2, std::errc()} ||
        value == 0)
      return Failed("a % in the URI is not followed by two digits");
    all += static_cast<char>(value);
    n += 2;
  }
  return all;
}

tl::expected<RemoteImage, std::string> unix_image(std::string_view rest) {
  RemoteImage image;
  constexpr std::string_view key = "?socket=";
  const auto query = rest.find(key);
  if (!rest.starts_with('/') || query == std::string_view::npos)
    return Failed("such an image is written nbd+unix:///EXPORT?socket=PATH");
  const auto name = decoded(rest.substr(1, query - 1)), socket = decoded(rest.substr(query + key.size()));
  if (!name) return Failed(name.error());
  if (!socket) return Failed(socket.error());
  if (socket->empty() || socket->size() >= sizeof(sockaddr_un::sun_path))
    return Failed("the socket's path is empty or too long");
  image.export_name = *name;
  image.socket = *socket;
  return image;
}

tl::expected<RemoteImage, std::string> host_image(std::string_view rest) {
  RemoteImage image;
  const auto slash = std::min(rest.find('/'), rest.size());
  std::string_view host = rest.substr(0, slash);
  const auto name = decoded(rest.substr(std::min(slash + 1, rest.size())));
  if (!name) return Failed(name.error());
  image.export_name = *name;
  image.port = default_port;
  const auto bracket = host.find(']');
  const auto colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) {
    image.port = host.substr(colon + 1);
    host = host.substr(0, colon);
  }
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host.empty() || image.port.empty() || host.find_first_of("@?#") != std::string_view::npos)
    return Failed("such an image is written nbd://HOST:PORT/EXPORT");
  image.host = host;
  return image;
}

bool connects(const vmm::Fd& socket, const sockaddr* address, socklen_t size) {
  if (::connect(socket.get(), address, size) == 0) return true;
  if (errno != EINPROGRESS) return false;
  pollfd done{socket.get(), POLLOUT, 0};
  if (::poll(&done, 1, milliseconds_to_connect) <= 0) {
    errno = ETIMEDOUT;
    return false;
  }
  int error = 0;
  socklen_t length = sizeof error;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) return false;
  errno = error;
  return error == 0;
}

tl::expected<vmm::Fd, std::string> connect_unix(const std::string& path) {
  sockaddr_un place{};
  place.sun_family = AF_UNIX;
  std::memcpy(place.sun_path, path.c_str(), path.size() + 1);
  vmm::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.open() ||
      !connects(socket, static_cast<const sockaddr*>(static_cast<const void*>(&place)), sizeof place))
    return Failed(fmt::format("{}: {}", path, std::strerror(errno)));
  return socket;
}

tl::expected<vmm::Fd, std::string> connect_host(const std::string& host, const std::string& port) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), port.c_str(), &wanted, &found); error != 0)
    return Failed(fmt::format("{}: {}", host, ::gai_strerror(error)));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> all(found, ::freeaddrinfo);
  int error = 0;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    vmm::Fd socket(::socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (socket.open() && connects(socket, one->ai_addr, one->ai_addrlen)) {
      const int on = 1;
      (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      (void)::setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
      return socket;
    }
    error = errno;
  }
  return Failed(fmt::format("{}:{}: {}", host, port, std::strerror(error)));
}

}  // namespace

std::optional<tl::expected<RemoteImage, std::string>> remote_image(std::string_view target) {
  const auto behind = [&target](std::string_view scheme) { return target.substr(scheme.size()); };
  constexpr std::string_view over_tcp = "nbd://", over_unix = "nbd+unix://";
  if (target.starts_with(over_tcp)) return host_image(behind(over_tcp));
  if (target.starts_with(over_unix)) return unix_image(behind(over_unix));
  if (target.starts_with("nbds://") || target.starts_with("nbds+unix://"))
    return Failed("NBD with TLS is not possible; a tunnel of the host's makes nbd:// safe");
  for (const std::string_view scheme :
       {"http://", "https://", "ftp://", "ftps://", "ssh://", "iscsi://", "rbd:"})
    if (target.starts_with(scheme))
      return Failed(
          "such a place can be used through an NBD server, as nbd+unix:///?socket=PATH: qemu-nbd with "
          "qemu-block-extra, or nbdkit");
  return std::nullopt;
}

tl::expected<std::vector<vmm::Fd>, std::string> connect_to(const RemoteImage& image, std::size_t count) {
  std::vector<vmm::Fd> sockets;
  while (sockets.size() < count) {
    auto socket = image.socket.empty() ? connect_host(image.host, image.port) : connect_unix(image.socket);
    if (!socket && sockets.empty()) return Failed(socket.error());
    if (!socket) break;
    sockets.push_back(std::move(*socket));
  }
  return sockets;
}

}  // namespace pinfold::cli::images
