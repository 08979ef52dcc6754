// Requests of the control socket that are about a guest's devices.
#pragma once

#include <memory>
#include <optional>

#include "cli/control/protocol.hpp"
#include "cli/control/socket.hpp"
#include "cli/hotplug/hot_plug.hpp"
#include "devices/xenstore/store.hpp"

namespace pinfold::cli {

/// Answers block-attach, block-resize, network-attach, device-detach, devices, device (docs/control.md).
///
/// Concurrency: any thread.
class DeviceRequests {
 public:
  using Answer = tl::expected<Json, std::string>;

  /// `hot_plug` outlives this.
  DeviceRequests(HotPlug& hot_plug, std::shared_ptr<devices::xenstore::Store> store)
      : hot_plug_(hot_plug), store_(std::move(store)) {}

  /// Does the command take descriptors?
  [[nodiscard]] static bool takes_descriptors(const Request& request);
  /// What each device did, by its name: "disk xvda".
  [[nodiscard]] Json counts();
  /// nullopt: another command. Descriptors that a device keeps are moved out.
  [[nodiscard]] std::optional<Answer> answer(const Request& request, Descriptors& descriptors);

 private:
  [[nodiscard]] Answer attach_disk(const Json& arguments, Descriptors& descriptors);
  [[nodiscard]] Answer attach_served_disk(devices::block::DiskNodes nodes, const Json& arguments,
                                          Descriptors& descriptors);
  [[nodiscard]] Answer attach_disk_of_driver_domain(const Json& arguments, std::uint32_t number);
  [[nodiscard]] Answer attach_interface(const Json& arguments, Descriptors& descriptors);
  [[nodiscard]] Answer detach(const Json& arguments);
  [[nodiscard]] Answer resize(const Json& arguments);
  [[nodiscard]] Answer list();
  [[nodiscard]] Answer look_at(const Json& arguments);
  [[nodiscard]] Json describe(const devices::xenbus::DeviceStatus& device);

  HotPlug& hot_plug_;
  std::shared_ptr<devices::xenstore::Store> store_;
};

}  // namespace pinfold::cli
