// Entry stubs: code that a vCPU runs at CPL0 before it goes on with guest code, when a store by the monitor
// is not enough to drop a stale translation.
//
// On a shadow-paging host KVM keeps its copy of a page-table entry when the monitor changes that entry. A
// store by code in the VM makes KVM drop the copy: a store of 8 bytes drops that entry, a store of 2 bytes
// drops every entry of the table. With two-dimensional paging only the TLB can be stale, and a load of CR3
// empties it, because no entry of a mirror is global.
//
// A shadow-paging host emulates CPL0 code, which takes a microsecond or more an instruction. So a stub has no
// loops and loads nothing: it is generated before each use, with all values in its instructions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pvmmu/types.hpp"

namespace pinfold::vmm {

/// Generates one entry stub: straight-line code of at most a page, which ends in an IRETQ to the guest.
class EntryStub {
 public:
  static constexpr std::size_t max_steps = 180;

  /// Stores the 8 bytes at `address` back, in one atomic read-modify-write: another vCPU's exit may
  /// change them at any time.
  void rewrite(std::uint64_t address);
  /// The same for 2 bytes.
  void rewrite_word(std::uint64_t address);
  /// Loads CR3, which drops the processor's translations.
  void reload_cr3(std::uint64_t cr3);
  [[nodiscard]] bool full() const { return steps_ >= max_steps; }
  [[nodiscard]] bool empty() const { return steps_ == 0; }
  /// Does it contain a CR3 load?
  [[nodiscard]] bool drops_translations() const { return drops_translations_; }

  /// Ends the code with a load of the guest's RAX and an IRETQ, and returns it.
  [[nodiscard]] std::span<const std::byte> finish(std::uint64_t guest_rax);
  /// Ends the code with an OUT of one byte instead, without the guest's RAX, and returns it.
  [[nodiscard]] std::span<const std::byte> finish_with_out(std::uint8_t port);

 private:
  void load_rax(std::uint64_t value);
  /// Emits `opcode` with the operand `address`, as RAX + displacement, and an immediate byte of 0. Loads RAX
  /// first if `address` is out of the displacement's reach.
  void locked_or(std::initializer_list<unsigned> opcode, std::uint64_t address);
  void emit(std::initializer_list<unsigned> bytes);
  void emit_quad(std::uint64_t value);

  std::array<std::byte, page_size> bytes_{};
  std::size_t used_ = 0;
  std::size_t steps_ = 0;
  bool drops_translations_ = false;
  std::uint64_t rax_ = 0;
  bool rax_known_ = false;
};

}  // namespace pinfold::vmm
