// The transfers of one queue.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "devices/block/transfer_steps.hpp"

namespace pinfold::devices::block {

/// As many places for transfers as a queue is deep. Places are numbered from 0 and do not move.
class TransferSlots {
 public:
  using Number = std::uint32_t;

  explicit TransferSlots(std::size_t depth) : slots_(depth) {
    for (std::size_t i = depth; i-- > 0;) free_.push_back(static_cast<Number>(i));
  }

  /// nullopt: all are taken.
  [[nodiscard]] std::optional<Number> take() {
    if (free_.empty()) return std::nullopt;
    const Number number = free_.back();
    free_.pop_back();
    return number;
  }
  void release(Number number) { free_.push_back(number); }

  [[nodiscard]] TransferSteps& operator[](Number number) { return slots_[number]; }
  [[nodiscard]] std::size_t taken() const { return slots_.size() - free_.size(); }

 private:
  std::vector<TransferSteps> slots_;
  std::vector<Number> free_;
};

}  // namespace pinfold::devices::block
