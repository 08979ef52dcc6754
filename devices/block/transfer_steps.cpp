#include "devices/block/transfer_steps.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstring>

namespace pinfold::devices::block {
namespace {

// An interrupted step is repeated; a host that never gets further is a broken one.
constexpr unsigned most_fruitless_steps = 1000;

bool fits(const Transfer& transfer, const MemoryAlignment& alignment) {
  const auto bad = [&](const iovec& piece) {
    // An address is a multiple of what the address's low bits say; no pointer is made of it again.
    return std::bit_cast<std::uintptr_t>(piece.iov_base) % alignment.address != 0 ||
           piece.iov_len % alignment.length != 0;
  };
  return std::none_of(transfer.memory.begin(), transfer.memory.end(), bad);
}

bool moves_bytes(Operation operation) {
  return operation == Operation::read || operation == Operation::write;
}

}  // namespace

void TransferSteps::begin(const Transfer& transfer, const MemoryAlignment& alignment) {
  transfer_ = transfer;
  done_ = 0;
  piece_ = 0;
  in_piece_ = 0;
  fruitless_ = 0;
  bounced_ = moves_bytes(transfer.operation) && !fits(transfer, alignment);
}

Step TransferSteps::next() {
  if (!moves_bytes(transfer_.operation)) return {transfer_.operation, transfer_.offset, transfer_.bytes, {}};
  if (bounced_) return next_through_bounce();
  return {transfer_.operation, transfer_.offset + done_, transfer_.bytes - done_, rest_of_pieces()};
}

std::span<const iovec> TransferSteps::rest_of_pieces() {
  const auto all = transfer_.memory.subspan(piece_);
  const auto some = all.first(std::min<std::size_t>(all.size(), IOV_MAX));
  if (in_piece_ == 0) return some;
  rest_.assign(some.begin(), some.end());
  rest_.front().iov_base = static_cast<std::byte*>(rest_.front().iov_base) + in_piece_;
  rest_.front().iov_len -= in_piece_;
  return rest_;
}

Step TransferSteps::next_through_bounce() {
  const std::uint64_t bytes = std::min<std::uint64_t>(transfer_.bytes - done_, BounceBuffer::bytes);
  bounce_piece_ = {bounce_.data(), bytes};
  if (transfer_.operation == Operation::write) {
    std::size_t copied = 0;
    for (std::size_t piece = piece_, from = in_piece_; copied < bytes; ++piece, from = 0) {
      const iovec& memory = transfer_.memory[piece];
      const std::size_t part = std::min<std::size_t>(memory.iov_len - from, bytes - copied);
      std::memcpy(bounce_.data() + copied, static_cast<const std::byte*>(memory.iov_base) + from, part);
      copied += part;
    }
  }
  return {transfer_.operation, transfer_.offset + done_, bytes, {&bounce_piece_, 1}};
}

std::optional<int> TransferSteps::finish(std::int64_t result) {
  if (result == -EINTR || result == -EAGAIN) return again();
  if (result < 0) return static_cast<int>(-result);
  if (!moves_bytes(transfer_.operation)) return 0;
  // A read of nothing: the image has become shorter. A write of nothing: the host takes no more.
  if (result == 0) return EIO;
  const auto moved = std::min(static_cast<std::uint64_t>(result), transfer_.bytes - done_);
  advance(moved, bounced_ && transfer_.operation == Operation::read);
  fruitless_ = 0;
  if (done_ == transfer_.bytes) return 0;
  return std::nullopt;
}

std::optional<int> TransferSteps::again() {
  if (++fruitless_ > most_fruitless_steps) return EIO;
  return std::nullopt;
}

void TransferSteps::advance(std::uint64_t bytes, bool copy_to_memory) {
  const std::byte* from = copy_to_memory ? bounce_.data() : nullptr;
  done_ += bytes;
  while (bytes > 0) {
    const iovec& memory = transfer_.memory[piece_];
    const std::size_t part = std::min<std::size_t>(memory.iov_len - in_piece_, bytes);
    if (copy_to_memory) {
      std::memcpy(static_cast<std::byte*>(memory.iov_base) + in_piece_, from, part);
      from += part;
    }
    bytes -= part;
    in_piece_ += part;
    if (in_piece_ < memory.iov_len) return;
    ++piece_;
    in_piece_ = 0;
  }
}

}  // namespace pinfold::devices::block
