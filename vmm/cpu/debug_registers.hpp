// A vCPU's debug registers, as the guest knows them, and as the processor has to have them.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "pvmmu/errno.hpp"

namespace pinfold::vmm {

/// Bits of DR6 and DR7 (Intel SDM vol. 3, 18.2).
namespace dr6 {
inline constexpr std::uint64_t breakpoints = 0xf, single_step = 1U << 14;
/// B0 to B3, BD, BS and BT: what an exception may set. The other bits are fixed.
inline constexpr std::uint64_t causes = 0xe00f;
inline constexpr std::uint64_t initial = 0xffff0ff0;
}  // namespace dr6
namespace dr7 {
inline constexpr std::uint64_t enables = 0xff, general_detect = 1U << 13, initial = 0x400;
/// RTM, and those that are always 0 (11, 12, 14 and 15).
inline constexpr std::uint64_t cleared = 0xd800;
}  // namespace dr7

/// The rules are Xen's (set_debugreg in xen/arch/x86). Breakpoints on ports are not the processor's: all IN
/// and OUT of a guest's are emulated, and the emulation asks ports_hit().
///
/// Concurrency: the domain's lock.
class DebugRegisters {
 public:
  /// What the processor has to hold: only breakpoints on the guest's own addresses.
  struct Loaded {
    std::array<std::uint64_t, 4> address{};
    std::uint64_t dr7 = dr7::initial;
    friend bool operator==(const Loaded&, const Loaded&) = default;
  };

  /// `n`: 0 to 3, 6 or 7.
  [[nodiscard]] std::uint64_t get(unsigned n) const;
  /// DR0 to DR3 take guest addresses outside the hypervisor's range (else EPERM). The upper half of DR6 and
  /// DR7 must be zero (else EINVAL). DR7 with GD, or one that is active and has a breakpoint on ports without
  /// CR4.DE: EPERM. Other numbers than those of get(): ENODEV.
  [[nodiscard]] Status set(unsigned n, std::uint64_t value, bool debugging_extensions);

  /// A debug exception has these causes (`dr6::causes`): B0 to B3 become exactly them, the others stay set
  /// until the guest clears them.
  void note(std::uint64_t causes);
  /// The breakpoints, as bits of DR6, that an access to these ports hits.
  [[nodiscard]] std::uint64_t ports_hit(std::uint16_t port, unsigned size, bool debugging_extensions) const;

  /// All breakpoints of the guest's but those on ports. If none is enabled: nothing.
  [[nodiscard]] Loaded to_load() const;
  /// May to_load() have changed since the last call?
  [[nodiscard]] bool take_change() { return std::exchange(changed_, false); }
  /// Does to_load() have a breakpoint?
  [[nodiscard]] bool watches() const { return (dr7_ & ~on_ports_ & dr7::enables) != 0; }

 private:
  [[nodiscard]] Status set_control(std::uint64_t value, bool debugging_extensions);

  std::array<std::uint64_t, 4> address_{};
  std::uint64_t dr6_ = dr6::initial;
  std::uint64_t dr7_ = dr7::initial;
  std::uint64_t on_ports_ = 0;  ///< The enable bits of breakpoints on ports.
  bool changed_ = false;
};

}  // namespace pinfold::vmm
