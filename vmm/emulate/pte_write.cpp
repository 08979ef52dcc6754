#include "vmm/emulate/pte_write.hpp"

#include <bit>

#include "vmm/emulate/alu.hpp"

namespace pinfold::vmm {
namespace {

std::optional<PteOperation> operation_of(ZydisMnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
    case ZYDIS_MNEMONIC_MOVNTI:
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_STOSQ:
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSD:
    case ZYDIS_MNEMONIC_MOVSQ: return PteOperation::store;
    case ZYDIS_MNEMONIC_XCHG: return PteOperation::exchange;
    case ZYDIS_MNEMONIC_ADD: return PteOperation::add;
    case ZYDIS_MNEMONIC_ADC: return PteOperation::adc;
    case ZYDIS_MNEMONIC_SUB: return PteOperation::sub;
    case ZYDIS_MNEMONIC_SBB: return PteOperation::sbb;
    case ZYDIS_MNEMONIC_AND: return PteOperation::bit_and;
    case ZYDIS_MNEMONIC_OR: return PteOperation::bit_or;
    case ZYDIS_MNEMONIC_XOR: return PteOperation::bit_xor;
    case ZYDIS_MNEMONIC_INC: return PteOperation::increment;
    case ZYDIS_MNEMONIC_DEC: return PteOperation::decrement;
    case ZYDIS_MNEMONIC_NEG: return PteOperation::negate;
    case ZYDIS_MNEMONIC_NOT: return PteOperation::invert;
    case ZYDIS_MNEMONIC_BTS: return PteOperation::set_bit;
    case ZYDIS_MNEMONIC_BTR: return PteOperation::reset_bit;
    case ZYDIS_MNEMONIC_BTC: return PteOperation::complement_bit;
    case ZYDIS_MNEMONIC_XADD: return PteOperation::exchange_add;
    case ZYDIS_MNEMONIC_CMPXCHG: return PteOperation::compare_exchange;
    case ZYDIS_MNEMONIC_CMPXCHG8B: return PteOperation::compare_exchange_8b;
    default: return std::nullopt;
  }
}

bool is_bit_operation(PteOperation operation) {
  return operation == PteOperation::set_bit || operation == PteOperation::reset_bit ||
         operation == PteOperation::complement_bit;
}

bool is_string(const Instruction& instruction) {
  return (instruction.info.opcode == 0xa4 || instruction.info.opcode == 0xa5 ||
          instruction.info.opcode == 0xaa || instruction.info.opcode == 0xab) &&
         instruction.info.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;
}

const ZydisDecodedOperand* written_memory(const Instruction& instruction) {
  for (std::size_t i = 0; i < instruction.info.operand_count; ++i) {
    const auto& operand = instruction.operands[i];
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0)
      return &operand;
  }
  return nullptr;
}

/// The operand other than `memory` of an instruction with two operands, in whichever order they are.
const ZydisDecodedOperand* other_operand(const Instruction& instruction, const ZydisDecodedOperand& memory) {
  for (std::size_t i = 0; i < instruction.info.operand_count_visible; ++i)
    if (instruction.operands[i].id != memory.id) return &instruction.operands[i];
  return nullptr;
}

/// The distance, in bytes, from the address that a bit operation names to the operand that has the bit. A bit
/// offset in a register is signed and not limited to the operand's width. XSA-195: all its bits count.
std::uint64_t bit_string_displacement(std::uint64_t offset, unsigned size) {
  const unsigned offset_bits = 8 * size;
  const std::int64_t extended = static_cast<std::int64_t>(offset << (64 - offset_bits)) >> (64 - offset_bits);
  const int width_log2 = std::countr_zero(offset_bits);
  return static_cast<std::uint64_t>((extended >> width_log2) * static_cast<std::int64_t>(size));
}

/// Sets `write.source`, if the operation has one. False: the source is of a kind that is not emulated.
bool take_source(PteWrite& write, const Instruction& instruction, const ZydisDecodedOperand& memory,
                 const Registers& regs) {
  const ZydisDecodedOperand* other = other_operand(instruction, memory);
  if (other == nullptr) return true;
  if (other->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
    write.source = other->imm.value.u & mask_of(write.size);
    return true;
  }
  if (other->type != ZYDIS_OPERAND_TYPE_REGISTER) return false;
  const auto gpr = general_register(other->reg.value);
  if (!gpr) return false;  // MOV from a segment register
  write.source = gpr->read(regs);
  if (write.operation == PteOperation::exchange || write.operation == PteOperation::exchange_add)
    write.write_back = *gpr;
  return true;
}

/// The same for string instructions, whose operands are implied. False: RCX is 0, so there is nothing to do.
bool take_string(PteWrite& write, const Instruction& instruction, const Registers& regs,
                 const SegmentBases& bases) {
  StringStep step;
  step.address_size = static_cast<std::uint8_t>(instruction.info.address_width / 8);
  step.repeated = instruction.repeated();
  step.moves_source = instruction.info.opcode < 0xaa;
  if (step.repeated && (regs[Gpr::rcx] & mask_of(step.address_size)) == 0) return false;
  if (step.moves_source) {
    for (std::size_t i = 0; i < instruction.info.operand_count; ++i) {
      const auto& operand = instruction.operands[i];
      if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY &&
          (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0)
        write.source_address = GuestVaddr(effective_address(instruction, operand, regs, bases));
    }
  } else {
    write.source = regs[Gpr::rax] & mask_of(write.size);
  }
  write.string = step;
  return true;
}

void step_register(Registers& regs, Gpr gpr, const StringStep& step, std::uint64_t by) {
  RegisterOperand{gpr, step.address_size, false}.write(regs, regs[gpr] + by);
}

/// Advances RDI and RSI by one element, and RIP once the count is 0.
void advance_string(Registers& regs, const PteWrite& write) {
  const StringStep& step = *write.string;
  const std::uint64_t by = (regs.rflags & rflags::df) != 0 ? 0 - std::uint64_t{write.size} : write.size;
  step_register(regs, Gpr::rdi, step, by);
  if (step.moves_source) step_register(regs, Gpr::rsi, step, by);
  if (step.repeated) {
    step_register(regs, Gpr::rcx, step, ~0ULL);
    if ((regs[Gpr::rcx] & mask_of(step.address_size)) != 0) regs.rip -= write.length;
  }
}

void compare_exchange(Effect& effect, const PteWrite& write, std::uint64_t old) {
  const RegisterOperand accumulator{Gpr::rax, write.size, false};
  const std::uint64_t expected = accumulator.read(effect.after);
  effect.after.rflags = alu::sub(expected, old, false, write.size, effect.after.rflags).flags;
  effect.stores = expected == old;
  effect.new_value = effect.stores ? write.source : old;
  if (!effect.stores) accumulator.write(effect.after, old);
}

void compare_exchange_8b(Effect& effect, std::uint64_t old) {
  Registers& regs = effect.after;
  const auto pair = [&regs](Gpr high, Gpr low) { return (regs[high] << 32) | (regs[low] & mask_of(4)); };
  effect.stores = pair(Gpr::rdx, Gpr::rax) == old;
  effect.new_value = effect.stores ? pair(Gpr::rcx, Gpr::rbx) : old;
  regs.rflags = (regs.rflags & ~rflags::zf) | alu::when(effect.stores, rflags::zf);
  if (!effect.stores) {
    regs[Gpr::rax] = old & mask_of(4);
    regs[Gpr::rdx] = old >> 32;
  }
}

/// CF gets the bit's old value. Processors do not change the other flags.
alu::Result bit_operation(const PteWrite& write, std::uint64_t old, std::uint64_t flags) {
  const std::uint64_t bit = 1ULL << write.source;
  const std::uint64_t after = (flags & ~rflags::cf) | alu::when((old & bit) != 0, rflags::cf);
  if (write.operation == PteOperation::set_bit) return {old | bit, after};
  if (write.operation == PteOperation::reset_bit) return {old & ~bit, after};
  return {old ^ bit, after};
}

alu::Result compute(const PteWrite& write, std::uint64_t old, std::uint64_t flags) {
  const bool carry = (flags & rflags::cf) != 0;
  const unsigned size = write.size;
  switch (write.operation) {
    case PteOperation::store:
    case PteOperation::exchange: return {write.source, flags};
    case PteOperation::exchange_add:
    case PteOperation::add: return alu::add(old, write.source, false, size, flags);
    case PteOperation::adc: return alu::add(old, write.source, carry, size, flags);
    case PteOperation::sub: return alu::sub(old, write.source, false, size, flags);
    case PteOperation::sbb: return alu::sub(old, write.source, carry, size, flags);
    case PteOperation::bit_and: return alu::logic(old & write.source, size, flags);
    case PteOperation::bit_or: return alu::logic(old | write.source, size, flags);
    case PteOperation::bit_xor: return alu::logic(old ^ write.source, size, flags);
    case PteOperation::increment: return alu::keeping_carry(alu::add(old, 1, false, size, flags), flags);
    case PteOperation::decrement: return alu::keeping_carry(alu::sub(old, 1, false, size, flags), flags);
    case PteOperation::negate: return alu::sub(0, old, false, size, flags);
    case PteOperation::invert: return {~old & mask_of(size), flags};
    case PteOperation::set_bit:
    case PteOperation::reset_bit:
    case PteOperation::complement_bit: return bit_operation(write, old, flags);
    case PteOperation::compare_exchange:
    case PteOperation::compare_exchange_8b: break;
  }
  return {old, flags};
}

unsigned entry_shift(const PteWrite& write) { return 8 * static_cast<unsigned>(write.address.raw() & 7); }

tl::unexpected<Refusal> refuse(Refusal refusal) { return tl::unexpected(refusal); }

}  // namespace

const char* describe(Refusal refusal) {
  switch (refusal) {
    case Refusal::truncated: return "the instruction runs into an unmapped page";
    case Refusal::undecodable: return "not an instruction";
    case Refusal::unsupported: return "not a memory write of a kind that is emulated";
    case Refusal::elsewhere: return "the instruction does not write where the fault was";
    case Refusal::misaligned: return "the write is not naturally aligned";
  }
  return "unknown";
}

tl::expected<PteWrite, Refusal> decode_pte_write(std::span<const std::byte> bytes, const Registers& regs,
                                                 const SegmentBases& bases, GuestVaddr fault_address) {
  const auto& instruction = decode_again(bytes);
  if (!instruction)
    return refuse(instruction.error() == DecodeError::truncated ? Refusal::truncated : Refusal::undecodable);
  const auto operation = operation_of(instruction->mnemonic());
  const ZydisDecodedOperand* memory = written_memory(*instruction);
  // MOVSD is an SSE instruction, too. That one's source is no general register, so it is refused below.
  if (!operation || memory == nullptr || instruction->info.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
    return refuse(Refusal::unsupported);
  const unsigned bits = memory->size;
  if (bits != 8 && bits != 16 && bits != 32 && bits != 64) return refuse(Refusal::unsupported);

  PteWrite write;
  write.operation = *operation;
  write.size = static_cast<std::uint8_t>(bits / 8);
  write.locked = instruction->locked() || *operation == PteOperation::exchange;
  write.length = instruction->length();
  if (is_string(*instruction) ? !take_string(write, *instruction, regs, bases)
                              : !take_source(write, *instruction, *memory, regs))
    return refuse(Refusal::unsupported);

  std::uint64_t displacement = 0;
  if (is_bit_operation(*operation)) {
    const bool by_register = instruction->operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
    if (by_register) displacement = bit_string_displacement(write.source, write.size);
    write.source &= 8U * write.size - 1;
  }
  write.address = GuestVaddr(effective_address(*instruction, *memory, regs, bases, displacement));
  if (write.address.raw() % write.size != 0) return refuse(Refusal::misaligned);
  if (fault_address.raw() - write.address.raw() >= write.size) return refuse(Refusal::elsewhere);
  return write;
}

Effect evaluate(const PteWrite& write, std::uint64_t old_value, const Registers& regs) {
  const std::uint64_t old = old_value & mask_of(write.size);
  Effect effect;
  effect.after = regs;
  effect.after.rip += write.length;
  effect.reads_operand = write.operation != PteOperation::store;
  if (write.operation == PteOperation::compare_exchange) {
    compare_exchange(effect, write, old);
  } else if (write.operation == PteOperation::compare_exchange_8b) {
    compare_exchange_8b(effect, old);
  } else {
    const alu::Result result = compute(write, old, regs.rflags);
    effect.new_value = result.value;
    effect.after.rflags = result.flags;
  }
  if (write.write_back) write.write_back->write(effect.after, old);
  if (write.string) advance_string(effect.after, write);
  effect.after.rflags &= ~rflags::rf;
  effect.single_step = (regs.rflags & rflags::tf) != 0;
  return effect;
}

std::uint64_t operand_of(const PteWrite& write, std::uint64_t entry) {
  return (entry >> entry_shift(write)) & mask_of(write.size);
}

std::uint64_t merged(const PteWrite& write, std::uint64_t entry, std::uint64_t operand) {
  const std::uint64_t mask = mask_of(write.size) << entry_shift(write);
  return (entry & ~mask) | ((operand << entry_shift(write)) & mask);
}

}  // namespace pinfold::vmm
