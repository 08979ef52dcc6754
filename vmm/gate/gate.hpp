// The gate of one domain: what its processors run between guest code and the monitor.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <vector>

#include "pvmmu/pte.hpp"
#include "vmm/gate/address_space.hpp"
#include "vmm/gate/control_page.hpp"
#include "vmm/gate/cpu_areas.hpp"
#include "vmm/gate/entry_stub.hpp"
#include "vmm/gate/frames.hpp"
#include "vmm/gate/gate_address.hpp"
#include "vmm/gate/layout.hpp"
#include "vmm/gate/segment_tables.hpp"
#include "vmm/gate/state_pages.hpp"
#include "vmm/host_traits.hpp"
#include "vmm/kvm/kvm.hpp"
#include "vmm/memory/arena.hpp"

namespace pinfold::vmm {

/// The entry by which a SYSCALL came: LSTAR or CSTAR.
enum class SyscallEntry : std::uint8_t { bits64, bits32 };

/// Why the fast paths (fast_paths.S) left the VM.
enum class GateExit : std::uint8_t {
  none,       ///< RIP is elsewhere, or between the gate's ways out: the vCPU has to go on.
  syscall,    ///< A SYSCALL of which nothing is done. The guest's RSP is in the state page.
  exception,  ///< An exception of the guest's of which nothing is done.
  returning,  ///< All is done but the return to the guest, whose state is in the IRETQ frame.
  refused,    ///< As `returning`, but the processor refused the frame. The fault is in the state page.
  broken,     ///< A fault at CPL0 that the gate does not expect.
};

/// Builds the gate's code, tables and per-vCPU pages in the arena, tells what an address in them means, and
/// leads vCPUs back into the guest. Its parts: the address space that it lies in, the descriptor tables, the
/// state pages. The VM's processors read and write these pages at any time.
class Gate {
 public:
  /// Pages of the arena that a gate for so many vCPUs needs, a multiple of 2 MiB: mirrors follow them, and
  /// are mapped in large pages. `windows`: frames that may ever have windows for the resident path; 0: there
  /// is none.
  [[nodiscard]] static std::uint64_t pages_needed(std::uint32_t cpus, std::uint64_t mirrors,
                                                  std::uint64_t windows = 0);
  /// The first of these pages hold code, and nothing in the VM ever writes them.
  static constexpr std::uint64_t text_pages = 4;

  /// `machphys_frame`, `machphys_bytes`: where the machine-to-phys table is in the VM's physical space, and
  /// how much of it there is.
  Gate(Arena& arena, std::uint32_t cpus, const HostTraits& host, Mfn machphys_frame,
       std::size_t machphys_bytes);
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  /// What slots 256 to 271 of every root's mirror hold.
  [[nodiscard]] const std::array<pvmmu::Pte, pvmmu::xen_slots>& l4_slots() const { return space_.l4_slots(); }
  /// Where the guest finds the machine-to-phys table.
  [[nodiscard]] std::uint64_t machphys_address() const { return machphys_address_; }
  /// More of the machine-to-phys table: bytes `from` to `to`, at `frame` in the VM's physical space. The
  /// guest may run meanwhile: nothing was there, so no processor remembers it.
  void extend_machphys(Mfn frame, std::size_t from, std::size_t to) { map_machphys(frame, from, to); }
  /// Maps what the resident path uses, in the VM's physical space: facts and uses, `record_bytes` each.
  void map_records(Mfn facts, Mfn uses, std::size_t record_bytes);
  /// More windows: those of the machine's frames `from` to `to`, at `frame` in the VM's physical space.
  void extend_windows(Mfn frame, std::uint64_t from, std::uint64_t to);
  /// The page by which the resident path shares the domain's lock; and StatePage::resident_flags of each
  /// vCPU.
  [[nodiscard]] gate::ControlPage& control_page() const;
  [[nodiscard]] std::vector<gate::ResidentFlags*> resident_flags() const;
  /// Where the gate finds an entry of a mirror.
  [[nodiscard]] std::uint64_t arena_address(Mfn frame, std::size_t offset) const;
  /// GDT and LDT of each vCPU.
  [[nodiscard]] const gate::SegmentTables& segment_tables() const { return segment_tables_; }

  // -- what an address in the gate means (exits.cpp)
  /// The entry of the gate that a vCPU stands at. An entry consists of one OUT.
  [[nodiscard]] static std::optional<SyscallEntry> syscall_entry(GateAddress at, AtOut stopped);
  [[nodiscard]] static std::optional<std::uint8_t> exception_vector(GateAddress at, AtOut stopped);
  /// The same for a SYSCALL that stays at CPL3. Programs can jump to this entry, so
  /// GuestCpu::looks_like_syscall checks more.
  [[nodiscard]] static bool is_syscall_entry_at_cpl3(std::uint64_t rip, AtOut stopped);
  /// Is this address in the vCPU's fast paths, or in the resident path that they call?
  [[nodiscard]] static bool in_fast_paths(std::uint32_t cpu, GateAddress at);
  /// Why a vCPU left the VM at this address of its fast paths.
  [[nodiscard]] static GateExit fast_exit(std::uint32_t cpu, GateAddress at);
  /// Is this address in the few instructions before the entry of #DB?
  [[nodiscard]] static bool in_debug_entry(GateAddress at);
  /// Is this address inside that vCPU's entry stub? Then the vCPU has not gone on with guest code yet.
  [[nodiscard]] static bool in_entry_stub(std::uint32_t cpu, GateAddress at);

  // -- what the gate left on a vCPU's stack (exits.cpp) and in its state page
  /// The exception frame at RSP, as at the entry of an exception. Words outside of the
  /// vCPU's stacks read as 0.
  [[nodiscard]] ExceptionFrame exception_frame(std::uint32_t cpu, std::uint64_t rsp, bool error_code) const;
  /// The vector at RSP, at an exit of kind `exception` or `broken`. The frame follows,
  /// always with an error code.
  [[nodiscard]] std::uint8_t fast_vector(std::uint32_t cpu, std::uint64_t rsp) const;
  [[nodiscard]] std::uint64_t state(std::uint32_t cpu, gate::StateField field) const {
    return states_.get(cpu, field);
  }
  void set_state(std::uint32_t cpu, gate::StateField field, std::uint64_t value) const {
    states_.set(cpu, field, value);
  }
  void set_handler(std::uint32_t cpu, gate::StateHandler place, const gate::GuestHandler& handler) const {
    states_.set(cpu, place, handler);
  }
  [[nodiscard]] FastPathCounts fast_path_counts() const {
    return host_.fast_paths ? states_.counts() : FastPathCounts();
  }
  /// Lets the gate use the frame with the vCPU's vcpu_info, as a supervisor page. The processor may know the
  /// old one until its translations are flushed.
  void map_info(std::uint32_t cpu, Mfn frame, std::size_t offset) const;

  // -- the way into the guest (entries.cpp)
  /// Sets the system registers of a new vCPU, once: descriptor tables, SYSCALL entry, control registers.
  [[nodiscard]] KvmResult<void> set_up(Vcpu& vcpu, std::uint32_t cpu) const;
  /// Resumes a vCPU that exited through the fast paths, in the gate: its system registers stay, and an IRETQ
  /// loads the guest's RIP, RFLAGS and RSP, `cs` and `ss`. The vCPU's general registers are the guest's.
  /// `cr3`: the gate loads it first.
  void resume(Vcpu& vcpu, std::uint32_t cpu, std::uint16_t cs, std::uint16_t ss,
              std::optional<std::uint64_t> cr3) const;
  /// Makes the vCPU run an entry stub (entry_stub.hpp) before guest code. On entry its registers and system
  /// registers are the guest's; they become the stub's, and the stub's last two instructions load the guest's
  /// again. `leaves`: the stub ends in an OUT instead.
  void prepare_entry_stub(Vcpu& vcpu, std::uint32_t cpu, const EntryStub& code, bool leaves) const;

 private:
  void map_machphys(Mfn frame, std::size_t from, std::size_t to);
  void build_text();
  void build_cpu(std::uint32_t cpu);
  void build_fast_paths(std::uint32_t cpu);
  void build_idt(Mfn page, std::uint64_t entries) const;
  /// The word at this address on one of the vCPU's stacks; 0 outside.
  [[nodiscard]] std::uint64_t stack_word(std::uint32_t cpu, std::uint64_t address) const;

  Arena& arena_;
  HostTraits host_;
  std::uint64_t machphys_address_;
  /// The first pages of the arena, `text_pages` of them.
  Mfn syscall_text_, kernel_text_, fast_text_, resident_text_;
  gate::AddressSpace space_;
  Mfn idt_, control_page_;
  gate::CpuAreas areas_;
  std::uint32_t cpus_;
  gate::StatePages states_;
  gate::SegmentTables segment_tables_;
};

}  // namespace pinfold::vmm
