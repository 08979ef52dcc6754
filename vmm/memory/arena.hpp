// The monitor's own frames in a domain's VM: the mirrors, and the gate's page tables,
// descriptor tables and code.
#pragma once

#include <memory>

#include "pvmmu/mirror.hpp"
#include "vmm/memory/mapping.hpp"

namespace pinfold::vmm {

/// A range of the VM's physical space above all frames that guests can own. take_fixed() hands out the first
/// `fixed` pages, each once; the others are mirrors. The range has address space for all mirrors that the
/// domain can need, and host memory for those that are or recently were in use. Each domain has its own
/// arena, and other domains' VMs have no slot for it.
class Arena {
 public:
  /// `first_frame`: its place in the VM's physical space. Sizes are in 4 KiB pages.
  [[nodiscard]] static MemoryResult<std::unique_ptr<Arena>> create(Mfn first_frame, std::uint64_t fixed,
                                                                   std::uint64_t mirrors);

  /// The next unused fixed pages, zeroed. Stops the program when there are none, which
  /// is a bug of the layout.
  [[nodiscard]] Mfn take_fixed(std::uint64_t pages = 1);
  /// The page's bytes in the monitor.
  [[nodiscard]] std::byte* bytes(Mfn frame) const;
  void store(Mfn frame, std::size_t slot, std::uint64_t value) const;
  [[nodiscard]] std::uint64_t load(Mfn frame, std::size_t slot) const;

  [[nodiscard]] pvmmu::MirrorArena& mirrors() { return mirrors_; }
  /// Gives the memory of up to `trimmed_at_once` free mirrors back to the host. Repeated calls
  /// leave `kept_free` of them.
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
