// The monitor's own frames in a domain's VM: mirrors, and the fixed tables, descriptor tables and code of the
// gate.
#pragma once

#include <memory>

#include "pvmmu/mirror.hpp"
#include "vmm/memory/mapping.hpp"

namespace pinfold::vmm {

/// A range of the VM's physical space past everything that guests can own. The first `fixed` pages are handed
/// out once by `take_fixed`; the rest are mirrors. There is address space for as many as the domain can need,
/// and host memory for those that are in use and some that were. One per domain: another domain's VM has no
/// slot for it.
class Arena {
 public:
  /// `first_frame`: where it lies in the VM's physical space. Sizes in 4 KiB pages.
  [[nodiscard]] static MemoryResult<std::unique_ptr<Arena>> create(Mfn first_frame, std::uint64_t fixed,
                                                                   std::uint64_t mirrors);

  /// The next unused fixed page, zeroed; running out is a bug of the layout.
  [[nodiscard]] Mfn take_fixed(std::uint64_t pages = 1);
  /// The page's bytes in the monitor.
  [[nodiscard]] std::byte* bytes(Mfn frame) const;
  void store(Mfn frame, std::size_t slot, std::uint64_t value) const;
  [[nodiscard]] std::uint64_t load(Mfn frame, std::size_t slot) const;

  [[nodiscard]] pvmmu::MirrorArena& mirrors() { return mirrors_; }
  /// Gives memory of free mirrors back to the host, a little at a time: all but `kept_free`, once this was
  /// called often enough.
  void trim();
  static constexpr std::size_t kept_free = 1024;
  [[nodiscard]] Mfn first_frame() const { return first_; }
  [[nodiscard]] std::byte* base() const { return memory_.base(); }
  [[nodiscard]] std::size_t size() const { return memory_.size(); }

 private:
  Arena(Mapping memory, Mfn first, std::uint64_t fixed);
  static constexpr std::size_t trimmed_at_once = 32;
  Mapping memory_;
  Mfn first_;
  std::uint64_t fixed_;
  std::uint64_t next_fixed_ = 0;
  pvmmu::MirrorArena mirrors_;
};

}  // namespace pinfold::vmm
