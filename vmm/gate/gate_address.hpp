// Where in the gate a vCPU stands.
#pragma once

#include <cstdint>
#include <optional>

#include "pvmmu/pte.hpp"

namespace pinfold::vmm {

/// An address in the monitor's part of the address space at which a vCPU is at CPL0. RIP alone says nothing:
/// a guest may jump to any address of the gate's, and be interrupted there before it faults. So all of Gate's
/// questions about a RIP take a GateAddress.
class GateAddress {
 public:
  /// Nothing for another privilege level than 0, or for an address that is not the monitor's.
  [[nodiscard]] static std::optional<GateAddress> at(unsigned cpl, std::uint64_t rip) {
    const bool monitors = pvmmu::is_xen_slot(pvmmu::slot_of(pvmmu::Level::l4, GuestVaddr(rip)));
    if (cpl != 0 || !monitors) return std::nullopt;
    return GateAddress(rip);
  }
  [[nodiscard]] std::uint64_t raw() const { return rip_; }

 private:
  explicit GateAddress(std::uint64_t rip) : rip_(rip) {}
  std::uint64_t rip_;
};

/// Where a vCPU stopped at an OUT of the gate's: interrupted before it, or left by it.
enum class AtOut : std::uint8_t { before, behind };

}  // namespace pinfold::vmm
