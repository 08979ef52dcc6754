// A listening socket and clients of it, without names in the file system.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstdlib>
#include <span>
#include <string_view>

#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// A UNIX socket that listens at an abstract address of the kernel's choice (unix(7), "autobind").
class Listener {
 public:
  Listener() : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    address_.sun_family = AF_UNIX;
    if (::bind(fd_.get(), raw(), sizeof(sa_family_t)) != 0 || ::listen(fd_.get(), 64) != 0 ||
        ::getsockname(fd_.get(), raw(), &size_) != 0)
      std::abort();
  }
  [[nodiscard]] const vmm::Fd& fd() const { return fd_; }
  /// Waits for its place in the queue of connections, not until it is accepted.
  [[nodiscard]] vmm::Fd connect() {
    vmm::Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(client.get(), raw(), size_) != 0) std::abort();
    return client;
  }

 private:
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&address_); }
  vmm::Fd fd_;
  sockaddr_un address_{};
  socklen_t size_ = sizeof address_;
};

/// False: the other end is gone.
inline bool send_all(const vmm::Fd& socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace pinfold::cli
