#include "devices/net/capture.hpp"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "devices/net/segmenter.hpp"

namespace pinfold::devices::net {
namespace {

/// Numbers in the host's byte order, which the magic number shows.
struct FileHeader {
  std::uint32_t magic = 0xa1b2c3d4;  ///< Times in microseconds.
  std::uint16_t major = 2, minor = 4;
  std::uint32_t reserved[2] = {};
  std::uint32_t snap_length = 262'144;
  std::uint32_t link_type = 1;  ///< LINKTYPE_ETHERNET
};
static_assert(sizeof(FileHeader) == 24);

struct RecordHeader {
  std::uint32_t seconds = 0, microseconds = 0, captured = 0, length = 0;
};

RecordHeader record_header(std::size_t bytes) {
  using namespace std::chrono;
  const auto now = duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
  const auto size = static_cast<std::uint32_t>(bytes);
  return {static_cast<std::uint32_t>(now / 1'000'000), static_cast<std::uint32_t>(now % 1'000'000), size,
          size};
}

bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

Capture::Capture(vmm::Fd file) : file_(std::move(file)), scratch_(most_frame_bytes) {
  const FileHeader header;
  if (!write_all(file_.get(), std::as_bytes(std::span(&header, 1)))) file_ = vmm::Fd();
}

void Capture::record(const Frame& frame) {
  const std::lock_guard lock(mutex_);
  if (!file_.open()) return;
  // Checksums are filled in; the frame itself goes on as it is.
  frame_.assign(frame.bytes.begin(), frame.bytes.end());
  auto segments = Segmenter::of({frame_, frame.offload}, scratch_);
  if (!segments) return write(frame_);
  while (const auto segment = segments->next()) write(segment->bytes);
}

void Capture::write(std::span<const std::byte> frame) {
  if (!file_.open()) return;
  const RecordHeader header = record_header(frame.size());
  record_.resize(sizeof header + frame.size());
  std::memcpy(record_.data(), &header, sizeof header);
  std::memcpy(record_.data() + sizeof header, frame.data(), frame.size());
  if (write_all(file_.get(), record_)) return;
  spdlog::warn("the capture of an interface ends: {}", std::strerror(errno));
  file_ = vmm::Fd();
}

}  // namespace pinfold::devices::net
