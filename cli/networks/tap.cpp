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

constexpr const char* tun = "/dev/net/tun";

/// Why the host gives no queue: an errno, of opening `tun` or of the device.
struct Failure {
  int error;
  bool is_of_tun;

  [[nodiscard]] bool lacks_right() const { return error == EPERM || error == EACCES; }
};

/// In one line, with what to do if `tun` is missing.
std::string text_of(const std::string& name, const Failure& failure) {
  const char* const why = std::strerror(failure.error);
  if (!failure.is_of_tun) return fmt::format("tap device {}: {}", name, why);
  const bool is_missing = failure.error == ENOENT || failure.error == ENODEV || failure.error == ENXIO;
  return fmt::format("tap device {}: {}: {}{}", name, tun, why,
                     is_missing ? "; `modprobe tun` makes it, and a container has to be given it" : "");
}

tl::expected<vmm::Fd, Failure> open_queue(const std::string& name, short more_flags) {
  vmm::Fd queue(::open(tun, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!queue.open()) return tl::unexpected(Failure{errno, true});
  ifreq request = request_for(name);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | more_flags);
  int header_bytes = 10;
  // The queues of an interface do what its guest can't (segmentation, checksums). So the host is always asked
  // for large frames with blank checksums.
  constexpr unsigned long offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  if (::ioctl(queue.get(), TUNSETIFF, &request) != 0 ||
      ::ioctl(queue.get(), TUNSETVNETHDRSZ, &header_bytes) != 0 ||
      ::ioctl(queue.get(), TUNSETOFFLOAD, offloads) != 0)
    return tl::unexpected(Failure{errno, false});
  return queue;
}

tl::expected<TapQueues, Failure> open_queues(const std::string& name, std::size_t count) {
  TapQueues queues;
  for (std::size_t n = 0; n < count; ++n) {
    auto queue = open_queue(name, count > 1 ? IFF_MULTI_QUEUE : 0);
    if (!queue) return tl::unexpected(queue.error());
    queues.push_back(std::move(*queue));
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
  auto made = open_queues(name, queues);
  if (made) return std::move(*made);
  const Failure& failure = made.error();
  return tl::unexpected(text_of(name, failure) +
                        (failure.lacks_right() ? ": only root may make one for a bridge; net=passt needs no "
                                                 "rights, and net=tap:NAME uses one that was made for you"
                                               : ""));
}

tl::expected<TapQueues, std::string> open_tap(const std::string& name, std::size_t queues) {
  if (!interface_exists(name))
    return tl::unexpected(fmt::format(
        "there is no tap device {}; `ip tuntap add {} mode tap user USER` makes one", name, name));
  auto opened = open_queues(name, queues);
  // It may have been made for one queue, or for several.
  if (!opened && opened.error().error == EINVAL) {
    auto queue = open_queue(name, queues > 1 ? 0 : IFF_MULTI_QUEUE);
    if (!queue) return tl::unexpected(text_of(name, queue.error()));
    opened = TapQueues();
    opened->push_back(std::move(*queue));
  }
  if (opened) return std::move(*opened);
  const Failure& failure = opened.error();
  std::string text = text_of(name, failure);
  if (failure.lacks_right())
    text += failure.is_of_tun ? "; its group, or a rule of udev such as `KERNEL==\"tun\", MODE=\"0666\"`, "
                                "gives a user the right to open it"
                              : "; `ip tuntap add` with `user USER` makes one for a user";
  return tl::unexpected(std::move(text));
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
