// The resident path (pvmmu/core/resident.hpp) outside of a VM: with a validator's own memory and records, and
// with what the gate may and may not do there.
#pragma once

#include "pvmmu/core/resident.hpp"
#include "pvmmu/core/resident_records.hpp"
#include "record_access.hpp"

namespace pinfold::pvmmu::test {

struct NativeMemory {
  Validator& mmu;
  [[nodiscard]] Pte load(MachineAddr where) const {
    return Pte(mmu.machine().at(where.raw()).load(std::memory_order_relaxed));
  }
  void store(MachineAddr where, Pte entry) const {
    mmu.machine().at(where.raw()).store(entry.raw(), std::memory_order_relaxed);
  }
  [[nodiscard]] MirrorEntry mirror(const FrameFacts& of, MachineAddr where) const {
    return MirrorEntry(
        mmu.mirrors().pages().at((std::uint64_t{of.mirror} << page_shift) + offset_in_page(where)));
  }
  void changed(MachineAddr where, Pte before, Pte now) const {
    RecordAccess::log_stale(mmu, where, before, now);
  }
};

struct NativeArrays {
  Validator& mmu;
  [[nodiscard]] std::uint64_t size() const { return mmu.machine_frames(); }
  [[nodiscard]] const FrameFacts& facts(Mfn mfn) const { return mmu.facts(mfn); }
  [[nodiscard]] FrameUses& uses(Mfn mfn) const { return RecordAccess::of(mmu).uses(mfn); }
};
using NativeRecords = ResidentRecords<NativeArrays>;

struct NativeLocks {
  [[nodiscard]] bool lock(Mfn) const { return true; }
};

/// What the gate would do with a request of mmu_update.
[[nodiscard]] inline ResidentWork finish_resident(Validator& mmu, MachineAddr where, Pte want, bool keep) {
  MmuCounters counters;
  ResidentPath<NativeMemory, NativeRecords, NativeLocks> path({mmu}, {{mmu}}, {}, counters);
  return path.update(where, want, keep, [&](MachineAddr entry, L1Change change) {
    Pte old;
    return path.change(entry, change, old);
  });
}

/// What the gate would do with a kernel's store to `va`, where it has an L1 mapped. Returns the entry before.
[[nodiscard]] inline std::optional<Pte> finish_store(Validator& mmu, Mfn root, GuestVaddr va,
                                                     L1Change change) {
  MmuCounters counters;
  ResidentPath<NativeMemory, NativeRecords, NativeLocks> path({mmu}, {{mmu}}, {}, counters);
  const auto by = path.find_leaf(root, va);
  const StoreTarget target = by ? path.target_of_store(va, *by) : StoreTarget{};
  if (target.kind != StoreTarget::Kind::l1_entry) return std::nullopt;
  Pte old;
  return path.change(target.entry, change, old) ? std::optional(old) : std::nullopt;
}

/// What the gate takes a kernel's store to `va` for.
[[nodiscard]] inline StoreTarget::Kind target_of_store(Validator& mmu, Mfn root, GuestVaddr va) {
  MmuCounters counters;
  const ResidentPath<NativeMemory, NativeRecords, NativeLocks> path({mmu}, {{mmu}}, {}, counters);
  const auto by = path.find_leaf(root, va);
  return by ? path.target_of_store(va, *by).kind : StoreTarget::Kind::unknown;
}

/// What the gate would do with update_va_mapping: is it done?
[[nodiscard]] inline bool finish_update_va(Validator& mmu, Mfn root, GuestVaddr va, Pte want) {
  MmuCounters counters;
  ResidentPath<NativeMemory, NativeRecords, NativeLocks> path({mmu}, {{mmu}}, {}, counters);
  const auto by = path.find_leaf(root, va);
  Pte old;
  return by && path.change(by->entry, {L1Change::Kind::store, want}, old);
}

/// Would the gate load this root?
[[nodiscard]] inline bool may_load_root(Validator& mmu, Mfn root) {
  MmuCounters counters;
  const ResidentPath<NativeMemory, NativeRecords, NativeLocks> path({mmu}, {{mmu}}, {}, counters);
  return path.root_mirror(root) != 0;
}

}  // namespace pinfold::pvmmu::test
