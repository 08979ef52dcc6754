// Privileged instructions: with any bytes, in any mode, the emulation calls its virtual CPU only with
// permitted arguments, and changes only registers that the instruction writes.
#include "vmm/emulate/privileged.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <vector>

#include "input.hpp"
#include "vmm/emulate/accesses.hpp"
#include "vmm/emulate/forced_emulation.hpp"
#include "vmm/emulate/io_ports.hpp"
#include "vmm/emulate/msr.hpp"
#include "vmm/emulate/string_io.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::vmm;
using pinfold::fuzz::Input;
using pinfold::fuzz::promise;

constexpr std::size_t longest_instruction = 15;

/// The guest has two pages mapped in each half of the address space.
class Memory final : public GuestMemory {
 public:
  static constexpr std::uint64_t low = 0x10000, high = 0xffff888000010000, size = 0x2000;

  Status read(GuestVaddr from, std::span<std::byte> to) override {
    for (std::size_t i = 0; i < to.size(); ++i) {
      const auto at = offset(from.raw() + i);
      if (!at) return fail(Errno::efault);
      to[i] = bytes_[*at];
    }
    return {};
  }
  Status write(GuestVaddr to, std::span<const std::byte> from) override {
    promise(from.size() <= 4, "port I/O writes at most four bytes at once");
    for (std::size_t i = 0; i < from.size(); ++i) {
      const auto at = offset(to.raw() + i);
      if (!at) return fail(Errno::efault);
      bytes_[*at] = from[i];
    }
    return {};
  }

 private:
  static std::optional<std::size_t> offset(std::uint64_t address) {
    promise(is_canonical(address), "memory is asked for canonical addresses only");
    if (address - low < size) return address - low;
    if (address - high < size) return address - high;
    return std::nullopt;
  }
  std::array<std::byte, size> bytes_{};
};

/// Which requests the virtual CPU refuses, and what kind of processor it is.
struct Settings {
  explicit Settings(Input& input)
      : refuse(input.take<std::uint8_t>()),
        iopl(input.take<std::uint8_t>()),
        bitmap_ports(input.take<std::uint16_t>()),
        cr4(input.take<std::uint16_t>()) {}
  [[nodiscard]] bool refused(unsigned bit) const { return (refuse >> bit & 1) != 0; }
  std::uint8_t refuse, iopl;
  std::uint16_t bitmap_ports, cr4;
};

/// A virtual CPU that checks the arguments of each call.
class Cpu final : public PrivilegedState, public MsrState {
 public:
  Cpu(const Settings& settings, bool kernel_mode) : settings_(settings), kernel_(kernel_mode) {}

  tl::expected<std::uint64_t, Errno> read_cr(unsigned n) override {
    promise(n == 0 || n == 2 || n == 3 || n == 4, "only CR0, 2, 3 and 4 are read");
    promise(kernel_ || n == 4, "user mode reads no control register");
    if (settings_.refused(0)) return tl::unexpected(Errno::eperm);
    return n == 4 ? settings_.cr4 : 0x8005003b;
  }
  Status write_cr(unsigned n, std::uint64_t) override {
    promise(n == 0 || n == 2 || n == 3 || n == 4, "only CR0, 2, 3 and 4 are written");
    return kernel_only(settings_.refused(1) ? std::optional(Errno::erestart) : std::nullopt);
  }
  void clear_ts() override { (void)kernel_only({}); }
  tl::expected<std::uint64_t, Errno> read_dr(unsigned n) override {
    check_dr(n);
    if (settings_.refused(2)) return tl::unexpected(Errno::eperm);
    return n;
  }
  Status write_dr(unsigned n, std::uint64_t) override {
    check_dr(n);
    return kernel_only(settings_.refused(2) ? std::optional(Errno::eperm) : std::nullopt);
  }
  tl::expected<std::uint64_t, Errno> read_msr(std::uint32_t index) override {
    promise(kernel_ || index == msr::tsc_aux || index == msr::fs_base || index == msr::gs_base,
            "user mode reads no register");
    return vmm::read_msr(static_cast<MsrState&>(*this), index);
  }
  Status write_msr(std::uint32_t index, std::uint64_t value) override {
    (void)kernel_only({});
    return vmm::write_msr(static_cast<MsrState&>(*this), index, value);
  }
  std::uint64_t read_tsc() override { return 0x1122334455667788; }
  CpuidResult cpuid(std::uint32_t leaf, std::uint32_t subleaf, bool kernel_mode) override {
    promise(kernel_mode == kernel_, "CPUID is told the mode");
    promise(kernel_ || !cpuid_faults_in_user(), "CPUID faults where it was asked to");
    return {leaf, subleaf, 3, 4};
  }
  bool cpuid_faults_in_user() override { return settings_.refused(3); }
  Status xsetbv(std::uint32_t, std::uint64_t) override {
    return kernel_only(settings_.refused(4) ? std::optional(Errno::einval) : std::nullopt);
  }

  bool io_privileged(bool kernel_mode) override {
    promise(kernel_mode == kernel_, "I/O privilege is that of the mode");
    return vmm::io_privileged(settings_.iopl & 3U, kernel_mode, (settings_.iopl & 4U) != 0);
  }
  bool ports_allowed(std::uint16_t port, unsigned size, bool kernel_mode) override {
    allowed_.reset();
    const GuestVaddr bitmap(settings_.refused(5) ? 0 : Memory::high + 0x1fc0);
    if (io_privileged(kernel_mode) || bitmap_allows(memory_, bitmap, settings_.bitmap_ports, port, size))
      allowed_ = {port, size};
    return allowed_.has_value();
  }
  std::uint32_t port_in(std::uint16_t port, unsigned size) override {
    check_port(port, size);
    ++port_accesses_;
    return ports_.in(port, size);
  }
  void port_out(std::uint16_t port, unsigned size, std::uint32_t value) override {
    check_port(port, size);
    ++port_accesses_;
    promise((value & ~mask_of(size)) == 0, "what goes out is as wide as the port access");
    ports_.out(port, size, value);
  }
  std::uint64_t ports_hit(std::uint16_t port, unsigned size) override {
    check_port(port, size);
    return has_port_breakpoint() ? 1 : 0;
  }
  [[nodiscard]] bool has_port_breakpoint() const { return settings_.refused(6); }
  GuestMemory& memory() override { return memory_; }

  std::uint64_t segment_base(SegmentBase which) override { return bases_[which]; }
  void set_segment_base(SegmentBase which, std::uint64_t address) override {
    promise(is_canonical(address), "a segment base is canonical");
    bases_[which] = address;
  }
  VcpuId vcpu() override { return VcpuId(settings_.iopl >> 7); }
  bool intel() override { return !settings_.refused(6); }
  std::uint64_t microcode_revision() override { return 0xa101148; }
  bool has_gp_handler() override { return !settings_.refused(7); }
  bool can_fault_cpuid() override { return (settings_.iopl >> 6 & 1) != 0; }
  bool cpuid_faulting() override { return faulting_; }
  void set_cpuid_faulting(bool on) override { faulting_ = on; }

  [[nodiscard]] unsigned port_accesses() const { return port_accesses_; }

 private:
  Status kernel_only(std::optional<Errno> error) const {
    promise(kernel_, "user mode changes no state of the kernel's");
    if (error) return fail(*error);
    return {};
  }
  void check_dr(unsigned n) const {
    promise(kernel_, "user mode has no debug registers");
    promise(n <= 3 || n == 6 || n == 7, "only DR0 to 3, 6 and 7 are there");
  }
  void check_port(std::uint16_t port, unsigned size) const {
    promise(size == 1 || size == 2 || size == 4, "ports have one, two or four bytes");
    promise(allowed_.has_value() && allowed_->port == port && allowed_->size == size,
            "a port is used only after it was allowed");
  }

  struct Range {
    std::uint16_t port;
    unsigned size;
  };
  Settings settings_;
  bool kernel_, faulting_ = false;
  Memory memory_;
  IoPorts ports_{[] { return std::time_t{1'000'000'000}; }};
  std::map<SegmentBase, std::uint64_t> bases_;
  std::optional<Range> allowed_;
  unsigned port_accesses_ = 0;
};

/// Small and negative numbers, any numbers, and addresses at the edges of mapped memory.
std::uint64_t take_value(Input& input) {
  const auto v = input.take<std::uint32_t>();
  switch (v >> 30) {
    case 0: return v;
    case 1: return Memory::low + (v & 0x3fff) - 0x1000;
    case 2: return Memory::high + (v & 0x3fff) - 0x1000;
    default: return std::uint64_t{v} << 32 | v;
  }
}

constexpr std::array widths{CodeWidth::bits64, CodeWidth::bits32, CodeWidth::bits16, CodeWidth::bits64};

struct Case {
  explicit Case(Input& input) {
    const auto head = input.take<std::uint16_t>();
    const auto instruction = input.take_bytes(longest_instruction);
    const std::size_t length = std::min<std::size_t>(instruction.size(), head & 15U);
    for (const std::uint8_t byte : instruction.first(length)) bytes.push_back(std::byte{byte});
    kernel_mode = (head >> 4 & 1) != 0;
    width = widths[head >> 5 & 3U];
    const std::uint64_t settable = rflags::tf | rflags::df | rflags::rf | rflags::cf | rflags::zf;
    regs.rflags = 0x202 | (std::uint64_t{head} << 1 & settable);
    regs.rip = (head >> 12 & 1) != 0 ? 0xffffffff81000000 : 0x400000;
  }
  void take_registers(Input& input) {
    for (auto& gpr : regs.gpr) gpr = take_value(input);
  }
  std::vector<std::byte> bytes;
  bool kernel_mode = true;
  CodeWidth width = CodeWidth::bits64;
  Registers regs;
};

bool is_string_io(const Instruction& instruction) {
  const auto m = instruction.mnemonic();
  return m == ZYDIS_MNEMONIC_INSB || m == ZYDIS_MNEMONIC_INSW || m == ZYDIS_MNEMONIC_INSD ||
         m == ZYDIS_MNEMONIC_OUTSB || m == ZYDIS_MNEMONIC_OUTSW || m == ZYDIS_MNEMONIC_OUTSD;
}

bool may_change(const Instruction& instruction, Gpr gpr) {
  if (instruction.mnemonic() != ZYDIS_MNEMONIC_MOV)
    return gpr <= Gpr::rbx || gpr == Gpr::rsi || gpr == Gpr::rdi;
  const auto target = general_register(instruction.operands[0].reg.value);
  return target && target->gpr == gpr;
}

/// `start`: the address of the emulated instruction, which may be behind a forced-emulation prefix.
void check(const Case& c, const Instruction* instruction, std::uint64_t start, const Registers& after,
           const Outcome& outcome) {
  const bool moved = std::holds_alternative<Emulated>(outcome);
  const bool partly = instruction != nullptr && is_string_io(*instruction);
  for (std::size_t i = 0; i < after.gpr.size(); ++i) {
    if (after.gpr[i] == c.regs.gpr[i]) continue;
    promise(moved || partly, "what faults changes nothing");
    promise(may_change(*instruction, static_cast<Gpr>(i)), "no other register changes");
  }
  promise(((after.rflags ^ c.regs.rflags) & ~rflags::rf) == 0, "flags stay");
  if (!moved) promise(after.rip == start || (partly && after.rip == c.regs.rip), "RIP stays at what faults");
  if (moved && !(partly && after.rip == start)) {
    const std::uint64_t mask = c.width == CodeWidth::bits64 ? ~0ULL : mask_of(4);
    promise(instruction != nullptr && after.rip == ((start + instruction->length()) & mask),
            "RIP moves past");
  }
  if (const auto* fault = std::get_if<PageFault>(&outcome)) {
    if (fault->fetch) promise(instruction == nullptr, "only a cut instruction faults on its fetch");
    if (fault->fetch) promise(fault->address.raw() == start + c.bytes.size(), "and where the bytes end");
    if (!fault->fetch) promise(partly && is_canonical(fault->address.raw()), "only strings touch memory");
  }
}

void check_string_bounds(const Case& c, const Cpu& cpu) {
  const bool step = (c.regs.rflags & rflags::tf) != 0;
  promise(cpu.port_accesses() <= (step || cpu.has_port_breakpoint() ? 1 : max_string_elements),
          "work is bounded");
}

void emulate(const Case& c, const Settings& settings) {
  Cpu cpu(settings, c.kernel_mode);
  Registers regs = c.regs;
  const Outcome outcome = emulate_privileged(regs, c.kernel_mode, c.bytes, cpu, c.width);
  const auto instruction = decode(c.bytes, c.width);
  check(c, instruction ? &*instruction : nullptr, c.regs.rip, regs, outcome);
  check_string_bounds(c, cpu);
  if (!instruction) return;
  const MemoryAccesses accesses(*instruction, c.regs, {1, 2});
  promise(accesses.all().size() <= 2 * ZYDIS_MAX_OPERAND_COUNT, "accesses are bounded");
}

void emulate_prefixed(Case c, const Settings& settings) {
  c.width = CodeWidth::bits64;
  promise(
      c.bytes.size() >= forced_cpuid_length && c.bytes[5] == std::byte{0x0f} && c.bytes[6] == std::byte{0xa2},
      "the prefix is for CPUID");
  Cpu cpu(settings, c.kernel_mode);
  Registers regs = c.regs;
  const Outcome outcome = emulate_forced_cpuid(regs, c.kernel_mode, cpu);
  const auto cpuid = decode(std::span(c.bytes).subspan(forced_prefix_length), c.width);
  promise(cpuid && cpuid->mnemonic() == ZYDIS_MNEMONIC_CPUID, "and CPUID follows it");
  check(c, &*cpuid, c.regs.rip + forced_prefix_length, regs, outcome);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  Case c(input);
  const Settings settings(input);
  c.take_registers(input);
  emulate(c, settings);
  if (is_forced_cpuid(c.bytes)) emulate_prefixed(c, settings);
  if (const auto vector = decode_int_n(c.bytes))
    promise(c.bytes.size() >= int_n_length && std::byte{*vector} == c.bytes[1], "INT names its vector");
  return 0;
}
