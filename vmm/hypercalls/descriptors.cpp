// set_gdt, update_descriptor and the LDT: the guest's frames are held as descriptor pages, and the processor
// uses copies.
#include <array>
#include <cstdint>
#include <vector>

#include <xen/xen.h>

#include "pvmmu/descriptor.hpp"
#include "vmm/domain.hpp"
#include "vmm/hypercalls/hypercalls.hpp"

namespace pinfold::vmm {
namespace {

using DescriptorPage = std::array<std::uint64_t, pvmmu::entries_per_table>;

}  // namespace

Status GuestCpu::set_gdt(pvmmu::Held held, std::span<const Mfn> frames) {
  pvmmu::Validator& mmu = domain_.mmu();
  // The new table is held and copied whole before the old one goes: a failure leaves everything as it was.
  std::vector<DescriptorPage> pages(frames.size());
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const bool is_held = mmu.hold(held, frames[i], pvmmu::FrameType::seg_desc).has_value();
    if (is_held && mmu.read_descriptors(held, frames[i], pages[i])) continue;
    for (std::size_t k = 0; k < i + (is_held ? 1 : 0); ++k) mmu.release(held, frames[k]);
    return fail(Errno::einval);
  }
  for (std::size_t i = 0; i < state_.gdt_frames; ++i) {
    mmu.release(held, state_.gdt[i]);
    domain_.gate().clear_gdt_page(id_.raw(), i);
  }
  state_.gdt_frames = frames.size();
  for (std::size_t i = 0; i < frames.size(); ++i) {
    state_.gdt[i] = frames[i];
    domain_.gate().set_gdt_page(id_.raw(), i, std::as_bytes(std::span(pages[i])));
  }
  flush(*this);
  return {};
}

Status GuestCpu::set_ldt(pvmmu::Held held, GuestVaddr base, std::uint64_t entries) {
  if (entries > pvmmu::max_ldt_entries || offset_in_page(base) != 0 || !is_canonical(base.raw()) ||
      (entries != 0 && in_xen_range(base.raw())))
    return fail(Errno::einval);
  drop_ldt(held);
  state_.ldt_base = base;
  state_.ldt_entries = static_cast<std::uint32_t>(entries);
  return {};
}

/// The processor needs a page of the LDT that is not there: takes it from where the guest's tables have it,
/// as a descriptor page, if it can be one.
bool GuestCpu::bring_in_ldt_page(pvmmu::Held held, std::size_t page) {
  const std::size_t first = page * pvmmu::entries_per_table;
  if (first >= state_.ldt_entries || state_.ldt[page].raw() != 0) return false;
  pvmmu::Validator& mmu = domain_.mmu();
  const auto leaf = mmu.walk(held, state_.kernel_root, state_.ldt_base.plus(page * page_size));
  if (!leaf || !leaf->entry.present()) return false;
  const Mfn mfn = leaf->entry.mfn();
  if (!mmu.hold(held, mfn, pvmmu::FrameType::seg_desc)) return false;
  DescriptorPage descriptors;
  const std::size_t here = std::min<std::size_t>(state_.ldt_entries - first, pvmmu::entries_per_table);
  const auto used = std::span(descriptors).first(here);
  if (!mmu.read_descriptors(held, mfn, used)) {
    mmu.release(held, mfn);
    return false;
  }
  state_.ldt[page] = mfn;
  domain_.gate().set_ldt_page(id_.raw(), page, std::as_bytes(used));
  return true;
}

std::uint64_t GuestCpu::descriptor(pvmmu::Held held, std::uint16_t selector) {
  constexpr std::uint16_t local = 4;
  if ((selector & local) != 0) (void)bring_in_ldt_page(held, (selector >> 3) / pvmmu::entries_per_table);
  return domain_.gate().descriptor(id_.raw(), selector);
}

void GuestCpu::forget_ldt_pages(pvmmu::Held held) {
  for (std::size_t i = 0; i < state_.ldt.size(); ++i) {
    if (state_.ldt[i].raw() == 0) continue;
    domain_.mmu().release(held, state_.ldt[i]);
    domain_.gate().clear_ldt_page(id_.raw(), i);
    state_.ldt[i] = Mfn();
    flush(*this);
  }
}

void GuestCpu::drop_ldt(pvmmu::Held held) {
  forget_ldt_pages(held);
  state_.ldt_entries = 0;
}

void GuestCpu::descriptor_changed(Mfn frame, std::size_t slot, std::uint64_t descriptor) {
  for (std::size_t i = 0; i < state_.gdt_frames; ++i)
    if (state_.gdt[i] == frame)
      domain_.gate().set_gdt_entry(id_.raw(), i * pvmmu::entries_per_table + slot, descriptor);
  for (std::size_t i = 0; i < state_.ldt.size(); ++i) {
    const std::size_t entry = i * pvmmu::entries_per_table + slot;
    if (state_.ldt[i] == frame && frame.raw() != 0 && entry < state_.ldt_entries)
      domain_.gate().set_ldt_entry(id_.raw(), entry, descriptor);
  }
}

/// Everything that the vCPU holds: at the domain's end.
void GuestCpu::drop_everything(pvmmu::Held held) {
  drop_ldt(held);
  (void)set_gdt(held, {});
  unload_roots(held);
}

namespace hypercalls {

void register_descriptors(Domain& domain) {
  HypercallTable& table = domain.hypercalls();
  table.set(__HYPERVISOR_set_gdt, "set_gdt", [&domain](Hypercall& call) -> std::int64_t {
    const std::uint64_t entries = call.args[1] & 0xffffffff;  // of 32 bits in the ABI
    if (entries > pvmmu::first_reserved_gdt_entry) return to_rax(Errno::einval);
    const std::size_t pages = (entries + pvmmu::entries_per_table - 1) / pvmmu::entries_per_table;
    // The pages that the vCPU has now go, and those that it gets are copied for the processor.
    call.spend((pages + domain.cpu(call.vcpu).state().gdt_frames) * pvmmu::whole_table);
    std::array<Mfn, 14> frames;
    for (std::size_t i = 0; i < pages; ++i) {
      const auto mfn = call.memory.fetch<std::uint64_t>(call.pointer(0).plus(i * sizeof(std::uint64_t)));
      if (!mfn) return to_rax(Errno::efault);
      frames[i] = Mfn(*mfn);
    }
    return to_rax(domain.cpu(call.vcpu).set_gdt(*call.held, std::span(frames).first(pages)));
  });
  table.set(__HYPERVISOR_update_descriptor, "update_descriptor", [&domain](Hypercall& call) -> std::int64_t {
    const MachineAddr where(call.args[0]);
    call.spend(domain.vcpu_count());
    const auto written = domain.mmu().write_descriptor(*call.held, where, call.args[1]);
    if (!written) return to_rax(written.error().error());
    domain.descriptor_changed(frame_of(where), offset_in_page(where) / 8, *written);
    return 0;
  });
}

}  // namespace hypercalls
}  // namespace pinfold::vmm
