#include "vmm/emulate/privileged.hpp"

#include <optional>

#include "vmm/emulate/forced_emulation.hpp"
#include "vmm/emulate/msr.hpp"
#include "vmm/emulate/string_io.hpp"

namespace pinfold::vmm {
namespace {

constexpr Exception general_protection{13, 0};
constexpr Exception undefined_opcode{6, 0};

/// One instruction while it is emulated. Functions that emulate something return done() after success.
class Emulation {
 public:
  Emulation(Registers& regs, bool kernel_mode, const Instruction& instruction, PrivilegedState& state)
      : regs_(regs), kernel_mode_(kernel_mode), instruction_(instruction), state_(state) {}

  Outcome run();

 private:
  Outcome run_kernel_only();
  Outcome move_special();
  Outcome move_control(bool to_special, unsigned n, RegisterOperand gpr);
  Outcome move_debug(bool to_special, unsigned n, RegisterOperand gpr);
  Outcome rdmsr();
  Outcome rdtsc(bool with_aux);
  Outcome cpuid();
  Outcome port_io(bool in);
  Outcome string_io();

  [[nodiscard]] std::uint32_t low(Gpr r) const { return static_cast<std::uint32_t>(regs_[r]); }
  [[nodiscard]] std::uint64_t edx_eax() const { return (std::uint64_t{low(Gpr::rdx)} << 32) | low(Gpr::rax); }
  void set_edx_eax(std::uint64_t value) {
    regs_[Gpr::rax] = value & mask_of(4);
    regs_[Gpr::rdx] = value >> 32;
  }
  Outcome done() {
    const bool step = (regs_.rflags & rflags::tf) != 0;
    regs_.rip += instruction_.length();
    if (instruction_.info.machine_mode != ZYDIS_MACHINE_MODE_LONG_64) regs_.rip &= mask_of(4);
    regs_.rflags &= ~rflags::rf;
    return Emulated{step, breakpoints_};
  }
  Outcome done_if(const Status& status) {
    if (status) return done();
    if (status.error() == Errno::erestart) return Restart{};
    return general_protection;
  }

  Registers& regs_;
  bool kernel_mode_;
  const Instruction& instruction_;
  PrivilegedState& state_;
  std::uint64_t breakpoints_ = 0;  ///< Hit by the ports that it used, as bits of DR6.
};

Outcome Emulation::run() {
  switch (instruction_.mnemonic()) {
    case ZYDIS_MNEMONIC_RDTSC: return rdtsc(false);
    case ZYDIS_MNEMONIC_RDTSCP: return rdtsc(true);
    case ZYDIS_MNEMONIC_CPUID: return cpuid();
    case ZYDIS_MNEMONIC_IN: return port_io(true);
    case ZYDIS_MNEMONIC_OUT: return port_io(false);
    case ZYDIS_MNEMONIC_INSB:
    case ZYDIS_MNEMONIC_INSW:
    case ZYDIS_MNEMONIC_INSD:
    case ZYDIS_MNEMONIC_OUTSB:
    case ZYDIS_MNEMONIC_OUTSW:
    case ZYDIS_MNEMONIC_OUTSD: return string_io();
    case ZYDIS_MNEMONIC_CLI:
    case ZYDIS_MNEMONIC_STI:
      // The virtual interrupt flag is evtchn_upcall_mask. CLI does not set it: a POPF that is to undo the CLI
      // does not fault, so events would stay masked for good.
      if (!state_.io_privileged(kernel_mode_)) return general_protection;
      return done();
    default: break;
  }
  if (!kernel_mode_) return general_protection;
  return run_kernel_only();
}

Outcome Emulation::run_kernel_only() {
  switch (instruction_.mnemonic()) {
    case ZYDIS_MNEMONIC_MOV: return move_special();
    case ZYDIS_MNEMONIC_CLTS: state_.clear_ts(); return done();
    case ZYDIS_MNEMONIC_RDMSR: return rdmsr();
    case ZYDIS_MNEMONIC_WRMSR: return done_if(state_.write_msr(low(Gpr::rcx), edx_eax()));
    case ZYDIS_MNEMONIC_XSETBV: return done_if(state_.xsetbv(low(Gpr::rcx), edx_eax()));
    // All domains share the caches, and a domain without devices need not write them back. WBNOINVD is WBINVD
    // with F3, which this decoder and older processors ignore.
    case ZYDIS_MNEMONIC_WBINVD: return done();
    default: return general_protection;
  }
}

/// MOV to or from a control or debug register: one of its two register operands is a general one.
Outcome Emulation::move_special() {
  const auto& to = instruction_.operands[0];
  const auto& from = instruction_.operands[1];
  if (to.type != ZYDIS_OPERAND_TYPE_REGISTER || from.type != ZYDIS_OPERAND_TYPE_REGISTER)
    return general_protection;
  const auto target = general_register(to.reg.value);
  const auto source = general_register(from.reg.value);
  if (target.has_value() == source.has_value()) return general_protection;
  const bool to_special = !target.has_value();
  const ZydisRegister special = to_special ? to.reg.value : from.reg.value;
  const RegisterOperand gpr = to_special ? *source : *target;
  if (special >= ZYDIS_REGISTER_CR0 && special <= ZYDIS_REGISTER_CR15)
    return move_control(to_special, static_cast<unsigned>(special - ZYDIS_REGISTER_CR0), gpr);
  if (special >= ZYDIS_REGISTER_DR0 && special <= ZYDIS_REGISTER_DR7)
    return move_debug(to_special, static_cast<unsigned>(special - ZYDIS_REGISTER_DR0), gpr);
  return general_protection;
}

Outcome Emulation::move_control(bool to_special, unsigned n, RegisterOperand gpr) {
  if (n != 0 && n != 2 && n != 3 && n != 4) return general_protection;
  if (to_special) return done_if(state_.write_cr(n, gpr.read(regs_)));
  const auto value = state_.read_cr(n);
  if (!value) return general_protection;
  gpr.write(regs_, *value);
  return done();
}

Outcome Emulation::move_debug(bool to_special, unsigned n, RegisterOperand gpr) {
  if (n == 4 || n == 5) {  // aliases of DR6 and DR7 unless CR4.DE is set (Intel SDM vol. 3, 17.2.2)
    const auto cr4 = state_.read_cr(4);
    if (!cr4) return general_protection;
    if ((*cr4 & cr4::de) != 0) return undefined_opcode;
    n += 2;
  }
  if (to_special) return done_if(state_.write_dr(n, gpr.read(regs_)));
  const auto value = state_.read_dr(n);
  if (!value) return general_protection;
  gpr.write(regs_, *value);
  return done();
}

Outcome Emulation::rdmsr() {
  const auto value = state_.read_msr(low(Gpr::rcx));
  if (!value) return general_protection;
  set_edx_eax(*value);
  return done();
}

/// They fault only where the real CR4.TSD is set. In user mode the guest's own CR4.TSD decides.
Outcome Emulation::rdtsc(bool with_aux) {
  if (!kernel_mode_) {
    const auto cr4 = state_.read_cr(4);
    if (!cr4 || (*cr4 & cr4::tsd) != 0) return general_protection;
  }
  if (with_aux) {
    const auto aux = state_.read_msr(msr::tsc_aux);
    if (!aux) return undefined_opcode;  // RDTSCP is not among the guest's features
    regs_[Gpr::rcx] = *aux & mask_of(4);
  }
  set_edx_eax(state_.read_tsc());
  return done();
}

Outcome Emulation::cpuid() {
  if (!kernel_mode_ && state_.cpuid_faults_in_user()) return general_protection;
  const CpuidResult result = state_.cpuid(low(Gpr::rax), low(Gpr::rcx), kernel_mode_);
  regs_[Gpr::rax] = result.eax;
  regs_[Gpr::rbx] = result.ebx;
  regs_[Gpr::rcx] = result.ecx;
  regs_[Gpr::rdx] = result.edx;
  return done();
}

/// IN and OUT: one operand is AL, AX or EAX, the other DX or an immediate port.
Outcome Emulation::port_io(bool in) {
  const auto accumulator = general_register(instruction_.operands[in ? 0 : 1].reg.value);
  const auto& port_operand = instruction_.operands[in ? 1 : 0];
  if (!accumulator) return general_protection;
  const auto port = static_cast<std::uint16_t>(
      port_operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? port_operand.imm.value.u & 0xff : regs_[Gpr::rdx]);
  if (!state_.ports_allowed(port, accumulator->size, kernel_mode_)) return general_protection;
  if (in) {
    accumulator->write(regs_, state_.port_in(port, accumulator->size));
  } else {
    state_.port_out(port, accumulator->size, static_cast<std::uint32_t>(accumulator->read(regs_)));
  }
  breakpoints_ = state_.ports_hit(port, accumulator->size);
  return done();
}

Outcome Emulation::string_io() {
  // Outside of 64-bit mode the segments' bases and limits would count. That is not emulated.
  if (instruction_.info.machine_mode != ZYDIS_MACHINE_MODE_LONG_64) return general_protection;
  const auto ended = move_string(regs_, kernel_mode_, instruction_, state_, breakpoints_);
  return ended ? *ended : done();
}

}  // namespace

Outcome emulate_privileged(Registers& regs, bool kernel_mode, std::span<const std::byte> instruction_bytes,
                           PrivilegedState& state, CodeWidth width) {
  const auto& instruction = decode_again(instruction_bytes, width);
  if (instruction) return Emulation(regs, kernel_mode, *instruction, state).run();
  if (instruction.error() == DecodeError::invalid) return general_protection;
  return PageFault{GuestVaddr(regs.rip + instruction_bytes.size()), false, true};
}

Outcome emulate_forced_cpuid(Registers& regs, bool kernel_mode, PrivilegedState& state) {
  static constexpr std::byte cpuid[]{std::byte{0x0f}, std::byte{0xa2}};
  regs.rip += forced_prefix_length;
  return emulate_privileged(regs, kernel_mode, cpuid, state);
}

}  // namespace pinfold::vmm
