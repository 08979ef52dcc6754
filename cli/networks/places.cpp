#include "cli/networks/places.hpp"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace pinfold::cli {
namespace {

/// A socket's address, of either family.
struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
  std::filesystem::path path;  ///< Of a unix socket.

  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
};

tl::expected<Address, std::string> unix_address(const std::string& path) {
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  if (path.size() >= sizeof un.sun_path)
    return tl::unexpected(
        fmt::format("{}: a socket's name has at most {} bytes", path, sizeof un.sun_path - 1));
  std::memcpy(un.sun_path, path.data(), path.size());
  Address address;
  std::memcpy(&address.bytes, &un, sizeof un);
  address.size = sizeof un;
  address.path = path;
  return address;
}

tl::expected<Address, std::string> tcp_address(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos) return tl::unexpected(fmt::format("tcp:{}: no port", text));
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), text.c_str() + colon + 1, &hints, &found) != 0 || found == nullptr)
    return tl::unexpected(fmt::format("tcp:{}: not like tcp:127.0.0.1:5000 or tcp:[::1]:5000", text));
  Address address;
  std::memcpy(&address.bytes, found->ai_addr, found->ai_addrlen);
  address.size = found->ai_addrlen;
  ::freeaddrinfo(found);
  return address;
}

tl::expected<Address, std::string> address_of(const std::string& place) {
  return place.starts_with("unix:") ? unix_address(place.substr(5)) : tcp_address(place.substr(4));
}

tl::unexpected<std::string> failed(const std::string& place, const char* hint = "") {
  return tl::unexpected(fmt::format("{}: {}{}", place, std::strerror(errno), hint));
}

vmm::Fd new_socket(const Address& address, int flags) {
  return vmm::Fd(::socket(address.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
}

/// Is it a socket that no program listens on?
bool is_left_over(const Address& address) {
  const vmm::Fd probe = new_socket(address, SOCK_NONBLOCK);
  return ::connect(probe.get(), address.get(), address.size) != 0 && errno == ECONNREFUSED;
}

}  // namespace

tl::expected<vmm::Fd, std::string> connect_to(const std::string& place) {
  const auto address = address_of(place);
  if (!address) return tl::unexpected(address.error());
  vmm::Fd socket = new_socket(*address, 0);
  if (::connect(socket.get(), address->get(), address->size) != 0)
    return failed(place, "; the program that listens there has to be started first");
  return socket;
}

tl::expected<Listening, std::string> Listening::at(const std::string& place) {
  const auto address = address_of(place);
  if (!address) return tl::unexpected(address.error());
  vmm::Fd socket = new_socket(*address, SOCK_NONBLOCK);
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const auto bound = [&] { return ::bind(socket.get(), address->get(), address->size) == 0; };
  if (!bound()) {
    const int error = errno;
    const bool replace = error == EADDRINUSE && !address->path.empty() && is_left_over(*address);
    if (replace) ::unlink(address->path.c_str());
    errno = error;
    if (!replace || !bound()) return failed(place);
  }
  Listening listening(std::move(socket), address->path);
  if (::listen(listening.socket.get(), 1) != 0) return failed(place);
  return listening;
}

Listening::~Listening() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace pinfold::cli
