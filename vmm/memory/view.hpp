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

  /// From here on nobody looks through this view: changes cost nothing.
  void close() { closed_ = true; }

  [[nodiscard]] std::byte* base() const { return mapping_.base(); }
  [[nodiscard]] std::size_t size() const { return mapping_.size(); }
  [[nodiscard]] WriteProtection protection() const { return how_; }
  [[nodiscard]] std::uint64_t changes() const { return changes_; }

 private:
  View(Mapping mapping, WriteProtection how) : mapping_(std::move(mapping)), how_(how) {}
  [[nodiscard]] bool set(Mfn mfn, Mapping::Access access);
  [[nodiscard]] bool write_protect(Mfn mfn, bool on);

  Mapping mapping_;
  Fd faults_;  ///< userfaultfd, when that is how.
  WriteProtection how_;
  bool closed_ = false;
  std::uint64_t changes_ = 0;
};

}  // namespace pinfold::vmm
