// A mapping of the machine's frames, in which each frame has an access of its own.
#pragma once

#include <vector>

#include "vmm/memory/machine.hpp"

namespace pinfold::vmm {

/// How frames are made read-only in a mapping.
enum class WriteProtection : std::uint8_t {
  /// Works everywhere. Each lone frame splits the mapping, and MappingBudget bounds their number.
  mprotect,
  /// Does not split the mapping. The host has to permit userfaultfd.
  userfaultfd,
};

/// All that the machine has and can grow to, at first inaccessible. KVM follows the host mapping by MMU
/// notifiers: a change here reaches the processors before the call returns.
///
/// What would take more mappings of the process than MappingBudget leaves it is refused, as what the host
/// itself refuses: false means that nothing was changed.
class FrameMapping {
 public:
  /// The budget outlives it.
  [[nodiscard]] static MemoryResult<FrameMapping> create(const Machine& machine, MappingBudget::Share& share,
                                                         WriteProtection how);

  using Access = Mapping::Access;
  /// What the mapping lets `count` frames be accessed as.
  [[nodiscard]] bool set(Mfn first, Access access, std::uint64_t count = 1);
  [[nodiscard]] Access access(Mfn mfn) const { return access_of(mfn.raw()); }
  /// Makes frames that are accessible for writing read-only, or ends that: by a way that does not split the
  /// mapping, if there is one. It lasts until the next set() of the frame.
  [[nodiscard]] bool write_protect(Mfn first, bool on, std::uint64_t count = 1);
  [[nodiscard]] bool splits() const { return how_ == WriteProtection::mprotect; }
  /// Makes the pages of `count` frames present; stops at the first one that can't be written.
  bool populate(Mfn first, std::uint64_t count) {
    return mapping_.populate(first.raw() * page_size, count * page_size);
  }

  [[nodiscard]] std::byte* base() const { return mapping_.base(); }
  [[nodiscard]] std::size_t size() const { return mapping_.size(); }
  [[nodiscard]] std::uint64_t frames() const { return size() / page_size; }
  /// System calls so far.
  [[nodiscard]] std::uint64_t changes() const { return changes_; }

 private:
  FrameMapping(MappingBudget::Share& share, Mapping mapping, WriteProtection how)
      : share_(&share), mapping_(std::move(mapping)), how_(how) {}
  [[nodiscard]] Access access_of(std::uint64_t frame) const {
    return frame < access_.size() ? access_[frame] : Access::none;
  }
  /// How many more mappings there are once these frames have this access.
  [[nodiscard]] std::int64_t more_mappings(std::uint64_t first, std::uint64_t count, Access to) const;

  MappingBudget::Share* share_;
  Mapping mapping_;
  std::vector<Access> access_;  ///< Of each frame up to the last one that had any.
  Fd faults_;                   ///< The userfaultfd, if that protects.
  WriteProtection how_;
  std::uint64_t changes_ = 0;
};

}  // namespace pinfold::vmm
