// One transfer on its way to the host, in as many calls as the host needs for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "devices/block/bounce_buffer.hpp"
#include "devices/block/image.hpp"

namespace pinfold::devices::block {

/// What direct I/O (O_DIRECT) asks of memory. 1 and 1: everything is welcome, as without direct I/O.
struct MemoryAlignment {
  std::uint32_t address = 1;  ///< A piece starts at a multiple of this,
  std::uint32_t length = 1;   ///< and has a multiple of this many bytes.
};

/// One call of the host: at most IOV_MAX pieces.
struct Step {
  Operation operation = Operation::flush;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::span<const iovec> pieces;  ///< Valid until the step's result is given to finish().
};

/// Cuts a transfer into steps: goes on after a short read or write, repeats a step that was interrupted,
/// passes at most IOV_MAX pieces at once, and moves memory that direct I/O refuses through a bounce buffer.
class TransferSteps {
 public:
  /// A transfer without an error_in() it. The object may be used again when the transfer is done.
  void begin(const Transfer& transfer, const MemoryAlignment& alignment);

  [[nodiscard]] Step next();

  /// Takes the host's answer to the last step: the bytes that it moved, or a negative errno. Returns the
  /// transfer's result (0 or an errno), or nullopt: another step is needed.
  [[nodiscard]] std::optional<int> finish(std::int64_t result);

  [[nodiscard]] const Transfer& transfer() const { return transfer_; }

 private:
  Step next_through_bounce();
  std::span<const iovec> rest_of_pieces();
  std::optional<int> again();
  void advance(std::uint64_t bytes, bool copy_to_memory);

  Transfer transfer_;
  std::uint64_t done_ = 0;    ///< Bytes of the transfer.
  std::size_t piece_ = 0;     ///< Where the next byte is: a piece of memory,
  std::size_t in_piece_ = 0;  ///< and a place in it.
  std::vector<iovec> rest_;   ///< The pieces of a step that begins inside a piece.
  BounceBuffer bounce_;
  iovec bounce_piece_ = {};
  bool bounced_ = false;
  unsigned fruitless_ = 0;  ///< Steps without progress, in a row.
};

}  // namespace pinfold::devices::block
