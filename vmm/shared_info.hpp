// The page that a domain shares with its monitor, and each vCPU's vcpu_info (shared_info, xen/xen.h).
#pragma once

#include <vector>

#include "vmm/clock.hpp"
#include "vmm/for_devices/shared_frames.hpp"
#include "vmm/vcpu_info.hpp"

namespace pinfold::vmm {

/// Where everything of shared_info is: the page, and the vcpu_info of each vCPU, which is in that page at
/// first and in a page of the guest's choice after VCPUOP_register_vcpu_info. vCPUs past the legacy ones have
/// no vcpu_info until they register one; what is written there until then is not read.
///
/// Events are masked on every vCPU at first.
///
/// Concurrency: the places under the domain's lock, or before the first vCPU runs; what is in the pages is
/// reached by SharedPage's atomic operations.
class SharedInfo {
 public:
  /// vCPUs whose vcpu_info is in shared_info.
  static constexpr std::uint32_t legacy_vcpus = 32;

  SharedInfo() = default;
  SharedInfo(SharedFrame frame, std::uint32_t vcpus);

  [[nodiscard]] Mfn frame() const { return frame_.mfn; }
  [[nodiscard]] const SharedPage& page() const { return frame_.page; }
  [[nodiscard]] const VcpuInfoPlace& place(VcpuId vcpu) const { return places_[vcpu.raw()]; }
  /// What is in a vCPU's vcpu_info, wherever it is now.
  [[nodiscard]] VcpuInfo info(VcpuId vcpu) { return VcpuInfo(places_[vcpu.raw()]); }
  /// Moves a vCPU's vcpu_info; what the guest had in the old place comes along.
  void move(VcpuId vcpu, const SharedPage& page, std::size_t offset);
  /// The time of day when system time was 0.
  void publish_wall_clock(const Clock& clock);

 private:
  SharedFrame frame_;
  std::vector<VcpuInfoPlace> places_;
};

}  // namespace pinfold::vmm
