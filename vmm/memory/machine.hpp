// The machine that all domains share: its frames, who owns them, and the machine-to-phys table.
#pragma once

#include <memory>
#include <vector>

#include "pvmmu/frame_table.hpp"
#include "pvmmu/memory.hpp"
#include "vmm/memory/mapping.hpp"

namespace pinfold::vmm {

/// Machine memory, backed by one file. The monitor has a mapping of all of it, for which no virtual machine
/// has a slot. Each domain has a View of it.
class Machine {
 public:
  /// `frames`: its size in 4 KiB frames. The host allocates memory when a frame is first accessed.
  [[nodiscard]] static MemoryResult<std::unique_ptr<Machine>> create(std::uint64_t frames);

  /// The memory slots of a VM for a machine of so many frames: all frames but the few that KVM uses
  /// itself, which no domain gets.
  [[nodiscard]] static std::vector<pvmmu::FrameTable::Range> slots(std::uint64_t frames);

  [[nodiscard]] pvmmu::FrameTable& frames() { return frames_; }
  [[nodiscard]] pvmmu::Pages pages() const { return pvmmu::Pages(memory_.base(), frames_.size()); }
  [[nodiscard]] const Fd& file() const { return file_; }
  [[nodiscard]] std::size_t bytes() const { return memory_.size(); }

  /// The machine-to-phys array: for each MFN an 8-byte PFN, or all ones. Its size is a multiple of 2 MiB.
  [[nodiscard]] pvmmu::Pages m2p() const { return pvmmu::Pages(m2p_.base(), m2p_.size() / page_size); }
  [[nodiscard]] const Fd& m2p_file() const { return m2p_file_; }
  [[nodiscard]] std::size_t m2p_bytes() const { return m2p_.size(); }

 private:
  explicit Machine(std::uint64_t frames) : frames_(frames) {}

  Fd file_;
  Mapping memory_;
  Fd m2p_file_;
  Mapping m2p_;
  pvmmu::FrameTable frames_;
};

}  // namespace pinfold::vmm
