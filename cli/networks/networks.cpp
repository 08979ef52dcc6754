#include "cli/networks/networks.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "cli/networks/passt.hpp"
#include "cli/networks/places.hpp"
#include "cli/networks/routes.hpp"
#include "cli/networks/tap.hpp"
#include "cli/networks/vif_script.hpp"
#include "devices/net/interface.hpp"

namespace pinfold::cli {
namespace {

using Opened = tl::expected<std::unique_ptr<VifHost>, std::string>;

class PasstHost final : public VifHost {
 public:
  PasstHost(Child process, std::shared_ptr<const DeviceTie> device)
      : process_(std::move(process)), device_(std::move(device)) {}
  ~PasstHost() override {
    // It ends by itself, since nobody has the other end of its socket any more.
    (void)process_.wait(1000);
  }
  std::optional<HelperTrouble> trouble() override {
    const auto status = process_.ended();
    if (!status) return std::nullopt;
    // What one said that did not fail by itself is no reason.
    const bool failed = WIFEXITED(*status) && WEXITSTATUS(*status) != 0;
    const std::string said = failed ? process_.last_line() : "";
    return HelperTrouble{
        fmt::format("passt {}{}{}", how_helper_ended(*status), said.empty() ? "" : ": ", said),
        "the interface is cut off until the guest's next start; `pinfold network-detach` and "
        "`network-attach` give the guest another one",
        WIFSIGNALED(*status), *status == 0, device_};
  }

 private:
  Child process_;
  std::shared_ptr<const DeviceTie> device_;
};

class ListeningHost final : public VifHost {
 public:
  explicit ListeningHost(Listening listening) : listening_(std::move(listening)) {}

 private:
  Listening listening_;
};

/// A tap device of the guest's own, in a bridge or set up by a script.
class BridgedHost final : public VifHost {
 public:
  BridgedHost(const VifOfGuest& vif, bool by_script)
      : config_(vif.config),
        domain_(vif.domain),
        index_(vif.index),
        device_(vif.device),
        by_script_(by_script) {}
  /// The device itself went with its last descriptor.
  ~BridgedHost() override {
    if (!by_script_) return;
    if (auto done = run_script({config_, domain_, index_, device_}, VifScriptCall::offline); !done)
      fmt::print(stderr, "pinfold: vif {}: {}\n", index_, done.error());
  }

 private:
  const VifConfig config_;
  const std::uint32_t domain_;
  const std::size_t index_;
  const std::string device_;
  const bool by_script_;
};

/// xl's default is a script that does what bridge_of() does; so it need not be installed.
bool is_own_script(const VifConfig& vif) { return !vif.script.empty() && vif.script != "vif-bridge"; }

std::string bridge_of(const VifConfig& vif) { return vif.bridge.empty() ? "xenbr0" : vif.bridge; }

Opened open_passt(const VifOfGuest& vif, VifDescriptors& to) {
  const bool host_has_route = has_default_route();
  if (!host_has_route && !vif.config.addresses.empty())
    return tl::unexpected(
        std::string("this host has no default route, and then passt gives no address of ip="));
  if (!host_has_route)
    fmt::print(stderr,
               "pinfold: vif {}: this host has no default route, so passt gives the guest the address {}, "
               "without IPv6 "
               "and without resolvers\n",
               vif.index, guest_without_route);
  auto passt = start_passt(vif.config, host_has_route);
  if (!passt) return tl::unexpected(passt.error());
  to.lanes.push_back(std::move(passt->socket));
  auto tie = DeviceTie::make();
  to.tie = std::move(tie.monitors);
  return std::make_unique<PasstHost>(std::move(passt->process), std::move(tie.ours));
}

Opened open_listener(const VifConfig& vif, VifDescriptors& to) {
  auto listening = Listening::at(vif.place);
  if (!listening) return tl::unexpected(listening.error());
  to.lanes.emplace_back(::fcntl(listening->socket.get(), F_DUPFD_CLOEXEC, 3));
  listening->socket = vmm::Fd();
  return std::make_unique<ListeningHost>(std::move(*listening));
}

Opened open_bridged(const VifOfGuest& vif, std::size_t queues, VifDescriptors& to) {
  const bool by_script = is_own_script(vif.config);
  const std::string bridge = bridge_of(vif.config);
  if (!by_script && !interface_exists(bridge))
    return tl::unexpected(fmt::format(
        "there is no bridge {}; `ip link add {} type bridge` makes one, bridge= names another one, and "
        "net=passt needs none",
        bridge, bridge));
  if (interface_exists(vif.device))
    return tl::unexpected(
        fmt::format("there is an interface {} already; vifname= gives another name", vif.device));
  auto tap = make_tap(vif.device, queues);
  if (!tap) return tl::unexpected(tap.error());
  if (by_script) {
    if (auto done = run_script(vif, VifScriptCall::online); !done) return tl::unexpected(done.error());
  } else {
    if (auto done = add_to_bridge(bridge, vif.device); !done) return tl::unexpected(done.error());
    if (auto done = set_up(vif.device, vif.config.mtu); !done) return tl::unexpected(done.error());
  }
  to.lanes = std::move(*tap);
  return std::make_unique<BridgedHost>(vif, by_script);
}

Opened open_vif(const VifOfGuest& vif, std::size_t queues, VifDescriptors& to) {
  switch (vif.config.net) {
    case VifNet::bridge: return open_bridged(vif, queues, to);
    case VifNet::passt: return open_passt(vif, to);
    case VifNet::listen: return open_listener(vif.config, to);
    case VifNet::connect: {
      auto socket = connect_to(vif.config.place);
      if (!socket) return tl::unexpected(socket.error());
      to.lanes.push_back(std::move(*socket));
      break;
    }
    case VifNet::tap: {
      auto tap = open_tap(vif.config.place, queues);
      if (!tap) return tl::unexpected(tap.error());
      to.lanes = std::move(*tap);
      break;
    }
  }
  return std::make_unique<VifHost>();
}

/// A regular file, empty: one that exists is replaced.
tl::expected<vmm::Fd, std::string> open_capture(const std::filesystem::path& path) {
  vmm::Fd file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  struct stat of {};
  if (!file.open() || ::fstat(file.get(), &of) != 0)
    return tl::unexpected(fmt::format("pcap={}: {}", path.string(), std::strerror(errno)));
  if (!S_ISREG(of.st_mode)) return tl::unexpected(fmt::format("pcap={}: no regular file", path.string()));
  return file;
}

std::string device_name(const VifConfig& vif, std::uint32_t domain, std::size_t index) {
  return vif.interface_name.empty() ? fmt::format("vif{}.{}", domain, index) : vif.interface_name;
}

}  // namespace

tl::expected<Networks, std::string> Networks::open(const GuestConfig& guest, std::uint32_t domain) {
  Networks networks;
  const std::size_t queues = std::min<std::size_t>(guest.all_vcpus(), devices::net::Interface::most_queues);
  for (std::size_t n = 0; n < guest.vifs.size(); ++n)
    if (!guest.vifs[n].backend.empty()) {
      continue;
    } else if (auto added = networks.add(guest.vifs[n], domain, guest.vifs[n].number.value_or(n), queues);
               !added) {
      return tl::unexpected(fmt::format("vif {}: {}", guest.vifs[n].number.value_or(n), added.error()));
    }
  return networks;
}

tl::expected<Networks, std::string> Networks::open_one(const VifConfig& vif, std::uint32_t domain,
                                                       std::size_t index) {
  Networks networks;
  if (auto added = networks.add(vif, domain, index, 1); !added) return tl::unexpected(added.error());
  return networks;
}

tl::expected<void, std::string> Networks::add(const VifConfig& vif, std::uint32_t domain, std::size_t index,
                                              std::size_t queues) {
  VifDescriptors& descriptors = descriptors_.emplace_back();
  auto host = open_vif({vif, domain, index, device_name(vif, domain, index)}, queues, descriptors);
  if (!host) return tl::unexpected(host.error());
  hosts_.emplace_back(index, std::move(*host));
  if (vif.capture.empty()) return {};
  auto capture = open_capture(vif.capture);
  if (!capture) return tl::unexpected(capture.error());
  descriptors.capture = std::move(*capture);
  return {};
}

std::vector<HelperTrouble> Networks::troubles() {
  std::vector<HelperTrouble> all;
  for (const auto& [index, host] : hosts_)
    if (auto trouble = host->trouble()) {
      trouble->what = fmt::format("vif {}: {}", index, trouble->what);
      all.push_back(std::move(*trouble));
    }
  return all;
}

}  // namespace pinfold::cli
