// What is compared after each operation: records, contents, mirrors and windows, the inventory, the log of
// stale entries.
#include <cstring>
#include <tuple>

#include "pvmmu/inventory.hpp"
#include "world.hpp"

namespace pinfold::pvmmu::property {
namespace {

/// Does `now` allow less than a processor may remember, or something else?
bool forgets(Pte remembered, Pte now) {
  if (!remembered.present()) return false;
  if (!now.present() || now.mfn() != remembered.mfn()) return true;
  return (remembered.writable() && !now.writable()) ||
         (!remembered.any(bit::no_execute) && now.any(bit::no_execute));
}

}  // namespace

std::optional<std::string> World::compare(bool accepted) {
  const Census now = model_.census();
  if (!now.wrong.empty()) return std::string("the model's own state breaks a rule");
  for (std::uint64_t i = 1; i < machine_frames; ++i) {
    const Mfn mfn(i);
    if (auto failure = compare_frame(mfn, now.use[i])) return failure;
    if (auto failure = compare_content(mfn, now.use[i], accepted)) return failure;
  }
  for (int d = 0; d < domains; ++d) {
    if (roots_[static_cast<std::size_t>(d)] != model_.roots[static_cast<std::size_t>(d)])
      return std::string("a root register differs from the model's");
    test::FakeDomain& here = domain(d);
    const auto findings = audit(here.held, here.mmu, outside_of(d));
    if (!findings.empty()) return "audit: " + findings.front();
    std::set<std::uint32_t> known;
    for (const Mfn root : roots_[static_cast<std::size_t>(d)])
      if (root != no_mfn)
        if (auto failure = explore(d, MirrorId(machine_.frames[root].mirror), Level::l4, known))
          return failure;
  }
  if (auto failure = compare_accessed()) return failure;
  if (auto failure = compare_mirrors(now)) return failure;
  return check_stale();
}

/// An entry that is read through the validator has the accessed bit that the processor set.
std::optional<std::string> World::compare_accessed() {
  for (const auto& [raw, slot] : model_.accessed) {
    test::FakeDomain& here = domain(model_.frames[raw].owner);
    const Pte entry = machine_.peek(Mfn(raw), slot);
    if (entry.present() && here.mmu.merged_entry(here.held, Mfn(raw), slot) != entry.with(bit::accessed))
      return at(Mfn(raw)) + " slot " + std::to_string(slot) + " was accessed, and does not say so";
  }
  return std::nullopt;
}

/// What each entry of a live table lets the processor do, written without the functions that make mirrors.
std::optional<std::string> World::compare_mirrors(const Census& now) {
  for (std::uint64_t i = 1; i < machine_frames; ++i) {
    if (!now.use[i].trusted() || !is_table(now.use[i].type)) continue;
    const MirrorArena& mirrors = domain(model_.frames[i].owner).mirrors;
    const bool leaf = now.use[i].is(FrameType::l1);
    for (std::size_t slot = 0; slot < entries_per_table; ++slot) {
      if (now.use[i].is(FrameType::l4) && slot >= 256 && slot <= 271) continue;
      const Pte guest(model_.frames[i].content[slot]);
      const Pte seen = mirrors.load(MirrorId(machine_.frames[Mfn(i)].mirror), slot);
      const auto wrong = [&](const char* what) {
        return at(Mfn(i)) + " slot " + std::to_string(slot) + ": the processor " + what;
      };
      if (seen.present() != guest.present()) return wrong("sees an entry, or none, wrongly");
      if (!guest.present()) continue;
      const bool linear = !leaf && now.use[guest.mfn().raw()].is(now.use[i].type);
      const MirrorId child = linear ? domain(model_.frames[i].owner).mmu.windows().find(guest.mfn(), 1)
                                    : MirrorId(machine_.frames[guest.mfn()].mirror);
      const Mfn target = leaf ? guest.mfn() : mirrors.frame(child);
      if (seen.mfn() != target) return wrong("is led elsewhere");
      if (seen.writable() != (leaf ? guest.has(bit::writable | bit::dirty) : guest.writable()))
        return wrong("may write, or may not, wrongly");
      if (seen.any(bit::no_execute) != guest.any(bit::no_execute)) return wrong("may execute wrongly");
      if (!seen.any(bit::user) || seen.any(bit::global) || (seen.raw() >> 3 & 3) != 0)
        return wrong("sees flags that it must not");
    }
  }
  return std::nullopt;
}

/// The inventory of the domain has the same tables as the model, explains the references to each, and finds
/// the entries that map `mfn`.
std::optional<std::string> World::compare_inventory(int d, Mfn mfn) {
  test::FakeDomain& here = domain(d);
  const Census now = model_.census();
  std::vector<OutsideUser> outside;
  for (const Mfn root : roots_[static_cast<std::size_t>(d)])
    if (root != no_mfn) outside.push_back({root, OutsideUser::Kind::kernel_root, VcpuId(0)});
  for (const auto& hold : model_.holds[static_cast<std::size_t>(d)])
    outside.push_back({hold.first,
                       hold.second == FrameType::none ? OutsideUser::Kind::reader : OutsideUser::Kind::other,
                       VcpuId(0)});
  const Inventory inventory = take_inventory(
      here.held, here.mmu, outside, [] {}, 5);
  std::set<std::tuple<Mfn, Level, std::size_t>> wanted, found;
  std::size_t tables = 0;
  for (std::uint64_t i = 1; i < machine_frames; ++i) {
    if (model_.frames[i].owner != d || !now.use[i].trusted() || !is_table(now.use[i].type)) continue;
    ++tables;
    const TableReport* report = inventory.find(Mfn(i));
    if (report == nullptr || report->level != level_of(now.use[i].type) ||
        report->type_references != now.use[i].types || report->references != now.use[i].refs)
      return "the inventory is wrong about " + at(Mfn(i));
    if (!inventory.explains(*report)) return "the inventory does not know all users of " + at(Mfn(i));
    for (std::size_t slot = 0; slot < entries_per_table; ++slot)
      if (const Pte e(model_.frames[i].content[slot]); e.present() && e.mfn() == mfn)
        if (report->level != Level::l4 || slot < 256 || slot > 271)
          wanted.emplace(Mfn(i), report->level, slot);
  }
  if (inventory.tables().size() != tables) return std::string("the inventory lists a table that is none");
  for (const EntryPlace& e : entries_mapping(
           here.held, here.mmu, mfn, [] {}, 5))
    found.emplace(e.table, e.level, e.slot);
  if (found != wanted) return "the search for mappings errs about " + at(mfn);
  return std::nullopt;
}

std::optional<std::string> World::compare_frame(Mfn mfn, const Use& use) {
  const Frame f = machine_.frames[mfn];
  const ModelFrame& m = model_.frames[mfn.raw()];
  if (f.owner_plus_1 != (m.owner == nobody ? 0 : m.owner + 2))
    return at(mfn) + " has another owner than in the model";
  if (f.allocated != m.allocated || f.special != m.special) return at(mfn) + " differs in its reservation";
  if (f.pinned != (m.pinned_as != 0)) return at(mfn) + " differs in being pinned";
  if (f.refs != use.refs || f.type_count != use.types)
    return at(mfn) + " has counts " + std::to_string(f.refs) + " and " + std::to_string(f.type_count) +
           ", the model " + std::to_string(use.refs) + " and " + std::to_string(use.types);
  if (use.types != 0 && f.type != use.type) return at(mfn) + " has another type than in the model";
  if (f.validated != use.trusted()) return at(mfn) + " differs in being validated";
  if ((f.mirror != 0) != (use.trusted() && is_table(use.type)))
    return at(mfn) + " has a mirror or not, against the model";
  if (m.owner != nobody && machine_.m2p(mfn) != m.m2p)
    return at(mfn) + " differs in the machine-to-phys table";
  for (int d = 0; d < domains; ++d) {
    const auto expected = m.owner != d    ? test::FakeView::Access::none
                          : use.trusted() ? test::FakeView::Access::read_only
                                          : test::FakeView::Access::read_write;
    if (domain(d).view.of(mfn) != expected)
      return at(mfn) + " differs in the view of domain " + std::to_string(d);
  }
  return std::nullopt;
}

/// A refused validation may leave adjusted entries in frames that are not tables. That is harmless, and Xen
/// does the same.
std::optional<std::string> World::compare_content(Mfn mfn, const Use& use, bool accepted) {
  auto& content = model_.frames[mfn.raw()].content;
  const std::byte* real = machine_.memory.pages().page(mfn.raw());
  if (std::memcmp(content.data(), real, page_size) == 0) return std::nullopt;
  for (std::size_t slot = 0; slot < entries_per_table; ++slot) {
    const std::uint64_t found = machine_.peek(mfn, slot).raw();
    if (found == content[slot]) continue;
    bool adjusted = false;
    for (const FrameType type : {FrameType::l1, FrameType::l2, FrameType::l4, FrameType::seg_desc}) {
      adjusted = adjusted || found == Model::adjusted(type, content[slot]);
      // Tables below a refused one were tables for a moment, so the order of two adjustments is not known.
      for (const FrameType second : {FrameType::l1, FrameType::l2, FrameType::l4, FrameType::seg_desc})
        adjusted = adjusted || found == Model::adjusted(second, Model::adjusted(type, content[slot]));
    }
    if (accepted || use.trusted() || !adjusted)
      return at(mfn) + " slot " + std::to_string(slot) + " holds " + std::to_string(found) +
             ", in the model " + std::to_string(content[slot]);
    content[slot] = found;
  }
  return std::nullopt;
}

/// The log has every entry of a live table that a processor may have cached and that is no longer allowed;
/// and the mirror of a frame that is no longer a table is not another table's mirror.
std::optional<std::string> World::check_stale() {
  std::set<std::pair<std::uint32_t, std::size_t>> logged;
  for (int d = 0; d < domains; ++d) {
    StaleLog& log = domain(d).stale;
    for (const auto& e : log.entries())
      for (std::size_t slot = 0; slot < entries_per_table; ++slot)
        if (e.whole_table || slot == e.slot)
          logged.emplace(e.table.raw() * 2 + static_cast<unsigned>(d), slot);
    log.drop_below(log.end());
  }
  for (const auto& [place, seen] : seen_) {
    const auto [raw, shift] = place;
    const int d = seen.owner;
    const std::uint32_t key = seen.mirror.raw() * 2 + static_cast<unsigned>(d);
    const std::uint32_t now =
        shift == 0 ? machine_.frames[Mfn(raw)].mirror : domain(d).mmu.windows().find(Mfn(raw), shift).raw();
    const bool live = now == seen.mirror.raw() && model_.owns(d, Mfn(raw));
    if (!live) {
      retired_[static_cast<std::size_t>(d)].insert(seen.mirror.raw());
      if (!logged.contains({key, 511})) return at(Mfn(raw)) + ": its mirror was retired without a word";
      continue;
    }
    for (std::size_t slot = 0; slot < entries_per_table; ++slot)
      if (forgets(Pte(seen.entries[slot]), domain(d).mirrors.load(seen.mirror, slot)) &&
          !logged.contains({key, slot}))
        return at(Mfn(raw)) + " slot " + std::to_string(slot) + " allows less, and the log does not say so";
  }
  for (std::uint64_t i = 1; i < machine_frames; ++i) {
    const Frame f = machine_.frames[Mfn(i)];
    if (f.mirror == 0 || model_.frames[i].owner == nobody) continue;
    if (retired_[static_cast<std::size_t>(model_.frames[i].owner)].contains(f.mirror))
      return at(Mfn(i)) + " has a mirror that processors have not forgotten yet";
  }
  for (int d = 0; d < domains; ++d) {
    bool forgotten = true;
    domain(d).mmu.windows().each([&](Mfn, unsigned, MirrorId window) {
      forgotten = forgotten && !retired_[static_cast<std::size_t>(d)].contains(window.raw());
    });
    if (!forgotten) return std::string("a window is one that processors have not forgotten yet");
  }
  return std::nullopt;
}

void World::remember() {
  seen_.clear();
  for (std::uint64_t i = 1; i < machine_frames; ++i) {
    const Frame f = machine_.frames[Mfn(i)];
    if (f.mirror == 0) continue;
    remember(model_.frames[i].owner, Mfn(i), 0, MirrorId(f.mirror));
  }
  for (int d = 0; d < domains; ++d)
    domain(d).mmu.windows().each(
        [this, d](Mfn table, unsigned shift, MirrorId window) { remember(d, table, shift, window); });
}

void World::remember(int d, Mfn table, unsigned shift, MirrorId mirror) {
  Seen& seen = seen_[{table.raw(), shift}];
  seen.mirror = mirror;
  seen.owner = d;
  for (std::size_t slot = 0; slot < entries_per_table; ++slot)
    seen.entries[slot] = domain(d).mirrors.load(mirror, slot).raw();
}

}  // namespace pinfold::pvmmu::property
