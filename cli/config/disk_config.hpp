// A disk of a guest, as the user described it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace pinfold::cli {

/// How an image is laid out. It is what the configuration says, never what the image looks like: a guest
/// writes its own images, and could make one look like another format.
enum class DiskFormat : std::uint8_t { raw, qcow, qcow2, vhd, vhdx, vmdk, qed };

/// One disk: an element of `disk` in xl.cfg(5), or a --disk.
struct DiskConfig {
  std::filesystem::path target;  ///< The image or block device. Empty: a CD-ROM drive without a medium.
  DiskFormat format = DiskFormat::raw;
  std::string vdev;  ///< As the user wrote it: "xvda", "sda1", "51712"; vdev_number() knows it.
  bool read_only = false;
  bool cdrom = false;
  bool discard = true;     ///< The guest may punch holes into the image.
  bool direct_io = false;  ///< Past the host's page cache (O_DIRECT).
  std::string script;      ///< A program that makes the target into a block device; empty: none.
  std::string backend;     ///< The domain that has the disk; empty: this host.
};

/// "raw", "qcow2", …
[[nodiscard]] const char* name_of(DiskFormat format);

}  // namespace pinfold::cli
