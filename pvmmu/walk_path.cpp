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
    if (!is_table(frame.type)) return steps;
    // Behind linear entries the processor takes a table for one of a lower level, and walks its window.
    const Level of_table = level_of(frame.type);
    const unsigned shift = number(of_table) - number(level);
    const MirrorId mirror = shift == 0 ? MirrorId(frame.mirror) : mmu.windows().find(table, shift);
    if (mirror != no_mirror) {
      step.mirror = mmu.mirrors().frame(mirror);
      step.mirrored = mmu.mirrors().load(mirror, step.slot);
    }
    if (level == Level::l1 || !step.entry.present()) return steps;
    table = step.entry.mfn();
    // The guest's entry is reported in any case, but followed only to a table of the domain.
    if (!mmu.owns(table) ||
        (mmu.facts(table).type != table_type(below(of_table)) && !mmu.is_linear(of_table, table)))
      return steps;
  }
}

}  // namespace pinfold::pvmmu
