// "Writable" page tables: emulates a guest kernel's store to a page-table entry, which is mapped read-only.
//
// With VMASST_TYPE_writable_pagetables (xen/xen.h) a kernel writes L1 entries with plain instructions. They
// fault. The monitor decodes the instruction, computes the entry that it would store, and validates that like
// an mmu_update. Functions here neither access guest memory nor change registers: an Effect is a value, and
// the caller assigns `Effect::after` once it has committed the entry. So a refused entry leaves no trace.
//
// Use: decode; read the operand's old value; evaluate; merge the result into the 8-byte entry; validate;
// store; assign `after`. If other writers are possible, store by compare-and-exchange, and when that fails
// evaluate again with the value found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <tl/expected.hpp>

#include "pvmmu/types.hpp"
#include "vmm/emulate/operands.hpp"
#include "vmm/registers.hpp"

namespace pinfold::vmm {

/// Why a fault is not emulated. The guest gets its page fault.
enum class Refusal : std::uint8_t {
  truncated,    ///< the instruction's last bytes could not be fetched
  undecodable,  ///< not an instruction
  unsupported,  ///< it does not write memory, or is not among those emulated
  elsewhere,    ///< it writes, but not at the faulting address
  misaligned,   ///< not naturally aligned; Xen refuses those, too
};
[[nodiscard]] const char* describe(Refusal refusal);

/// What the instruction does to its memory operand.
enum class PteOperation : std::uint8_t {
  store,  ///< MOV, MOVNTI, STOS, MOVS
  exchange,
  add,
  adc,
  sub,
  sbb,
  bit_and,
  bit_or,
  bit_xor,
  increment,
  decrement,
  negate,
  invert,
  set_bit,
  reset_bit,
  complement_bit,
  exchange_add,
  compare_exchange,
  compare_exchange_8b,
};

/// How a string instruction changes RSI, RDI and RCX.
struct StringStep {
  std::uint8_t address_size = 8;  ///< bytes of RSI, RDI and RCX that it uses
  bool moves_source = false;      ///< MOVS: RSI changes, too
  bool repeated = false;          ///< RCX counts down; RIP stays until RCX is 0
};

/// One decoded write. Source values were read from the registers at decode time.
struct PteWrite {
  PteOperation operation = PteOperation::store;
  GuestVaddr address;     ///< the operand's; naturally aligned, so it lies within one 8-byte entry
  std::uint8_t size = 8;  ///< bytes: 1, 2, 4 or 8
  bool locked = false;    ///< LOCK prefix, or XCHG
  std::uint8_t length = 0;
  std::uint64_t source = 0;  ///< register or immediate, `size` bytes; a bit operation's bit number
  /// MOVS only: the caller first reads `size` bytes at this address into `source`.
  std::optional<GuestVaddr> source_address;
  std::optional<RegisterOperand> write_back;  ///< XCHG, XADD: the register that receives the old value
  std::optional<StringStep> string;
};

/// The result of a write, given the operand's old value.
struct Effect {
  std::uint64_t new_value = 0;  ///< of the operand, `size` bytes
  bool stores = true;           ///< false for a CMPXCHG that compared unequal: memory stays as it is
  bool reads_operand = false;   ///< the new value depends on the old one: store by compare-and-exchange
  bool single_step = false;     ///< TF was set: the guest gets a #DB after the instruction
  Registers after;              ///< all registers after the instruction
};

/// Decodes the instruction at `regs.rip`, in 64-bit mode, as the write that faulted at `fault_address`.
/// `bytes`: up to 15 bytes from there.
[[nodiscard]] tl::expected<PteWrite, Refusal> decode_pte_write(std::span<const std::byte> bytes,
                                                               const Registers& regs,
                                                               const SegmentBases& bases,
                                                               GuestVaddr fault_address);

/// `old_value`: the operand's, in the low `write.size` bytes. `regs`: those that decode_pte_write() got.
[[nodiscard]] Effect evaluate(const PteWrite& write, std::uint64_t old_value, const Registers& regs);

/// The operand's bytes of an 8-byte entry; the entry with those bytes replaced.
[[nodiscard]] std::uint64_t operand_of(const PteWrite& write, std::uint64_t entry);
[[nodiscard]] std::uint64_t merged(const PteWrite& write, std::uint64_t entry, std::uint64_t operand);

}  // namespace pinfold::vmm
