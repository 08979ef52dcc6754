// The resident path: the validator's core for plain page-table updates, as it runs inside the domain's VM.
//
// fast_hypercalls.inc calls it at CPL0, with a request that it has loaded from guest memory. What it finishes
// takes no exit. It never refuses: for whatever needs judgement, or would have to wait, it answers 0, and the
// gate leaves with the request as it came.
//
// This file is compiled for no operating system (CMakeLists.txt), and is copied into one page of the gate: it
// has no data, calls nothing outside of it, and finds everything at fixed addresses. So it runs wherever it
// is. All memory that it touches is mapped for CPL0 alone: records, mirrors, the control page, and the
// windows of the domain's frames. A window is accessed only if the frame's record says so. Guest addresses
// are not accessed at all.
#include <array>
#include <atomic>
#include <optional>

#include "pvmmu/core/resident.hpp"
#include "pvmmu/core/resident_records.hpp"
#include "vmm/gate/frames.hpp"
#include "vmm/gate/inside.hpp"
#include "vmm/gate/layout.hpp"
#include "vmm/gate/state_page.hpp"

namespace pinfold::vmm::gate {
namespace {

using pvmmu::FrameFacts;
using pvmmu::FrameUses;
using pvmmu::MirrorEntry;
using pvmmu::Pte;

std::atomic_ref<std::uint64_t> word_at(std::uint64_t address) {
  return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(address));
}
ControlPage& control() { return *reinterpret_cast<ControlPage*>(control_page); }

struct GateMemory {
  [[nodiscard]] Pte load(MachineAddr where) const {
    return Pte(word_at(slot_base(windows_slot) + where.raw()).load(std::memory_order_relaxed));
  }
  void store(MachineAddr where, Pte entry) const {
    word_at(slot_base(windows_slot) + where.raw()).store(entry.raw(), std::memory_order_relaxed);
  }
  [[nodiscard]] MirrorEntry mirror(const FrameFacts& table, MachineAddr where) const {
    return MirrorEntry(
        word_at(slot_base(arena_slot) + (std::uint64_t{table.mirror} << page_shift) + offset_in_page(where)));
  }
  /// The resident path is for hosts without a log of stale entries.
  void changed(MachineAddr, Pte, Pte) const {}
};

struct GateArrays {
  [[nodiscard]] std::uint64_t size() const {
    return std::atomic_ref(control().frames).load(std::memory_order_relaxed);
  }
  [[nodiscard]] const FrameFacts& facts(Mfn mfn) const {
    return reinterpret_cast<const FrameFacts*>(slot_base(facts_slot))[mfn.raw()];
  }
  [[nodiscard]] FrameUses& uses(Mfn mfn) const {
    return reinterpret_cast<FrameUses*>(slot_base(uses_slot))[mfn.raw()];
  }
};

using Path = pvmmu::ResidentPath<GateMemory, pvmmu::ResidentRecords<GateArrays>, TableLocks>;
using pvmmu::L1Change;

/// The processor drops its translations, and walks these tables from here on.
void load_cr3(std::uint64_t mirror) { asm volatile("mov %0, %%cr3" : : "r"(mirror) : "memory"); }

Path path_of(StatePage& state) {
  return {GateMemory{}, {}, TableLocks{control(), state.cpu_plus_1}, state.resident_entries};
}

}  // namespace

#define IN_RESIDENT_TEXT gnu::section("pinfold_resident_text"), gnu::flatten

// Path::change() and Path::find_leaf(), each in one place, because the page is small. Not part of the
// interface.
[[IN_RESIDENT_TEXT, gnu::noinline]] static bool change_entry(StatePage& state, MachineAddr where,
                                                             L1Change change, Pte* old);
/// By the kernel's root.
[[IN_RESIDENT_TEXT, gnu::noinline]] static bool find_leaf(StatePage& state, GuestVaddr va,
                                                          pvmmu::MappedBy* by);

namespace {

/// The leading requests of a list, which the gate has copied; returns how many are done.
std::uint64_t update(StatePage& state, std::uint64_t count) {
  constexpr std::uint64_t command = 7, normal = 0, preserve_ad = 2;  // MMU_NORMAL_PT_UPDATE and the like
  const Inside inside(state, control());
  if (!inside) return 0;
  Path path = path_of(state);
  std::uint64_t done = 0;
  for (; done < count && done < resident_requests; ++done) {
    const auto [ptr, val] = state.requests[done];
    const bool keep = (ptr & command) == preserve_ad;
    if (!keep && (ptr & command) != normal) break;
    const pvmmu::ResidentWork work = path.update(MachineAddr(ptr & ~command), Pte(val), keep,
                                                 [&state](MachineAddr where, L1Change change) {
                                                   Pte unused;
                                                   return change_entry(state, where, change, &unused);
                                                 });
    ++state.resident_done[static_cast<std::size_t>(work)];
    if (work == pvmmu::ResidentWork::none) break;
  }
  return done;
}

/// The request of update_va_mapping, which the gate has copied: the entry that maps an address becomes
/// another. Returns 1 if it is done. Flushes are the gate's.
std::uint64_t update_va(StatePage& state) {
  const auto [address, want] = state.requests[0];
  const Inside inside(state, control());
  if (!inside) return 0;
  pvmmu::MappedBy by;
  Pte old;
  if (!find_leaf(state, GuestVaddr(address), &by) ||
      !change_entry(state, by.entry, {L1Change::Kind::store, Pte(want)}, &old))
    return 0;
  ++state.resident_va_updates;
  return 1;
}

/// The leading operations of a list, which the gate has copied, that load roots: MMUEXT_NEW_BASEPTR and
/// MMUEXT_NEW_USER_BASEPTR. Returns how many are done. The processor walks the new tables from here on; their
/// references are left to whoever next has the domain's lock alone.
std::uint64_t load_roots(StatePage& state, std::uint64_t count) {
  constexpr std::uint32_t new_base = 5, new_user_base = 15;
  struct Operation {
    std::uint64_t command, mfn, unused;  // struct mmuext_op (xen/xen.h); the command has 32 bits
  };
  const Inside inside(state, control());
  if (!inside) return 0;
  const Path path = path_of(state);
  std::uint64_t done = 0;
  for (; done < count && done < resident_operations; ++done) {
    const Operation& operation = reinterpret_cast<const Operation*>(state.requests.data())[done];
    const Mfn root(operation.mfn);
    const auto command = static_cast<std::uint32_t>(operation.command);
    const bool user = command == new_user_base;
    if (!user && command != new_base) break;
    std::uint64_t cr3 = 0;
    if (user && root == Mfn(0)) {
      state.user_root = no_mfn.raw();
    } else {
      const std::uint64_t mirror = path.root_mirror(root);
      if (mirror == 0) break;
      cr3 = slot_base(arena_slot) + (mirror << page_shift) - state.arena;
      (user ? state.user_root : state.kernel_root) = root.raw();
    }
    (user ? state.user_cr3 : state.kernel_cr3) = cr3;
    state.resident_flags.roots_moved = 1;
    if (!user) load_cr3(cr3);
    ++state.resident_done[static_cast<std::size_t>(pvmmu::ResidentWork::root)];
  }
  return done;
}

/// The kernel's store to a page that is mapped read-only, as GuestCpu::on_page_fault and emulate_pte_store
/// have it. The gate has copied the instruction; the address is that of the page fault.
StoreAnswer store(StatePage& state, StoreFrame& frame) {
  using enum StoreAnswer;
  const GuestVaddr address(state.fault_address);
  const Inside inside(state, control());
  pvmmu::MappedBy by;
  if (!inside || !find_leaf(state, address, &by)) return left;
  const pvmmu::StoreTarget target = path_of(state).target_of_store(address, by);
  if (target.kind == pvmmu::StoreTarget::Kind::forbidden) return faulted;
  if (target.kind != pvmmu::StoreTarget::Kind::l1_entry || state.emulates_stores == 0) return left;

  const auto decoded = SmallStore::decode(state.code);
  if (!decoded) return left;
  const unsigned byte = static_cast<unsigned>(address.raw() % sizeof(Pte));
  if (decoded->exchanges && byte != 0) return left;
  auto& registers = reinterpret_cast<std::uint64_t(&)[StoreFrame::places]>(frame);
  std::uint64_t& gpr = registers[StoreFrame::place(decoded->gpr)];
  const std::uint64_t cleared = 0xffULL & ~std::uint64_t{decoded->immediate};
  const L1Change change = decoded->exchanges ? L1Change{L1Change::Kind::exchange, Pte(gpr)}
                                             : L1Change{L1Change::Kind::clear_bits, Pte(cleared << 8 * byte)};
  Pte old;
  if (!change_entry(state, target.entry, change, &old)) return left;
  ExceptionFrame& interrupted = frame.fast.interrupted;
  if (decoded->exchanges)
    gpr = old.raw();
  else
    interrupted.rflags =
        flags_after_and(static_cast<std::uint8_t>(change.of(old).raw() >> 8 * byte), interrupted.rflags);
  interrupted.rflags &= ~rflags::rf;
  interrupted.rip += decoded->length;
  ++state.resident_stores;
  return done;
}

}  // namespace
}  // namespace pinfold::vmm::gate

/// The one entry. The gate's assembly knows what the results mean (ResidentCall).
extern "C" [[IN_RESIDENT_TEXT]] std::uint64_t pinfold_resident(pinfold::vmm::gate::ResidentCall call,
                                                               std::uint64_t argument,
                                                               pinfold::vmm::gate::StatePage* state) {
  using namespace pinfold::vmm::gate;
  switch (call) {
    case ResidentCall::update: return update(*state, argument);
    case ResidentCall::update_va: return update_va(*state);
    case ResidentCall::load_roots: return load_roots(*state, argument);
    case ResidentCall::store: break;
  }
  return static_cast<std::uint64_t>(store(*state, *reinterpret_cast<StoreFrame*>(argument)));
}

bool pinfold::vmm::gate::change_entry(StatePage& state, MachineAddr where, L1Change change, Pte* old) {
  return path_of(state).change(where, change, *old);
}

bool pinfold::vmm::gate::find_leaf(StatePage& state, GuestVaddr va, pvmmu::MappedBy* by) {
  const auto found = path_of(state).find_leaf(Mfn(state.kernel_root), va);
  if (!found) return false;
  *by = *found;
  return true;
}
