// "Writable" page tables: what a guest kernel's store to a page-table entry that it may only read was meant
// to do.
//
// With VMASST_TYPE_writable_pagetables (xen/xen.h) a kernel writes entries of its lowest tables with plain
// instructions. They fault; the monitor decodes the one instruction, computes the entry it would leave, and
// validates that as an mmu_update. Nothing here touches guest memory or changes registers: an effect is a
// value, and takes place when the caller, having committed the entry, assigns `Effect::after`. So a refused
// entry leaves no trace.
//
// Use: decode; read the operand's old value; evaluate; merge into the 8-byte entry; validate; store (by
// compare and exchange, when another writer is possible; evaluate again with the new old value when that
// loses); assign `after`.
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

/// Why a fault is not one to answer so; the guest gets its page fault.
enum class Refusal : std::uint8_t {
  truncated,    ///< the instruction's last bytes could not be fetched
  undecodable,  ///< not an instruction
  unsupported,  ///< an instruction that does not write memory, or is not among those handled
  elsewhere,    ///< it writes, but not where the fault was
  misaligned,   ///< not naturally aligned (Xen refuses those too)
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

/// How a string instruction goes on.
struct StringStep {
  std::uint8_t address_size = 8;  ///< bytes of RSI, RDI and RCX that take part
  bool moves_source = false;      ///< MOVS: RSI steps too
  bool repeated = false;          ///< RCX counts down, and RIP stays until it is 0
};

/// One decoded write. Source values were read from the registers at decode time.
struct PteWrite {
  PteOperation operation = PteOperation::store;
  GuestVaddr address;     ///< of the operand: naturally aligned, so within one 8-byte entry
  std::uint8_t size = 8;  ///< bytes: 1, 2, 4 or 8
  bool locked = false;    ///< LOCK prefix, or XCHG
  std::uint8_t length = 0;
  std::uint64_t source = 0;  ///< register or immediate, `size` bytes; the bit number for bit operations
  /// MOVS only: the caller reads `size` bytes there into `source` first.
  std::optional<GuestVaddr> source_address;
  std::optional<RegisterOperand> write_back;  ///< XCHG, XADD: the register that receives the old value
  std::optional<StringStep> string;
};

/// What comes of a write, given the operand's old value.
struct Effect {
  std::uint64_t new_value = 0;  ///< of the operand, `size` bytes
  bool stores = true;           ///< false for a CMPXCHG that compared unequal: memory keeps its value
  bool reads_operand = false;   ///< the new value depends on the old: store by compare-and-exchange
  bool single_step = false;     ///< TF was set: the guest is due a #DB after the instruction
  Registers after;              ///< all registers once the instruction is done
};

/// Decodes the instruction at `regs.rip` (64-bit mode), of which `bytes` are up to 15 bytes, as the write
/// that faulted at `fault_address`.
[[nodiscard]] tl::expected<PteWrite, Refusal> decode_pte_write(std::span<const std::byte> bytes,
                                                               const Registers& regs,
                                                               const SegmentBases& bases,
                                                               GuestVaddr fault_address);

/// `old_value` is the operand's, `write.size` bytes in the low end. `regs` must be those given to
/// decode_pte_write.
[[nodiscard]] Effect evaluate(const PteWrite& write, std::uint64_t old_value, const Registers& regs);

/// The operand's bytes of an 8-byte entry, and the entry with those bytes replaced.
[[nodiscard]] std::uint64_t operand_of(const PteWrite& write, std::uint64_t entry);
[[nodiscard]] std::uint64_t merged(const PteWrite& write, std::uint64_t entry, std::uint64_t operand);

}  // namespace pinfold::vmm
