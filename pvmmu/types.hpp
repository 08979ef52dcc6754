// The kinds of numbers that this project handles, each a type of its own: mixing up a machine frame and a
// pseudo-physical frame is what a memory-isolation bug usually is, so the compiler refuses to.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace pinfold {

inline constexpr std::uint64_t page_shift = 12;
inline constexpr std::uint64_t page_size = 1ULL << page_shift;

/// A number that counts or names one kind of thing. Only what makes sense for names is offered: comparison,
/// and a step to the next one. `raw()` is the way out.
template <class Tag, class Rep>
class Ordinal {
 public:
  using rep = Rep;
  constexpr Ordinal() = default;
  constexpr explicit Ordinal(Rep value) : value_(value) {}
  [[nodiscard]] constexpr Rep raw() const { return value_; }
  [[nodiscard]] constexpr Ordinal plus(Rep n) const { return Ordinal(static_cast<Rep>(value_ + n)); }
  friend constexpr auto operator<=>(Ordinal, Ordinal) = default;

 private:
  Rep value_{};
};

/// Machine frame number: an index of a 4 KiB frame of the machine that all domains share. What page-table
/// entries name.
using Mfn = Ordinal<struct MfnTag, std::uint64_t>;
/// Pseudo-physical frame number: a domain's own contiguous numbering of its memory, starting at 0.
using Pfn = Ordinal<struct PfnTag, std::uint64_t>;
/// Byte address in the machine frame space.
using MachineAddr = Ordinal<struct MachineAddrTag, std::uint64_t>;
/// Byte address in a guest's virtual address space.
using GuestVaddr = Ordinal<struct GuestVaddrTag, std::uint64_t>;
/// Domain number, 0 to 0x7fef; DOMID_SELF and the like (xen.h) are arguments, never identities.
using DomId = Ordinal<struct DomIdTag, std::uint16_t>;
/// vCPU number within its domain.
using VcpuId = Ordinal<struct VcpuIdTag, std::uint32_t>;
/// Event channel port within its domain; port 0 is never valid (event_channel.h).
using Port = Ordinal<struct PortTag, std::uint32_t>;
/// Index of a grant-table entry within its domain.
using GrantRef = Ordinal<struct GrantRefTag, std::uint32_t>;

/// Owner of a frame that belongs to no domain.
inline constexpr DomId no_domain{0xffff};
/// A frame number that names nothing; also what an M2P or P2M slot holds for "none".
inline constexpr Mfn no_mfn{~0ULL};
inline constexpr Pfn no_pfn{~0ULL};

/// Which grant: of this domain, by this entry of its grant table.
struct GrantName {
  GrantName() = default;
  GrantName(DomId of, GrantRef by = GrantRef(0)) : lender(of), ref(by) {}
  DomId lender = no_domain;
  GrantRef ref{0};
  friend bool operator==(const GrantName&, const GrantName&) = default;
};

[[nodiscard]] constexpr MachineAddr address_of(Mfn mfn) { return MachineAddr(mfn.raw() << page_shift); }
/// `slot`: which 8-byte entry of the frame.
[[nodiscard]] constexpr MachineAddr entry_address(Mfn mfn, std::uint64_t slot) {
  return MachineAddr((mfn.raw() << page_shift) + slot * 8);
}
[[nodiscard]] constexpr Mfn frame_of(MachineAddr address) { return Mfn(address.raw() >> page_shift); }
[[nodiscard]] constexpr std::size_t offset_in_page(GuestVaddr va) { return va.raw() & (page_size - 1); }
[[nodiscard]] constexpr std::size_t offset_in_page(MachineAddr ma) { return ma.raw() & (page_size - 1); }

/// x86-64 with four levels of tables: bits 63..47 all equal (Intel SDM vol. 1, 3.3.7.1).
[[nodiscard]] constexpr bool is_canonical(std::uint64_t va) {
  return (static_cast<std::int64_t>(va << 16) >> 16) == static_cast<std::int64_t>(va);
}

/// The addresses that the ABI keeps from the guest: L4 slots 256 to 271 (xen/arch-x86/xen-x86_64.h).
inline constexpr std::uint64_t xen_range_begin = 0xffff800000000000ULL;
inline constexpr std::uint64_t xen_range_end = 0xffff880000000000ULL;
[[nodiscard]] constexpr bool in_xen_range(std::uint64_t va) {
  return va >= xen_range_begin && va < xen_range_end;
}

}  // namespace pinfold

template <class Tag, class Rep>
struct std::hash<pinfold::Ordinal<Tag, Rep>> {
  std::size_t operator()(pinfold::Ordinal<Tag, Rep> o) const noexcept { return std::hash<Rep>{}(o.raw()); }
};
