// Privileged instructions of a PV guest: what a #GP[0] asked for, done on the virtual CPU.
//
// A PV kernel runs at CPL3, so a privileged instruction that it executes raw raises #GP[0]. Those that Xen
// emulates are emulated; of everything else, and of whatever the virtual CPU refuses, the guest gets its #GP.
// Nothing is kept between calls: the state behind the interface is the vCPU's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <tl/expected.hpp>
#include <variant>

#include "pvmmu/errno.hpp"
#include "pvmmu/types.hpp"
#include "vmm/cpuid_policy.hpp"
#include "vmm/emulate/decode.hpp"
#include "vmm/for_devices/guest_memory.hpp"
#include "vmm/registers.hpp"

namespace pinfold::vmm {

/// The virtual CPU as privileged instructions see it. An error of any operation means #GP[0] to the guest,
/// except where another meaning is given.
class PrivilegedState {
 public:
  virtual ~PrivilegedState() = default;

  /// n: 0, 2, 3 or 4. CR3 holds a machine address.
  [[nodiscard]] virtual tl::expected<std::uint64_t, Errno> read_cr(unsigned n) = 0;
  /// ERESTART: not finished, the instruction is to be executed again.
  [[nodiscard]] virtual Status write_cr(unsigned n, std::uint64_t value) = 0;
  virtual void clear_ts() = 0;
  /// n: 0 to 3, 6 or 7.
  [[nodiscard]] virtual tl::expected<std::uint64_t, Errno> read_dr(unsigned n) = 0;
  [[nodiscard]] virtual Status write_dr(unsigned n, std::uint64_t value) = 0;
  [[nodiscard]] virtual tl::expected<std::uint64_t, Errno> read_msr(std::uint32_t index) = 0;
  [[nodiscard]] virtual Status write_msr(std::uint32_t index, std::uint64_t value) = 0;
  [[nodiscard]] virtual std::uint64_t read_tsc() = 0;
  [[nodiscard]] virtual CpuidResult cpuid(std::uint32_t leaf, std::uint32_t subleaf, bool kernel_mode) = 0;
  /// Has the guest asked for CPUID to fault in its user mode (MSR_MISC_FEATURES_ENABLES)?
  [[nodiscard]] virtual bool cpuid_faults_in_user() = 0;
  [[nodiscard]] virtual Status xsetbv(std::uint32_t index, std::uint64_t value) = 0;

  /// May CLI and STI be executed (see io_privileged in vmm/emulate/io_ports.hpp)?
  [[nodiscard]] virtual bool io_privileged(bool kernel_mode) = 0;
  /// May all of the ports [port, port + size) be used, by I/O privilege or by the guest's I/O bitmap?
  [[nodiscard]] virtual bool ports_allowed(std::uint16_t port, unsigned size, bool kernel_mode) = 0;
  /// size: 1, 2 or 4 bytes; asked only for what ports_allowed allows.
  [[nodiscard]] virtual std::uint32_t port_in(std::uint16_t port, unsigned size) = 0;
  virtual void port_out(std::uint16_t port, unsigned size, std::uint32_t value) = 0;
  /// For INS and OUTS: the memory of the mode that the guest is in.
  [[nodiscard]] virtual GuestMemory& memory() = 0;
};

/// Done: the registers are those after the instruction. With `single_step` (TF was set) a #DB with DR6.BS is
/// due.
struct Emulated {
  bool single_step = false;
};
/// Not finished: resume the guest at the same instruction. Registers may have changed (RCX of a long REP
/// OUTS).
struct Restart {};
/// To be delivered at the instruction: RIP is unchanged.
struct Exception {
  std::uint8_t vector = 13;
  std::uint32_t error_code = 0;
};
/// A #PF to be delivered at the instruction. The caller finds the other error-code bits from the mapping.
struct PageFault {
  GuestVaddr address;
  bool write = false;
  bool fetch = false;
};
using Outcome = std::variant<Emulated, Restart, Exception, PageFault>;

/// Most elements that one REP INS or OUTS moves before the guest is resumed, so that it can't hold the
/// monitor.
inline constexpr unsigned max_string_elements = 1024;

/// Emulates the instruction at `regs.rip`, which raised #GP[0]. `instruction_bytes` holds up to 15 bytes from
/// there, fewer where the next page is unmapped.
[[nodiscard]] Outcome emulate_privileged(Registers& regs, bool kernel_mode,
                                         std::span<const std::byte> instruction_bytes, PrivilegedState& state,
                                         CodeWidth width = CodeWidth::bits64);

/// Emulates the CPUID of a forced-emulation sequence (is_forced_cpuid must hold) at `regs.rip`. Where CPUID
/// faults, the exception belongs to the CPUID itself, so RIP has moved past the prefix.
[[nodiscard]] Outcome emulate_forced_cpuid(Registers& regs, bool kernel_mode, PrivilegedState& state);

}  // namespace pinfold::vmm
