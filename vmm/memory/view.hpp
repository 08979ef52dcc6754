// A domain's view: the host mapping behind its VM's memory slot. So it determines what EPT, NPT or KVM's
// shadow tables let the VM access.
#pragma once

#include <vector>

#include "pvmmu/frame_view.hpp"
#include "vmm/memory/machine.hpp"

namespace pinfold::vmm {

/// How frames are made read-only in a view.
enum class WriteProtection : std::uint8_t {
  /// Works everywhere. Each lone frame splits the mapping, and MappingBudget bounds their number.
  mprotect,
  /// Does not split the mapping. The host has to permit userfaultfd.
  userfaultfd,
};

/// A mapping of all that the machine has and can grow to, for one domain, at first inaccessible. KVM follows
/// the host mapping by MMU notifiers: a change here reaches the processors before the call returns. The
/// machine outlives it.
///
/// A frame that is revoked gives its memory back to the host: this is what a guest's balloon is for. A frame
/// that was lent keeps it: it is another domain's.
///
/// What would take more mappings of the process than MappingBudget leaves it is refused, as what the host
/// itself refuses.
class View final : public pvmmu::FrameView {
 public:
  [[nodiscard]] static MemoryResult<std::unique_ptr<View>> create(const Machine& machine,
                                                                  WriteProtection how);

  [[nodiscard]] bool protect(Mfn mfn) override;
  void unprotect(Mfn mfn) override;
  void grant(Mfn first, std::uint64_t count) override;
  void revoke(Mfn mfn) override;
  [[nodiscard]] bool revoke_run(Mfn first, std::uint64_t count) override;
  [[nodiscard]] bool revoked(Mfn mfn) const override { return mfn != stuck_; }
  [[nodiscard]] bool lend(Mfn mfn, pvmmu::Loan loan) override;

  /// Makes the host map the frames around this one that the domain may write to. Does so once for each
  /// part of `fault_around_frames`.
  void fault_around(Mfn mfn);
  static constexpr std::uint64_t fault_around_frames = 64;

  /// The domain will not run again: later changes are skipped.
  void close() { closed_ = true; }
  [[nodiscard]] bool closed() const { return closed_; }

  [[nodiscard]] std::byte* base() const { return mapping_.base(); }
  [[nodiscard]] std::size_t size() const { return mapping_.size(); }
  [[nodiscard]] WriteProtection protection() const { return how_; }
  [[nodiscard]] std::uint64_t changes() const { return changes_; }

 private:
  View(const Machine& machine, Mapping mapping, WriteProtection how)
      : machine_(machine), mapping_(std::move(mapping)), share_(machine.mappings()), how_(how) {}
  [[nodiscard]] bool set(Mfn first, Mapping::Access access, std::uint64_t count = 1);
  [[nodiscard]] bool write_protect(Mfn mfn, bool on);
  [[nodiscard]] Mapping::Access access(std::uint64_t frame) const {
    return frame < access_.size() ? access_[frame] : Mapping::Access::none;
  }
  /// How many more mappings there are once these frames have this access.
  [[nodiscard]] std::int64_t more_mappings(std::uint64_t first, std::uint64_t count,
                                           Mapping::Access to) const;

  const Machine& machine_;
  Mapping mapping_;
  std::vector<Mapping::Access> access_;  ///< Of each frame up to the last one that had any.
  MappingBudget::Share share_;
  Fd faults_;  ///< The userfaultfd, if that protects.
  WriteProtection how_;
  bool closed_ = false;
  Mfn stuck_ = no_mfn;  ///< The frame of the last revoke(), if it failed.
  std::uint64_t changes_ = 0;
  std::vector<bool> brought_in_;  ///< Parts for which fault_around() was called.
};

}  // namespace pinfold::vmm
