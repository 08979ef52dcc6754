// The gate of one domain: what its processors run between guest code and the monitor.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "pvmmu/pte.hpp"
#include "vmm/gate/layout.hpp"
#include "vmm/gate/pass.hpp"
#include "vmm/host_traits.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/memory/arena.hpp"

namespace pinfold::vmm {

/// The 16-byte-aligned frame that a processor pushed at an exception, with the error code of vectors that
/// have one.
struct ExceptionFrame {
  std::uint64_t error_code = 0, rip = 0, cs = 0, rflags = 0, rsp = 0, ss = 0;
};

/// By which entry a SYSCALL came: LSTAR or CSTAR.
enum class SyscallEntry : std::uint8_t { bits64, bits32 };

/// Builds the monitor's part of the guest's address space in the arena, and knows what its addresses mean.
class Gate {
 public:
  /// Pages of the arena that a gate for so many vCPUs needs.
  [[nodiscard]] static std::uint64_t pages_needed(std::uint32_t cpus);

  /// `machphys_frame`, `machphys_bytes`: the machine-to-phys table's slot in the VM's physical space.
  Gate(Arena& arena, std::uint32_t cpus, const HostTraits& host, Mfn machphys_frame,
       std::size_t machphys_bytes);

  /// What slots 256 to 271 of every root's mirror hold.
  [[nodiscard]] const std::array<pvmmu::Pte, pvmmu::xen_slots>& l4_slots() const { return l4_slots_; }
  /// Where the guest finds the machine-to-phys table.
  [[nodiscard]] std::uint64_t machphys_address() const { return machphys_address_; }

  /// System registers of a new vCPU, once: descriptor tables, SYSCALL entry, control registers.
  [[nodiscard]] KvmResult<void> set_up(Vcpu& vcpu, std::uint32_t cpu) const;

  /// What an address of the gate means, when a processor left the VM there.
  [[nodiscard]] static std::optional<SyscallEntry> syscall_entry(std::uint64_t rip);
  [[nodiscard]] static std::optional<std::uint8_t> exception_vector(std::uint64_t rip);
  [[nodiscard]] static bool has_error_code(std::uint8_t vector);
  [[nodiscard]] ExceptionFrame exception_frame(std::uint32_t cpu, std::uint8_t vector) const;

  /// The descriptor that a selector names in the vCPU's GDT or LDT.
  [[nodiscard]] std::uint64_t descriptor(std::uint32_t cpu, std::uint16_t selector) const;
  /// Replaces the guest's part of a vCPU's GDT: one page of it, zeroes behind what is given.
  void set_gdt_page(std::uint32_t cpu, std::size_t page, std::span<const std::byte> descriptors) const;
  void clear_gdt_page(std::uint32_t cpu, std::size_t page) const;
  void set_gdt_entry(std::uint32_t cpu, std::size_t entry, std::uint64_t descriptor) const;
  /// A page of the vCPU's LDT, zeroes behind what is given. Pages that were not set, or were cleared, are not
  /// there: the processor faults at a use of them.
  void set_ldt_page(std::uint32_t cpu, std::size_t page, std::span<const std::byte> descriptors) const;
  /// The processor may know the page until its translations are flushed.
  void clear_ldt_page(std::uint32_t cpu, std::size_t page) const;
  /// Where in the vCPU's LDT an address lies, in bytes; nothing if it is elsewhere.
  [[nodiscard]] static std::optional<std::uint64_t> offset_in_ldt(std::uint32_t cpu, std::uint64_t address);
  void set_ldt_entry(std::uint32_t cpu, std::size_t entry, std::uint64_t descriptor) const;

  /// Sends the vCPU to the guest by way of a pass (pass.hpp): its registers and system registers are those of
  /// the guest already, and become those of the pass. The guest's own are put back by the pass's last two
  /// instructions.
  void prepare_pass(Vcpu& vcpu, std::uint32_t cpu, const PassCode& code) const;
  /// Is this an address inside a pass of that vCPU (the guest has not gone on yet)?
  [[nodiscard]] static bool in_pass(std::uint32_t cpu, std::uint64_t rip);
  /// Is this an address of the monitor's part of the address space?
  [[nodiscard]] static bool contains(std::uint64_t address) {
    return pvmmu::is_xen_slot(pvmmu::slot_of(pvmmu::Level::l4, GuestVaddr(address)));
  }
  /// Where the gate finds an entry of a mirror.
  [[nodiscard]] std::uint64_t arena_address(Mfn frame, std::size_t offset) const;

 private:
  void map_page(std::uint64_t address, Mfn frame, std::uint64_t flags);
  void map_large(std::uint64_t address, Mfn frame, std::size_t bytes, std::uint64_t flags);
  /// Changes an entry of a page that was mapped before.
  void remap_page(std::uint64_t address, pvmmu::Pte entry) const;
  [[nodiscard]] Mfn table_below(Mfn table, std::size_t slot);
  [[nodiscard]] Mfn l3_of(std::uint64_t address);
  void build_text();
  void build_idt() const;
  void build_cpu(std::uint32_t cpu);
  [[nodiscard]] Mfn area(std::uint32_t cpu, std::uint64_t page) const {
    return areas_.plus(cpu * gate::used_pages + page);
  }

  Arena& arena_;
  HostTraits host_;
  std::uint32_t cpus_;
  std::uint64_t machphys_address_;
  std::array<pvmmu::Pte, pvmmu::xen_slots> l4_slots_{};
  Mfn user_text_, kernel_text_, idt_, areas_;
};

}  // namespace pinfold::vmm
