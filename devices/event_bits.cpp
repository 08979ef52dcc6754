#include "devices/event_bits.hpp"

#include <cstddef>

#include "devices/xen_abi.hpp"

namespace pinfold::devices {
namespace {

constexpr std::size_t pending_offset = offsetof(shared_info, evtchn_pending);
constexpr std::size_t mask_offset = offsetof(shared_info, evtchn_mask);
constexpr std::size_t upcall_offset = offsetof(vcpu_info, evtchn_upcall_pending);
constexpr std::size_t selector_offset = offsetof(vcpu_info, evtchn_pending_sel);

static_assert(sizeof(vcpu_info) == 64 && upcall_offset == 0 && selector_offset == 8);
static_assert(pending_offset == 2048 && mask_offset == 2560);
static_assert(EVTCHN_2L_NR_CHANNELS == EventBits::ports);

constexpr std::uint64_t bit(Port port) { return 1ULL << (port.raw() % 64); }
constexpr std::size_t word(std::size_t base, Port port) {
  return base + port.raw() / 64 * sizeof(std::uint64_t);
}

}  // namespace

Raised EventBits::set_pending(Port port, vmm::VcpuInfoPlace& vcpu) {
  // Pending before mask: a guest that unmasks in between either is seen here, or sees the bit itself.
  if ((shared_.fetch_or(word(pending_offset, port), bit(port)) & bit(port)) != 0) return Raised::already;
  if ((shared_.load<std::uint64_t>(word(mask_offset, port)) & bit(port)) != 0) return Raised::quiet;
  return select(port, vcpu) ? Raised::upcall : Raised::quiet;
}

void EventBits::clear_pending(Port port) { shared_.fetch_and(word(pending_offset, port), ~bit(port)); }

bool EventBits::is_pending(Port port) const {
  return (shared_.load<std::uint64_t>(word(pending_offset, port)) & bit(port)) != 0;
}

bool EventBits::unmask(Port port, vmm::VcpuInfoPlace& vcpu) {
  const bool was_masked = (shared_.fetch_and(word(mask_offset, port), ~bit(port)) & bit(port)) != 0;
  return was_masked && is_pending(port) && select(port, vcpu);
}

void EventBits::select_all(vmm::VcpuInfoPlace& vcpu) {
  if (!vcpu.page.present()) return;
  vcpu.page.store(vcpu.offset + selector_offset, ~std::uint64_t{0});
  vcpu.page.store(vcpu.offset + upcall_offset, std::uint8_t{1});
}

bool EventBits::select(Port port, vmm::VcpuInfoPlace& vcpu) {
  // A vCPU above 31 has no vcpu_info before it registers one; registering selects everything.
  if (!vcpu.page.present()) return false;
  const std::uint64_t selector = 1ULL << (port.raw() / 64);
  if ((vcpu.page.fetch_or(vcpu.offset + selector_offset, selector) & selector) != 0) return false;
  return mark_upcall(vcpu);
}

}  // namespace pinfold::devices
