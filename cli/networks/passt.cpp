#include "cli/networks/passt.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace pinfold::cli {
namespace {

/// The largest that passt knows; newer versions have it as their default.
constexpr std::uint32_t default_mtu = 65520;

/// On a host without a default route, of which passt would take addresses and gateway: an IPv4 network of its
/// own, whose gateway is on the loopback interface. The link-layer address is one that no card has.
const std::vector<std::string> words_without_route = {
    "--ipv4-only",       "--interface", "lo",        "--address", guest_without_route,
    "--netmask",         "24",          "--gateway", "10.0.2.2",  "--mac-addr",
    "02:00:00:00:00:02", "--dns",       "none"};

/// A forwarded port is reachable from this host only, unless the user names an address.
std::string with_address(const std::string& ports) {
  return ports.find('/') == std::string::npos ? "127.0.0.1/" + ports : ports;
}

}  // namespace

std::vector<std::string> passt_words(const VifConfig& vif, int socket, bool host_has_route) {
  // By default the gateway's address would stand for the host's loopback.
  std::vector<std::string> words = {"passt",
                                    "--foreground",
                                    "--quiet",
                                    "--stderr",
                                    "--no-map-gw",
                                    "--fd",
                                    std::to_string(socket),
                                    "--mtu",
                                    std::to_string(vif.mtu.value_or(default_mtu))};
  if (!host_has_route) words.insert(words.end(), words_without_route.begin(), words_without_route.end());
  for (const std::string& address : vif.addresses) {
    words.emplace_back("--address");
    words.push_back(address);
  }
  for (const auto& [option, ports] :
       {std::pair{"--tcp-ports", &vif.tcp_ports}, std::pair{"--udp-ports", &vif.udp_ports}})
    for (const std::string& port : *ports) {
      words.emplace_back(option);
      words.push_back(with_address(port));
    }
  return words;
}

tl::expected<Passt, std::string> start_passt(const VifConfig& vif, bool host_has_route) {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return tl::unexpected(fmt::format("no socket for passt: {}", std::strerror(errno)));
  vmm::Fd ours(ends[0]);
  const vmm::Fd its(ends[1]);
  auto child = Child::start({passt_words(vif, its.get(), host_has_route), {}, {its.get()}});
  if (!child)
    return tl::unexpected(child.error() + "; `apt install passt` installs it, and net=tap:NAME does without");
  return Passt{std::move(*child), std::move(ours)};
}

}  // namespace pinfold::cli
