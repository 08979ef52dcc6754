// The files that one disk consists of, and that a program which reads them may open.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/tools/open_requests.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::images {

/// A file under the name by which the program asks for it.
struct ImageFile {
  std::string name;  ///< Absolute.
  vmm::Fd file;
  bool writable = false;
  bool is_device = false;  ///< A block device.
};

/// The image, what it is based on, and where its data are. Names of further files come from images, which
/// anybody may have made: they are taken only if the file is in the folder of the first image, or the user
/// has named it (its folder, if the name ends with a slash).
class ImageFiles {
 public:
  ImageFiles(const std::filesystem::path& image, const std::vector<std::string>& named);

  /// Opens the first image, which the user named. An error is a reason.
  [[nodiscard]] tl::expected<const ImageFile*, std::string> add_image(const std::filesystem::path& image,
                                                                      bool writable);
  /// A file that `image` names. An error is a reason, and says what to do.
  [[nodiscard]] tl::expected<const ImageFile*, std::string> add_named_by(const std::string& image,
                                                                         const std::string& name,
                                                                         bool writable);
  [[nodiscard]] const ImageFile* find(const std::string& name) const;
  /// The name of a known file that is the same one; else null.
  [[nodiscard]] const ImageFile* same_as(const ImageFile& file) const;

  /// Opens a file that is known, anew, so that it has locks of its own; /dev/null, too, with which programs
  /// try what locks there are. Else ENOENT, and EACCES for writing what is not to be written.
  [[nodiscard]] tl::expected<vmm::Fd, int> open(const std::string& name, int flags) const;

 private:
  [[nodiscard]] tl::expected<const ImageFile*, std::string> add(std::string name, bool writable);
  [[nodiscard]] bool may_use(const vmm::Fd& file) const;

  std::filesystem::path folder_;              ///< Of the first image, canonical.
  std::vector<std::filesystem::path> named_;  ///< Canonical.
  std::vector<std::filesystem::path> folders_;
  std::vector<std::unique_ptr<ImageFile>> files_;
};

/// What `name` means in an image: relative to the image's folder. An error: it names no file, but a protocol,
/// such as "nbd:" or "json:".
[[nodiscard]] tl::expected<std::string, std::string> file_named(const std::string& image,
                                                                const std::string& name);

}  // namespace pinfold::cli::images
