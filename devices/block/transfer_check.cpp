#include "devices/block/transfer_check.hpp"

#include <cerrno>

namespace pinfold::devices::block {
namespace {

// Do the pieces have exactly this many bytes? A sum that wraps does not.
bool has_bytes(std::span<const iovec> memory, std::uint64_t bytes) {
  std::uint64_t left = bytes;
  for (const iovec& piece : memory) {
    if (piece.iov_len == 0 || piece.iov_len > left) return false;
    left -= piece.iov_len;
  }
  return left == 0;
}

bool inside(const Transfer& transfer, const Geometry& geometry) {
  const std::uint64_t end = geometry.sectors * sector_bytes;
  const std::uint64_t whole = geometry.logical_sector_bytes;
  return transfer.bytes > 0 && transfer.offset % whole == 0 && transfer.bytes % whole == 0 &&
         transfer.offset <= end && transfer.bytes <= end - transfer.offset;
}

}  // namespace

int error_in(const Transfer& transfer, const Geometry& geometry) {
  if (transfer.operation == Operation::flush) return 0;
  if (!inside(transfer, geometry)) return EINVAL;
  if (transfer.operation != Operation::read && geometry.read_only) return EROFS;
  if (transfer.operation == Operation::discard) return geometry.can_discard ? 0 : EOPNOTSUPP;
  return has_bytes(transfer.memory, transfer.bytes) ? 0 : EINVAL;
}

}  // namespace pinfold::devices::block
