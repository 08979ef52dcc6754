// How a domain's memory is written while no vCPU of it exists yet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "pvmmu/types.hpp"

namespace pinfold::loader {

/// The machine's frames as the monitor has them mapped: frame m at base + m * 4096. Does not own them.
class MachineMemory {
 public:
  /// `frames` is the number of frames that are mapped; `file`, unless negative, what they are a shared
  /// mapping of, from its start.
  MachineMemory(std::byte* base, std::uint64_t frames, int file = -1)
      : base_(base), frames_(frames), file_(file) {}
  [[nodiscard]] bool contains(Mfn mfn) const { return mfn.raw() < frames_; }
  /// The 4 KiB of a frame that `contains`.
  [[nodiscard]] std::byte* page(Mfn mfn) const { return base_ + mfn.raw() * page_size; }
  /// Copies into consecutive frames, all contained. `offset` counts from `first`. Through the file where
  /// there is one: fresh pages are then neither cleared first nor mapped one by one, which takes twice as
  /// long as the copy.
  void write(Mfn first, std::size_t offset, std::span<const std::byte> bytes) const;

 private:
  std::byte* base_;
  std::uint64_t frames_;
  int file_;
};

/// One domain's memory in pseudo-physical order: page pfn lies in machine frame frames[pfn]. Fresh memory
/// reads as zero, and pages that are never written cost neither time nor memory: so zeroes are not written.
class PseudoPhysical {
 public:
  /// All frames must be contained in `machine`.
  PseudoPhysical(MachineMemory machine, std::span<const Mfn> frames) : machine_(machine), frames_(frames) {}

  [[nodiscard]] Mfn frame(Pfn pfn) const { return frames_[pfn.raw()]; }
  [[nodiscard]] std::byte* page(Pfn pfn) const { return machine_.page(frame(pfn)); }

  /// Copies bytes to a pseudo-physical byte address; pages of nothing but zeroes are left alone. The range
  /// must lie in the domain's memory, which must not have been written there before.
  void write(std::uint64_t address, std::span<const std::byte> bytes) const;

 private:
  MachineMemory machine_;
  std::span<const Mfn> frames_;
};

}  // namespace pinfold::loader
