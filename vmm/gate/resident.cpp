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

Path path_of(StatePage& state) {
  return {GateMemory{}, {}, TableLocks{control(), state.cpu_plus_1}, state.resident_entries};
}

}  // namespace

#define IN_RESIDENT_TEXT gnu::section("pinfold_resident_text"), gnu::flatten

/// Path::change(), in one place, because the page is small. Not part of the interface.
[[IN_RESIDENT_TEXT, gnu::noinline]] static bool change_entry(StatePage& state, MachineAddr where,
                                                             L1Change change, Pte* old);

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

/// The kernel's store to an L1 entry that it has mapped read-only, as GuestCpu::emulate_pte_store has it. The
/// gate has copied the instruction; the address is that of the page fault. Returns 1 if it is done.
std::uint64_t store(StatePage& state, StoreFrame& frame) {
  const auto decoded = SmallStore::decode(state.code);
  if (!decoded) return 0;
  const std::uint64_t address = state.fault_address;
  const unsigned byte = static_cast<unsigned>(address % sizeof(Pte));
  if (decoded->exchanges && byte != 0) return 0;

  const Inside inside(state, control());
  if (!inside) return 0;
  const auto entry = path_of(state).find_entry(Mfn(state.kernel_root), GuestVaddr(address));
  if (!entry) return 0;
  auto& registers = reinterpret_cast<std::uint64_t(&)[StoreFrame::places]>(frame);
  std::uint64_t& gpr = registers[StoreFrame::place(decoded->gpr)];
  const std::uint64_t cleared = 0xffULL & ~std::uint64_t{decoded->immediate};
  const L1Change change = decoded->exchanges ? L1Change{L1Change::Kind::store, Pte(gpr)}
                                             : L1Change{L1Change::Kind::clear_bits, Pte(cleared << 8 * byte)};
  Pte old;
  if (!change_entry(state, *entry, change, &old)) return 0;
  ExceptionFrame& interrupted = frame.fast.interrupted;
  if (decoded->exchanges)
    gpr = old.raw();
  else
    interrupted.rflags =
        flags_after_and(static_cast<std::uint8_t>(change.of(old).raw() >> 8 * byte), interrupted.rflags);
  interrupted.rflags &= ~rflags::rf;
  interrupted.rip += decoded->length;
  ++state.resident_stores;
  return 1;
}

}  // namespace
}  // namespace pinfold::vmm::gate

/// The one entry: what is asked for, and for `update` the number of requests in the
/// state page, for `store` the address of the StoreFrame. The gate's assembly knows what the results mean.
extern "C" [[IN_RESIDENT_TEXT]] std::uint64_t pinfold_resident(pinfold::vmm::gate::ResidentCall call,
                                                               std::uint64_t argument,
                                                               pinfold::vmm::gate::StatePage* state) {
  using namespace pinfold::vmm::gate;
  if (call == ResidentCall::update) return update(*state, argument);
  return store(*state, *reinterpret_cast<StoreFrame*>(argument));
}

bool pinfold::vmm::gate::change_entry(StatePage& state, MachineAddr where, L1Change change, Pte* old) {
  const auto before = path_of(state).change(where, change);
  if (!before) return false;
  *old = *before;
  return true;
}
