// The fields of a vcpu_info (xen/xen.h), at the place that the guest chose.
#pragma once

#include <cstddef>
#include <cstdint>

#include "vmm/for_devices/events.hpp"

namespace pinfold::vmm {

class VcpuInfo {
 public:
  static constexpr std::size_t size = 64;
  static constexpr std::size_t time_offset = 32;

  /// `place` outlives this object.
  explicit VcpuInfo(VcpuInfoPlace& place) : place_(place) {}
  [[nodiscard]] bool upcall_pending() const { return place_.page.load<std::uint8_t>(place_.offset) != 0; }
  [[nodiscard]] bool upcall_mask() const { return place_.page.load<std::uint8_t>(place_.offset + 1) != 0; }
  void set_upcall_pending() const { place_.page.store<std::uint8_t>(place_.offset, 1); }
  void set_upcall_mask(bool on) const { place_.page.store<std::uint8_t>(place_.offset + 1, on ? 1 : 0); }
  [[nodiscard]] std::uint64_t cr2() const { return place_.page.load<std::uint64_t>(place_.offset + 16); }
  void set_cr2(std::uint64_t address) const { place_.page.store<std::uint64_t>(place_.offset + 16, address); }
  [[nodiscard]] const VcpuInfoPlace& place() const { return place_; }

 private:
  VcpuInfoPlace& place_;
};

}  // namespace pinfold::vmm
