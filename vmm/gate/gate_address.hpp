// An address in the gate, and the proof that a vCPU is there.
#pragma once

#include <cstdint>
#include <optional>

#include "pvmmu/pte.hpp"

namespace pinfold::vmm {

/// RIP of a vCPU that is at CPL0 in the monitor's part of the address space. RIP alone proves nothing: a
/// guest may jump to any address in the gate and be interrupted there before it faults. So whatever Gate
/// decides by RIP takes a GateAddress.
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

/// Was a vCPU interrupted before an OUT of the gate, or did it leave by that OUT?
enum class AtOut : std::uint8_t { before, behind };

}  // namespace pinfold::vmm
