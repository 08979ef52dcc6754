// A vCPU's state page: what the gate's code and the monitor tell each other. This struct is the only
// definition of its layout: the offsets that the assembly uses are generated from it (vmm/asm_constants.cpp).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "pvmmu/core/resident.hpp"
#include "pvmmu/counters.hpp"
#include "vmm/gate/small_store.hpp"

namespace pinfold::vmm::gate {

/// Where the guest's kernel handles an exception, system call or event. Address 0: nowhere.
struct GuestHandler {
  static constexpr std::uint64_t masks_events = 1, clears_df = 2;

  std::uint64_t address = 0;
  std::uint64_t flags = 0;
};

/// What the resident path is asked for.
enum class ResidentCall : std::uint64_t {
  update,      ///< mmu_update: the first `argument` of `requests`.
  update_va,   ///< update_va_mapping: the address and the entry are the first of `requests`.
  load_roots,  ///< mmuext_op: `argument` operations, in the place of `requests`, that may load roots.
  store,       ///< A store that faulted: `argument` is the address of the StoreFrame.
};
/// What it answers to `store`; to the others, how many requests are done.
enum class StoreAnswer : std::uint64_t {
  left,     ///< The monitor has to look at it.
  done,     ///< It was emulated.
  faulted,  ///< The guest's tables forbid it: it gets the page fault.
};
/// A request of mmu_update, `ptr` and `val` as xen/xen.h has them; and how many of a list it takes.
struct ResidentRequest {
  std::uint64_t ptr, val;
};
inline constexpr std::size_t resident_requests = 32;
/// How many operations of mmuext_op: Linux loads the roots of both modes at once.
inline constexpr std::size_t resident_operations = 2;
/// How many calls a multicall may have that the gate looks at.
inline constexpr std::size_t resident_calls = 16;
/// What those who take the domain's lock alone look at, in a cache line of its own.
struct alignas(64) ResidentFlags {
  std::uint64_t inside;  ///< Not 0: the gate shares the domain's lock.
  /// Not 0: the gate has loaded roots, and nobody has taken their references yet. Set while it is inside.
  std::uint64_t roots_moved;
};

/// What the gate counts next to the exceptions' vectors.
inline constexpr std::size_t bounced_syscalls = 32, bounced_events = 33;

/// Each field is one 8-byte word or consists of such words. Code in the VM can write all of them: the monitor
/// bounds what it reads here. There are many fields because the gate reaches a single page relative to RIP.
struct StatePage {
  // The monitor writes these before each entry, the gate while it runs.
  std::uint64_t kernel_mode;    ///< 1: the guest's kernel runs, 0: its user mode.
  std::uint64_t kernel_sp;      ///< Where the kernel's stack begins when user mode is interrupted.
  std::uint64_t kernel_ss;      ///< Its selector.
  std::uint64_t task_switched;  ///< Virtual CR0.TS. The processor's own has the same value.

  // The monitor writes these, the gate reads them.
  std::uint64_t attention;   ///< Not 0: leave the VM instead of returning to the guest.
  std::uint64_t kernel_cr3;  ///< The mirror of the kernel's root; 0: none.
  std::uint64_t user_cr3;    ///< The mirror of the user root; 0: none.
  std::uint64_t info;        ///< Address of the vcpu_info, in a page of the vCPU's area.
  std::uint64_t iopl;        ///< Virtual IOPL, as the flags of a frame show it.
  /// Bits in which the flags of an iret must agree with `iopl`. An iret that differs is left to the monitor.
  std::uint64_t iopl_check;
  std::uint64_t io_privileged;  ///< Not 0: the kernel may use CLI and STI.
  std::uint64_t iret_leaves;    ///< Not 0: an iret is left to the monitor.
  std::uint64_t version;        ///< The result of XENVER_version.
  std::uint64_t watches;        ///< Not 0: the guest has breakpoints, so a #DB is left to the monitor.

  // The gate writes these, the monitor reads them.
  std::uint64_t gs_moved;         ///< Not 0: the inactive GS base may differ from what the monitor set.
  std::uint64_t interrupt_flags;  ///< Counts CLI and STI that the gate emulated.
  std::uint64_t emulated;         ///< Counts RDMSR and WRMSR that the gate emulated.
  std::uint64_t single_stepped;   ///< Not 0: the gate bounced a #DB.
  std::uint64_t guest_rsp;        ///< The guest's RSP, at a SYSCALL that is left to the monitor.
  std::uint64_t refused_vector;   ///< Vector of the fault that an IRETQ to the guest raised.
  std::uint64_t refused_error;    ///< Its error code.
  /// CR2 of the page fault that the gate works on. At its exit the monitor reads it here.
  std::uint64_t fault_address;

  std::array<std::uint64_t, 9> iret;  ///< The gate's copy of a struct iret_context (xen-x86_64.h).

  std::uint64_t arena;  ///< By the monitor: add this to a mirror's physical address to get its virtual one.
  std::uint64_t exit_cr3;  ///< By the gate: CR3 at an exit that the monitor has to answer; 0: not known.
  std::uint64_t next_cr3;  ///< By the monitor: what the gate loads when it is resumed at its `reload`.

  // Handlers, by the monitor.
  alignas(256) GuestHandler syscall;
  GuestHandler event;
  alignas(512) std::array<GuestHandler, 32> traps;  ///< By vector.

  // Counters of what was finished in the VM, by the gate.
  alignas(1024) std::array<std::uint64_t, 34> bounced;    ///< By vector; then system calls and events.
  alignas(512) std::array<std::uint64_t, 64> hypercalls;  ///< By number.

  // The resident path (resident.cpp). The monitor may set `resident` and the counters while the vCPU is out
  // of the guest.
  std::uint64_t resident;  ///< By the monitor: the address of its entry; 0: the gate does without.
  /// The frames of the roots; all ones: none. By the monitor before each entry, and by the gate when it loads
  /// others.
  std::uint64_t kernel_root, user_root;
  std::uint64_t roots_leave;      ///< By the monitor, not 0: only the monitor may load roots.
  std::uint64_t emulates_stores;  ///< By the monitor, not 0: plain stores to L1 entries are meant to work.
  std::uint64_t cpu_plus_1;       ///< By the monitor: the vCPU's number plus 1.
  std::array<std::uint64_t, pvmmu::resident_works> resident_done;  ///< By what was finished; 0: left.
  std::uint64_t resident_kept_out;      ///< How often the monitor had the domain's lock alone.
  std::uint64_t resident_stores;        ///< Plain stores to L1 entries that were emulated.
  std::uint64_t resident_va_updates;    ///< Entries of L1s that update_va_mapping changed.
  pvmmu::MmuCounters resident_entries;  ///< Since the last exit.
  ResidentFlags resident_flags;
  /// Copies of what the gate fetched from guest memory: a struct multicall_entry (xen/xen.h), a list of
  /// requests, and an instruction.
  std::array<std::uint64_t, 8> call;
  alignas(64) std::array<ResidentRequest, resident_requests> requests;
  std::uint8_t code[SmallStore::bytes];
};
static_assert(sizeof(StatePage) <= 4096);

/// A place in the state page, made of a pointer to its member: `&StatePage::kernel_mode`, or of an
/// array `{&StatePage::bounced, vector}`.
template <class T>
class StatePlace {
 public:
  StatePlace(T StatePage::*member) : word_(offset(member) / 8) {}  // NOLINT(google-explicit-constructor)
  template <std::size_t n>
  StatePlace(std::array<T, n> StatePage::*member, std::size_t index)
      : word_((offset(member) + index * sizeof(T)) / 8) {}

  /// The word at this offset in the page.
  [[nodiscard]] static StatePlace at(std::size_t offset) { return StatePlace(offset / 8, 0); }
  /// Number of its first word in the page.
  [[nodiscard]] std::size_t word() const { return word_; }

 private:
  /// The Itanium C++ ABI (2.3.1) represents a pointer to a data member by the member's offset.
  template <class Member>
  [[nodiscard]] static std::size_t offset(Member StatePage::*member) {
    return std::bit_cast<std::size_t>(member);
  }

  StatePlace(std::size_t word, int) : word_(word) {}
  std::size_t word_;
};
using StateField = StatePlace<std::uint64_t>;
using StateHandler = StatePlace<GuestHandler>;

}  // namespace pinfold::vmm::gate
