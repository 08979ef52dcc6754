#include "pvmmu/inventory.hpp"

#include <algorithm>

namespace pinfold::pvmmu {
namespace {

/// Calls `visit(slot, entry)` for each present entry of the guest that was checked.
template <class Visit>
void for_each_present(const Validator& mmu, Mfn table, Level level, Visit&& visit) {
  const std::size_t end = mmu.entries_held(table);
  for (std::size_t slot = 0; slot < end; ++slot) {
    if (level == Level::l4 && is_xen_slot(slot)) continue;
    const Pte entry(mmu.machine().load(table.raw(), slot));
    if (entry.present()) visit(slot, entry);
  }
}

EntryPlace place(Held held, const Validator& mmu, Mfn table, Level level, std::size_t slot) {
  return {table, level, static_cast<std::uint16_t>(slot), mmu.merged_entry(held, table, slot)};
}

}  // namespace

std::vector<Mfn> TableCursor::next(Held, const Validator& mmu, std::size_t most) {
  std::vector<Mfn> tables;
  const MirrorArena& mirrors = mmu.mirrors();
  for (std::size_t looked_at = 0; looked_at < most && at_ < mirrors.end().raw(); ++looked_at, ++at_) {
    const Mfn table = mirrors.table_of(MirrorId(at_));
    // The arena knows the table that a mirror was taken for even after that table has ended.
    if (!mmu.owns(table)) continue;
    const FrameFacts& facts = mmu.facts(table);
    if (facts.mirror == at_ && is_table(facts.type)) tables.push_back(table);
  }
  done_ = at_ >= mirrors.end().raw();
  return tables;
}

bool TableSearch::step(Held held, const Validator& mmu, std::vector<TableReport>& found, std::size_t most) {
  for (const Mfn table : cursor_.next(held, mmu, most)) {
    const Frame frame = mmu.frame(table);
    TableReport& report = found.emplace_back();
    report.table = table;
    report.level = level_of(frame.type);
    report.validated = frame.validated;
    report.pinned = frame.pinned;
    report.allocated = frame.allocated;
    report.references = frame.refs;
    report.type_references = frame.type_count;
    for_each_present(mmu, table, report.level, [&](std::size_t slot, Pte) {
      ++report.present;
      if (report.level != Level::l1) report.children.push_back(place(held, mmu, table, report.level, slot));
    });
  }
  return !cursor_.done();
}

/// An entry of an L1 may name any frame of the domain, an entry above only a table one level down or of its
/// own. An entry that exists during the whole search keeps its frame's type, so asking again at each step
/// misses none.
bool FrameSearch::may_be_named_at(const Validator& mmu, Level level) const {
  if (!mmu.contains(frame_)) return false;
  return level == Level::l1 || (mmu.owns(frame_) && (mmu.facts(frame_).type == table_type(below(level)) ||
                                                     mmu.is_linear(level, frame_)));
}

bool FrameSearch::step(Held held, const Validator& mmu, std::vector<EntryPlace>& found, std::size_t most) {
  for (const Mfn table : cursor_.next(held, mmu, most)) {
    const Level level = level_of(mmu.facts(table).type);
    if (!may_be_named_at(mmu, level)) continue;
    for_each_present(mmu, table, level, [&](std::size_t slot, Pte entry) {
      if (entry.mfn() == frame_) found.push_back(place(held, mmu, table, level, slot));
    });
  }
  return !cursor_.done();
}

/// A frame that stopped being a table during the search and became one again is reported twice: the later
/// report is used.
Inventory::Inventory(std::vector<TableReport> reports, std::vector<OutsideUser> outside)
    : outside_(std::move(outside)) {
  for (TableReport& report : reports) {
    const auto [at, fresh] = index_.emplace(report.table, tables_.size());
    if (fresh)
      tables_.push_back(std::move(report));
    else
      tables_[at->second] = std::move(report);
  }
  for (const TableReport& table : tables_)
    for (const EntryPlace& child : table.children) naming_[child.entry.mfn()].push_back(child);
}

const TableReport* Inventory::find(Mfn table) const {
  const auto found = index_.find(table);
  return found == index_.end() ? nullptr : &tables_[found->second];
}

std::span<const EntryPlace> Inventory::entries_naming(Mfn table) const {
  const auto found = naming_.find(table);
  return found == naming_.end() ? std::span<const EntryPlace>() : std::span(found->second);
}

std::vector<OutsideUser> Inventory::users_outside(Mfn frame) const {
  std::vector<OutsideUser> users;
  std::copy_if(outside_.begin(), outside_.end(), std::back_inserter(users),
               [&](const OutsideUser& user) { return user.frame == frame; });
  return users;
}

bool Inventory::explains(const TableReport& table) const {
  const std::vector<OutsideUser> users = users_outside(table.table);
  const auto typed = static_cast<std::size_t>(std::count_if(
      users.begin(), users.end(), [](const auto& user) { return user.kind != OutsideUser::Kind::reader; }));
  const auto naming = entries_naming(table.table);
  const auto counted = static_cast<std::size_t>(std::count_if(
      naming.begin(), naming.end(), [&](const EntryPlace& entry) { return entry.table != table.table; }));
  return table.type_references == counted + typed + (table.pinned ? 1U : 0U) + (table.validated ? 0U : 1U);
}

struct Inventory::Climb {
  Addresses& result;
  std::size_t most;
  std::size_t steps_left;  ///< Tables shared without a root above them cost steps, too, and give nothing.
};

Inventory::Addresses Inventory::addresses(const EntryPlace& entry, std::size_t most) const {
  Addresses result;
  Climb c{result, most, 16 * most + 1024};
  climb(c, entry.table, entry.level,
        std::uint64_t{entry.slot} << (page_shift + 9 * (number(entry.level) - 1)));
  return result;
}

/// `va`: the address bits of the levels below this table, and of its own.
void Inventory::climb(Climb& c, Mfn table, Level level, std::uint64_t va) const {
  if (c.steps_left == 0 || c.result.seen.size() >= c.most) {
    c.result.complete = false;
    return;
  }
  --c.steps_left;
  if (level == Level::l4) {
    constexpr std::uint64_t sign = 1ULL << 47;
    c.result.seen.push_back({table, GuestVaddr((va & sign) != 0 ? va | ~(sign - 1) : va)});
    return;
  }
  for (const EntryPlace& up : entries_naming(table)) {
    if (!c.result.complete) return;
    // Reports of different moments may disagree about a frame's level; an entry that does not fit is skipped.
    if (number(up.level) == number(level) + 1)
      climb(c, up.table, up.level, va | std::uint64_t{up.slot} << (page_shift + 9 * number(level)));
  }
}

}  // namespace pinfold::pvmmu
