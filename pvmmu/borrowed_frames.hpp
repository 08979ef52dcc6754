// Which frames of other domains a domain has mapped by grants, and how often.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "pvmmu/frame_view.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::pvmmu {

/// A domain *borrows* a frame as long as it has a mapping of it that was made by a grant and not unmapped:
/// whoever made the mapping holds the frame in its owner's records for as long. An L1 entry of the frame is
/// in the domain's tables by one of these mappings, so there are never more entries than mappings, and never
/// more writable entries than mappings for writing.
class BorrowedFrames {
 public:
  struct Mappings {
    std::uint32_t readers = 0;
    std::uint32_t writers = 0;
    [[nodiscard]] std::uint32_t all() const { return readers + writers; }
    /// What the domain's view gives access to.
    [[nodiscard]] Loan loan() const {
      if (writers != 0) return Loan::read_write;
      return readers != 0 ? Loan::read_only : Loan::none;
    }
    [[nodiscard]] std::uint32_t& of(bool writable) { return writable ? writers : readers; }
  };

  [[nodiscard]] Mappings of(Mfn mfn) const {
    const auto found = mappings_.find(mfn);
    return found == mappings_.end() ? Mappings{} : found->second;
  }
  void set(Mfn mfn, Mappings mappings) {
    if (mappings.all() == 0)
      mappings_.erase(mfn);
    else
      mappings_[mfn] = mappings;
  }
  [[nodiscard]] const std::unordered_map<Mfn, Mappings>& all() const { return mappings_; }

 private:
  std::unordered_map<Mfn, Mappings> mappings_;
};

}  // namespace pinfold::pvmmu
