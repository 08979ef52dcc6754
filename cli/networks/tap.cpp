#include "cli/networks/tap.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace pinfold::cli {
namespace {

tl::unexpected<std::string> failed(const std::string& what) {
  return tl::unexpected(fmt::format("{}: {}", what, std::strerror(errno)));
}

/// Interfaces' names are short: one that is too long is no interface's.
ifreq request_for(const std::string& name) {
  ifreq request{};
  std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  return request;
}

/// A queue of the device; not open, with errno, if the host gives none.
vmm::Fd open_queue(const std::string& name, short more_flags) {
  vmm::Fd queue(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!queue.open()) return {};
  ifreq request = request_for(name);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | more_flags);
  int header_bytes = 10;
  // The queues of an interface do what its guest can't (segmentation, checksums). So the host is always asked
  // for large frames with blank checksums.
  constexpr unsigned long offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  if (::ioctl(queue.get(), TUNSETIFF, &request) != 0 ||
      ::ioctl(queue.get(), TUNSETVNETHDRSZ, &header_bytes) != 0 ||
      ::ioctl(queue.get(), TUNSETOFFLOAD, offloads) != 0)
    return {};
  return queue;
}

tl::expected<TapQueues, std::string> open_queues(const std::string& name, std::size_t count) {
  TapQueues queues;
  for (std::size_t n = 0; n < count; ++n) {
    vmm::Fd queue = open_queue(name, count > 1 ? IFF_MULTI_QUEUE : 0);
    if (!queue.open()) return failed("tap device " + name);
    queues.push_back(std::move(queue));
  }
  return queues;
}

/// Does an ioctl(2) about interfaces.
bool ask(unsigned long what, ifreq& request) {
  const vmm::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return ::ioctl(socket.get(), what, &request) == 0;
}

}  // namespace

bool interface_exists(const std::string& name) { return ::if_nametoindex(name.c_str()) != 0; }

tl::expected<TapQueues, std::string> make_tap(const std::string& name, std::size_t queues) {
  return open_queues(name, queues);
}

tl::expected<TapQueues, std::string> open_tap(const std::string& name, std::size_t queues) {
  if (!interface_exists(name))
    return tl::unexpected(fmt::format(
        "there is no tap device {}; `ip tuntap add {} mode tap user USER` makes one", name, name));
  auto opened = open_queues(name, queues);
  // It may have been made for one queue, or for several.
  if (!opened && errno == EINVAL) {
    vmm::Fd queue = open_queue(name, queues > 1 ? 0 : IFF_MULTI_QUEUE);
    if (!queue.open()) return failed("tap device " + name);
    opened = TapQueues();
    opened->push_back(std::move(queue));
  }
  if (!opened && errno == EPERM)
    return tl::unexpected(opened.error() + "; `ip tuntap add` with `user USER` makes one for a user");
  return opened;
}

tl::expected<void, std::string> set_up(const std::string& name, std::optional<std::uint32_t> mtu) {
  ifreq request = request_for(name);
  if (mtu) {
    request.ifr_mtu = static_cast<int>(*mtu);
    if (!ask(SIOCSIFMTU, request)) return failed(fmt::format("{}: mtu {}", name, *mtu));
  }
  request = request_for(name);
  if (!ask(SIOCGIFFLAGS, request)) return failed(name);
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (!ask(SIOCSIFFLAGS, request)) return failed(name);
  return {};
}

tl::expected<void, std::string> add_to_bridge(const std::string& bridge, const std::string& name) {
  ifreq request = request_for(bridge);
  request.ifr_ifindex = static_cast<int>(::if_nametoindex(name.c_str()));
  // <linux/sockios.h>; brctl(8) uses it, too.
  constexpr unsigned long add_interface = 0x89a2;  // SIOCBRADDIF
  if (!ask(add_interface, request)) return failed(fmt::format("{} into bridge {}", name, bridge));
  return {};
}

}  // namespace pinfold::cli
