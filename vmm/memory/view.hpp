// A domain's view: the host mapping behind its VM's memory slot, and so what EPT, NPT or KVM's shadow let it
// touch.
#pragma once

#include <vector>

#include "pvmmu/frame_view.hpp"
#include "vmm/memory/machine.hpp"

namespace pinfold::vmm {

/// How frames are made read-only in a view.
enum class WriteProtection : std::uint8_t {
  mprotect,     ///< Works everywhere; each lone frame splits the mapping (vm.max_map_count bounds how many).
  userfaultfd,  ///< Leaves the mapping whole; needs the host to allow userfaultfd.
};

/// One private mapping of the whole machine, all of it inaccessible at first. KVM follows the host mapping: a
/// change here reaches the processors before the call returns (mmu notifiers).
class View final : public pvmmu::FrameView {
 public:
  [[nodiscard]] static MemoryResult<std::unique_ptr<View>> create(const Machine& machine,
                                                                  WriteProtection how);

  [[nodiscard]] bool protect(Mfn mfn) override;
  void unprotect(Mfn mfn) override;
  void grant(Mfn first, std::uint64_t count) override;
  void revoke(Mfn mfn) override;
  [[nodiscard]] bool revoked(Mfn mfn) const override { return mfn != stuck_; }

  /// Has the host map the frames around this one, as far as the domain may write to them; once for each part
  /// of `fault_around_frames`.
  void fault_around(Mfn mfn);
  static constexpr std::uint64_t fault_around_frames = 64;

  /// From here on nobody looks through this view: changes cost nothing.
  void close() { closed_ = true; }

  [[nodiscard]] std::byte* base() const { return mapping_.base(); }
  [[nodiscard]] std::size_t size() const { return mapping_.size(); }
  [[nodiscard]] WriteProtection protection() const { return how_; }
  [[nodiscard]] std::uint64_t changes() const { return changes_; }

 private:
  View(Mapping mapping, WriteProtection how)
      : mapping_(std::move(mapping)),
        how_(how),
        brought_in_(mapping_.size() / page_size / fault_around_frames + 1) {}
  [[nodiscard]] bool set(Mfn mfn, Mapping::Access access);
  [[nodiscard]] bool write_protect(Mfn mfn, bool on);

  Mapping mapping_;
  Fd faults_;  ///< userfaultfd, when that is how.
  WriteProtection how_;
  bool closed_ = false;
  Mfn stuck_ = no_mfn;  ///< The last revoke() did not work.
  std::uint64_t changes_ = 0;
  std::vector<bool> brought_in_;  ///< Parts that fault_around() was asked for.
};

}  // namespace pinfold::vmm
