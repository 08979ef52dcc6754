#include "pvmmu/walk_path.hpp"

namespace pinfold::pvmmu {

std::vector<WalkStep> walk_path(Held, const Validator& mmu, Mfn root, GuestVaddr va) {
  std::vector<WalkStep> steps;
  if (root == no_mfn || !is_canonical(va.raw()) || in_xen_range(va.raw())) return steps;
  Mfn table = root;
  for (Level level = Level::l4;; level = below(level)) {
    const FrameFacts& frame = mmu.facts(table);
    WalkStep& step = steps.emplace_back();
    step.level = level;
    step.table = table;
    step.slot = static_cast<std::uint16_t>(slot_of(level, va));
    step.entry = Pte(mmu.machine().load(table.raw(), step.slot));
    if (frame.mirror != 0) {
      step.mirror = mmu.mirrors().frame(MirrorId(frame.mirror));
      step.mirrored = mmu.mirrors().load(MirrorId(frame.mirror), step.slot);
    }
    if (level == Level::l1 || !step.entry.present()) return steps;
    table = step.entry.mfn();
    // The guest's entry is reported in any case, but followed only to a table of the domain.
    if (!mmu.owns(table) || mmu.frame(table).type != table_type(below(level))) return steps;
  }
}

}  // namespace pinfold::pvmmu
