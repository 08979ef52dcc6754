// Stores to page tables: each one that the decoder accepts is checked for what it may change. If its operands
// can be moved into accessible memory, the processor executes it, too, and must have the same result.
#include "vmm/emulate/pte_write.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <vector>

#include "emulate_native.hpp"
#include "input.hpp"
#include "vmm/emulate/alu.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::vmm;
using pinfold::fuzz::Input;
using pinfold::fuzz::promise;

constexpr std::size_t longest_instruction = 15;
constexpr unsigned most_elements = 64;
constexpr std::uint64_t fs_base = 0x5a5a000000000000;

test::NativeProcessor& processor() {
  static test::NativeProcessor one;
  return one;
}

bool is_bit_operation(PteOperation operation) {
  return operation == PteOperation::set_bit || operation == PteOperation::reset_bit ||
         operation == PteOperation::complement_bit;
}

struct Case {
  std::vector<std::byte> bytes;
  Registers regs;
  SegmentBases bases;
  std::uint64_t target = 0;  ///< Where the write is to go, if a register can be set so.
  GuestVaddr fault;
  bool fault_is_in_operand = false;
  std::uint64_t old_value = 0;
};

/// Small numbers, negative ones, large ones, and addresses that can be written.
std::uint64_t take_value(Input& input) {
  const auto v = input.take<std::uint32_t>();
  switch (v >> 30) {
    case 0: return v;
    case 1:
      return static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int32_t>(v << 2) >> 2));
    case 2: return std::uint64_t{v} << 32 | v;
    default: return processor().data_address() + (v & 0x1fff);
  }
}

/// By how much a bit offset in a register moves the operand, computed in bits.
std::uint64_t bit_reach(std::uint64_t offset, unsigned size) {
  const auto bits = static_cast<std::int64_t>(8 * size);
  const std::int64_t extended = size == 2   ? static_cast<std::int16_t>(offset)
                                : size == 4 ? static_cast<std::int32_t>(offset)
                                            : static_cast<std::int64_t>(offset);
  const std::int64_t within = ((extended % bits) + bits) % bits;
  return static_cast<std::uint64_t>((extended - within) / bits * static_cast<std::int64_t>(size));
}

struct Place {
  std::uint64_t address = 0;
  std::uint64_t size = 0;
};

/// The address of the memory operand that the instruction writes.
std::optional<Place> written_place(const Instruction& instruction, const Case& c) {
  for (std::size_t i = 0; i < instruction.info.operand_count; ++i) {
    const auto& operand = instruction.operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0)
      continue;
    const bool bit_string =
        (instruction.mnemonic() == ZYDIS_MNEMONIC_BTS || instruction.mnemonic() == ZYDIS_MNEMONIC_BTR ||
         instruction.mnemonic() == ZYDIS_MNEMONIC_BTC) &&
        instruction.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
    const auto offset = bit_string ? general_register(instruction.operands[1].reg.value) : std::nullopt;
    const std::uint64_t reach = offset ? bit_reach(offset->read(c.regs), operand.size / 8U) : 0;
    return Place{effective_address(instruction, operand, c.regs, c.bases, reach), operand.size / 8U};
  }
  return std::nullopt;
}

/// Sets the operand's base register so that the write hits the target, if that is possible.
void aim(const Instruction& instruction, Case& c) {
  const auto at = written_place(instruction, c);
  if (!at) return;
  const auto* memory = instruction.first(ZYDIS_OPERAND_TYPE_MEMORY);
  for (const auto& operand : instruction.operands)
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0)
      memory = &operand;
  const auto base = general_register(memory->mem.base);
  const auto index = general_register(memory->mem.index);
  if (base) {
    c.regs[base->gpr] += c.target - at->address;
  } else if (index && memory->mem.scale == 1) {
    c.regs[index->gpr] += c.target - at->address;
  }
}

Case take_case(Input& input) {
  Case c;
  const auto head = input.take<std::uint8_t>();
  const auto instruction = input.take_bytes(longest_instruction);
  const std::size_t length = std::min<std::size_t>(instruction.size(), head & 15U);
  for (const std::uint8_t byte : instruction.first(length)) c.bytes.push_back(std::byte{byte});
  const auto flags = input.take<std::uint16_t>();
  c.regs.rflags = 0x202 | (flags & (alu::arithmetic_flags | rflags::df | rflags::tf)) |
                  ((flags >> 15) != 0 ? rflags::rf : 0);
  const auto place = input.take<std::uint16_t>();
  c.target = processor().data_address() + 0x800 + (place & 0xfffU);
  c.old_value = input.take<std::uint64_t>();
  c.bases = {fs_base, processor().gs_base()};
  c.regs.rip = processor().code_address();
  for (auto& gpr : c.regs.gpr) gpr = take_value(input);

  const auto decoded = decode(c.bytes);
  if (decoded && (head & 0x80) == 0) aim(*decoded, c);
  const auto at = decoded ? written_place(*decoded, c) : std::nullopt;
  const std::uint64_t faulting_byte = place >> 13;
  c.fault = GuestVaddr((at ? at->address : c.target) + faulting_byte);
  c.fault_is_in_operand = at && faulting_byte < at->size;
  return c;
}

void check_decoded(const PteWrite& write, const Case& c) {
  promise(write.size == 1 || write.size == 2 || write.size == 4 || write.size == 8,
          "an operand fits an entry");
  promise(write.address.raw() % write.size == 0, "a write is naturally aligned");
  promise(c.fault.raw() - write.address.raw() < write.size, "the write is where the fault was");
  promise(write.length >= 1 && write.length <= c.bytes.size(), "the instruction lies in its bytes");
  promise((write.source & ~mask_of(write.size)) == 0, "a source is as wide as the operand");
  if (is_bit_operation(write.operation)) promise(write.source < 8U * write.size, "a bit lies in the operand");
}

bool may_change(const PteWrite& write, Gpr gpr) {
  if (write.write_back && write.write_back->gpr == gpr) return true;
  if (write.string && (gpr == Gpr::rdi || gpr == Gpr::rcx)) return true;
  if (write.string && write.string->moves_source && gpr == Gpr::rsi) return true;
  if (write.operation == PteOperation::compare_exchange) return gpr == Gpr::rax;
  return write.operation == PteOperation::compare_exchange_8b && (gpr == Gpr::rax || gpr == Gpr::rdx);
}

void check_effect(const PteWrite& write, const Effect& effect, const Registers& before, std::uint64_t entry) {
  const Registers& after = effect.after;
  for (std::size_t i = 0; i < before.gpr.size(); ++i)
    promise(before.gpr[i] == after.gpr[i] || may_change(write, static_cast<Gpr>(i)),
            "no register changes that the instruction does not name");
  const bool repeats = write.string && write.string->repeated;
  promise(after.rip == before.rip + write.length || (repeats && after.rip == before.rip),
          "RIP goes past the instruction");
  promise(((before.rflags ^ after.rflags) & ~(alu::arithmetic_flags | rflags::rf)) == 0,
          "only arithmetic flags change");
  promise(effect.single_step == ((before.rflags & rflags::tf) != 0), "TF is heeded");
  promise((effect.new_value & ~mask_of(write.size)) == 0, "a new value fits the operand");
  const std::uint64_t stored = merged(write, entry, effect.new_value);
  promise(operand_of(write, stored) == effect.new_value, "the entry holds the new value");
  promise(merged(write, stored, operand_of(write, entry)) == entry, "the entry's other bytes stay");
}

/// Signals that a fuzzer sends itself. They are blocked while RSP has the instruction's value.
class NoSignals {
 public:
  NoSignals() {
    sigset_t some;
    sigemptyset(&some);
    for (const int one : {SIGALRM, SIGINT, SIGTERM, SIGUSR1, SIGUSR2}) sigaddset(&some, one);
    sigprocmask(SIG_BLOCK, &some, &before_);
  }
  ~NoSignals() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  NoSignals(const NoSignals&) = delete;
  NoSignals& operator=(const NoSignals&) = delete;

 private:
  sigset_t before_{};
};

/// A copy of the pages that the processor may write, for the emulation.
class Reach {
 public:
  Reach() : entries_(processor().data().begin(), processor().data().end()) {}
  [[nodiscard]] bool contains(std::uint64_t address, unsigned size) const {
    const std::uint64_t offset = address - processor().data_address();
    return offset < entries_.size() * 8 && offset + size <= entries_.size() * 8;
  }
  [[nodiscard]] std::uint64_t& entry(std::uint64_t address) {
    return entries_[(address - processor().data_address()) / 8];
  }
  [[nodiscard]] std::uint64_t load(std::uint64_t address, unsigned size) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < size; ++i)
      value |= (entry(address + i) >> (8 * ((address + i) % 8)) & 0xff) << (8 * i);
    return value;
  }
  [[nodiscard]] bool is_what_the_processor_has() const {
    return std::equal(entries_.begin(), entries_.end(), processor().data().begin());
  }

 private:
  std::vector<std::uint64_t> entries_;
};

/// Emulates the whole instruction, a repeated one element by element. Returns nothing if
/// it leaves these pages.
std::optional<Registers> emulate_all(Case c, Reach& reach) {
  const std::uint64_t start = c.regs.rip;
  for (unsigned i = 0; i < most_elements; ++i) {
    auto write = decode_pte_write(c.bytes, c.regs, c.bases, c.fault);
    promise(write.has_value(), "an instruction that goes on is still one");
    if (!reach.contains(write->address.raw(), write->size)) return std::nullopt;
    if (write->source_address) {
      if (!reach.contains(write->source_address->raw(), write->size)) return std::nullopt;
      write->source = reach.load(write->source_address->raw(), write->size);
    }
    std::uint64_t& entry = reach.entry(write->address.raw());
    const Effect effect = evaluate(*write, operand_of(*write, entry), c.regs);
    if (effect.stores) entry = merged(*write, entry, effect.new_value);
    c.regs = effect.after;
    if (c.regs.rip != start) return c.regs;
    const std::uint64_t step =
        (c.regs.rflags & rflags::df) != 0 ? 0 - std::uint64_t{write->size} : write->size;
    c.fault = GuestVaddr(write->address.raw() + step);
    // The pointer wrapped at its address size, so the rest of the string is elsewhere.
    if (!reach.contains(c.fault.raw(), write->size)) return std::nullopt;
  }
  return std::nullopt;
}

std::uint64_t undefined_flags(PteOperation operation) {
  switch (operation) {
    case PteOperation::bit_and:
    case PteOperation::bit_or:
    case PteOperation::bit_xor: return rflags::af;
    default: break;
  }
  return is_bit_operation(operation) ? rflags::of | rflags::sf | rflags::af | rflags::pf : 0;
}

/// The test program uses FS itself, so instructions with FS can't be executed.
bool goes_through_fs(const Case& c) {
  const auto instruction = decode(c.bytes);
  return instruction && std::any_of(instruction->operands.begin(),
                                    instruction->operands.begin() + instruction->info.operand_count,
                                    [](const auto& operand) {
                                      return operand.type == ZYDIS_OPERAND_TYPE_MEMORY &&
                                             operand.mem.segment == ZYDIS_REGISTER_FS;
                                    });
}

void compare_with_processor(Case c, const PteWrite& write) {
  if (goes_through_fs(c)) return;
  c.regs.rflags &= ~(rflags::tf | rflags::rf);
  const auto data = processor().data();
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = c.old_value + i / 512 * 0x0101010101010101;
  Reach reach;
  const auto emulated = emulate_all(c, reach);
  if (!emulated) return;
  std::vector<std::uint8_t> instruction;
  for (std::size_t i = 0; i < write.length; ++i) instruction.push_back(static_cast<std::uint8_t>(c.bytes[i]));
  Registers executed;
  {
    const NoSignals quiet;
    executed = processor().run(instruction, c.regs);
  }
  const std::uint64_t defined = ~undefined_flags(write.operation);
  promise(emulated->gpr == executed.gpr, "registers are the processor's");
  promise((emulated->rflags & defined) == (executed.rflags & defined), "flags are the processor's");
  promise(reach.is_what_the_processor_has(), "memory is the processor's");
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const Case c = take_case(input);
  const auto write = decode_pte_write(c.bytes, c.regs, c.bases, c.fault);
  if (!write) {
    promise(write.error() != Refusal::elsewhere || !c.fault_is_in_operand, "a write is found where it goes");
    return 0;
  }
  check_decoded(*write, c);
  check_effect(*write, evaluate(*write, operand_of(*write, c.old_value), c.regs), c.regs, c.old_value);
  compare_with_processor(c, *write);
  return 0;
}
