// All forms of page-table writes, with random operands and addresses, are emulated and executed: registers,
// flags and memory must be the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "emulate_native.hpp"
#include "vmm/emulate/alu.hpp"
#include "vmm/emulate/pte_write.hpp"

namespace pinfold::vmm::test {
namespace {

enum class Source { reg, ext, ext_imm8, ext_imm, string, moffs };

/// One encoding. `ext`: the opcode extension in ModRM.reg. Byte forms have an operand of one byte.
struct Form {
  const char* name;
  bool two_byte;
  std::uint8_t opcode;
  Source source;
  std::uint8_t ext = 0;
  bool byte = false;
  bool lockable = true;
  std::uint64_t undefined_flags = 0;
  bool bits_by_register = false;
};

constexpr std::uint64_t logic_undefined = rflags::af;
constexpr std::uint64_t bit_undefined = rflags::of | rflags::sf | rflags::af | rflags::pf;

std::vector<Form> all_forms() {
  std::vector<Form> forms;
  const auto undefined_of = [](unsigned group) {
    return group == 1 || group == 4 || group == 6 ? logic_undefined : 0;
  };
  static constexpr const char* group1[]{"add", "or", "adc", "sbb", "and", "sub", "xor"};
  for (std::uint8_t group = 0; group < 7; ++group) {
    const std::uint64_t undefined = undefined_of(group);
    const auto base = static_cast<std::uint8_t>(group * 8);
    forms.push_back({group1[group], false, base, Source::reg, 0, true, true, undefined});
    forms.push_back(
        {group1[group], false, static_cast<std::uint8_t>(base + 1), Source::reg, 0, false, true, undefined});
    forms.push_back({group1[group], false, 0x80, Source::ext_imm8, group, true, true, undefined});
    forms.push_back({group1[group], false, 0x81, Source::ext_imm, group, false, true, undefined});
    forms.push_back({group1[group], false, 0x83, Source::ext_imm8, group, false, true, undefined});
  }
  const std::vector<Form> others{
      {"mov", false, 0x88, Source::reg, 0, true, false},
      {"mov", false, 0x89, Source::reg, 0, false, false},
      {"mov", false, 0xc6, Source::ext_imm8, 0, true, false},
      {"mov", false, 0xc7, Source::ext_imm, 0, false, false},
      {"mov", false, 0xa2, Source::moffs, 0, true, false},
      {"mov", false, 0xa3, Source::moffs, 0, false, false},
      {"movnti", true, 0xc3, Source::reg, 0, false, false},
      {"xchg", false, 0x86, Source::reg, 0, true},
      {"xchg", false, 0x87, Source::reg},
      {"xadd", true, 0xc0, Source::reg, 0, true},
      {"xadd", true, 0xc1, Source::reg},
      {"cmpxchg", true, 0xb0, Source::reg, 0, true},
      {"cmpxchg", true, 0xb1, Source::reg},
      {"cmpxchg8b", true, 0xc7, Source::ext, 1},
      {"inc", false, 0xfe, Source::ext, 0, true},
      {"inc", false, 0xff, Source::ext, 0},
      {"dec", false, 0xfe, Source::ext, 1, true},
      {"dec", false, 0xff, Source::ext, 1},
      {"not", false, 0xf6, Source::ext, 2, true},
      {"not", false, 0xf7, Source::ext, 2},
      {"neg", false, 0xf6, Source::ext, 3, true},
      {"neg", false, 0xf7, Source::ext, 3},
      {"bts", true, 0xab, Source::reg, 0, false, true, bit_undefined, true},
      {"btr", true, 0xb3, Source::reg, 0, false, true, bit_undefined, true},
      {"btc", true, 0xbb, Source::reg, 0, false, true, bit_undefined, true},
      {"bts", true, 0xba, Source::ext_imm8, 5, false, true, bit_undefined},
      {"btr", true, 0xba, Source::ext_imm8, 6, false, true, bit_undefined},
      {"btc", true, 0xba, Source::ext_imm8, 7, false, true, bit_undefined},
      {"stos", false, 0xaa, Source::string, 0, true, false},
      {"stos", false, 0xab, Source::string, 0, false, false},
      {"movs", false, 0xa4, Source::string, 0, true, false},
      {"movs", false, 0xa5, Source::string, 0, false, false},
  };
  forms.insert(forms.end(), others.begin(), others.end());
  return forms;
}

/// An instruction, and registers with which it writes its target.
struct Trial {
  std::vector<std::uint8_t> bytes;
  Registers regs;
  unsigned size = 8;
  std::uint64_t target = 0;
};

class Generator {
 public:
  Generator(NativeProcessor& processor, std::uint32_t seed) : processor_(processor), random_(seed) {}

  Trial make(const Form& form) {
    for (;;) {
      Trial trial;
      if (attempt(form, trial)) return trial;
    }
  }
  std::uint64_t value() {
    switch (random_() % 8) {
      case 0: return 0;
      case 1: return ~0ULL;
      case 2: return 1ULL << (random_() % 64);
      case 3: return ~(1ULL << (random_() % 64));
      case 4: return random_() % 256;
      default: return random_();
    }
  }
  bool coin() { return random_() % 2 == 0; }
  std::uint64_t below(std::uint64_t n) { return random_() % n; }

 private:
  static constexpr int none = -1;

  void put(Trial& trial, std::uint64_t v, unsigned size) {
    for (unsigned i = 0; i < size; ++i) trial.bytes.push_back(static_cast<std::uint8_t>(v >> (8 * i)));
  }

  bool attempt(const Form& form, Trial& trial) {
    for (auto& gpr : trial.regs.gpr) gpr = value();
    trial.regs.rip = processor_.code_address();
    const std::uint64_t settable = alu::arithmetic_flags | (form.source == Source::string ? rflags::df : 0);
    trial.regs.rflags = 0x202 | (random_() & settable);
    const bool wide = coin();
    const bool is_8b = std::string(form.name) == "cmpxchg8b";
    const bool is_nti = std::string(form.name) == "movnti";
    const bool small = !form.byte && !wide && !is_nti && !is_8b && coin();
    trial.size = form.byte ? 1 : is_8b ? 8 : wide ? 8 : small ? 2 : 4;
    const bool rex_w = wide && !is_8b;
    const bool gs = coin(), address32 = below(4) == 0;
    const bool locked = form.lockable && coin();
    // Not near the ends, so that strings can go in both directions.
    trial.target = processor_.data_address() + 8 * (100 + below(800)) + trial.size * below(8 / trial.size);

    if (small) trial.bytes.push_back(0x66);
    if (gs) trial.bytes.push_back(0x65);
    if (address32) trial.bytes.push_back(0x67);
    if (locked) trial.bytes.push_back(0xf0);
    if (form.source == Source::string) return finish_string(form, trial, rex_w, gs, address32);
    const std::uint64_t wanted = trial.target - (gs ? processor_.gs_base() : 0);
    if (form.source == Source::moffs) {
      if (rex_w) trial.bytes.push_back(0x48);
      trial.bytes.push_back(form.opcode);
      put(trial, wanted, address32 ? 4 : 8);
      return true;
    }
    return finish_modrm(form, trial, rex_w, address32, wanted);
  }

  bool finish_string(const Form& form, Trial& trial, bool rex_w, bool gs, bool address32) {
    const std::uint64_t garbage = address32 ? random_() << 32 : 0;
    const std::uint64_t from =
        processor_.data_address() + 8 * (100 + below(800)) + below(8) - (gs ? processor_.gs_base() : 0);
    trial.regs[Gpr::rdi] = trial.target | garbage;
    trial.regs[Gpr::rsi] = from | garbage;
    if (coin()) {
      trial.bytes.push_back(coin() ? 0xf2 : 0xf3);
      trial.regs[Gpr::rcx] = (1 + below(5)) | garbage;
    }
    if (rex_w) trial.bytes.push_back(0x48);
    trial.bytes.push_back(form.opcode);
    return true;
  }

  bool finish_modrm(const Form& form, Trial& trial, bool rex_w, bool address32, std::uint64_t wanted) {
    const bool rex = rex_w || coin();  // without one, byte registers 4 to 7 are AH to BH
    const unsigned registers = rex ? 16 : 8;
    const int reg = form.source == Source::reg ? static_cast<int>(below(registers)) : none;
    int base = static_cast<int>(below(registers)), index = none;
    unsigned scale = 0;
    const unsigned kind = static_cast<unsigned>(below(4));  // RIP, base, base and index, index
    if (kind == 0) base = none;
    if (kind >= 2) {
      index = static_cast<int>(below(registers));
      if (index == 4 || index == base) return false;
      scale = kind == 2 ? static_cast<unsigned>(below(4)) : 0;
      if (kind == 3) base = none;
    }
    // The distance of a bit string's operand from the address in the instruction.
    std::uint64_t bit_displacement = 0;
    if (form.bits_by_register) {
      if (reg == base || reg == index) return false;
      const std::int64_t offset = bit_offset(kind == 0);
      trial.regs.gpr[static_cast<std::size_t>(reg)] = static_cast<std::uint64_t>(offset);
      // The bits above the operand's width are not part of the offset.
      const std::int64_t effective = trial.size == 2   ? static_cast<std::int16_t>(offset)
                                     : trial.size == 4 ? static_cast<std::int32_t>(offset)
                                                       : offset;
      const std::int64_t bits = 8 * trial.size;
      const std::int64_t unit = (effective - (((effective % bits) + bits) % bits)) / bits;
      bit_displacement = static_cast<std::uint64_t>(unit * static_cast<std::int64_t>(trial.size));
    }

    const bool has_disp = kind != 1 || coin() || (base & 7) == 5;
    const bool disp8 = has_disp && (kind == 1 || kind == 2) && coin();
    std::int64_t displacement = 0;
    if (has_disp)
      displacement = disp8 ? static_cast<std::int8_t>(random_()) : static_cast<std::int32_t>(random_());
    const unsigned immediate = form.source == Source::ext_imm8  ? 1
                               : form.source == Source::ext_imm ? std::min(trial.size, 4U)
                                                                : 0;

    if (rex)
      trial.bytes.push_back(static_cast<std::uint8_t>(0x40 | (rex_w ? 8 : 0) | (reg > 7 ? 4 : 0) |
                                                      (index > 7 ? 2 : 0) | (base > 7 ? 1 : 0)));
    if (form.two_byte) trial.bytes.push_back(0x0f);
    trial.bytes.push_back(form.opcode);
    const auto field = static_cast<std::uint8_t>((reg == none ? form.ext : reg & 7) << 3);
    if (kind == 0) {
      const std::uint64_t next = processor_.code_address() + trial.bytes.size() + 5 + immediate;
      displacement = static_cast<std::int64_t>(wanted - bit_displacement - next);
      if (!address32 && displacement != static_cast<std::int32_t>(displacement)) return false;
      trial.bytes.push_back(field | 5);
    } else if (kind == 1 && (base & 7) != 4) {
      trial.bytes.push_back(
          static_cast<std::uint8_t>((has_disp ? disp8 ? 0x40 : 0x80 : 0) | field | (base & 7)));
    } else {
      const int sib_index = index == none ? 4 : index & 7;
      const int sib_base = base == none ? 5 : base & 7;
      if (kind == 2 && !has_disp) return false;
      const int mod = kind == 3 ? 0 : has_disp ? (disp8 ? 0x40 : 0x80) : 0;
      trial.bytes.push_back(static_cast<std::uint8_t>(mod | field | 4));
      trial.bytes.push_back(
          static_cast<std::uint8_t>(scale << 6 | static_cast<unsigned>(sib_index << 3 | sib_base)));
    }
    if (kind == 0 || (has_disp && !disp8)) put(trial, static_cast<std::uint64_t>(displacement), 4);
    if (disp8) put(trial, static_cast<std::uint64_t>(displacement), 1);
    put(trial, random_(), immediate);

    // Sets the register so that the sum is right.
    std::uint64_t rest = wanted - bit_displacement - static_cast<std::uint64_t>(displacement);
    if (base != none && index != none) rest -= trial.regs.gpr[static_cast<std::size_t>(index)] << scale;
    if (address32) rest = (rest & mask_of(4)) | (random_() << 32);
    if (base != none) trial.regs.gpr[static_cast<std::size_t>(base)] = rest;
    if (base == none && index != none) trial.regs.gpr[static_cast<std::size_t>(index)] = rest;
    free_ = [base, index](int r) { return r != base && r != index; };
    return true;
  }

  std::int64_t bit_offset(bool near) {
    switch (random_() % (near ? 2 : 4)) {
      case 0: return static_cast<std::int64_t>(random_() % 64);
      case 1: return static_cast<std::int32_t>(random_());
      case 2: return static_cast<std::int64_t>(random_()) >> 17;
      default: return static_cast<std::int64_t>(random_());
    }
  }

 public:
  /// Makes a comparison succeed, if the address does not need its registers.
  void let_compare_succeed(const Form& form, Trial& trial, std::uint64_t operand) {
    const std::string name = form.name;
    if (name == "cmpxchg" && free_(0))
      trial.regs[Gpr::rax] = (trial.regs[Gpr::rax] & ~mask_of(trial.size)) | operand;
    if (name == "cmpxchg8b" && free_(0) && free_(2)) {
      trial.regs[Gpr::rax] = (random_() << 32) | (operand & mask_of(4));
      trial.regs[Gpr::rdx] = (random_() << 32) | (operand >> 32);
    }
  }

 private:
  NativeProcessor& processor_;
  std::mt19937_64 random_;
  std::function<bool(int)> free_ = [](int) { return true; };
};

std::string text(const Form& form, const Trial& trial) {
  std::string hex = std::string(form.name) + ":";
  for (std::uint8_t byte : trial.bytes) {
    static constexpr char digits[] = "0123456789abcdef";
    hex += std::string(" ") + digits[byte >> 4] + digits[byte & 15];
  }
  return hex;
}

class Memory {
 public:
  Memory(std::uint64_t base, std::span<const std::uint64_t> contents)
      : base_(base), entries_(contents.begin(), contents.end()) {}
  std::uint64_t& entry(std::uint64_t address) { return entries_.at((address - base_) / 8); }
  std::uint64_t bytes(std::uint64_t address, unsigned size) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < size; ++i)
      value |= ((entry(address + i) >> (8 * ((address + i) % 8))) & 0xff) << (8 * i);
    return value;
  }
  bool equals(std::span<const std::uint64_t> other) const {
    return std::equal(entries_.begin(), entries_.end(), other.begin(), other.end());
  }

 private:
  std::uint64_t base_;
  std::vector<std::uint64_t> entries_;
};

/// Emulates until RIP is behind the instruction, a repeated one element by element.
tl::expected<Registers, Refusal> emulate(const Trial& trial, const SegmentBases& bases, Memory& memory,
                                         Generator& generator) {
  Registers regs = trial.regs;
  std::uint64_t target = trial.target;
  do {
    const auto fault = GuestVaddr(target + generator.below(trial.size));
    auto write = decode_pte_write(std::as_bytes(std::span(trial.bytes)), regs, bases, fault);
    if (!write) return tl::unexpected(write.error());
    if (write->size != trial.size) return tl::unexpected(Refusal::unsupported);
    if (write->source_address) write->source = memory.bytes(write->source_address->raw(), write->size);
    std::uint64_t& entry = memory.entry(write->address.raw());
    const Effect effect = evaluate(*write, operand_of(*write, entry), regs);
    if (effect.stores) entry = merged(*write, entry, effect.new_value);
    regs = effect.after;
    target += (regs.rflags & rflags::df) != 0 ? 0 - std::uint64_t{trial.size} : trial.size;
  } while (regs.rip == trial.regs.rip);
  return regs;
}

class PteWriteAsExecuted : public ::testing::TestWithParam<Form> {};

TEST_P(PteWriteAsExecuted, ends_with_the_processors_registers_flags_and_memory) {
  const Form& form = GetParam();
  NativeProcessor processor;
  Generator generator(processor, 4711U + form.opcode * 8U + form.ext);
  const SegmentBases bases{0, processor.gs_base()};
  for (int round = 0; round < 1000; ++round) {
    Trial trial = generator.make(form);
    for (auto& entry : processor.data()) entry = generator.value();
    Memory memory(processor.data_address(), processor.data());
    if (generator.coin()) generator.let_compare_succeed(form, trial, memory.bytes(trial.target, trial.size));

    const auto emulated = emulate(trial, bases, memory, generator);
    ASSERT_TRUE(emulated) << text(form, trial) << ": " << describe(emulated.error());
    const Registers executed = processor.run(trial.bytes, trial.regs);

    ASSERT_EQ(emulated->gpr, executed.gpr) << text(form, trial);
    ASSERT_EQ(emulated->rflags & ~form.undefined_flags, executed.rflags & ~form.undefined_flags)
        << text(form, trial);
    ASSERT_EQ(emulated->rip, trial.regs.rip + trial.bytes.size()) << text(form, trial);
    ASSERT_TRUE(memory.equals(processor.data())) << text(form, trial);
  }
}

std::string form_name(const ::testing::TestParamInfo<Form>& info) {
  return std::string(info.param.name) + "_" + std::to_string(info.index);
}
INSTANTIATE_TEST_SUITE_P(AllForms, PteWriteAsExecuted, ::testing::ValuesIn(all_forms()), form_name);

}  // namespace
}  // namespace pinfold::vmm::test
