// An image in memory, and a frontend that drives a ring by hand.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "devices/block/image.hpp"
#include "devices/xen_abi.hpp"
#include "vmm/for_devices/shared_page.hpp"

namespace pinfold::devices::block {

/// An image's bytes, and what its queues are to do next. Outlives its queues.
class FakeImage final : public Image {
 public:
  explicit FakeImage(std::uint64_t sectors) : bytes(sectors * sector_bytes) {
    shape.sectors = sectors;
    shape.can_discard = true;
    shape.discard_granularity = 512;
  }
  [[nodiscard]] Geometry geometry() const override { return shape; }
  [[nodiscard]] tl::expected<std::unique_ptr<TransferQueue>, std::string> make_queue(
      std::size_t depth) override;
  /// Only while nothing is on the way.
  [[nodiscard]] tl::expected<std::uint64_t, std::string> grow(std::optional<std::uint64_t> size) override {
    if (!size) return tl::unexpected(std::string("a fake needs a size"));
    const std::lock_guard lock(mutex);
    bytes.resize(*size);
    return shape.sectors = *size / sector_bytes;
  }

  /// Does a transfer, and returns its errno.
  int perform(const Transfer& transfer) {
    const std::lock_guard lock(mutex);
    done.push_back(transfer.operation);
    if (error != 0) return error;
    if (transfer.operation == Operation::flush) return 0;
    if (transfer.offset + transfer.bytes > bytes.size()) return EIO;
    std::byte* at = bytes.data() + transfer.offset;
    if (transfer.operation == Operation::discard) std::memset(at, 0, transfer.bytes);
    for (const iovec& part : transfer.memory) {
      if (transfer.operation == Operation::read) std::memcpy(part.iov_base, at, part.iov_len);
      if (transfer.operation == Operation::write) std::memcpy(at, part.iov_base, part.iov_len);
      at += part.iov_len;
    }
    return 0;
  }

  Geometry shape;
  std::vector<std::byte> bytes;
  std::mutex mutex;
  std::vector<Operation> done;  ///< In the order in which they were performed.
  int error = 0;
  /// Transfers stay on their way until this is false.
  std::atomic<bool> stuck = false;
};

/// Performs transfers when they are collected.
class FakeQueue final : public TransferQueue {
 public:
  FakeQueue(FakeImage& image, std::size_t depth)
      : image_(image), depth_(depth), fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~FakeQueue() override { ::close(fd_); }
  [[nodiscard]] bool submit(const Transfer& transfer) override {
    if (transfers_.size() == depth_) return false;
    transfers_.push_back(transfer);
    return true;
  }
  void start() override {
    const std::uint64_t one = 1;
    if (!transfers_.empty()) (void)!::write(fd_, &one, sizeof one);
  }
  void collect(const std::function<void(const Completion&)>& take) override {
    std::uint64_t count = 0;
    if (image_.stuck) return;
    (void)!::read(fd_, &count, sizeof count);
    for (auto now = std::exchange(transfers_, {}); const Transfer& transfer : now)
      take({transfer.token, image_.perform(transfer)});
  }
  [[nodiscard]] int descriptor() const override { return fd_; }
  [[nodiscard]] std::size_t on_the_way() const override { return transfers_.size(); }

 private:
  FakeImage& image_;
  std::size_t depth_;
  int fd_;
  std::vector<Transfer> transfers_;
};

inline tl::expected<std::unique_ptr<TransferQueue>, std::string> FakeImage::make_queue(std::size_t depth) {
  return std::make_unique<FakeQueue>(*this, depth);
}

/// The guest's side of a ring page.
class FakeFrontend {
 public:
  /// `first`: the index of the first request.
  explicit FakeFrontend(vmm::SharedPage page, std::uint32_t first = 0)
      : page_(std::move(page)), produced_(first), consumed_(first) {
    page_.store<std::uint32_t>(0, first);       // req_prod
    page_.store<std::uint32_t>(4, first + 1);   // req_event
    page_.store<std::uint32_t>(8, first);       // rsp_prod
    page_.store<std::uint32_t>(12, first + 1);  // rsp_event
  }
  template <class Raw>
  void put(const Raw& raw) {
    page_.copy_in(64 + produced_ % 32 * 112, std::as_bytes(std::span(&raw, 1)));
    ++produced_;
  }
  /// Shows what was put; true: the backend wants an event.
  bool push() {
    const std::uint32_t before = page_.exchange<std::uint32_t>(0, produced_);
    return produced_ - page_.load<std::uint32_t>(4) < produced_ - before;
  }
  [[nodiscard]] std::uint32_t responses_there() const { return page_.load<std::uint32_t>(8) - consumed_; }
  /// The next response, if there is one; asks for an event at the one behind it.
  std::optional<blkif_response> take() {
    if (responses_there() == 0) {
      page_.store<std::uint32_t>(12, consumed_ + 1);
      return std::nullopt;
    }
    blkif_response response;
    page_.copy_out(64 + consumed_ % 32 * 112, std::as_writable_bytes(std::span(&response, 1)));
    ++consumed_;
    return response;
  }
  void set_producer(std::uint32_t index) { page_.store(0, index); }
  [[nodiscard]] vmm::SharedPage& page() { return page_; }

 private:
  vmm::SharedPage page_;
  std::uint32_t produced_, consumed_;
};

inline blkif_request transfer_request(std::uint8_t operation, std::uint64_t id, std::uint64_t sector,
                                      const std::vector<blkif_request_segment>& segments) {
  blkif_request raw{};
  raw.operation = operation;
  raw.nr_segments = static_cast<std::uint8_t>(segments.size());
  raw.id = id;
  raw.sector_number = sector;
  std::copy(segments.begin(), segments.end(), raw.seg);
  return raw;
}

}  // namespace pinfold::devices::block
