// What commands changed about a guest's devices: its next life begins with these.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "cli/config/disk_config.hpp"

namespace pinfold::cli {

/// A process that cleans up when a device is gone (keeper.hpp).
struct KeeperNote {
  pid_t process = 0;        ///< 0: there is none.
  std::uint64_t begun = 0;  ///< When it began, as /proc says: another process may have its number later.

  [[nodiscard]] static KeeperNote of(pid_t process);
  /// Waits until it has ended, for at most `milliseconds`. False: it is there.
  [[nodiscard]] bool wait(int milliseconds) const;
};

/// What became of one device.
struct DeviceChange {
  /// In the syntax of `disk` and `vif` in xl.cfg(5), with absolute paths; nullopt: the guest has it no more.
  std::optional<std::string> text;
  std::vector<std::string> allowed_images;  ///< Of a disk: --allow-image.
  KeeperNote keeper;
};

/// By kind ("vbd", "vif") and number. Only a device that changed is in it.
using DeviceChanges = std::map<std::pair<std::string, std::uint32_t>, DeviceChange>;

// They are in the file devices_path() (control/socket.hpp), beside the guest's sockets. Commands write it,
// and a supervisor reads it before each further life. Monitors can't reach it.

/// Writes the change down in the guest's devices_path(), in place of an older one of the device. An error is
/// one line.
[[nodiscard]] tl::expected<void, std::string> note_device(const std::filesystem::path& record,
                                                          const std::string& kind, std::uint32_t number,
                                                          const DeviceChange& change);
/// All of a guest's. What is no such file has none.
[[nodiscard]] DeviceChanges noted_devices(const std::filesystem::path& directory, std::string_view name);

/// The disk as a DeviceChange has it; read_disk() (device_texts.hpp) makes the same of it again.
[[nodiscard]] std::string text_of(const DiskConfig& disk);

}  // namespace pinfold::cli
