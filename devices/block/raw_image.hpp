// Raw images: files and block devices of the host.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "devices/block/image.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::devices::block {

/// By what transfers are done.
enum class Engine : std::uint8_t {
  best,  ///< By io_uring if the host has it for us, else by threads.
  io_uring,
  threads,
};

struct RawImageOptions {
  bool read_only = false;
  bool discard = true;  ///< Offer discard, if the host can do it.
  bool direct_io =
      false;  ///< Past the host's page cache, if the image can be read so in sectors of 512 bytes.
  Engine engine = Engine::best;
  /// How long to wait for another program: the locks of one that was killed may linger for milliseconds.
  std::chrono::milliseconds lock_patience{1000};
  unsigned threads = 4;  ///< For Engine::threads, created when the image is opened.
};

struct OpenImage {
  std::unique_ptr<Image> image;
  std::vector<std::string> notices;  ///< One line each, for the user; nothing that prevents a start.
};

/// Opens and locks a raw image. An error is one line that names the image and says what to do. Nothing but
/// the options decides how the image is read; its content does not.
[[nodiscard]] tl::expected<OpenImage, std::string> open_raw_image(const std::filesystem::path& path,
                                                                  const RawImageOptions& options);

/// The same for an image that is already open, such as one that a client passed. Opens no path. `name` is for
/// messages. The descriptor becomes the image's: its flags (O_DIRECT, O_APPEND) are set as the image needs
/// them.
[[nodiscard]] tl::expected<OpenImage, std::string> adopt_raw_image(vmm::Fd fd, const std::string& name,
                                                                   const RawImageOptions& options);

/// The file of an image, opened as open_raw_image() does, and neither looked at nor locked.
[[nodiscard]] tl::expected<vmm::Fd, std::string> open_image_file(const std::filesystem::path& path,
                                                                 const RawImageOptions& options);

/// Locks an image that inspect() found good. An error is one line that says who holds it; a notice: its file
/// system has no locks.
[[nodiscard]] tl::expected<std::vector<std::string>, std::string> lock_for_use(
    int fd, const std::string& name, const RawImageOptions& options);

}  // namespace pinfold::devices::block
