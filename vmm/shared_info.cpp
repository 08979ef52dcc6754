#include "vmm/shared_info.hpp"

#include <array>
#include <cstdint>
#include <utility>

#include <xen/xen.h>

namespace pinfold::vmm {

static_assert(SharedInfo::legacy_vcpus == XEN_LEGACY_MAX_VCPUS);

SharedInfo::SharedInfo(SharedFrame frame, std::uint32_t vcpus) : frame_(std::move(frame)) {
  for (std::uint32_t i = 0; i < legacy_vcpus; ++i)
    places_.push_back(VcpuInfoPlace{frame_.page, i * VcpuInfo::size});
  while (places_.size() < vcpus) places_.push_back(VcpuInfoPlace{SharedPage::of_monitor(), 0});
  for (VcpuInfoPlace& place : places_) VcpuInfo(place).set_upcall_mask(true);
}

void SharedInfo::move(VcpuId vcpu, const SharedPage& page, std::size_t offset) {
  VcpuInfoPlace& place = places_[vcpu.raw()];
  std::array<std::byte, VcpuInfo::size> content{};
  place.page.copy_out(place.offset, content);
  place = VcpuInfoPlace{page, offset};
  place.page.copy_in(offset, content);
}

void SharedInfo::publish_wall_clock(const Clock& clock) {
  constexpr std::uint64_t second = 1'000'000'000;
  const std::uint64_t at = clock.wall_at_zero();
  SharedPage& page = frame_.page;
  // The version is odd while the rest is being written.
  const auto version = page.load<std::uint32_t>(offsetof(shared_info_t, wc_version));
  page.store<std::uint32_t>(offsetof(shared_info_t, wc_version), version | 1);
  page.store<std::uint32_t>(offsetof(shared_info_t, wc_sec), static_cast<std::uint32_t>(at / second));
  page.store<std::uint32_t>(offsetof(shared_info_t, wc_nsec), static_cast<std::uint32_t>(at % second));
  page.store<std::uint32_t>(offsetof(shared_info_t, wc_sec_hi),
                            static_cast<std::uint32_t>(at / second >> 32));
  page.store<std::uint32_t>(offsetof(shared_info_t, wc_version), (version | 1) + 1);
}

}  // namespace pinfold::vmm
