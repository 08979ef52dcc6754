#include "cli/metrics/address.hpp"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

namespace pinfold::cli::metrics {
namespace {

constexpr int waiting_clients = 32;

struct Freed {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, Freed>;

/// Null: it is not an address.
Addresses parse(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return {};
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size()) return {};
  const bool brackets = host.starts_with('[') && host.ends_with(']');
  // An address of IPv6 needs its brackets: ::1:9777 could be either.
  if (host.empty() || (host.find(':') != std::string_view::npos) != brackets) return {};
  if (brackets) host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(std::string(host).c_str(), std::to_string(number).c_str(), &hints, &found) != 0)
    return {};
  return Addresses(found);
}

std::string text_of(const vmm::Fd& socket, std::string_view asked) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  std::array<char, NI_MAXSERV> port{};
  if (::getsockname(socket.get(), static_cast<sockaddr*>(static_cast<void*>(&address)), &size) != 0 ||
      ::getnameinfo(static_cast<sockaddr*>(static_cast<void*>(&address)), size, nullptr, 0, port.data(),
                    port.size(), NI_NUMERICSERV) != 0)
    return std::string(asked);
  return fmt::format("{}:{}", asked.substr(0, asked.rfind(':')), port.data());
}

}  // namespace

bool is_address(std::string_view text) { return parse(text) != nullptr; }

tl::expected<Listening, std::string> listen_at(std::string_view address) {
  const auto failure = [&] {
    return tl::unexpected(fmt::format("--listen {}: {}", address, std::strerror(errno)));
  };
  const Addresses place = parse(address);
  if (place == nullptr) return tl::unexpected(fmt::format("--listen {}: not an address", address));
  vmm::Fd socket(::socket(place->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (!socket.open() || ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(socket.get(), place->ai_addr, place->ai_addrlen) != 0 ||
      ::listen(socket.get(), waiting_clients) != 0)
    return failure();
  std::string text = text_of(socket, address);
  return Listening{std::move(socket), std::move(text)};
}

}  // namespace pinfold::cli::metrics
