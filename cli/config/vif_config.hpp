// A network interface of a guest, as the user described it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace pinfold::cli {

/// What an interface is connected to on the host: `net=`, a word that xl does not know, and ignores.
enum class VifNet : std::uint8_t {
  bridge,   ///< A new tap device, in a bridge or given to a script, as with xl.
  passt,    ///< A passt(1) of the interface's own.
  tap,      ///< A tap device that exists.
  connect,  ///< A stream socket to connect to.
  listen,   ///< A stream socket that one peer after the other connects to.
};
/// "passt"
[[nodiscard]] std::string_view name_of(VifNet net);

/// One interface: an element of `vif` in xl.cfg(5), or a --vif. All empty is a valid one.
struct VifConfig {
  std::string
      mac;  ///< Six pairs of hexadecimal digits with colons. completed() makes one of the guest's UUID.
  std::string bridge, script, interface_name, gateway_device, model, type, backend;
  std::vector<std::string> addresses;  ///< IPv4 or IPv6, as in `ip=`.
  std::optional<std::string> rate;     ///< As in xl: "10Mb/s", "1MB/s@50ms".
  std::optional<std::uint32_t> mtu;
  VifNet net = VifNet::bridge;
  std::string place;  ///< The tap device's name, or "unix:PATH", "tcp:ADDRESS:PORT".
  std::vector<std::string> tcp_ports, udp_ports;  ///< Forwarded by passt, in its syntax: "18022:22".
  std::filesystem::path capture;                  ///< `pcap=`; empty: none.
  /// Which of the guest's interfaces it is; nullopt: its place in the list. No text has it.
  std::optional<std::uint32_t> number;
};

/// What an interface's text says.
struct VifSpec {
  VifConfig config;
  std::vector<std::string> unknown;  ///< Words that xl does not know; it ignores them.
  std::vector<std::string> unused;   ///< Words that xl knows, and that have no effect here.
};

/// Splits "mac=…,bridge=…", the syntax of xl-network-configuration(5), as xl does: at each comma, without the
/// spaces around. The rate is not checked. An error says what is wrong.
[[nodiscard]] tl::expected<VifSpec, std::string> parse_vif(std::string_view spec);

}  // namespace pinfold::cli
