#include "cli/supervisor/service_manager.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <bit>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace pinfold::cli {

ServiceManager ServiceManager::take_from_environment() {
  ServiceManager manager;
  if (const char* place = std::getenv("NOTIFY_SOCKET"); place != nullptr) manager.place_ = place;
  ::unsetenv("NOTIFY_SOCKET");
  return manager;
}

void ServiceManager::send(std::string_view message) const {
  sockaddr_un address{};
  if (place_.empty() || place_.size() >= sizeof address.sun_path) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, place_.data(), place_.size());
  // unix(7): an abstract name begins with a byte of value 0, and ends with the address.
  if (place_[0] == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + place_.size());
  const vmm::Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  // sockets(7) takes every family's address as a sockaddr.
  (void)::sendto(socket.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                 std::bit_cast<const sockaddr*>(&address), size);
}

}  // namespace pinfold::cli
