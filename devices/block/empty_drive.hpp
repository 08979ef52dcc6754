// A CD-ROM drive without a medium.
#pragma once

#include "devices/block/disk.hpp"

namespace pinfold::devices::block {

/// The guest finds the drive in xenstore, and its frontend gets as far as Initialised. There the device waits
/// for a medium, as with Xen's blkback: who inserts one puts a Disk in its place.
class EmptyDrive final : public xenbus::Backend {
 public:
  explicit EmptyDrive(DiskNodes nodes) : nodes_(std::move(nodes)) {}

  [[nodiscard]] xenbus::DeviceNodes backend_nodes() const override {
    return {{"dev", nodes_.vdev}, {"mode", "r"},  {"device-type", "cdrom"}, {"removable", "1"},
            {"type", "file"},     {"params", ""}, {"discard-enable", "0"}};
  }
  [[nodiscard]] xenbus::DeviceNodes frontend_nodes() const override {
    return {{"virtual-device", std::to_string(nodes_.number)}, {"device-type", "cdrom"}};
  }
  void start() override {}
  [[nodiscard]] xenbus::DeviceNodes features() const override { return {}; }
  [[nodiscard]] bool is_ready() const override { return false; }
  [[nodiscard]] tl::expected<xenbus::DeviceNodes, std::string> connect(
      const xenbus::FrontendNodes&) override {
    return tl::unexpected(std::string("there is no medium"));
  }
  void disconnect() override {}
  [[nodiscard]] bool is_disconnected() override { return true; }
  [[nodiscard]] std::optional<std::string> failure() override { return std::nullopt; }
  [[nodiscard]] xenbus::DeviceCounts counts() const override { return {"disk " + nodes_.vdev, {}}; }

 private:
  DiskNodes nodes_;
};

}  // namespace pinfold::devices::block
