#include "cli/bootloader/image_reader.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

namespace pinfold::cli::bootloader {

namespace block = devices::block;

ImageReader::ImageReader(std::shared_ptr<block::Image> image, std::unique_ptr<block::TransferQueue> queue,
                         std::chrono::milliseconds patience)
    : image_(std::move(image)),
      bytes_(image_->geometry().sectors * block::sector_bytes),
      block_(image_->geometry().logical_sector_bytes),
      patience_(patience),
      queue_(std::move(queue)) {}

tl::expected<std::unique_ptr<ImageReader>, std::string> ImageReader::make(
    std::shared_ptr<block::Image> image, std::chrono::milliseconds patience) {
  auto queue = image->make_queue(1);
  if (!queue) return tl::unexpected(queue.error());
  return std::unique_ptr<ImageReader>(new ImageReader(std::move(image), std::move(*queue), patience));
}

int ImageReader::read(std::uint64_t offset, std::span<std::byte> to) {
  // Images are read in whole blocks of theirs.
  const std::uint64_t first = offset / block_ * block_,
                      end = (offset + to.size() + block_ - 1) / block_ * block_;
  buffer_.resize(end - first);
  if (const int error = fill(first); error != 0) {
    if (trouble_.empty()) trouble_ = std::strerror(error);
    return error;
  }
  std::memcpy(to.data(), buffer_.data() + (offset - first), to.size());
  return 0;
}

int ImageReader::fill(std::uint64_t offset) {
  if (!queue_) return EIO;
  using Clock = std::chrono::steady_clock;
  piece_ = {buffer_.data(), buffer_.size()};
  if (!queue_->submit({block::Operation::read, offset, buffer_.size(), {&piece_, 1}, 0})) return EIO;
  queue_->start();
  const auto deadline = Clock::now() + patience_;
  std::optional<int> result;
  const auto collect = [&] { queue_->collect([&](const block::Completion& done) { result = done.error; }); };
  for (collect(); !result; collect()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) {
      trouble_ = fmt::format("a read took longer than {} seconds", patience_.count() / 1000);
      queue_.reset();
      return EIO;
    }
    std::vector<pollfd> events;
    queue_->add_descriptors(events);
    if (::poll(events.data(), events.size(), static_cast<int>(left)) < 0 && errno != EINTR) return errno;
  }
  return *result;
}

}  // namespace pinfold::cli::bootloader
