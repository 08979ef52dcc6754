#include "box.hpp"

#include <fmt/format.h>

#include "state_access.hpp"

namespace pinfold::pvmmu::search {
namespace {

inline constexpr Mfn first_mirror_frame{0x100000};

std::array<Pte, xen_slots> recognisable_slots() {
  std::array<Pte, xen_slots> all;
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = Pte(Mfn(0x200000 + i), bit::present);
  return all;
}

/// The content of an entry that was not chosen yet. Nobody may read it, so no check accepts it.
constexpr Pte never_chosen(Mfn(0), mapped_rw);

Mfn frame_or_none(std::uint8_t number) { return number != 0 ? Mfn(number) : no_mfn; }
std::uint8_t number_of(Mfn mfn) { return mfn == no_mfn ? 0 : static_cast<std::uint8_t>(mfn.raw()); }

/// Of a frame's type references those that are none of L1 entries: all those of a protected one, and of a
/// plain one the monitor's to a special page and a device's.
std::uint16_t holds_of(const State& state, std::size_t number) {
  const FrameImage& f = state.frames[number];
  if (is_protected(f.type)) return f.types;
  const bool held = f.owner != 0 && state.domain[f.owner - 1U].data_hold == number;
  return static_cast<std::uint16_t>((f.special ? 1 : 0) + (held ? 1 : 0));
}

}  // namespace

BoxDomain::BoxDomain(const Size& size, FrameTable& frames, const Pages& machine, const Pages& m2p, DomId id)
    : arena_memory(size.mirrors + 1),
      mirrors(arena_memory.pages(), first_mirror_frame),
      mmu(ValidatorParts{id, frames, machine, m2p, mirrors, stale, view, recognisable_slots(), first_xen_slot,
                         id.raw() == 0 ? size.first_has : size.second_has, nullptr}),
      held(mutex_) {}

std::size_t BoxDomain::update_concurrently(std::span<const EntryUpdate> wanted) {
  MmuCounters counters;
  std::size_t done = 0;
  held.unlock();
  {
    const DomainShare share(sharer_);
    done = mmu.update_concurrently(share, counters, wanted);
  }
  held.lock();
  mmu.count(held, counters);
  return done;
}

Box::Box(const Size& size)
    : size_(size),
      memory_(size.frames + 1),
      m2p_memory_(1),
      machine_(memory_.pages()),
      frames_(size.frames + 1) {
  for (std::size_t d = 0; d < domains; ++d) {
    domains_[d] = std::make_unique<BoxDomain>(size, frames_, machine_, m2p_memory_.pages(),
                                              DomId(static_cast<std::uint16_t>(d)));
    domains_[d]->view.on_protect = [this, d](Mfn mfn) { return protect(d, mfn); };
    domains_[d]->view.on_revoke = [this] { return revoke(); };
  }
  // Each frame has been used before, so that each must be cleared.
  while (frames_.take(DomId(0))) {
  }
  for (std::uint64_t i = size.frames; i > 0; --i) frames_.give_back(Mfn(i));
}

/// The type that the frame that is being protected is to have: one level below the innermost table that is
/// being checked, or the type that the operation asks for.
FrameType Box::becoming() const {
  FrameType type = expected_;
  for (std::size_t i = 1; i <= size_.frames; ++i) {
    const Frame f = frame(Mfn(i));
    if (is_table(f.type) && f.type_count != 0 && !f.validated && !f.partial && f.type <= type)
      type = static_cast<FrameType>(static_cast<int>(f.type) - 1);
  }
  return type;
}

/// The host may fail to take a frame out of the view. The domain then has it again, as if it had kept it.
bool Box::revoke() {
  if (!size_.host_refuses || !choosing || choices.pick(2) == 0) return true;
  frame_stuck = true;
  return false;
}

bool Box::protect(std::size_t d, Mfn mfn) {
  if (size_.host_refuses && choices.pick(2) == 1) return false;
  const FrameType type = becoming();
  std::array<Pte, 2> contents;
  if (type == FrameType::seg_desc) {
    constexpr std::array descriptors{std::uint64_t{0}, code_segment, task_gate};
    contents[0] = Pte(descriptors[choices.pick(descriptors.size())]);
  } else if (d == 0 || size_.second == Second::all) {
    const Alphabet& all = alphabet(d, type == FrameType::l1);
    contents = type == expected_ && !briefly_ ? all.pair(choices.pick(all.pairs()))
                                              : all.nested_pair(choices.pick(all.nested_pairs()));
  }
  for (std::size_t i = 0; i < slots.size(); ++i) machine_.store(mfn.raw(), slots[i], contents[i].raw());
  chosen.push_back({mfn, type, contents});
  return true;
}

void Box::choose_entries(const State& state, std::span<const std::uint8_t> tables) {
  for (const std::uint8_t table : tables) {
    const FrameImage& f = state.frames[table];
    Chosen all{Mfn(table), f.type, {decode(f.guest[0]), decode(f.guest[1])}};
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (all.contents[i] != never_chosen) continue;
      const auto entries = alphabet(f.owner - 1U, f.type == FrameType::l1).few(i);
      all.contents[i] = entries[choices.pick(entries.size())];
      machine_.store(table, slots[i], all.contents[i].raw());
    }
    chosen.push_back(all);
  }
}

std::uint8_t Box::looked_at_unchosen(const State& state, std::span<const std::uint8_t> except) const {
  for (std::uint8_t i = 1; i <= size_.frames; ++i) {
    const FrameImage& f = state.frames[i];
    if (!f.interrupted || slots_below(f.position) == slots.size() ||
        std::ranges::find(except, i) != except.end())
      continue;
    const Frame now = frame(Mfn(i));
    const bool as_it_was = now.partial && now.mirror != 0 && now.type == f.type &&
                           now.owner_tag() == f.owner &&
                           domain(f.owner - 1U).mmu.entries_held(Mfn(i)) == f.position;
    if (!as_it_was) return i;
  }
  return 0;
}

void Box::load(const State& state) {
  // Mirrors first: the records say which table each belongs to.
  for (std::size_t i = 1; i <= size_.frames; ++i) {
    const Frame f = frame(Mfn(i));
    if (f.mirror != 0 && f.owner_tag() != 0) domain(f.owner_tag() - 1U).mirrors.give_back(MirrorId(f.mirror));
  }
  for (auto& d : domains_) {
    StateAccess::each_releasing(d->mmu, [&](const auto& release) { d->mirrors.give_back(release.mirror); });
    d->mirrors.reuse_retired(d->mirrors.retired());
    d->stale.drop_below(d->stale.end());
    (void)d->mmu.take_flush_duty();
  }
  load_pool(state);
  bool other_owners = false;
  for (std::size_t i = 1; i <= size_.frames; ++i) {
    load_record(state, i);
    other_owners = other_owners || owners_[i] != state.frames[i].owner;
    owners_[i] = state.frames[i].owner;
  }
  for (std::size_t i = 1; i <= size_.frames; ++i)
    if (state.frames[i].mirrored) load_mirror(state, i);
  for (std::size_t d = 0; d < domains; ++d) {
    load_progress(state, d);
    if (other_owners || alphabets_[d][0].entries(0).empty())
      for (const bool leaf : {false, true})
        alphabets_[d][leaf ? 1 : 0] =
            Alphabet(size_, state, static_cast<std::uint8_t>(d + 1), leaf ? Level::l1 : Level::l2);
  }
}

/// Uses only public members of the pool: it takes all frames and gives back those that are to be free, so
/// that the lowest one is taken first again.
void Box::load_pool(const State& state) {
  bool differs = false;
  for (std::size_t i = 1; i <= size_.frames; ++i)
    differs = differs || (frames_.owner_tag(Mfn(i)) == 0) != (state.frames[i].owner == 0);
  if (!differs) return;
  while (frames_.take(DomId(0))) {
  }
  for (std::size_t i = size_.frames; i > 0; --i)
    if (state.frames[i].owner == 0) frames_.give_back(Mfn(i));
}

void Box::load_record(const State& state, std::size_t number) {
  const FrameImage& image = state.frames[number];
  const Mfn mfn(number);
  for (const auto& d : domains_) StateAccess::records(d->mmu).forget(mfn);
  if (image.owner != 0) {
    DomainRecords& records = StateAccess::records(domain(image.owner - 1U).mmu);
    FrameFacts& facts = records.facts(mfn);
    facts.mine = true;
    facts.type = image.type;
    facts.pinned = image.pinned;
    facts.validated = image.validated;
    facts.partial = image.partial;
    facts.allocated = image.allocated;
    facts.special = image.special;
    const std::uint16_t holds = holds_of(state, number);
    records.holds(mfn) = holds;
    records.uses(mfn) = {image.refs - holds - (image.allocated ? 1U : 0U),
                         static_cast<std::uint32_t>(image.types - holds)};
    if (image.mirrored) {
      const auto mirror = domain(image.owner - 1U).mirrors.take(Mfn(number));
      if (!mirror) throw Finding("a mirror is lost");
      release_mirrors_[number] = *mirror;
      if (image.release == 0) facts.mirror = mirror->raw();
    }
  }
  StateAccess::set_owner_tag(frames_, mfn, image.owner);
  for (std::size_t d = 0; d < domains; ++d)
    domain(d).view.access[number] = image.owner != d + 1       ? BoxView::Access::none
                                    : is_protected(image.type) ? BoxView::Access::read_only
                                                               : BoxView::Access::read_write;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    std::uint64_t value = never_chosen.raw();
    if (is_table(image.type)) value = decode(image.guest[i]).raw();
    if (image.type == FrameType::seg_desc) value = image.guest[i] != 0 ? code_segment_dpl3 : 0;
    machine_.store(number, slots[i], value);
  }
}

void Box::load_mirror(const State& state, std::size_t number) {
  const FrameImage& image = state.frames[number];
  const BoxDomain& owner = domain(image.owner - 1U);
  const MirrorId mirror = image.release != 0 ? release_mirrors_[number] : MirrorId(frame(Mfn(number)).mirror);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    Pte entry(decode(image.mirror[i]).flags());
    if (frame_in(image.mirror[i]) != 0) {
      const Mfn target(frame_in(image.guest[i]));
      entry = Pte(image.type == FrameType::l1 ? target : owner.mirrors.frame(MirrorId(frame(target).mirror)),
                  entry.raw());
    }
    owner.mirrors.store(mirror, slots[i], entry);
  }
  for (std::size_t i = 0; i < xen_slots; ++i)
    owner.mirrors.store(
        mirror, first_xen_slot + i,
        image.type == FrameType::l4 && image.position <= first_xen_slot + i && image.interrupted ? Pte()
        : image.type == FrameType::l4 ? owner.mmu.l4_xen_slots()[i]
                                      : Pte());
}

void Box::load_progress(const State& state, std::size_t d) {
  std::array<StateAccess::Progress, most_frames> interrupted{}, releasing{};
  std::size_t interruptions = 0, releases = 0;
  std::uint64_t owned = 0;
  for (std::size_t i = 1; i <= size_.frames; ++i) {
    const FrameImage& f = state.frames[i];
    if (f.owner != d + 1) continue;
    owned += f.special ? 0 : 1;
    if (f.interrupted) interrupted[interruptions++] = {Mfn(i), f.position};
    if (f.release != 0) {
      releasing[f.release - 1U] = {Mfn(i), f.position, release_mirrors_[i], f.seen};
      ++releases;
    }
  }
  BoxDomain& here = domain(d);
  StateAccess::set(here.mmu, std::span(interrupted.data(), interruptions),
                   std::span(releasing.data(), releases), owned);
  for (std::size_t i = 0; i < 2; ++i) here.roots[i] = frame_or_none(state.domain[d].roots[i]);
  here.data_hold = frame_or_none(state.domain[d].data_hold);
  here.descriptor_hold = frame_or_none(state.domain[d].descriptor_hold);
}

State Box::save() const {
  State state;
  for (std::size_t d = 0; d < domains; ++d) save_progress(state, d);
  for (std::size_t i = 1; i <= size_.frames; ++i) {
    const Frame frame = this->frame(Mfn(i));
    FrameImage& image = state.frames[i];
    if (frame.refs > 0xffff || frame.type_count > 0xffff)
      throw Finding(
          fmt::format("frame {} has {:#x} references, {:#x} typed", i, frame.refs, frame.type_count));
    image.owner = static_cast<std::uint8_t>(frame.owner_tag());
    image.type = frame.type == FrameType::writable && frame.type_count == 0 ? FrameType::none : frame.type;
    image.pinned = frame.pinned;
    image.validated = frame.validated;
    image.partial = frame.partial;
    image.allocated = frame.allocated;
    image.special = frame.special;
    image.mirrored = mirror_of(i) != no_mirror;
    image.refs = static_cast<std::uint16_t>(frame.refs);
    image.types = static_cast<std::uint16_t>(frame.type_count);
    if (image.owner != 0)
      if (const std::uint32_t holds = StateAccess::holds(domain(image.owner - 1U).mmu, Mfn(i));
          holds != holds_of(state, i))
        throw Finding(fmt::format("frame {} has {:#x} holds instead of {}", i, holds, holds_of(state, i)));
    if (is_protected(frame.type)) save_contents(frame, i, image);
  }
  return state;
}

/// The unfinished work of a domain, and the registers of its vCPU.
void Box::save_progress(State& state, std::size_t d) const {
  const BoxDomain& here = domain(d);
  StateAccess::each_interrupted(here.mmu, [&](Mfn table, std::size_t position) {
    state.frames[table.raw()].interrupted = true;
    state.frames[table.raw()].position = static_cast<std::uint16_t>(position);
  });
  std::uint8_t place = 0;
  StateAccess::each_releasing(here.mmu, [&](const StateAccess::Progress& release) {
    FrameImage& image = state.frames[release.table.raw()];
    if (image.release != 0) throw Finding("a table is to be released twice");
    image.release = ++place;
    image.position = static_cast<std::uint16_t>(release.position);
    image.seen = release.was_seen;
  });
  for (std::size_t i = 0; i < 2; ++i) state.domain[d].roots[i] = number_of(here.roots[i]);
  state.domain[d].data_hold = number_of(here.data_hold);
  state.domain[d].descriptor_hold = number_of(here.descriptor_hold);
}

void Box::save_contents(const Frame& frame, std::size_t number, FrameImage& image) const {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const Pte entry = guest(number, i);
    if (frame.type == FrameType::seg_desc) {
      if (entry.raw() != 0 && entry.raw() != code_segment_dpl3)
        throw Finding(fmt::format("frame {} holds the descriptor {:#x}", number, entry.raw()));
      image.guest[i] = entry.raw() != 0 ? 1 : 0;
      continue;
    }
    // Nobody reads the entries that a released table has dropped; entries that were not read yet may be
    // anything.
    const bool held = frame.validated || slots[i] < image.position;
    if (image.release != 0 && !held) continue;
    image.guest[i] = encode(image.interrupted && !held ? never_chosen : entry);
    if (image.mirrored) image.mirror[i] = save_mirror(number, i, entry);
  }
}

MirrorId Box::mirror_of(std::size_t number) const {
  const Frame frame = this->frame(Mfn(number));
  MirrorId mirror(frame.mirror);
  if (frame.owner_tag() == 0 || !frame.partial) return mirror;
  StateAccess::each_releasing(domain(frame.owner_tag() - 1U).mmu, [&](const StateAccess::Progress& release) {
    if (release.table == Mfn(number)) mirror = release.mirror;
  });
  return mirror;
}

/// The mirror's flags, and whether its entry leads to the same place as the guest's entry.
EntryCode Box::save_mirror(std::size_t number, std::size_t which, Pte entry) const {
  const Frame frame = this->frame(Mfn(number));
  const MirrorArena& mirrors = domain(frame.owner_tag() - 1U).mirrors;
  const Pte found = mirrors.load(mirror_of(number), slots[which]);
  if (found.raw() == 0) return 0;
  if (!entry.present()) throw Finding("a mirror has an entry where the table has none");
  const Mfn named = entry.mfn();
  Mfn target = named;
  if (frame.type != FrameType::l1)
    target = named.raw() < frames_.size() ? mirrors.frame(MirrorId(this->frame(named).mirror)) : no_mfn;
  if (found.mfn() != target)
    throw Finding(fmt::format("the mirror entry {:#x} does not lead where the guest's entry {:#x} does",
                              found.raw(), entry.raw()));
  return with_frame(encode(Pte(found.flags())), 1);
}

}  // namespace pinfold::pvmmu::search
