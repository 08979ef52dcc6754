#include "translation_cache.hpp"

namespace pinfold::processors {
namespace {

using pvmmu::Level;
using pvmmu::bit::no_execute;
using pvmmu::bit::present;
using pvmmu::bit::writable;

constexpr std::uint64_t permissions = present | writable | no_execute;

/// Slots 256 to 271 of an L4 lead to the monitor's own tables, which never change: they are cached, and
/// followed no further.
bool leads_to_the_monitor(Level level, std::size_t slot) {
  return level == Level::l4 && pvmmu::is_xen_slot(slot);
}

std::optional<MirrorId> mirror_at(const pvmmu::test::FakeDomain& domain, Mfn frame) {
  const std::uint64_t first = pvmmu::test::first_mirror_frame.raw();
  if (frame.raw() <= first || frame.raw() >= first + domain.mirrors.pages().count()) return std::nullopt;
  return MirrorId(static_cast<std::uint32_t>(frame.raw() - first));
}

bool narrower(std::uint64_t now, std::uint64_t before) {
  return ((before & writable) != 0 && (now & writable) == 0) ||
         ((before & no_execute) == 0 && (now & no_execute) != 0);
}

std::string place(const TranslationCache::Upper& e) {
  return "slot " + std::to_string(e.slot) + " of mirror " + std::to_string(e.parent.raw()) +
         ", which led to mirror " + std::to_string(e.child.raw());
}

}  // namespace

void Incarnations::observe(const pvmmu::test::FakeDomain& domain) {
  std::map<std::uint32_t, Life> now;
  const auto add = [&](std::uint32_t mirror, Life life) {
    const auto before = live_.find(mirror);
    life.incarnation = before != live_.end() && before->second == life ? before->second.incarnation : next_++;
    now.emplace(mirror, life);
  };
  for (std::uint64_t i = 1; i < domain.mmu.machine_frames(); ++i) {
    const pvmmu::Frame frame = domain.mmu.frame(Mfn(i));
    if (frame.mirror == 0 || !domain.mmu.owns(Mfn(i))) continue;
    add(frame.mirror, {Mfn(i), frame.type, 0, 0});
  }
  domain.mmu.windows().each([&](Mfn table, unsigned shift, MirrorId window) {
    add(window.raw(), {table, domain.mmu.frame(table).type, shift, 0});
  });
  live_ = std::move(now);
}

std::optional<std::uint64_t> Incarnations::live(MirrorId mirror) const {
  const auto found = live_.find(mirror.raw());
  if (found == live_.end()) return std::nullopt;
  return found->second.incarnation;
}

void TranslationCache::fill(const pvmmu::test::FakeDomain& domain, const Incarnations& tables,
                            std::span<const MirrorId> roots) {
  std::vector<std::pair<MirrorId, Level>> to_walk;
  std::set<std::pair<MirrorId, Level>> seen;
  const auto reach = [&](MirrorId mirror, Level level) {
    if (seen.emplace(mirror, level).second) to_walk.emplace_back(mirror, level);
  };
  for (const MirrorId root : roots) reach(root, Level::l4);
  for (const Upper& e : uppers_)
    if (e.child != pvmmu::no_mirror) reach(e.child, pvmmu::below(e.level));
  while (!to_walk.empty()) {
    const auto [mirror, level] = to_walk.back();
    to_walk.pop_back();
    for (std::size_t slot = 0; slot < pvmmu::entries_per_table; ++slot) {
      const Pte entry = domain.mirrors.load(mirror, slot);
      if (!entry.present() || entry == pvmmu::window_to_come) continue;
      if (level == Level::l1) {
        leaves_.insert({entry.mfn(), entry.writable()});
        continue;
      }
      Upper e{mirror,
              pvmmu::no_mirror,
              tables.live(mirror).value_or(0),
              0,
              static_cast<std::uint16_t>(slot),
              level,
              entry.raw() & permissions};
      if (!leads_to_the_monitor(level, slot)) {
        const auto child = mirror_at(domain, entry.mfn());
        if (!child) {  // no upper level: what a walk makes of it is a translation of its own
          leaves_.insert({entry.mfn(), entry.writable()});
          continue;
        }
        e.child = *child;
        e.childs_incarnation = tables.live(*child).value_or(0);
        reach(*child, pvmmu::below(level));
      }
      // The cache keeps what a table was before it ended.
      if (e.child == pvmmu::no_mirror || e.childs_incarnation != 0) uppers_.insert(e);
    }
  }
}

std::optional<std::string> TranslationCache::reused_table(const Incarnations& tables) const {
  for (const Upper& e : uppers_) {
    const auto now = tables.live(e.child);
    if (now && *now != e.childs_incarnation) return place(e) + ": that stands for another table by now";
  }
  return std::nullopt;
}

std::optional<std::string> TranslationCache::forbidden_access(const pvmmu::test::FakeMachine& machine,
                                                              const pvmmu::test::FakeDomain& domain) const {
  using Access = pvmmu::test::FakeView::Access;
  for (const Leaf& leaf : leaves_) {
    if (leaf.frame.raw() >= machine.frames.size())
      return "a translation leads to frame " + std::to_string(leaf.frame.raw()) +
             ", which is not of the machine";
    const std::string what = "a translation lets the guest ";
    const std::string frame = " frame " + std::to_string(leaf.frame.raw());
    const Access access = domain.view.of(leaf.frame);
    if (access == Access::none) continue;
    // What another domain granted is in the view as long as it is mapped; and no table of anybody's, if it
    // may be written.
    const bool borrowed = domain.mmu.borrowed().of(leaf.frame).all() != 0;
    if (!domain.mmu.owns(leaf.frame) && !borrowed)
      return what + "read" + frame + ", which is not the domain's";
    const pvmmu::Frame f = machine.frames[leaf.frame];
    if (leaf.writable && access == Access::read_write && f.type_count != 0 && pvmmu::is_protected(f.type))
      return what + "write" + frame + ", which is a table or holds descriptors";
  }
  return std::nullopt;
}

std::optional<std::string> TranslationCache::outdated_upper(const pvmmu::test::FakeDomain& domain,
                                                            const Incarnations& tables) const {
  for (const Upper& e : uppers_) {
    if (tables.live(e.parent) != e.parents_incarnation) continue;
    const Pte now = domain.mirrors.load(e.parent, e.slot);
    const bool same_child = e.child == pvmmu::no_mirror || mirror_at(domain, now.mfn()) == e.child;
    if (!now.present() || !same_child || narrower(now.raw(), e.permissions))
      return place(e) + ": its table says something else by now";
  }
  return std::nullopt;
}

std::vector<MirrorId> TranslationCache::l1_tables() const {
  std::vector<MirrorId> tables;
  for (const Upper& e : uppers_)
    if (e.level == Level::l2) tables.push_back(e.child);
  return tables;
}

bool TranslationCache::remembers_ended_tables(const Incarnations& tables) const {
  for (const Upper& e : uppers_)
    if (e.child != pvmmu::no_mirror && !tables.live(e.child)) return true;
  return false;
}

}  // namespace pinfold::processors
