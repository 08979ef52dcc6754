// An image behind a server, as a file that grub-fstest reads.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/tools/served_files.hpp"
#include "devices/block/image.hpp"

namespace pinfold::cli::bootloader {

/// Reads what is asked for, when it is asked for, through a queue of its own.
///
/// Concurrency: used by one thread.
class ImageReader final : public tools::ServedFile {
 public:
  /// How long the image's server may take for a read. After that, nothing more is asked of it.
  static constexpr std::chrono::seconds usual_patience{30};

  /// The image is not null. An error is a reason, in one line.
  [[nodiscard]] static tl::expected<std::unique_ptr<ImageReader>, std::string> make(
      std::shared_ptr<devices::block::Image> image, std::chrono::milliseconds patience = usual_patience);

  [[nodiscard]] std::uint64_t bytes() const override { return bytes_; }
  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> to) override;

  /// Why the first read failed that did. Empty: none.
  [[nodiscard]] const std::string& trouble() const { return trouble_; }

 private:
  ImageReader(std::shared_ptr<devices::block::Image> image,
              std::unique_ptr<devices::block::TransferQueue> queue, std::chrono::milliseconds patience);
  /// Fills the buffer from `offset` on. 0, or an errno.
  [[nodiscard]] int fill(std::uint64_t offset);

  std::shared_ptr<devices::block::Image> image_;
  const std::uint64_t bytes_, block_;
  const std::chrono::milliseconds patience_;
  std::vector<std::byte> buffer_;
  iovec piece_{};
  std::string trouble_;
  std::unique_ptr<devices::block::TransferQueue> queue_;  ///< Ends before its memory. Null: it was too slow.
};

}  // namespace pinfold::cli::bootloader
