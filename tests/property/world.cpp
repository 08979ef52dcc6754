#include "world.hpp"

namespace pinfold::pvmmu::property {
namespace {

constexpr std::uint64_t most_frames = 26;
constexpr std::uint64_t initial_frames = 24;
constexpr std::uint64_t windows = 200;

/// Runs an operation in as many pieces as it takes, and the releases that it leaves.
template <class Request>
Verdict<> in_pieces(test::FakeDomain& domain, const Operation& op, Request&& request) {
  const auto& held = domain.held;
  const Budget piece(1 + op.slot * 3);
  Verdict<> verdict;
  do {
    domain.mmu.set_budget(held, piece);
    verdict = request();
  } while (!verdict && verdict.error().rule == Rule::unfinished);
  do domain.mmu.set_budget(held, piece);
  while (!domain.mmu.finish_releases(held));
  domain.mmu.set_budget(held, Budget::unlimited());
  return verdict;
}

/// Drops a reference that hold(), or hold_readable() for no type, took.
void release(test::FakeDomain& domain, Mfn mfn, FrameType type) {
  if (type == FrameType::none)
    domain.mmu.release_readable(domain.held, mfn);
  else
    domain.mmu.release(domain.held, mfn);
}

template <class V>
std::optional<Errno> error_of(const V& verdict) {
  if (verdict) return std::nullopt;
  return verdict.error().error();
}

}  // namespace

World::World(std::uint64_t mirrors)
    : first_(std::make_unique<test::FakeDomain>(
          machine_, DomId(1), test::FakeDomainOptions{mirrors, most_frames, true, nullptr, windows})),
      second_(std::make_unique<test::FakeDomain>(
          machine_, DomId(2), test::FakeDomainOptions{mirrors, most_frames, true, nullptr, windows, true})),
      model_(machine_frames, most_frames) {
  // The domains get frames in turn, so that neighbours belong to different domains.
  for (std::uint64_t i = 0; i < initial_frames; ++i)
    for (const int d : {1, 0}) model_.allocated(d, domain(d).allocate(), false);
  for (const int d : {1, 0})
    model_.allocated(d, domain(d).mmu.allocate_special(domain(d).held).value(), true);
  remember();
}

std::optional<std::string> World::step(const Operation& op, Tally& tally) {
  if (auto failure = run(op, tally)) return failure;
  if (auto failure = compare_inventory(op.domain, op.mfn)) return failure;
  remember();
  return std::nullopt;
}

std::optional<std::string> World::run(const Operation& op, Tally& tally) {
  const auto kind = static_cast<std::size_t>(op.kind);
  bool done = false;
  auto failure = apply_to_environment(op, done, tally);
  if (failure) return failure;
  if (done) {
    ++tally.accepted[kind];
    return compare(true);
  }
  const Outcome outcome = apply(op, tally);
  const bool accepted = !outcome.refused;
  ++(accepted ? tally.accepted : tally.refused)[kind];
  if (accepted != outcome.expected.empty())
    return std::string(accepted ? "accepted, but the model refuses" : "refused, but the model accepts");
  if (!accepted && !outcome.expected.contains(*outcome.refused))
    return "refused with the wrong error " + std::to_string(static_cast<int>(*outcome.refused));
  return compare(accepted);
}

/// Steps that can't be refused: those of the guest's processor, and of the monitor beside the validator's
/// operations.
std::optional<std::string> World::apply_to_environment(const Operation& op, bool& done, Tally& tally) {
  test::FakeDomain& here = domain(op.domain);
  const auto d = static_cast<std::size_t>(op.domain);
  done = true;
  switch (op.kind) {
    case Kind::guest_store:
      if (model_.owns(op.domain, op.mfn) && !model_.census().use[op.mfn.raw()].trusted()) {
        model_.frames[op.mfn.raw()].content[op.slot] = op.value;
        machine_.poke(op.mfn, op.slot, Pte(op.value));
      }
      return std::nullopt;
    case Kind::processor_access: {
      if (!model_.owns(op.domain, op.mfn) || !model_.census().use[op.mfn.raw()].is(FrameType::l1))
        return std::nullopt;
      const MirrorId mirror(machine_.frames[op.mfn].mirror);
      const Pte entry = here.mirrors.load(mirror, op.slot);
      if (!entry.present() || entry.any(bit::accessed)) return std::nullopt;
      here.mirrors.store(mirror, op.slot, entry.with(bit::accessed));
      model_.accessed.emplace(op.mfn.raw(), op.slot);
      return std::nullopt;
    }
    case Kind::unload_root: {
      const std::size_t which = op.choice % registers;
      here.mmu.unload_root(here.held, roots_[d][which]);
      model_.unload_root(op.domain, which);
      return std::nullopt;
    }
    case Kind::release: {
      if (model_.holds[d].empty()) return std::nullopt;
      const std::size_t index = op.slot % model_.holds[d].size();
      const auto [mfn, type] = model_.holds[d][index];
      release(here, mfn, type);
      model_.release(op.domain, index);
      return std::nullopt;
    }
    case Kind::flush:
      here.mmu.retired_mirrors_forgotten(here.held, here.mmu.mirrors().retired_end());
      retired_[d].clear();
      return std::nullopt;
    case Kind::hide_machphys: {
      const Mfn root = roots_[d][op.choice % registers];
      if (root == no_mfn) return std::nullopt;
      const bool shown = here.mirrors.load(MirrorId(machine_.frames[root].mirror), first_xen_slot).present();
      (void)here.mmu.take_flush_duty();
      here.mmu.hide_machphys(here.held, root);
      if (here.mirrors.load(MirrorId(machine_.frames[root].mirror), first_xen_slot).present())
        return std::string("the machine-to-phys table is not hidden");
      if (here.mmu.take_flush_duty() != shown) return std::string("hiding asks for a flush, or not, wrongly");
      return std::nullopt;
    }
    case Kind::allocate:
      if (op.choice % 4 == 1) return allocate_extent(op, 2 + op.choice / 4 * 2);
      return allocate(op, op.choice % 4 == 0 && op.slot == 511);
    case Kind::touch: return touch(op, tally);
    default: done = false; return std::nullopt;
  }
}

std::optional<std::string> World::allocate(const Operation& op, bool special) {
  test::FakeDomain& here = domain(op.domain);
  const bool expected = model_.any_free() && (special || model_.may_allocate(op.domain));
  const auto mfn = special ? here.mmu.allocate_special(here.held) : here.mmu.allocate(here.held);
  if (mfn.has_value() != expected) return std::string("allocation succeeds or fails against expectation");
  if (!mfn) return std::nullopt;
  if (model_.frames[mfn->raw()].owner != nobody || mfn->raw() == 0)
    return at(*mfn) + " was allocated although it is owned";
  model_.allocated(op.domain, *mfn, special);
  return std::nullopt;
}

std::optional<std::string> World::allocate_extent(const Operation& op, std::uint64_t count) {
  test::FakeDomain& here = domain(op.domain);
  const std::uint64_t extents = model_.free_extents(count);
  const bool allowed = model_.may_allocate(op.domain, count);
  const auto first = here.mmu.allocate(here.held, count, count);
  if (first && (!allowed || extents == 0)) return std::string("an extent was given that there is not");
  // An extent of which only a part was ever used may be missed.
  if (!first && allowed && extents > 1) return std::string("an extent is free, and was not given");
  if (!first) return std::nullopt;
  if (first->raw() % count != 0) return at(*first) + " is not aligned";
  for (std::uint64_t i = 0; i < count; ++i) {
    if (model_.frames[first->raw() + i].owner != nobody)
      return at(first->plus(i)) + " was allocated although it is owned";
    model_.allocated(op.domain, first->plus(i), false);
  }
  return std::nullopt;
}

std::optional<std::string> World::touch(const Operation& op, Tally& tally) {
  test::FakeDomain& here = domain(op.domain);
  const std::size_t which = op.choice % registers;
  const bool write = op.choice / registers == 1;
  const auto leaf = here.mmu.walk(here.held, roots_[static_cast<std::size_t>(op.domain)][which], op.va);
  const bool possible = leaf && here.mmu.touch(here.held, *leaf, write);
  if (possible != model_.touch(op.domain, which, op.va, write))
    return std::string("access permitted or not, the model differs");
  if (auto failure = read_linearly(op, which, tally)) return failure;
  if (possible && write &&
      !here.mirrors.load(MirrorId(machine_.frames[leaf->table].mirror), leaf->slot).writable())
    return std::string("the mirror does not let a write through that was permitted");
  return std::nullopt;
}

/// Follows the mirrors and windows as a processor does, to the entry that it takes for an L1's. nullopt: it
/// faults; 0: at an entry that is not present.
std::optional<Pte> World::processors_walk(int d, Mfn root, GuestVaddr va) {
  const MirrorArena& mirrors = domain(d).mirrors;
  MirrorId table(machine_.frames[root].mirror);
  for (Level level = Level::l4;; level = below(level)) {
    const Pte entry = mirrors.load(table, slot_of(level, va));
    if (entry == window_to_come) return std::nullopt;
    if (level == Level::l1 || !entry.present()) return entry.present() ? entry : Pte();
    table = mirrors.at(entry.mfn());
  }
}

/// Behind a linear entry the processor faults at most once, and then reads the guest's own table, and can't
/// write it.
std::optional<std::string> World::read_linearly(const Operation& op, std::size_t which, Tally& tally) {
  const Mfn root = roots_[static_cast<std::size_t>(op.domain)][which];
  const auto wanted = model_.linear_leaf(op.domain, which, op.va);
  if (root == no_mfn) return std::nullopt;
  const bool faulted = !processors_walk(op.domain, root, op.va);
  const Filled filled = domain(op.domain).mmu.fill_windows(domain(op.domain).held, root, op.va);
  if (faulted != (filled == Filled::some)) return std::string("windows are filled, or not, without a fault");
  if (!wanted) return std::nullopt;
  ++tally.linear_reads;
  tally.linear_faults += faulted ? 1 : 0;
  const auto seen = processors_walk(op.domain, root, op.va);
  if (!seen) return std::string("a processor faults at a window that was filled");
  if (seen->present() != wanted->present()) return std::string("a processor sees a page, or none, wrongly");
  if (seen->present() && (seen->mfn() != wanted->mfn() || seen->writable()))
    return std::string("behind a linear entry a processor sees another page, or may write it");
  return std::nullopt;
}

/// Where a processor can come from a table of this level: at the end are pages of the domain's, tables among
/// them only to be read, and no mirror.
std::optional<std::string> World::explore(int d, MirrorId table, Level level,
                                          std::set<std::uint32_t>& known) {
  if (!known.insert(table.raw() * 8 + number(level)).second) return std::nullopt;
  const MirrorArena& mirrors = domain(d).mirrors;
  for (std::size_t slot = 0; slot < entries_per_table; ++slot) {
    const Pte entry = mirrors.load(table, slot);
    if (!entry.present() || entry == window_to_come || (level == Level::l4 && is_xen_slot(slot))) continue;
    if (level == Level::l1) {
      if (entry.mfn().raw() >= machine_frames ||
          machine_.frames[entry.mfn()].owner() != domain(d).mmu.domain())
        return std::string("a processor can reach what is no frame of the domain's");
      if (entry.writable() && is_protected(machine_.frames[entry.mfn()].type))
        return std::string("a processor can write a table");
      continue;
    }
    const MirrorId next = mirrors.at(entry.mfn());
    if (next == no_mirror) return std::string("a processor takes what is no mirror for a table");
    if (auto failure = explore(d, next, below(level), known)) return failure;
  }
  return std::nullopt;
}

World::Outcome World::apply(const Operation& op, Tally& tally) {
  test::FakeDomain& here = domain(op.domain);
  const auto d = static_cast<std::size_t>(op.domain);
  const auto& held = here.held;
  Validator& mmu = here.mmu;
  const Pte want(op.value);
  switch (op.kind) {
    case Kind::update: {
      const bool preserve = op.choice % 4 == 0;
      const bool upper = model_.owns(op.domain, op.mfn) && is_table(model_.census().use[op.mfn.raw()].type) &&
                         !model_.census().use[op.mfn.raw()].is(FrameType::l1);
      (void)mmu.take_flush_duty();
      // Every second update is tried with the lock shared first, as a vCPU does that finds others waiting.
      if (!preserve && op.choice % 2 == 1 &&
          here.update_concurrently({{test::entry_at(op.mfn, op.slot), want}}) == 1)
        return {std::nullopt, model_.update(op.domain, op.mfn, op.slot, want, false)};
      // Half of the others are tried in the resident path first, which finishes them or does nothing.
      if (op.choice % 8 < 4) {
        const auto done = test::finish_resident(mmu, test::entry_at(op.mfn, op.slot), want, preserve);
        ++tally.resident[static_cast<std::size_t>(done)];
        if (done != ResidentWork::none)
          return {std::nullopt, model_.update(op.domain, op.mfn, op.slot, want, preserve)};
      }
      const auto refused = error_of(in_pieces(here, op, [&] {
        return mmu.update(held, test::entry_at(op.mfn, op.slot), want,
                          preserve ? Preserve::accessed_and_dirty : Preserve::nothing);
      }));
      if (upper && !refused && !mmu.take_flush_duty()) return {Errno::eagain, {}};
      return {refused, model_.update(op.domain, op.mfn, op.slot, want, preserve)};
    }
    case Kind::update_va:
      if (op.slot % 2 == 0) {
        const bool done = test::finish_update_va(mmu, roots_[d][op.choice % registers], op.va, want);
        tally.resident_va_updates += done;
        if (done) return {std::nullopt, model_.update_va(op.domain, op.choice % registers, op.va, want)};
      }
      return {error_of(mmu.update_va(held, roots_[d][op.choice % registers], op.va, want)),
              model_.update_va(op.domain, op.choice % registers, op.va, want)};
    case Kind::store_to_l1:
      // A grant is mapped and unmapped where a plain store would be accepted, and nowhere else.
      if (op.choice % 4 == 1)
        return {error_of(mmu.map_granted(held, test::entry_at(op.mfn, op.slot), want, mmu.domain())),
                model_.store_to_l1(op.domain, op.mfn, op.slot, want)};
      if (op.choice % 4 == 2) return unmap_granted(op);
      return {error_of(mmu.update_l1_by_store(held, Leaf{no_mfn, 0, Pte(op.mfn, test::ro)}, op.slot, want)),
              model_.store_to_l1(op.domain, op.mfn, op.slot, want)};
    case Kind::pin:
      return {
          error_of(in_pieces(here, op, [&] { return mmu.pin(held, static_cast<Level>(op.choice), op.mfn); })),
          model_.pin(op.domain, op.choice, op.mfn)};
    case Kind::unpin:
      return {error_of(in_pieces(here, op, [&] { return mmu.unpin(held, op.mfn); })),
              model_.unpin(op.domain, op.mfn)};
    case Kind::load_root:
      // Half of the roots are loaded by the resident path, and settled.
      if (op.slot % 2 == 0 && test::may_load_root(mmu, op.mfn)) {
        ++tally.resident[static_cast<std::size_t>(ResidentWork::root)];
        const bool settled = mmu.settle_root(held, roots_[d][op.choice % registers], op.mfn);
        return {settled ? std::nullopt : std::optional(Errno::einval),
                model_.load_root(op.domain, op.choice % registers, op.mfn)};
      }
      return {error_of(in_pieces(
                  here, op, [&] { return mmu.load_root(held, roots_[d][op.choice % registers], op.mfn); })),
              model_.load_root(op.domain, op.choice % registers, op.mfn)};
    case Kind::hold: {
      const auto type = static_cast<FrameType>(op.choice);
      if (type == FrameType::none)
        return {error_of(mmu.hold_readable(held, op.mfn)), model_.hold(op.domain, op.mfn, type)};
      return {error_of(in_pieces(here, op, [&] { return mmu.hold(held, op.mfn, type); })),
              model_.hold(op.domain, op.mfn, type)};
    }
    case Kind::deallocate:
      return {error_of(mmu.deallocate(held, op.mfn)), model_.deallocate(op.domain, op.mfn)};
    case Kind::exchange: {
      const Expected expected = model_.exchangeable(op.domain, op.mfn);
      const auto refused = error_of(mmu.check_exchangeable(held, op.mfn));
      if (refused || !expected.empty()) return {refused, expected};
      const auto fresh = mmu.allocate_beyond_limit(held, 1, 1);
      if (fresh.has_value() != model_.any_free()) return {Errno::enomem, {}};
      if (!fresh) return {std::nullopt, {}};
      model_.allocated(op.domain, *fresh, false);
      (void)mmu.deallocate(held, op.mfn);
      return {std::nullopt, model_.deallocate(op.domain, op.mfn)};
    }
    case Kind::write_descriptor:
      return {error_of(mmu.write_descriptor(held, test::entry_at(op.mfn, op.slot), op.value)),
              model_.write_descriptor(op.domain, op.mfn, op.slot, op.value)};
    case Kind::set_machphys:
      return {error_of(mmu.set_machphys(held, op.mfn, Pfn(op.value))),
              model_.set_machphys(op.domain, op.mfn, op.value)};
    case Kind::clear_page:
      return {error_of(mmu.clear_page(held, op.mfn)), model_.clear_page(op.domain, op.mfn)};
    case Kind::copy_page:
      return {error_of(mmu.copy_page(held, op.mfn, op.other)), model_.copy_page(op.domain, op.mfn, op.other)};
    default: return {Errno::enosys, {}};
  }
}

World::Outcome World::unmap_granted(const Operation& op) {
  test::FakeDomain& here = domain(op.domain);
  const bool fits = op.choice < 4;
  const bool exists = op.mfn.raw() < machine_frames;
  const Pte found(exists ? model_.frames[op.mfn.raw()].content[op.slot] : 0);
  const Pte granted(found.raw() ^ (fits ? 0 : bit::writable));
  const auto refused = error_of(here.mmu.unmap_granted(here.held, test::entry_at(op.mfn, op.slot), granted));
  return {refused, fits ? model_.store_to_l1(op.domain, op.mfn, op.slot, Pte()) : Expected{Errno::einval}};
}

OutsideReferences World::outside_of(int d) const {
  OutsideReferences outside;
  for (const Mfn root : roots_[static_cast<std::size_t>(d)])
    if (root != no_mfn) outside.add(root);
  for (const auto& [mfn, type] : model_.holds[static_cast<std::size_t>(d)])
    type == FrameType::none ? outside.add_readable(mfn) : outside.add(mfn);
  return outside;
}

std::optional<std::string> World::finish() {
  for (int d = 0; d < domains; ++d) {
    test::FakeDomain& here = domain(d);
    for (Mfn& root : roots_[static_cast<std::size_t>(d)]) here.mmu.unload_root(here.held, root);
    for (const auto& [mfn, type] : model_.holds[static_cast<std::size_t>(d)]) release(here, mfn, type);
    if (here.mmu.destroy(here.held) != 0) return std::string("frames are left after a domain's end");
    if (here.mirrors.in_use() != 0) return std::string("mirrors are left after a domain's end");
    if (here.mmu.allocated_frames() != 0) return std::string("a domain that has ended still counts frames");
  }
  for (std::uint64_t i = 1; i < machine_frames; ++i)
    if (test::state_of(machine_.frames[Mfn(i)]) != test::state_of(Frame{}))
      return at(Mfn(i)) + " is left after all have ended";
  if (machine_.frames.free_frames() != machine_frames - 1) return std::string("the pool has lost frames");
  return std::nullopt;
}

}  // namespace pinfold::pvmmu::property
