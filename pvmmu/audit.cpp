#include "pvmmu/audit.hpp"

#include <cinttypes>
#include <cstdio>

namespace pinfold::pvmmu {
namespace {

constexpr std::size_t most_findings = 100;

/// The counts that one frame should have, according to the tables.
struct Expected {
  std::uint32_t refs = 0;
  std::uint32_t types = 0;
  std::int32_t names_linearly = 0, named_linearly = 0;
};

class Auditor {
 public:
  Auditor(const Validator& mmu, const OutsideReferences& outside)
      : mmu_(mmu), outside_(outside), expected_(mmu.machine_frames()) {}

  std::vector<std::string> run() {
    for (std::uint64_t i = 1; i < mmu_.machine_frames(); ++i) {
      const Mfn mfn(i);
      if (mmu_.owns(mfn) != (mmu_.frames().owner_tag(mfn) == FrameTable::tag_of(mmu_.domain())))
        report("the machine and the domain disagree about whose frame %#" PRIx64 " is", mfn.raw());
      if (!mmu_.owns(mfn)) continue;
      if (const FrameType type = mmu_.facts(mfn).type; is_table(type)) read_table(mfn, level_of(type));
    }
    mmu_.windows().each(
        [this](Mfn table, unsigned shift, MirrorId window) { read_window(table, shift, window); });
    for (std::uint64_t i = 1; i < mmu_.machine_frames(); ++i) {
      if (mmu_.owns(Mfn(i))) compare(Mfn(i));
      compare_window(Mfn(i));
      compare_borrowed(Mfn(i));
    }
    return std::move(findings_);
  }

 private:
  template <class... Values>
  void report(const char* format, Values... values) {
    if (findings_.size() >= most_findings) return;
    std::array<char, 256> line{};
    std::snprintf(line.data(), line.size(), format, values...);
    findings_.emplace_back(line.data());
  }

  /// Counts the references of a table's entries, and compares the table with its mirror if it has one.
  void read_table(Mfn table, Level level) {
    const MirrorId mirror(mmu_.facts(table).mirror);
    const std::size_t end = mmu_.entries_held(table);
    for (std::size_t slot = 0; slot < end; ++slot) {
      const bool xen = level == Level::l4 && is_xen_slot(slot);
      const Pte entry(mmu_.machine().load(table.raw(), slot));
      Pte wanted;
      if (xen) {
        wanted = mmu_.l4_xen_slots()[slot - first_xen_slot];
      } else if (entry.present()) {
        wanted = count_entry(table, slot, level, entry);
      }
      if (mirror == no_mirror) continue;
      const Pte found = mmu_.mirrors().load(mirror, slot);
      // A processor may have set A in the mirror (and D, where the entry is writable); a root's
      // machine-to-phys slot may be hidden.
      const std::uint64_t may_differ = bit::accessed | (wanted.writable() ? bit::dirty : 0);
      const bool hidden = xen && slot == mmu_.machphys_slot() && !found.present();
      if (!hidden && ((found.raw() ^ wanted.raw()) & ~may_differ) != 0)
        report("mirror of table %#" PRIx64 " slot %zu holds %#" PRIx64 " instead of %#" PRIx64, table.raw(),
               slot, found.raw(), wanted.raw());
    }
  }

  /// Returns the mirror entry that belongs to a present entry, and adds its references to the expected
  /// counts.
  Pte count_entry(Mfn table, std::size_t slot, Level level, Pte entry) {
    const Mfn mfn = entry.mfn();
    const bool borrowed = level == Level::l1 && mmu_.contains(mfn) && mmu_.facts(mfn).borrowed;
    if (!mmu_.owns(mfn) && !borrowed) {
      report("table %#" PRIx64 " slot %zu names frame %#" PRIx64 ", which is not the domain's", table.raw(),
             slot, mfn.raw());
      return Pte();
    }
    const FrameFacts& frame = mmu_.facts(mfn);
    if (!borrowed && mmu_.is_linear(level, mfn)) return count_linear(table, slot, mfn, entry);
    Expected& expected = expected_[mfn.raw()];
    ++expected.refs;
    if (level == Level::l1) {
      if (entry.writable()) ++expected.types;
      if (entry.writable() && frame.type != FrameType::writable && !borrowed)
        report("table %#" PRIx64 " slot %zu maps frame %#" PRIx64 " writable, but its type is %s",
               table.raw(), slot, mfn.raw(), name(frame.type).data());
      return mirror_leaf(entry);
    }
    ++expected.types;
    if (frame.type != table_type(below(level)) || !frame.validated) {
      report("table %#" PRIx64 " slot %zu names frame %#" PRIx64 " as a table, but its type is %s",
             table.raw(), slot, mfn.raw(), name(frame.type).data());
      return Pte();
    }
    return mirror_upper(entry, mmu_.mirrors().frame(MirrorId(frame.mirror)));
  }

  /// An entry that names a table of its own level: a reference, unless it is the entry's own table.
  Pte count_linear(Mfn table, std::size_t slot, Mfn named, Pte entry) {
    if (entry.writable() || !mmu_.windows().allowed())
      report("table %#" PRIx64 " slot %zu is a linear entry %#" PRIx64, table.raw(), slot, entry.raw());
    const MirrorId window = mmu_.windows().find(named, 1);
    if (window == no_mirror)
      report("table %#" PRIx64 " slot %zu names table %#" PRIx64 ", which has no window", table.raw(), slot,
             named.raw());
    if (named != table) {
      if (!mmu_.facts(named).validated)
        report("table %#" PRIx64 " slot %zu names table %#" PRIx64 ", which is not validated", table.raw(),
               slot, named.raw());
      Expected& expected = expected_[named.raw()];
      ++expected.refs, ++expected.types, ++expected.named_linearly;
      ++expected_[table.raw()].names_linearly;
    }
    return mirror_upper(entry, mmu_.mirrors().frame(window));
  }

  /// Compares a window with its table: each entry is the one that belongs there, or is still to come.
  void read_window(Mfn table, unsigned shift, MirrorId window) {
    const FrameFacts& facts = mmu_.facts(table);
    if (!mmu_.owns(table) || !is_table(facts.type) || number(level_of(facts.type)) <= shift) {
      report("frame %#" PRIx64 " has a window at shift %u", table.raw(), shift);
      return;
    }
    if (!facts.validated) return;  // no processor comes there
    const Level level = level_of(facts.type);
    for (std::size_t slot = 0; slot < entries_per_table; ++slot) {
      const bool xen = level == Level::l4 && is_xen_slot(slot);
      const Pte entry(mmu_.machine().load(table.raw(), slot));
      const Pte found = mmu_.mirrors().load(window, slot);
      const Pte wanted = xen || !entry.present() ? Pte() : mmu_.window_entry(level, shift, entry);
      const bool to_come = wanted.present() && number(level) - shift > 1 && found == window_to_come;
      if (!to_come && ((found.raw() ^ wanted.raw()) & ~bit::accessed) != 0)
        report("window of table %#" PRIx64 " at shift %u, slot %zu holds %#" PRIx64 " instead of %#" PRIx64,
               table.raw(), shift, slot, found.raw(), wanted.raw());
    }
  }

  /// Entries that name a frame of another domain's are there by mappings of it, one each at most.
  void compare_borrowed(Mfn mfn) {
    const auto mappings = mmu_.borrowed().of(mfn);
    if (mmu_.facts(mfn).borrowed != (mappings.all() != 0))
      report("frame %#" PRIx64 " has %u mappings by grants, and is%s marked so", mfn.raw(), mappings.all(),
             mmu_.facts(mfn).borrowed ? "" : " not");
    if (mappings.all() == 0) return;
    if (mmu_.owns(mfn)) report("frame %#" PRIx64 " is the domain's, and borrowed", mfn.raw());
    if (mmu_.frames().owner_tag(mfn) == 0) report("borrowed frame %#" PRIx64 " is nobody's", mfn.raw());
    const Frame frame = mmu_.frame(mfn);
    const Expected expected = expected_[mfn.raw()];
    if (frame.refs != expected.refs || frame.type_count != expected.types)
      report("borrowed frame %#" PRIx64 " has %u entries, %u writable; in the tables are %u and %u",
             mfn.raw(), frame.refs, frame.type_count, expected.refs, expected.types);
    if (expected.refs > mappings.all() || expected.types > mappings.writers)
      report("borrowed frame %#" PRIx64 " has %u entries, %u writable, by %u mappings, %u for writing",
             mfn.raw(), expected.refs, expected.types, mappings.all(), mappings.writers);
  }

  /// Frames that code at CPL0 of the domain's VM may write are the domain's own L1 tables, and plain ones.
  void compare_window(Mfn mfn) {
    const FrameFacts& facts = mmu_.facts(mfn);
    if (!mmu_.knows_window(mfn))
      report("frame %#" PRIx64 " (%s) has a window that is%s open", mfn.raw(), name(facts.type).data(),
             facts.window ? " not" : "");
    if (facts.window && (!facts.mine || (is_protected(facts.type) && facts.type != FrameType::l1)))
      report("frame %#" PRIx64 " (%s) has an open window", mfn.raw(), name(facts.type).data());
  }

  void compare(Mfn mfn) {
    const Frame frame = mmu_.frame(mfn);
    Expected expected = expected_[mfn.raw()];
    if (frame.allocated || frame.special) ++expected.refs;
    if (frame.special) ++expected.types;
    if (frame.pinned) ++expected.refs, ++expected.types;
    if (frame.partial) ++expected.refs, ++expected.types;
    expected.refs += outside_.of(mfn) + outside_.readable_of(mfn);
    expected.types += outside_.of(mfn);
    if (frame.refs != expected.refs || frame.type_count != expected.types)
      report("frame %#" PRIx64 " (%s) has %u references and type count %u; its users are %u and %u",
             mfn.raw(), name(frame.type).data(), frame.refs, frame.type_count, expected.refs, expected.types);
    if (frame.linear != expected.names_linearly - expected.named_linearly ||
        (expected.names_linearly != 0 && expected.named_linearly != 0))
      report("table %#" PRIx64 " has the linear count %d; %d of its entries are, and %d name it", mfn.raw(),
             int{frame.linear}, expected.names_linearly, expected.named_linearly);
    if (frame.refs == 0) report("frame %#" PRIx64 " has no reference, but is not free", mfn.raw());
    if (frame.partial && (frame.validated || frame.type_count != 1 || !is_table(frame.type)))
      report("frame %#" PRIx64 " (%s) is a partial table with type count %u", mfn.raw(),
             name(frame.type).data(), frame.type_count);
    const bool live = is_table(frame.type) && frame.validated;
    if (frame.partial ? mmu_.is_releasing(mfn) != (frame.mirror == 0) : (frame.mirror != 0) != live)
      report("frame %#" PRIx64 " (%s) has mirror %u", mfn.raw(), name(frame.type).data(), frame.mirror);
    if (is_protected(frame.type) && frame.type_count == 0)
      report("frame %#" PRIx64 " is still %s, although nobody uses it so", mfn.raw(),
             name(frame.type).data());
  }

  const Validator& mmu_;
  const OutsideReferences& outside_;
  std::vector<Expected> expected_;
  std::vector<std::string> findings_;
};

}  // namespace

std::vector<std::string> audit(Held, const Validator& mmu, const OutsideReferences& outside) {
  return Auditor(mmu, outside).run();
}

}  // namespace pinfold::pvmmu
