// The gate of one domain: what its processors run between guest code and the monitor.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "pvmmu/pte.hpp"
#include "vmm/gate/entry_stub.hpp"
#include "vmm/gate/frames.hpp"
#include "vmm/gate/gate_address.hpp"
#include "vmm/gate/layout.hpp"
#include "vmm/gate/state_page.hpp"
#include "vmm/host_traits.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/memory/arena.hpp"

namespace pinfold::vmm {

/// By which entry a SYSCALL came: LSTAR or CSTAR.
enum class SyscallEntry : std::uint8_t { bits64, bits32 };

/// Why the gate left the VM for the monitor, where it finishes what it can itself (fast_paths.S).
enum class GateExit : std::uint8_t {
  none,       ///< RIP is elsewhere, or in the midst of the gate's code: it has to go on.
  syscall,    ///< A SYSCALL, nothing done yet; RSP is in the state page.
  exception,  ///< An exception of the guest's, nothing done yet.
  returning,  ///< On its way to the guest, everything done: the guest's state is in the IRETQ frame.
  refused,    ///< The same, and the processor refused that frame: the fault is in the state page.
  broken,     ///< A fault at CPL0 that the gate has no answer to.
};

/// What was finished in the VM, on all vCPUs together.
struct FastPathCounts {
  std::array<std::uint64_t, gate::exceptions> exceptions{};  ///< Bounced, by vector.
  std::uint64_t syscalls = 0, events = 0;                    ///< Bounced.
  std::array<std::uint64_t, 64> hypercalls{};                ///< By number.
};

/// Builds the monitor's part of the guest's address space in the arena, and knows what its addresses mean.
class Gate {
 public:
  /// Pages of the arena that a gate for so many vCPUs needs.
  [[nodiscard]] static std::uint64_t pages_needed(std::uint32_t cpus, std::uint64_t mirrors);

  /// `machphys_frame`, `machphys_bytes`: the machine-to-phys table's slot in the VM's physical space.
  Gate(Arena& arena, std::uint32_t cpus, const HostTraits& host, Mfn machphys_frame,
       std::size_t machphys_bytes);

  /// What slots 256 to 271 of every root's mirror hold.
  [[nodiscard]] const std::array<pvmmu::Pte, pvmmu::xen_slots>& l4_slots() const { return l4_slots_; }
  /// Where the guest finds the machine-to-phys table.
  [[nodiscard]] std::uint64_t machphys_address() const { return machphys_address_; }

  /// System registers of a new vCPU, once: descriptor tables, SYSCALL entry, control registers.
  [[nodiscard]] KvmResult<void> set_up(Vcpu& vcpu, std::uint32_t cpu) const;

  /// Which entry of the gate a vCPU stands at. Entries consist of one OUT.
  [[nodiscard]] static std::optional<SyscallEntry> syscall_entry(GateAddress at, AtOut stopped);
  [[nodiscard]] static std::optional<std::uint8_t> exception_vector(GateAddress at, AtOut stopped);
  /// The same for a SYSCALL that stays at CPL3. Programs can jump there, so it takes more to believe it
  /// (GuestCpu::looks_like_syscall).
  [[nodiscard]] static bool is_syscall_entry_at_cpl3(std::uint64_t rip, AtOut stopped);
  /// The frame of an exception, which lies where RSP points at its entry. Zeroes if that is not the vCPU's
  /// stack.
  [[nodiscard]] ExceptionFrame exception_frame(std::uint32_t cpu, std::uint64_t rsp, bool error_code) const;

  // -- where the gate finishes what it can
  /// Is this address in the vCPU's fast paths?
  [[nodiscard]] static bool in_fast_paths(std::uint32_t cpu, GateAddress at);
  /// What a vCPU that left the VM at this address wants.
  [[nodiscard]] static GateExit fast_exit(std::uint32_t cpu, GateAddress at);
  /// The vector of an exit of kind `exception` or `broken`, at RSP; the frame, always with an error code, is
  /// behind.
  [[nodiscard]] std::uint8_t fast_vector(std::uint32_t cpu, std::uint64_t rsp) const;
  /// Fields of the vCPU's state page.
  [[nodiscard]] std::uint64_t state(std::uint32_t cpu, gate::StateField field) const {
    return states_.load(cpu * gate::used_pages, field.word());
  }
  void set_state(std::uint32_t cpu, gate::StateField field, std::uint64_t value) const {
    states_.store(cpu * gate::used_pages, field.word(), value);
  }
  void set_handler(std::uint32_t cpu, gate::StateHandler place, const gate::GuestHandler& handler) const {
    states_.store(cpu * gate::used_pages, place.word(), handler.address);
    states_.store(cpu * gate::used_pages, place.word() + 1, handler.flags);
  }
  [[nodiscard]] FastPathCounts fast_path_counts() const;
  /// Sends a vCPU that the gate left the VM with to the guest, whose registers it has: from the gate, whose
  /// system registers it keeps, by IRETQ, which loads these selectors. `cr3`: loaded before.
  void resume(Vcpu& vcpu, std::uint32_t cpu, std::uint16_t cs, std::uint16_t ss,
              std::optional<std::uint64_t> cr3) const;
  /// The frame with the vCPU's vcpu_info, for the gate: a supervisor page. The processor may know the old one
  /// until its translations are flushed.
  void map_info(std::uint32_t cpu, Mfn frame, std::size_t offset) const;

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

  /// Makes the vCPU run an entry stub (entry_stub.hpp) before guest code. On entry its registers and system
  /// registers are the guest's; they become the stub's, and the stub's last two instructions load the guest's
  /// again. `leaves`: the stub ends in an OUT instead.
  void prepare_entry_stub(Vcpu& vcpu, std::uint32_t cpu, const EntryStub& code, bool leaves) const;
  /// Is this address inside that vCPU's entry stub? Then the vCPU has not gone on with guest code yet.
  [[nodiscard]] static bool in_entry_stub(std::uint32_t cpu, GateAddress at);
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
  void build_cpu(std::uint32_t cpu);
  void build_fast_paths(std::uint32_t cpu);
  void build_idt(Mfn page, std::uint64_t entries) const;
  /// The word on the vCPU's stack at this address; 0 outside.
  [[nodiscard]] std::uint64_t stack_word(std::uint32_t cpu, std::uint64_t address) const;
  [[nodiscard]] Mfn area(std::uint32_t cpu, std::uint64_t page) const {
    return areas_.plus(cpu * gate::used_pages + page);
  }

  Arena& arena_;
  HostTraits host_;
  std::uint32_t cpus_;
  std::uint64_t machphys_address_;
  std::array<pvmmu::Pte, pvmmu::xen_slots> l4_slots_{};
  Mfn syscall_text_, kernel_text_, idt_, areas_;
  pvmmu::Pages states_;  ///< The first vCPU's state page, and `used_pages` further on the next one's.
};

}  // namespace pinfold::vmm
