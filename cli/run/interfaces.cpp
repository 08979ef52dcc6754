#include "cli/run/interfaces.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cli/config/vif_rate.hpp"
#include "devices/net/stream_lane.hpp"
#include "devices/net/tap_lane.hpp"

namespace pinfold::cli {
namespace {

namespace net = devices::net;

std::unique_ptr<net::Lane> lane_of(VifNet kind, vmm::Fd descriptor) {
  switch (kind) {
    case VifNet::bridge:
    case VifNet::tap: return std::make_unique<net::TapLane>(std::move(descriptor));
    case VifNet::listen: return net::StreamLane::listening(std::move(descriptor));
    case VifNet::passt:
    case VifNet::connect: break;
  }
  return net::StreamLane::connected(std::move(descriptor));
}

/// passt looks at no checksum of a guest's, and its stream has frames of any size.
net::WireTakes takes_of(VifNet kind) {
  switch (kind) {
    case VifNet::bridge:
    case VifNet::tap:
    case VifNet::passt: return {true, true};
    case VifNet::listen:
    case VifNet::connect: break;
  }
  return {false, false};
}

net::Wiring wiring_of(const VifConfig& vif, VifDescriptors descriptors) {
  net::Wiring wiring;
  wiring.tie = std::move(descriptors.tie);
  for (vmm::Fd& lane : descriptors.lanes) wiring.wire.lanes.push_back(lane_of(vif.net, std::move(lane)));
  wiring.wire.takes = takes_of(vif.net);
  if (descriptors.capture.open())
    wiring.capture = std::make_unique<net::Capture>(std::move(descriptors.capture));
  if (const auto rate = parse_rate(vif.rate.value_or("")))
    wiring.meter = std::make_unique<net::Meter>(net::Rate{rate->bytes, rate->interval});
  return wiring;
}

}  // namespace

net::InterfaceNodes nodes_of(const VifConfig& vif, std::size_t index) {
  net::InterfaceNodes nodes{static_cast<std::uint32_t>(index), vif.mac, vif.mtu, {}};
  const auto add = [&](const char* name, std::string value) {
    if (!value.empty()) nodes.more.push_back({name, std::move(value)});
  };
  add("bridge", vif.bridge);
  add("script", vif.script);
  add("vifname", vif.interface_name);
  add("ip", fmt::format("{}", fmt::join(vif.addresses, " ")));
  add("type", "vif");
  if (const auto rate = parse_rate(vif.rate.value_or("")))
    add("rate", fmt::format("{},{}", rate->bytes, rate->interval.count()));
  return nodes;
}

tl::expected<std::unique_ptr<net::Interface>, std::string> make_interface(const VifConfig& vif,
                                                                          std::size_t index,
                                                                          VifDescriptors descriptors,
                                                                          const net::InterfaceLinks& links,
                                                                          std::uint32_t queues) {
  return net::Interface::make(std::make_shared<net::Wiring>(wiring_of(vif, std::move(descriptors))),
                              nodes_of(vif, index), links, queues);
}

Wirings wirings_of(const GuestConfig& config, NetworkDescriptors networks) {
  Wirings wirings;
  std::size_t next = 0;
  for (const VifConfig& vif : config.vifs) {
    if (!vif.backend.empty())
      wirings.push_back(nullptr);
    else if (next < networks.size())
      wirings.push_back(std::make_shared<net::Wiring>(wiring_of(vif, std::move(networks[next++]))));
  }
  return wirings;
}

tl::expected<void, std::string> add_interfaces(devices::xenbus::Bus& bus, const GuestConfig& config,
                                               Wirings wirings, DomId guest,
                                               const net::InterfaceLinks& links) {
  if (wirings.size() != config.vifs.size())
    return tl::unexpected(std::string("interfaces without descriptors"));
  for (std::size_t n = 0; n < wirings.size(); ++n) {
    if (!config.vifs[n].backend.empty()) continue;
    const std::uint32_t number = config.vifs[n].number.value_or(static_cast<std::uint32_t>(n));
    auto made = net::Interface::make(std::move(wirings[n]), nodes_of(config.vifs[n], number), links,
                                     config.all_vcpus());
    if (!made) return tl::unexpected(fmt::format("vif {}: {}", number, made.error()));
    bus.add({"vif", guest, number}, std::move(*made));
  }
  return {};
}

}  // namespace pinfold::cli
