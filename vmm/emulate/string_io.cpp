#include "vmm/emulate/string_io.hpp"

#include <array>
#include <cstring>

#include "vmm/emulate/msr.hpp"

namespace pinfold::vmm {
namespace {

struct StringMove {
  const Instruction& instruction;
  const ZydisDecodedOperand& element;  ///< the memory operand
  bool in;
  unsigned size;  ///< bytes of an element
  SegmentBases bases;
  RegisterOperand pointer, count;
};

/// Only OUTS can have a segment override, and only FS and GS have bases in 64-bit mode.
SegmentBases bases_for(const ZydisDecodedOperand& element, PrivilegedState& state) {
  SegmentBases bases;
  if (element.mem.segment == ZYDIS_REGISTER_FS) bases.fs = state.read_msr(msr::fs_base).value_or(0);
  if (element.mem.segment == ZYDIS_REGISTER_GS) bases.gs = state.read_msr(msr::gs_base).value_or(0);
  return bases;
}

bool is_addressable(std::uint64_t address, unsigned size) {
  return is_canonical(address) && is_canonical(address + size - 1);
}

/// The page fault of an element. If the element crosses into another page, either page can be the cause.
PageFault fault_at(std::uint64_t address, const StringMove& move, GuestMemory& memory) {
  const std::uint64_t next_page = (address | (page_size - 1)) + 1;
  const bool crosses = next_page - address < move.size;
  std::byte probe{};
  const bool first_is_good = crosses && memory.read(GuestVaddr(address), std::span(&probe, 1)).has_value();
  return {GuestVaddr(first_is_good ? next_page : address), move.in, false};
}

std::optional<Outcome> move_element(const Registers& regs, const StringMove& move, PrivilegedState& state) {
  const std::uint64_t address = effective_address(move.instruction, move.element, regs, move.bases);
  if (!is_addressable(address, move.size)) return Exception{};
  const auto port = static_cast<std::uint16_t>(regs[Gpr::rdx]);
  std::array<std::byte, 4> bytes{};
  const auto part = std::span(bytes).first(move.size);
  std::uint32_t value = 0;
  GuestMemory& memory = state.memory();
  if (move.in) {
    value = state.port_in(port, move.size);
    std::memcpy(bytes.data(), &value, sizeof(value));
    if (!memory.write(GuestVaddr(address), part)) return fault_at(address, move, memory);
  } else {
    if (!memory.read(GuestVaddr(address), part)) return fault_at(address, move, memory);
    std::memcpy(&value, bytes.data(), sizeof(value));
    state.port_out(port, move.size, value);
  }
  return std::nullopt;
}

void step(Registers& regs, const StringMove& move, bool repeated) {
  const std::uint64_t by = (regs.rflags & rflags::df) != 0 ? 0 - std::uint64_t{move.size} : move.size;
  move.pointer.write(regs, move.pointer.read(regs) + by);
  if (repeated) move.count.write(regs, move.count.read(regs) - 1);
}

bool is_input(ZydisMnemonic mnemonic) {
  return mnemonic == ZYDIS_MNEMONIC_INSB || mnemonic == ZYDIS_MNEMONIC_INSW ||
         mnemonic == ZYDIS_MNEMONIC_INSD;
}

}  // namespace

std::optional<Outcome> move_string(Registers& regs, bool kernel_mode, const Instruction& instruction,
                                   PrivilegedState& state, std::uint64_t& breakpoints) {
  const ZydisDecodedOperand* element = instruction.first(ZYDIS_OPERAND_TYPE_MEMORY);
  if (element == nullptr) return Exception{};
  const bool in = is_input(instruction.mnemonic());
  const auto address_size = static_cast<std::uint8_t>(instruction.info.address_width / 8);
  const StringMove move{instruction,
                        *element,
                        in,
                        element->size / 8U,
                        bases_for(*element, state),
                        {in ? Gpr::rdi : Gpr::rsi, address_size, false},
                        {Gpr::rcx, address_size, false}};
  const auto port = static_cast<std::uint16_t>(regs[Gpr::rdx]);
  if (!state.ports_allowed(port, move.size, kernel_mode)) return Exception{};

  const bool repeated = instruction.repeated();
  if (repeated && move.count.read(regs) == 0) return std::nullopt;
  // With TF set, or a breakpoint on the port, the guest gets a #DB after each element.
  const bool single_steps = (regs.rflags & rflags::tf) != 0;
  const std::uint64_t hit = state.ports_hit(port, move.size);
  const bool traps = single_steps || hit != 0;
  const unsigned bound = traps ? 1 : max_string_elements;
  for (unsigned i = 0; i < bound; ++i) {
    if (auto ended = move_element(regs, move, state)) return ended;
    breakpoints = hit;
    step(regs, move, repeated);
    if (!repeated || move.count.read(regs) == 0) return std::nullopt;
  }
  if (traps) return Emulated{single_steps, hit};
  return Restart{};
}

}  // namespace pinfold::vmm
