// A vCPU's GDT and LDT: the guest's frames, held as descriptor pages, and the copies that the processor uses.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "pvmmu/descriptor.hpp"
#include "pvmmu/validator.hpp"
#include "vmm/cpu/guest_exception.hpp"
#include "vmm/cpu/tlb_flushes.hpp"
#include "vmm/gate/gate.hpp"

namespace pinfold::vmm {

/// Holds what set_gdt and MMUEXT_SET_LDT named, one type reference `seg_desc` for each frame, and keeps the
/// gate's copies as the guest's frames are. The LDT's frames are held from the processor's first use of each
/// on, until another root or LDT is loaded. Needs the validator, the gate, flushes for the vCPU, and where
/// the vCPU's kernel root is.
///
/// Concurrency: under the domain's lock; the copies are the processor's to read at any time.
class DescriptorTables {
 public:
  struct Parts {
    VcpuId id;
    pvmmu::Validator& mmu;
    const Gate& gate;
    TlbFlushes& flushes;
    const Mfn& kernel_root;
  };
  explicit DescriptorTables(const Parts& parts) : parts_(parts) {}

  /// Another GDT. EINVAL, and everything as it was, if one of the frames can't be a descriptor page.
  [[nodiscard]] Status set_gdt(pvmmu::Held held, std::span<const Mfn> frames);
  /// Another LDT, of which nothing is held yet. EINVAL for what no LDT can be.
  [[nodiscard]] Status set_ldt(pvmmu::Held held, GuestVaddr base, std::uint64_t entries);
  [[nodiscard]] bool has_ldt() const { return ldt_entries_ != 0; }
  /// The translations that the LDT was found through went.
  void forget_ldt_pages(pvmmu::Held held);
  /// Lets go of both tables: at the domain's end.
  void drop(pvmmu::Held held);

  /// The descriptor that a selector names, as a processor finds it: looking counts as a use of the LDT.
  [[nodiscard]] std::uint64_t descriptor(pvmmu::Held held, std::uint16_t selector);
  /// A descriptor in one of the domain's descriptor pages changed: so does the copy, if this table has one.
  void descriptor_changed(Mfn frame, std::size_t slot, std::uint64_t descriptor);

  struct LdtFault {
    GuestException exception;  ///< What the guest gets unless it was resolved.
    bool in_ldt = false;
    bool resolved = false;
  };
  /// A page fault of the processor's in the copy of the LDT: the page is not there yet, or not at all. What
  /// the guest's LDT lacks is a fault of the guest's, where it has its LDT. `user`: the guest's mode.
  [[nodiscard]] LdtFault look_into_ldt(pvmmu::Held held, const GuestException& raised, bool user);

  // -- what is held: for audits
  [[nodiscard]] std::span<const Mfn> gdt_frames() const { return std::span(gdt_).first(gdt_pages_); }
  /// By page; Mfn(0), which is no frame, where none is held.
  [[nodiscard]] std::span<const Mfn> ldt_frames() const { return ldt_; }

 private:
  [[nodiscard]] bool bring_in_ldt_page(pvmmu::Held held, std::size_t page);

  Parts parts_;
  std::array<Mfn, 14> gdt_{};  ///< The first `gdt_pages_` of them.
  std::size_t gdt_pages_ = 0;
  GuestVaddr ldt_base_;
  std::uint32_t ldt_entries_ = 0;
  std::array<Mfn, 16> ldt_{};
};

}  // namespace pinfold::vmm
