// The machine that all domains share: its frames, who owns them, and the machine-to-phys table.
#pragma once

#include <memory>
#include <vector>

#include "pvmmu/frame_table.hpp"
#include "pvmmu/memory.hpp"
#include "vmm/memory/mapping.hpp"

namespace pinfold::vmm {

/// Machine memory, backed by one file. The monitor reaches all of it through a mapping of its own that no
/// virtual machine has a slot for; each domain sees it through its View.
class Machine {
 public:
  /// `frames`: size in 4 KiB frames. Host memory is taken as frames are touched.
  [[nodiscard]] static MemoryResult<std::unique_ptr<Machine>> create(std::uint64_t frames);

  /// What of a machine of so many frames a VM has as memory: all but the few that KVM takes for itself, which
  /// no domain gets.
  [[nodiscard]] static std::vector<pvmmu::FrameTable::Range> slots(std::uint64_t frames);

  [[nodiscard]] pvmmu::FrameTable& frames() { return frames_; }
  [[nodiscard]] pvmmu::Pages pages() const { return pvmmu::Pages(memory_.base(), frames_.size()); }
  [[nodiscard]] const Fd& file() const { return file_; }
  [[nodiscard]] std::size_t bytes() const { return memory_.size(); }

  /// The machine-to-phys array: an 8-byte PFN per MFN, all ones for none; a multiple of 2 MiB long.
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
