// Emulates the privileged instructions of a PV guest.
//
// A PV kernel runs at CPL3, so a privileged instruction raises #GP[0]. The instructions that Xen emulates are
// emulated here. For all others, and for what the virtual CPU refuses, the guest gets the #GP. Nothing is
// kept between calls: all state is the vCPU's.
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

/// The virtual CPU's state, for privileged instructions. After an error the guest gets #GP[0], unless a
/// comment says otherwise.
class PrivilegedState {
 public:
  virtual ~PrivilegedState() = default;

  /// `n`: 0, 2, 3 or 4. CR3 holds a machine address.
  [[nodiscard]] virtual tl::expected<std::uint64_t, Errno> read_cr(unsigned n) = 0;
  /// ERESTART: the write is not finished, and the guest has to execute the instruction again.
  [[nodiscard]] virtual Status write_cr(unsigned n, std::uint64_t value) = 0;
  virtual void clear_ts() = 0;
  /// `n`: 0 to 3, 6 or 7.
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
  /// `size`: 1, 2 or 4 bytes. Called only for ports that ports_allowed() allows.
  [[nodiscard]] virtual std::uint32_t port_in(std::uint16_t port, unsigned size) = 0;
  virtual void port_out(std::uint16_t port, unsigned size, std::uint32_t value) = 0;
  /// The guest's breakpoints that an access to these ports hits, as bits of DR6.
  [[nodiscard]] virtual std::uint64_t ports_hit(std::uint16_t port, unsigned size) = 0;
  /// The memory of the guest's current mode, for INS and OUTS.
  [[nodiscard]] virtual GuestMemory& memory() = 0;
};

/// Done: the registers are those after the instruction, or after one element of a repeated one. If TF was set
/// (`single_step`) or breakpoints were hit (bits of DR6), the guest gets a #DB.
struct Emulated {
  bool single_step = false;
  std::uint64_t breakpoints = 0;
};
/// Not finished: the guest executes the same instruction again. Registers may have changed, as
/// RCX of a long REP OUTS.
struct Restart {};
/// The guest gets this exception at the instruction. RIP is unchanged.
struct Exception {
  std::uint8_t vector = 13;
  std::uint32_t error_code = 0;
};
/// The guest gets a #PF at the instruction. The caller determines the other bits of the error code.
struct PageFault {
  GuestVaddr address;
  bool write = false;
  bool fetch = false;
};
using Outcome = std::variant<Emulated, Restart, Exception, PageFault>;

/// The most elements that one REP INS or OUTS moves before the guest is resumed: this
/// bounds the monitor's work.
inline constexpr unsigned max_string_elements = 1024;

/// Emulates the instruction at `regs.rip`, which raised #GP[0]. `instruction_bytes`: up to 15 bytes from
/// there, fewer if the next page is not mapped.
[[nodiscard]] Outcome emulate_privileged(Registers& regs, bool kernel_mode,
                                         std::span<const std::byte> instruction_bytes, PrivilegedState& state,
                                         CodeWidth width = CodeWidth::bits64);

/// Emulates the CPUID of a forced-emulation sequence at `regs.rip`; is_forced_cpuid() holds. If CPUID faults,
/// RIP is the CPUID's own, past the prefix.
[[nodiscard]] Outcome emulate_forced_cpuid(Registers& regs, bool kernel_mode, PrivilegedState& state);

}  // namespace pinfold::vmm
