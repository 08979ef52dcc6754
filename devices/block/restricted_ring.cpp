#include "devices/block/restricted_ring.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <span>

#include "devices/wake_fd.hpp"

namespace pinfold::devices::block {
namespace {

io_uring_restriction permit_operation(std::uint8_t operation) {
  io_uring_restriction restriction = {};
  restriction.opcode = IORING_RESTRICTION_SQE_OP;
  restriction.sqe_op = operation;
  return restriction;
}

io_uring_restriction permit_change_of_file() {
  io_uring_restriction restriction = {};
  restriction.opcode = IORING_RESTRICTION_REGISTER_OP;
  restriction.register_op = IORING_REGISTER_FILES_UPDATE;
  return restriction;
}

io_uring_restriction flags(std::uint16_t kind) {
  io_uring_restriction restriction = {};
  restriction.opcode = kind;
  restriction.sqe_flags = IOSQE_FIXED_FILE;
  return restriction;
}

}  // namespace

namespace {
std::atomic<bool> no_more = false;
}

void RestrictedRing::make_no_more() { no_more = true; }

tl::expected<std::unique_ptr<RestrictedRing>, int> RestrictedRing::make(unsigned depth, int file, int wake) {
  return make(depth, file, wake, false);
}

tl::expected<std::unique_ptr<RestrictedRing>, int> RestrictedRing::make_without_file(unsigned depth,
                                                                                     int wake) {
  return make(depth, -1, wake, true);
}

tl::expected<std::unique_ptr<RestrictedRing>, int> RestrictedRing::make(unsigned depth, int file, int wake,
                                                                        bool changeable) {
  if (no_more) return tl::unexpected(EPERM);
  std::unique_ptr<RestrictedRing> ring(new RestrictedRing);
  io_uring_params params = {};
  params.flags = IORING_SETUP_R_DISABLED;
  if (const int error = io_uring_queue_init_params(depth, &ring->ring_, &params); error != 0)
    return tl::unexpected(-error);
  ring->open_ = true;
  if (const int error = ring->restrict_to(file, wake, changeable); error != 0) return tl::unexpected(-error);
  return ring;
}

int RestrictedRing::restrict_to(int file, int wake, bool changeable) {
  // Without IORING_RESTRICTION_REGISTER_OP, nothing more can be registered.
  std::array restrictions = {
      permit_change_of_file(),
      permit_operation(IORING_OP_READV),
      permit_operation(IORING_OP_WRITEV),
      permit_operation(IORING_OP_FSYNC),
      permit_operation(IORING_OP_FALLOCATE),
      flags(IORING_RESTRICTION_SQE_FLAGS_ALLOWED),
      flags(IORING_RESTRICTION_SQE_FLAGS_REQUIRED),
  };
  if (const int error = io_uring_register_files(&ring_, &file, 1); error != 0) return error;
  if (const int error = io_uring_register_eventfd(&ring_, wake); error != 0) return error;
  // liburing has functions for these two, but its shared library of version 2.3 does not export them.
  const auto ring = static_cast<unsigned>(ring_.ring_fd);
  const std::span asked = std::span(restrictions).subspan(changeable ? 0 : 1);
  if (const int error = io_uring_register(ring, IORING_REGISTER_RESTRICTIONS, asked.data(),
                                          static_cast<unsigned>(asked.size()));
      error != 0)
    return error;
  return io_uring_register(ring, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
}

tl::expected<void, int> RestrictedRing::set_file(int file) {
  const int changed = io_uring_register_files_update(&ring_, 0, &file, 1);
  if (changed < 0) return tl::unexpected(-changed);
  return {};
}

RestrictedRing::~RestrictedRing() {
  if (open_) io_uring_queue_exit(&ring_);
}

void RestrictedRing::use_file(io_uring_sqe* request) {
  request->fd = 0;  // The first registered file.
  io_uring_sqe_set_flags(request, IOSQE_FIXED_FILE);
}

std::optional<std::string> why_no_io_uring() {
  auto wake = WakeFd::make();
  if (!wake) return wake.error();
  const auto ring = RestrictedRing::make(1, wake->get(), wake->get());
  if (ring) return std::nullopt;
  switch (ring.error()) {
    case ENOSYS: return "the kernel has none";
    case EPERM:
    case EACCES: return "forbidden (the sysctl kernel.io_uring_disabled, or a container's seccomp filter)";
    case EINVAL: return "the kernel's is older than 5.10 and can't be restricted";
    default: return std::strerror(ring.error());
  }
}

}  // namespace pinfold::devices::block
