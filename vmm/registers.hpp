// A guest's registers between an exit and the next entry.
#pragma once

#include <array>
#include <cstdint>

namespace pinfold::vmm {

/// General registers in the order that instructions encode them (Intel SDM vol. 2, table 2-2).
enum class Gpr : std::uint8_t {
  rax,
  rcx,
  rdx,
  rbx,
  rsp,
  rbp,
  rsi,
  rdi,
  r8,
  r9,
  r10,
  r11,
  r12,
  r13,
  r14,
  r15
};

struct Registers {
  std::array<std::uint64_t, 16> gpr{};
  std::uint64_t rip = 0;
  std::uint64_t rflags = 0x202;

  [[nodiscard]] std::uint64_t& operator[](Gpr r) { return gpr[static_cast<std::size_t>(r)]; }
  [[nodiscard]] std::uint64_t operator[](Gpr r) const { return gpr[static_cast<std::size_t>(r)]; }
};

/// RFLAGS bits (Intel SDM vol. 1, 3.4.3).
namespace rflags {
inline constexpr std::uint64_t cf = 1U << 0, fixed = 1U << 1, pf = 1U << 2, af = 1U << 4, zf = 1U << 6,
                               sf = 1U << 7, tf = 1U << 8, if_ = 1U << 9, df = 1U << 10, of = 1U << 11,
                               iopl = 3U << 12, nt = 1U << 14, rf = 1U << 16, vm = 1U << 17, ac = 1U << 18,
                               vif = 1U << 19, vip = 1U << 20, id = 1U << 21;
/// The flags that a guest may set in the processor: without IOPL and VM, and without reserved bits, with
/// which a VMX entry fails. VIF and VIP have no effect, because CR4.VME and CR4.PVI are clear.
inline constexpr std::uint64_t guests_own =
    cf | pf | af | zf | sf | tf | df | of | nt | rf | ac | vif | vip | id;
}  // namespace rflags

/// CR0 bits (Intel SDM vol. 3, 2.5).
namespace cr0 {
inline constexpr std::uint64_t pe = 1U << 0, mp = 1U << 1, ts = 1U << 3, et = 1U << 4, ne = 1U << 5,
                               wp = 1U << 16, am = 1U << 18, pg = 1U << 31;
}  // namespace cr0

/// CR4 bits (vol. 3, 2.5).
namespace cr4 {
inline constexpr std::uint64_t tsd = 1U << 2, de = 1U << 3, pae = 1U << 5, mce = 1U << 6, osfxsr = 1U << 9,
                               osxmmexcpt = 1U << 10, fsgsbase = 1U << 16, osxsave = 1U << 18;
}  // namespace cr4

}  // namespace pinfold::vmm
