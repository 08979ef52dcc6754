// How much memory a domain may have at the moment.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pvmmu/lock.hpp"

namespace pinfold::vmm {

/// The limit of a domain's reservation, in frames. It follows what the toolstack asks the guest's balloon
/// driver for, as with libxl: so a guest can't take back memory that the host has claimed for others. It may
/// be below what the guest has: then the guest gets nothing until it has given enough back.
///
/// XENMEM_exchange may go beyond it for a moment.
///
/// Concurrency: the domain's lock.
class MemoryLimit {
 public:
  /// `most`: what the guest may ever have; at least `at_start`.
  MemoryLimit(std::uint64_t at_start, std::uint64_t most)
      : limit_(at_start), most_(std::max(at_start, most)) {}

  [[nodiscard]] std::uint64_t frames() const { return limit_; }
  [[nodiscard]] std::uint64_t most() const { return most_; }
  /// False, and nothing changes: this is more than the guest may ever have.
  [[nodiscard]] bool set(pvmmu::Held, std::uint64_t frames) {
    if (frames > most_) return false;
    limit_ = frames;
    return true;
  }
  /// May a domain that has `owned` frames get so many more?
  [[nodiscard]] bool allows(std::uint64_t owned, std::uint64_t more) const {
    return owned <= limit_ && more <= limit_ - owned;
  }

 private:
  std::uint64_t limit_;
  std::uint64_t most_;
};

}  // namespace pinfold::vmm
