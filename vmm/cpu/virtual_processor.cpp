#include "vmm/cpu/virtual_processor.hpp"

#include "vmm/domain.hpp"
#include "vmm/vcpu_info.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t cr0_fixed =
    0x80050033;  // PG, AM, WP, NE, ET, MP, PE: as the processor really has them
constexpr std::uint64_t cr0_ts = 1U << 3;
/// The CR4 bits that the guest sees set, whatever it writes.
constexpr std::uint64_t cr4_shown = cr4::pae | cr4::mce | cr4::osfxsr | cr4::osxmmexcpt;

}  // namespace

tl::expected<std::uint64_t, Errno> VirtualProcessor::read_cr(unsigned n) {
  switch (n) {
    case 0: return cr0_fixed | (cpu_.state().task_switched ? cr0_ts : 0);
    case 2: return cpu_.domain().info_of(cpu_.id()).cr2();
    case 3: return address_of(cpu_.state().kernel_root).raw();
    case 4: return cr4_shown | cpu_.state().cr4;
    default: return fail(Errno::eperm);
  }
}

Status VirtualProcessor::write_cr(unsigned n, std::uint64_t value) {
  switch (n) {
    case 0:
      if (((value ^ cr0_fixed) & ~cr0_ts) != 0) return fail(Errno::eperm);
      cpu_.state().task_switched = (value & cr0_ts) != 0;
      return {};
    case 2: cpu_.domain().info_of(cpu_.id()).set_cr2(value); return {};
    case 3: {
      const Mfn root((value & pvmmu::bit::address) >> page_shift);
      const auto loaded = cpu_.load_kernel_root(*held_, root);
      if (!loaded) return fail(loaded.error().error());
      return {};
    }
    case 4: cpu_.state().set_cr4(value, cpu_.domain().config().host.fsgsbase); return {};
    default: return fail(Errno::eperm);
  }
}

void VirtualProcessor::clear_ts() { cpu_.state().task_switched = false; }

tl::expected<std::uint64_t, Errno> VirtualProcessor::read_dr(unsigned n) { return cpu_.state().debug.get(n); }

Status VirtualProcessor::write_dr(unsigned n, std::uint64_t value) {
  return cpu_.state().debug.set(n, value, (cpu_.state().cr4 & cr4::de) != 0);
}

tl::expected<std::uint64_t, Errno> VirtualProcessor::read_msr(std::uint32_t index) {
  return pinfold::vmm::read_msr(*this, index);
}

Status VirtualProcessor::write_msr(std::uint32_t index, std::uint64_t value) {
  return pinfold::vmm::write_msr(*this, index, value);
}

std::uint64_t VirtualProcessor::read_tsc() { return cpu_.domain().clock().guest_tsc(); }

CpuidResult VirtualProcessor::cpuid(std::uint32_t leaf, std::uint32_t subleaf, bool kernel_mode) {
  const CpuState& s = cpu_.state();
  return cpu_.domain().cpuid().answer(
      leaf, subleaf, CpuidAsker{cpu_.id(), kernel_mode, (s.cr4 & cr4::osxsave) != 0, s.xcr0});
}

Status VirtualProcessor::xsetbv(std::uint32_t index, std::uint64_t value) {
  if (index != 0 || (cpu_.state().cr4 & cr4::osxsave) == 0) return fail(Errno::eperm);
  if (!xcr0_allowed(value, cpu_.domain().cpuid().xcr0_offered())) return fail(Errno::eperm);
  if (!cpu_.vcpu().set_xcr0(value)) return fail(Errno::eperm);
  cpu_.state().xcr0 = value;
  return {};
}

bool VirtualProcessor::io_privileged(bool kernel_mode) {
  return pinfold::vmm::io_privileged(cpu_.state().iopl, kernel_mode,
                                     cpu_.domain().assists().architectural_iopl);
}

bool VirtualProcessor::ports_allowed(std::uint16_t port, unsigned size, bool kernel_mode) {
  if (io_privileged(kernel_mode)) return true;
  const CpuState& s = cpu_.state();
  auto bitmap_memory = cpu_.kernel_memory(*held_);
  return bitmap_allows(bitmap_memory, s.io_bitmap, s.io_bitmap_ports, port, size);
}

std::uint32_t VirtualProcessor::port_in(std::uint16_t port, unsigned size) {
  return cpu_.domain().ports().in(port, size);
}

std::uint64_t VirtualProcessor::ports_hit(std::uint16_t port, unsigned size) {
  return cpu_.state().debug.ports_hit(port, size, (cpu_.state().cr4 & cr4::de) != 0);
}

void VirtualProcessor::port_out(std::uint16_t port, unsigned size, std::uint32_t value) {
  cpu_.domain().ports().out(port, size, value);
}

std::uint64_t VirtualProcessor::segment_base(SegmentBase which) {
  switch (which) {
    case SegmentBase::fs: return cpu_.bases().fs();
    case SegmentBase::gs: return cpu_.bases().active_gs();
    case SegmentBase::kernel_gs: break;
  }
  return cpu_.bases().inactive_gs();
}

void VirtualProcessor::set_segment_base(SegmentBase which, std::uint64_t address) {
  switch (which) {
    case SegmentBase::fs: return cpu_.bases().set_fs(address);
    case SegmentBase::gs: return cpu_.bases().set_active_gs(address);
    case SegmentBase::kernel_gs: break;
  }
  cpu_.bases().set_inactive_gs(address);
}

VcpuId VirtualProcessor::vcpu() { return cpu_.id(); }
bool VirtualProcessor::intel() { return cpu_.domain().cpuid().intel(); }
std::uint64_t VirtualProcessor::microcode_revision() {
  return cpu_.domain().config().host.microcode_revision;
}
bool VirtualProcessor::has_gp_handler() { return cpu_.entry_points().traps[13].address != 0; }

}  // namespace pinfold::vmm
