// How a domain's memory is written while no vCPU of it exists yet.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "pvmmu/types.hpp"

namespace pinfold::loader {

/// The machine's frames as the monitor has them mapped: frame m at base + m * 4096. Does not own them.
class MachineMemory {
 public:
  /// `frames` is the number of frames that are mapped.
  MachineMemory(std::byte* base, std::uint64_t frames) : base_(base), frames_(frames) {}
  [[nodiscard]] bool contains(Mfn mfn) const { return mfn.raw() < frames_; }
  /// The 4 KiB of a frame that `contains`.
  [[nodiscard]] std::byte* page(Mfn mfn) const { return base_ + mfn.raw() * page_size; }

 private:
  std::byte* base_;
  std::uint64_t frames_;
};

/// One domain's memory in pseudo-physical order: page pfn lies in machine frame frames[pfn]. Fresh memory
/// reads as zero, and what nobody touches costs neither time nor memory: so writing zeroes is avoided.
class PseudoPhysical {
 public:
  /// All frames must be contained in `machine`.
  PseudoPhysical(MachineMemory machine, std::span<const Mfn> frames) : machine_(machine), frames_(frames) {}

  [[nodiscard]] Mfn frame(Pfn pfn) const { return frames_[pfn.raw()]; }
  [[nodiscard]] std::byte* page(Pfn pfn) const { return machine_.page(frame(pfn)); }

  /// Copies bytes to a pseudo-physical byte address; pages of nothing but zeroes are left alone. The range
  /// must lie in the domain's memory, which must not have been written there before.
  void write(std::uint64_t address, std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const std::size_t offset = address % page_size;
      const std::size_t n = std::min(bytes.size(), static_cast<std::size_t>(page_size) - offset);
      if (!all_zero(bytes.first(n))) std::memcpy(page(Pfn(address >> page_shift)) + offset, bytes.data(), n);
      address += n;
      bytes = bytes.subspan(n);
    }
  }

 private:
  static bool all_zero(std::span<const std::byte> bytes) {
    // A range equal to itself shifted by one is all like its first byte; memcmp stops at the first
    // difference.
    return bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
  }

  MachineMemory machine_;
  std::span<const Mfn> frames_;
};

}  // namespace pinfold::loader
