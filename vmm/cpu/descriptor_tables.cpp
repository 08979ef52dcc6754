#include "vmm/cpu/descriptor_tables.hpp"

#include <algorithm>
#include <vector>

namespace pinfold::vmm {
namespace {

using DescriptorPage = std::array<std::uint64_t, pvmmu::entries_per_table>;

/// Page-fault error code: from user mode (Intel SDM vol. 3, 4.7).
constexpr std::uint64_t pf_user = 4;

}  // namespace

Status DescriptorTables::set_gdt(pvmmu::Held held, std::span<const Mfn> frames) {
  pvmmu::Validator& mmu = parts_.mmu;
  // The new table is held and copied whole before the old one goes: a failure leaves everything as it was.
  std::vector<DescriptorPage> pages(frames.size());
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const bool is_held = mmu.hold(held, frames[i], pvmmu::FrameType::seg_desc).has_value();
    if (is_held && mmu.read_descriptors(held, frames[i], pages[i])) continue;
    for (std::size_t k = 0; k < i + (is_held ? 1 : 0); ++k) mmu.release(held, frames[k]);
    return fail(Errno::einval);
  }
  for (std::size_t i = 0; i < gdt_pages_; ++i) {
    mmu.release(held, gdt_[i]);
    parts_.gate.segment_tables().clear_gdt_page(parts_.id.raw(), i);
  }
  gdt_pages_ = frames.size();
  for (std::size_t i = 0; i < frames.size(); ++i) {
    gdt_[i] = frames[i];
    parts_.gate.segment_tables().set_gdt_page(parts_.id.raw(), i, std::as_bytes(std::span(pages[i])));
  }
  parts_.flushes.flush(parts_.id, parts_.id);
  return {};
}

Status DescriptorTables::set_ldt(pvmmu::Held held, GuestVaddr base, std::uint64_t entries) {
  if (entries > pvmmu::max_ldt_entries || offset_in_page(base) != 0 || !is_canonical(base.raw()) ||
      (entries != 0 && in_xen_range(base.raw())))
    return fail(Errno::einval);
  forget_ldt_pages(held);
  ldt_base_ = base;
  ldt_entries_ = static_cast<std::uint32_t>(entries);
  return {};
}

/// The processor needs a page of the LDT that is not there: takes it from where the guest's tables have it,
/// as a descriptor page, if it can be one.
bool DescriptorTables::bring_in_ldt_page(pvmmu::Held held, std::size_t page) {
  const std::size_t first = page * pvmmu::entries_per_table;
  if (first >= ldt_entries_ || ldt_[page].raw() != 0) return false;
  pvmmu::Validator& mmu = parts_.mmu;
  const auto leaf = mmu.walk(held, parts_.kernel_root, ldt_base_.plus(page * page_size));
  if (!leaf || !leaf->entry.present()) return false;
  const Mfn mfn = leaf->entry.mfn();
  if (!mmu.hold(held, mfn, pvmmu::FrameType::seg_desc)) return false;
  DescriptorPage descriptors;
  const std::size_t here = std::min<std::size_t>(ldt_entries_ - first, pvmmu::entries_per_table);
  const auto used = std::span(descriptors).first(here);
  if (!mmu.read_descriptors(held, mfn, used)) {
    mmu.release(held, mfn);
    return false;
  }
  ldt_[page] = mfn;
  parts_.gate.segment_tables().set_ldt_page(parts_.id.raw(), page, std::as_bytes(used));
  return true;
}

std::uint64_t DescriptorTables::descriptor(pvmmu::Held held, std::uint16_t selector) {
  constexpr std::uint16_t local = 4;
  if ((selector & local) != 0) (void)bring_in_ldt_page(held, (selector >> 3) / pvmmu::entries_per_table);
  return parts_.gate.segment_tables().descriptor(parts_.id.raw(), selector);
}

DescriptorTables::LdtFault DescriptorTables::look_into_ldt(pvmmu::Held held, const GuestException& raised,
                                                           bool user) {
  constexpr std::uint8_t vector_gp = 13, vector_pf = 14;
  LdtFault found{raised};
  const auto offset =
      raised.vector == vector_pf ? gate::offset_in_ldt(parts_.id.raw(), raised.address) : std::nullopt;
  if (!offset) return found;
  found.in_ldt = true;
  constexpr std::uint64_t selector_local = 4, descriptor_bytes = 8;
  if (*offset / descriptor_bytes >= ldt_entries_) {
    // Past the limit, had the guest's LDT a limit of its own.
    found.exception = GuestException{vector_gp, (*offset & ~(descriptor_bytes - 1)) | selector_local, 0};
    return found;
  }
  found.resolved = bring_in_ldt_page(held, *offset / page_size);
  found.exception.address = ldt_base_.raw() + *offset;
  // The LDT read is a supervisor access; report the guest's mode instead.
  found.exception.error_code = (raised.error_code & ~pf_user) | (user ? pf_user : 0);
  return found;
}

void DescriptorTables::forget_ldt_pages(pvmmu::Held held) {
  for (std::size_t i = 0; i < ldt_.size(); ++i) {
    if (ldt_[i].raw() == 0) continue;
    parts_.mmu.release(held, ldt_[i]);
    parts_.gate.segment_tables().clear_ldt_page(parts_.id.raw(), i);
    ldt_[i] = Mfn();
    parts_.flushes.flush(parts_.id, parts_.id);
  }
}

void DescriptorTables::drop(pvmmu::Held held) {
  forget_ldt_pages(held);
  ldt_entries_ = 0;
  (void)set_gdt(held, {});
}

void DescriptorTables::descriptor_changed(Mfn frame, std::size_t slot, std::uint64_t descriptor) {
  for (std::size_t i = 0; i < gdt_pages_; ++i)
    if (gdt_[i] == frame)
      parts_.gate.segment_tables().set_gdt_entry(parts_.id.raw(), i * pvmmu::entries_per_table + slot,
                                                 descriptor);
  for (std::size_t i = 0; i < ldt_.size(); ++i) {
    const std::size_t entry = i * pvmmu::entries_per_table + slot;
    if (ldt_[i] == frame && frame.raw() != 0 && entry < ldt_entries_)
      parts_.gate.segment_tables().set_ldt_entry(parts_.id.raw(), entry, descriptor);
  }
}

}  // namespace pinfold::vmm
