// A pass: what a processor does at CPL0 on its way back to the guest, when a store by the monitor is not
// enough.
//
// On a shadow-paging host KVM's copy of a page-table entry survives the monitor's store; a store by code in
// the guest makes KVM drop it: 8 bytes drop that entry, 2 bytes drop all that was made of the table. With
// two-dimensional paging nothing goes stale but the TLB, and reloading CR3 empties that (no entry of a mirror
// is global).
//
// CPL0 code is emulated there, a microsecond or more an instruction: so the code is straight, made for the
// occasion, and has the values in its instructions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "pvmmu/types.hpp"

namespace pinfold::vmm {

/// Straight-line code, at most a page of it, that ends in IRETQ to the guest.
class PassCode {
 public:
  static constexpr std::size_t max_steps = 180;

  /// Stores the 8 bytes that stand there, in one step with reading them: another vCPU's exit may change them
  /// at any time.
  void rewrite(std::uint64_t address);
  /// The same with 2 bytes.
  void rewrite_word(std::uint64_t address);
  /// Drops the processor's translations.
  void reload_cr3(std::uint64_t cr3);
  [[nodiscard]] bool full() const { return steps_ >= max_steps; }
  [[nodiscard]] bool empty() const { return steps_ == 0; }
  /// Does it contain a CR3 load?
  [[nodiscard]] bool drops_translations() const { return drops_translations_; }

  /// The finished code: RAX gets the guest's value back, then IRETQ.
  [[nodiscard]] std::span<const std::byte> finish(std::uint64_t guest_rax);
  /// The same, but it ends in an OUT of one byte: the guest's registers are not back yet.
  [[nodiscard]] std::span<const std::byte> finish_with_out(std::uint8_t port);

 private:
  void load_rax(std::uint64_t value);
  /// Emits `opcode` with the operand (RAX + displacement) and an immediate 0 byte, RAX so that it reaches.
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
