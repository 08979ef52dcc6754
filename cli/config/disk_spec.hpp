// The texts of disks: what libxlutil gets of them, and what becomes of its answer.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "cli/config/disk_config.hpp"
#include "cli/config/xl_answer.hpp"

namespace pinfold::cli {

/// A disk's text in the syntax of xl-disk-configuration(5).
struct DiskSpec {
  std::string text;                  ///< As the user wrote it.
  std::string for_library;           ///< The same with a format that the library knows.
  std::optional<DiskFormat> format;  ///< The one that it does not know: vmdk, vhdx.
};
[[nodiscard]] DiskSpec disk_spec(std::string text);

/// The disk, or what is wrong with it.
[[nodiscard]] tl::expected<DiskConfig, std::string> disk_config(
    const DiskSpec& spec, const tl::expected<XlDisk, std::string>& answer);

}  // namespace pinfold::cli
