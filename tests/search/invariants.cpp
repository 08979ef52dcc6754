#include "invariants.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pinfold::pvmmu::search {
namespace {

template <class... Values>
[[noreturn]] void fail(fmt::format_string<Values...> format, Values&&... values) {
  throw Finding(fmt::format(format, std::forward<Values>(values)...));
}

struct Count {
  std::uint32_t refs = 0, types = 0;
};

/// What a mirror entry may let the processor do, given the guest's entry. Written without the functions that
/// make mirrors.
void check_leaf(std::size_t table, std::size_t slot, Pte guest, Pte mirror) {
  if (mirror.present() != guest.present())
    fail("table {} slot {}: the processor sees an entry, or none", table, slot);
  if (!guest.present()) return;
  if (mirror.writable() != guest.has(bit::writable | bit::dirty))
    fail("table {} slot {}: the processor may write, or may not, against the guest's entry", table, slot);
  if (mirror.any(bit::no_execute) != guest.any(bit::no_execute) || !mirror.any(bit::user) ||
      mirror.any(bit::global | bit::pat_or_large | bit::write_through | bit::cache_disable))
    fail("table {} slot {}: the mirror entry has flags {:#x}", table, slot, mirror.flags());
}
void check_upper(std::size_t table, std::size_t slot, Pte guest, Pte mirror) {
  if (mirror.present() != guest.present() || mirror.writable() != guest.writable() ||
      mirror.any(bit::no_execute) != guest.any(bit::no_execute) || mirror.any(bit::user) != guest.present() ||
      mirror.any(bit::global | bit::pat_or_large | bit::write_through | bit::cache_disable))
    fail("table {} slot {}: the mirror entry has flags {:#x}, the guest's {:#x}", table, slot, mirror.flags(),
         guest.flags());
}

class Check {
 public:
  Check(const Box& box, const State& state) : box_(box), state_(state), frames_(box.size().frames) {}

  void run() {
    check_views(box_, state_);
    std::array<std::uint64_t, domains> mirrors{}, owned{};
    for (std::size_t i = 1; i <= frames_; ++i) {
      record(i);
      contents(i);
      const FrameImage& f = state_.frames[i];
      if (f.owner == 0) continue;
      mirrors[f.owner - 1U] += f.mirrored ? 1 : 0;
      owned[f.owner - 1U] += f.special ? 0 : 1;
    }
    for (std::size_t d = 0; d < domains; ++d) {
      const BoxDomain& here = box_.domain(d);
      if (here.mirrors.in_use() != mirrors[d])
        fail("domain {} has {} mirrors in use for {} tables", d + 1, here.mirrors.in_use(), mirrors[d]);
      if (here.mmu.allocated_frames() != owned[d])
        fail("domain {} counts {} frames of its own", d + 1, here.mmu.allocated_frames());
      if (here.mmu.breach() != nullptr) fail("domain {}: {}", d + 1, here.mmu.breach()->describe());
      outside(d);
      for (const std::uint8_t root : state_.domain[d].roots)
        if (root != 0) reach(d, box_.domain(d).mmu.mirror_of_root(here.held, Mfn(root)), 4, true);
    }
    for (std::size_t i = 1; i <= frames_; ++i)
      if (state_.frames[i].refs != counts_[i].refs || state_.frames[i].types != counts_[i].types)
        fail("frame {} has {} references, {} typed; counted again they are {} and {}", i,
             state_.frames[i].refs, state_.frames[i].types, counts_[i].refs, counts_[i].types);
    for (std::size_t d = 0; d < domains; ++d) audited(d);
  }

 private:
  /// A record by itself.
  void record(std::size_t i) {
    const FrameImage& f = state_.frames[i];
    if (f.owner == 0) {
      if (!std::ranges::all_of(std::as_bytes(std::span(&f, 1)), [](std::byte b) { return b == std::byte{}; }))
        fail("frame {} is free, and its record not empty", i);
      return;
    }
    Count& count = counts_[i];
    if (f.allocated && f.special) fail("frame {} is special and in the reservation", i);
    if (f.allocated || f.special) ++count.refs;
    if (f.special) ++count.types;
    if (f.pinned) ++count.refs, ++count.types;
    if (f.partial) ++count.refs, ++count.types;
    if (f.refs == 0) fail("frame {} has no reference, and an owner", i);
    if (f.pinned && (!is_table(f.type) || !f.validated)) fail("frame {} is pinned, and no table", i);
    if (f.special && is_protected(f.type)) fail("frame {} is the monitor's, and a table", i);
    if (f.validated && !is_protected(f.type)) fail("frame {} is validated as nothing", i);
    if (is_protected(f.type) && f.types == 0) fail("frame {} is {}, and nobody uses it so", i, name(f.type));
    if (is_protected(f.type) && !f.validated && !f.partial) fail("frame {} is {} unchecked", i, name(f.type));
    if (f.partial != (f.interrupted || f.release != 0) || (f.interrupted && f.release != 0) ||
        (f.partial && (f.validated || f.types != 1 || !is_table(f.type) || f.type == FrameType::l1)))
      fail("frame {} is partial in a way that nothing is", i);
    if (f.mirrored != (is_table(f.type) && (f.validated || f.partial)))
      fail("frame {} has a mirror or not", i);
    if (f.position > entries_per_table) fail("frame {} has come to slot {}", i, f.position);
  }

  /// The entries that hold references: what they name, and whether the mirror's entries fit them.
  void contents(std::size_t i) {
    const FrameImage& f = state_.frames[i];
    if (!is_table(f.type)) return;
    for (std::size_t slot = 0; slot < slots.size(); ++slot) {
      const bool checked = slot < entries_held(f);
      const Pte guest = decode(f.guest[slot]), mirror = decode(f.mirror[slot]);
      if (checked && guest.present()) entry(i, f, slot, guest);
      if (!f.mirrored) continue;
      if (!checked && mirror.raw() != 0) fail("the mirror of table {} is ahead of its check", i);
      if (!checked) continue;
      if (f.type == FrameType::l1)
        check_leaf(i, slot, guest, mirror);
      else
        check_upper(i, slot, guest, mirror);
    }
    rest_is_empty(i, f);
  }

  void entry(std::size_t i, const FrameImage& f, std::size_t slot, Pte e) {
    const std::size_t target = e.mfn().raw();
    if (target == 0 || target > frames_ || state_.frames[target].owner != f.owner)
      fail("table {} slot {} names frame {}, which is not its domain's", i, slot, target);
    if (e.any(bit::pat_or_large)) fail("table {} slot {} has a bit that is not allowed", i, slot);
    const FrameImage& named = state_.frames[target];
    ++counts_[target].refs;
    if (f.type == FrameType::l1) {
      if (!e.writable()) return;
      ++counts_[target].types;
      if (named.type != FrameType::writable)
        fail("table {} slot {} maps frame {} writable, which is {}", i, slot, target, name(named.type));
      return;
    }
    ++counts_[target].types;
    if (static_cast<int>(named.type) + 1 != static_cast<int>(f.type) || !named.validated)
      fail("table {} ({}) slot {} names frame {}, which is {}", i, name(f.type), slot, target,
           name(named.type));
  }

  /// All other slots of the table and its mirror.
  void rest_is_empty(std::size_t i, const FrameImage& f) const {
    const bool root = f.type == FrameType::l4;
    const MirrorArena& mirrors = box_.domain(f.owner - 1U).mirrors;
    const MirrorId mirror = box_.mirror_of(i);
    for (std::size_t slot = 0; slot < entries_per_table; ++slot) {
      if (std::ranges::find(slots, slot) != slots.end()) continue;
      if (box_.machine().load(i, slot) != 0) fail("table {} slot {} is in use", i, slot);
      if (!f.mirrored || (root && f.release != 0 && is_xen_slot(slot))) continue;
      const bool xen = root && is_xen_slot(slot) && (f.validated || slot < f.position);
      const Pte wanted = xen ? box_.domain(f.owner - 1U).mmu.l4_xen_slots()[slot - first_xen_slot] : Pte();
      if (mirrors.load(mirror, slot) != wanted)
        fail("the mirror of table {} has something in slot {}", i, slot);
    }
  }

  /// References that the monitor holds.
  void outside(std::size_t d) {
    const auto hold = [&](std::uint8_t frame, FrameType type) {
      if (frame == 0) return;
      ++counts_[frame].refs, ++counts_[frame].types;
      const FrameImage& f = state_.frames[frame];
      if (f.owner != d + 1 || f.type != type || (is_protected(type) && !f.validated))
        fail("domain {} relies on frame {} as {}, which is {} of domain {}", d + 1, frame, name(type),
             name(f.type), f.owner);
    };
    for (const std::uint8_t root : state_.domain[d].roots) hold(root, FrameType::l4);
    hold(state_.domain[d].data_hold, FrameType::writable);
    hold(state_.domain[d].descriptor_hold, FrameType::seg_desc);
  }

  /// Walks from a loaded root as the processor does: every frame that it reaches is the domain's, and every
  /// frame that it may write is plain data.
  void reach(std::size_t d, Mfn table, unsigned level, bool writable) const {
    const BoxDomain& here = box_.domain(d);
    const std::uint64_t first = here.mirrors.frame(MirrorId(0)).raw();
    if (table.raw() <= first || table.raw() >= first + here.arena_memory.pages().count())
      fail("the processor walks frame {:#x}, which is no mirror", table.raw());
    for (const std::size_t slot : slots) {
      const Pte e = here.mirrors.load(MirrorId(static_cast<std::uint32_t>(table.raw() - first)), slot);
      if (!e.present()) continue;
      if (level > 1) {
        reach(d, e.mfn(), level - 1, writable && e.writable());
        continue;
      }
      if (e.mfn().raw() == 0 || e.mfn().raw() > frames_)
        fail("the processor reaches frame {:#x}", e.mfn().raw());
      const FrameImage& f = state_.frames[e.mfn().raw()];
      if (f.owner != d + 1) fail("domain {} reaches frame {}, which is not its own", d + 1, e.mfn().raw());
      if (writable && e.writable() && (is_protected(f.type) || f.types == 0))
        fail("domain {} can write frame {}, which is {}", d + 1, e.mfn().raw(), name(f.type));
    }
  }

  void audited(std::size_t d) const {
    const BoxDomain& here = box_.domain(d);
    OutsideReferences users;
    for (const Mfn mfn : {here.roots[0], here.roots[1], here.data_hold, here.descriptor_hold})
      if (mfn != no_mfn) users.add(mfn);
    const auto findings = audit(here.held, here.mmu, users);
    if (!findings.empty()) fail("the audit says: {}", findings.front());
  }

  const Box& box_;
  const State& state_;
  std::uint64_t frames_;
  std::array<Count, most_frames> counts_{};
};

/// Does `now` allow less than a processor may remember, or something else?
bool forgets(Pte remembered, Pte now) {
  if (!remembered.present()) return false;
  if (!now.present() || now.mfn() != remembered.mfn()) return true;
  return (remembered.writable() && !now.writable()) ||
         (!remembered.any(bit::no_execute) && now.any(bit::no_execute));
}

bool logged(const StaleLog& log, MirrorId mirror, std::size_t slot) {
  return std::ranges::any_of(log.entries(), [&](const StaleLog::Entry& e) {
    return e.table == mirror && (e.whole_table || e.slot == slot);
  });
}

}  // namespace

void check_views(const Box& box, const State& state) {
  for (std::size_t i = 1; i <= box.size().frames; ++i) {
    const FrameImage& f = state.frames[i];
    for (std::size_t d = 0; d < domains; ++d) {
      const auto wanted = f.owner != d + 1       ? BoxView::Access::none
                          : is_protected(f.type) ? BoxView::Access::read_only
                                                 : BoxView::Access::read_write;
      if (box.domain(d).view.access[i] != wanted) fail("frame {} differs in the view of domain {}", i, d + 1);
    }
  }
}

void check_state(const Box& box, const State& state) { Check(box, state).run(); }

Remembered remember(const Box& box, const State& state) {
  Remembered all;
  for (std::size_t i = 1; i <= box.size().frames; ++i) {
    const FrameImage& f = state.frames[i];
    if (!f.mirrored || !(f.validated || f.seen)) continue;
    all.mirror[i] = box.mirror_of(i);
    const MirrorArena& mirrors = box.domain(state.frames[i].owner - 1U).mirrors;
    for (std::size_t slot = 0; slot < slots.size(); ++slot)
      all.entries[i][slot] = mirrors.load(all.mirror[i], slots[slot]);
  }
  return all;
}

void check_flushes(const Box& box, const State& before, const State& after, const Remembered& remembered,
                   std::size_t domain, bool flush) {
  const BoxDomain& here = box.domain(domain);
  std::size_t ended = 0;
  for (std::size_t i = 1; i <= box.size().frames; ++i) {
    const MirrorId mirror = remembered.mirror[i];
    if (mirror == no_mirror || before.frames[i].owner != domain + 1) continue;
    const bool live = after.frames[i].owner == domain + 1 && box.mirror_of(i) == mirror;
    if (!live) ++ended;
    for (std::size_t slot = 0; slot < slots.size(); ++slot) {
      const Pte now = live ? here.mirrors.load(mirror, slots[slot]) : Pte();
      const bool narrower = live ? forgets(remembered.entries[i][slot], now) : true;
      if (narrower && !logged(here.stale, mirror, slots[slot]))
        fail("frame {} slot {}: a processor may remember an entry that the stale log does not tell of", i,
             slots[slot]);
      if (live && before.frames[i].type != FrameType::l1 && narrower && !flush)
        fail("frame {} slot {}: an entry of an upper level went, and nothing asks for a flush", i,
             slots[slot]);
    }
  }
  if (here.mirrors.retired() < ended)
    fail("{} tables ended, and {} mirrors wait for a flush", ended, here.mirrors.retired());
}

void check_teardown(Box& box, const State& state) {
  for (std::size_t d = 0; d < domains; ++d) {
    BoxDomain& here = box.domain(d);
    here.mmu.set_budget(here.held, Budget::unlimited());
    if (!here.mmu.finish_releases(here.held)) fail("releases do not end");
    for (std::size_t r = 0; r < 2; ++r)
      if (state.domain[d].roots[r] != 0) here.mmu.unload_root(here.held, here.roots[r]);
    for (const Mfn mfn : {here.data_hold, here.descriptor_hold})
      if (mfn != no_mfn) here.mmu.release(here.held, mfn);
    if (const std::uint64_t left = here.mmu.destroy(here.held); left != 0)
      fail("{} frames are left after the end of domain {}", left, d + 1);
    if (here.mirrors.in_use() != 0)
      fail("{} mirrors are left after the end of domain {}", here.mirrors.in_use(), d + 1);
    if (here.mmu.allocated_frames() != 0) fail("domain {} has ended, and still counts frames", d + 1);
  }
  for (std::size_t i = 1; i <= box.size().frames; ++i) {
    const Frame f = box.frame(Mfn(i));
    const Frame none;
    if (std::memcmp(&f, &none, sizeof f) != 0) fail("frame {} has a record after all have ended", i);
    for (std::size_t d = 0; d < domains; ++d)
      if (box.domain(d).view.access[i] != BoxView::Access::none)
        fail("frame {} is in a view after all have ended", i);
  }
  if (box.frames().free_frames() != box.size().frames) fail("the pool has lost frames");
}

}  // namespace pinfold::pvmmu::search
