// The disks that a boot loader looks at.
#pragma once

#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/bootloader/fstest.hpp"
#include "cli/bootloader/image_reader.hpp"
#include "cli/config/guest_config.hpp"
#include "devices/block/image.hpp"

namespace pinfold::cli::bootloader {

/// A boot loader looks at no more of a guest's disks than the first ones.
inline constexpr std::size_t most_boot_disks = 8;

/// The images of a guest's disks, in the configuration's order; those that have a server are not null.
using BootImages = std::vector<std::shared_ptr<devices::block::Image>>;

/// For Fstest, and those among them that are read through their servers.
class BootDisks {
 public:
  /// Raw images are opened here, for reading; for the others, `images` are used until this object ends. The
  /// guest's first disk has to be one that can be looked at. An error is one line.
  [[nodiscard]] static tl::expected<BootDisks, std::string> open(const GuestConfig& guest,
                                                                 const BootImages& images);
  /// Only the first time.
  [[nodiscard]] std::vector<FstestDisk> take() { return std::move(disks_); }
  /// "xvda (/srv/web.qcow2) can't be read: …", if that is so. It needs what was taken.
  [[nodiscard]] std::string trouble() const;

 private:
  struct Served {
    std::string name;
    const ImageReader* reader;
  };
  std::vector<FstestDisk> disks_;
  std::vector<Served> served_;
};

}  // namespace pinfold::cli::bootloader
