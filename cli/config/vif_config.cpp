#include "cli/config/vif_config.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "cli/config/mac.hpp"

namespace pinfold::cli {
namespace {

using Failed = tl::unexpected<std::string>;

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// Takes the text before the next separator off the front.
std::string_view take(std::string_view& rest, char separator) {
  const auto end = std::min(rest.find(separator), rest.size());
  const auto taken = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return trimmed(taken);
}

/// IPv4 or IPv6, perhaps with a prefix length, which some hotplug scripts understand.
bool is_address(std::string_view text) {
  const std::string address(text.substr(0, text.find('/')));
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  return ::inet_pton(AF_INET, address.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1;
}

tl::expected<void, std::string> set_mac(VifConfig& vif, std::string_view value) {
  auto mac = canonical_mac(value);
  if (!mac) return Failed(fmt::format("mac={}: not like 00:16:3e:12:34:56", value));
  if (is_multicast(*mac)) return Failed(fmt::format("mac={}: a multicast address", value));
  vif.mac = std::move(*mac);
  return {};
}

tl::expected<void, std::string> set_addresses(VifConfig& vif, std::string_view value) {
  vif.addresses.clear();
  while (!value.empty()) {
    const auto address = take(value, ' ');
    if (address.empty()) continue;
    if (!is_address(address)) return Failed(fmt::format("ip={}: not an IPv4 or IPv6 address", address));
    vif.addresses.emplace_back(address);
  }
  return {};
}

tl::expected<void, std::string> set_mtu(VifConfig& vif, std::string_view value) {
  std::uint32_t mtu = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), mtu);
  // RFC 791: every link carries 68 bytes. netif.h: a packet has at most 65535.
  if (error != std::errc() || end != value.data() + value.size() || mtu < 68 || mtu > 65535)
    return Failed(fmt::format("mtu={}: not a number from 68 to 65535", value));
  vif.mtu = mtu;
  return {};
}

tl::expected<void, std::string> set_type(VifConfig& vif, std::string_view value) {
  if (value != "vif" && value != "ioemu") return Failed(fmt::format("type={}: not vif or ioemu", value));
  vif.type = value;
  return {};
}

constexpr std::pair<std::string_view, VifNet> nets[] = {{"bridge", VifNet::bridge},
                                                        {"passt", VifNet::passt},
                                                        {"tap", VifNet::tap},
                                                        {"connect", VifNet::connect},
                                                        {"listen", VifNet::listen}};

bool has_place(VifNet net) { return net != VifNet::bridge && net != VifNet::passt; }

tl::expected<void, std::string> set_net(VifConfig& vif, std::string_view value) {
  std::string_view place = value;
  const auto word = take(place, ':');
  const auto* found =
      std::find_if(std::begin(nets), std::end(nets), [&](const auto& n) { return n.first == word; });
  if (found == std::end(nets) || has_place(found->second) == place.empty())
    return Failed(
        fmt::format("net={}: not bridge, passt, tap:NAME, connect:unix:PATH, connect:tcp:ADDRESS:PORT, or "
                    "the same with listen",
                    value));
  if ((found->second == VifNet::connect || found->second == VifNet::listen) && !place.starts_with("unix:/") &&
      !place.starts_with("tcp:"))
    return Failed(fmt::format("net={}: {} is neither unix:/PATH nor tcp:ADDRESS:PORT", value, place));
  vif.net = found->second;
  vif.place = place;
  return {};
}

/// passt checks the rest; it must not find options among them.
tl::expected<void, std::string> add_ports(std::vector<std::string>& ports, std::string_view key,
                                          std::string_view value) {
  while (!value.empty()) {
    const auto port = take(value, ' ');
    if (port.empty()) continue;
    if (port.find_first_not_of("0123456789abcdefABCDEF.:-/%") != std::string_view::npos || port[0] == '-')
      return Failed(fmt::format("{}={}: not like 8080, 18022:22 or 192.0.2.1/18022:22", key, port));
    ports.emplace_back(port);
  }
  return {};
}

/// passt gives the guest at most one address of each kind, and chooses the prefix itself.
tl::expected<void, std::string> check_addresses_for_passt(const std::vector<std::string>& addresses) {
  std::array<int, 2> count{};
  for (const std::string& address : addresses) {
    if (address.find('/') != std::string::npos)
      return Failed(fmt::format("ip={}: with net=passt, without a prefix length", address));
    if (++count[address.find(':') == std::string::npos ? 0 : 1] > 1)
      return Failed(fmt::format("ip={}: with net=passt, at most one IPv4 and one IPv6 address", address));
  }
  return {};
}

tl::expected<void, std::string> check_words(const VifConfig& vif) {
  if (vif.net != VifNet::passt && !(vif.tcp_ports.empty() && vif.udp_ports.empty()))
    return Failed(std::string("tcp= and udp= are for net=passt only"));
  if (vif.net != VifNet::bridge && !(vif.bridge.empty() && vif.script.empty()))
    return Failed(fmt::format("bridge= and script= have no meaning with net={}", name_of(vif.net)));
  if (!vif.backend.empty() && (vif.net != VifNet::bridge || !vif.capture.empty()))
    return Failed(std::string("net= and pcap= are this host's, and have no meaning with backend="));
  if (vif.net == VifNet::passt) return check_addresses_for_passt(vif.addresses);
  return {};
}

/// The members that take any text.
std::string* text_member(VifConfig& vif, std::string_view key) {
  if (key == "bridge") return &vif.bridge;
  if (key == "script") return &vif.script;
  if (key == "vifname") return &vif.interface_name;
  if (key == "gatewaydev" || key == "netdev") return &vif.gateway_device;
  if (key == "model") return &vif.model;
  if (key == "backend") return &vif.backend;
  return nullptr;
}

bool has_no_effect(std::string_view key) {
  return key == "devid" || key == "accel" || key == "trusted" || key == "untrusted" || key == "forwarddev" ||
         key.starts_with("colo_");
}

tl::expected<void, std::string> add_word(VifSpec& vif, std::string_view word) {
  std::string_view value = word;
  const auto key = take(value, '=');
  const bool has_value = word.find('=') != std::string_view::npos;
  value = trimmed(value);
  if (std::string* member = text_member(vif.config, key); member != nullptr && has_value)
    *member = key == "backend" && (value == "0" || value == "Domain-0") ? std::string_view() : value;
  else if (key == "mac" && has_value)
    return set_mac(vif.config, value);
  else if (key == "ip" && has_value)
    return set_addresses(vif.config, value);
  else if (key == "mtu" && has_value)
    return set_mtu(vif.config, value);
  else if (key == "net" && has_value)
    return set_net(vif.config, value);
  else if (key == "tcp" && has_value)
    return add_ports(vif.config.tcp_ports, key, value);
  else if (key == "udp" && has_value)
    return add_ports(vif.config.udp_ports, key, value);
  else if (key == "pcap" && has_value)
    vif.config.capture = value;
  else if (key == "type" && has_value)
    return set_type(vif.config, value);
  else if (key == "rate" && has_value)
    vif.config.rate = value;
  else
    (has_no_effect(key) ? vif.unused : vif.unknown).emplace_back(key);
  return {};
}

}  // namespace

std::string_view name_of(VifNet net) {
  return std::find_if(std::begin(nets), std::end(nets), [net](const auto& n) { return n.second == net; })
      ->first;
}

tl::expected<VifSpec, std::string> parse_vif(std::string_view spec) {
  VifSpec vif;
  while (!spec.empty()) {
    const auto word = take(spec, ',');
    if (word.empty()) continue;
    if (auto added = add_word(vif, word); !added) return tl::unexpected(added.error());
  }
  if (auto checked = check_words(vif.config); !checked) return tl::unexpected(checked.error());
  return vif;
}

}  // namespace pinfold::cli
