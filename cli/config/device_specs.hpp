// The texts that describe a guest's disks and interfaces, with their places, and what becomes of them.
#pragma once

#include <string>
#include <vector>

#include "cli/config/disk_spec.hpp"
#include "cli/config/guest_config.hpp"
#include "cli/config/remark.hpp"
#include "cli/config/vif_config.hpp"
#include "cli/config/xl_answer.hpp"
#include "cli/config/xl_reader.hpp"

namespace pinfold::cli {

/// Where a device is described.
struct DevicePlace {
  std::string source, word;  ///< The file and "disk[0]", or "--disk" and nothing.
  unsigned line = 0;
  bool is_option = false;

  [[nodiscard]] Remark remark(Severity severity, const std::string& message) const;
};

/// All devices of a guest: first those of the file, then those of options.
struct DeviceSpecs {
  struct Disk {
    DevicePlace place;
    DiskSpec spec;
  };
  struct Vif {
    DevicePlace place;
    tl::expected<VifSpec, std::string> spec;
  };
  std::vector<Disk> disks;
  std::vector<Vif> vifs;

  void add_disk(DevicePlace place, std::string text);
  void add_vif(DevicePlace place, const std::string& text);
  /// What libxlutil has to parse of them: the disks, and the rates of those interfaces that have one.
  [[nodiscard]] XlSpecs for_library() const;
};

/// Puts the devices into the guest, as the library understood them. A disk of an option takes the place of
/// the file's disk of the same number. False: the answer is to another question.
[[nodiscard]] bool add_devices(const DeviceSpecs& specs, const XlAnswer& answer, GuestConfig& guest,
                               std::vector<DevicePlace>& disk_places, Remarks& remarks);

}  // namespace pinfold::cli
