// What an image is based on: found out by qemu-img, in a process that can open nothing else.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "cli/config/disk_config.hpp"
#include "cli/images/image_files.hpp"
#include "sandbox/policy.hpp"

namespace pinfold::cli::images {

/// What an image says of itself. Names are as they are in the image.
struct ImageFacts {
  std::string backing;         ///< Empty: none.
  std::string backing_format;  ///< Empty: the image does not say.
  std::string data_file;       ///< Of qcow2; empty: none.
};

/// The output of `qemu-img info --output=json`. An error: it is no such output.
[[nodiscard]] tl::expected<ImageFacts, std::string> parse_image_info(std::string_view output);

/// QEMU's name of a format, and the other way round.
[[nodiscard]] const char* driver_of(DiskFormat format);
[[nodiscard]] std::optional<DiskFormat> format_of_driver(std::string_view driver);

/// QEMU's options for an image (qemu(1), -blockdev), as --image-opts takes them.
[[nodiscard]] std::string image_options(const ImageFile& file, DiskFormat format);

/// Finds all files of the disk, and adds them to `files`, image by image. No format is guessed: not of the
/// image, and not of what it is based on. An error is one line without the disk's name.
[[nodiscard]] tl::expected<void, std::string> find_chain(ImageFiles& files, const DiskConfig& disk,
                                                         const std::optional<sandbox::User>& user);

}  // namespace pinfold::cli::images
