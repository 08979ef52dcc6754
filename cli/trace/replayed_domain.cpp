#include "trace/replayed_domain.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "pvmmu/state_digest.hpp"

namespace pinfold::trace {
namespace {

using pvmmu::Pte;
using pvmmu::TraceKind;

constexpr std::uint64_t largest_alignment = 1 << 20;

std::string inconsistent(const char* what) { return fmt::format("the log contradicts itself: {}", what); }

}  // namespace

tl::expected<std::unique_ptr<ReplayedDomain>, std::string> ReplayedDomain::of(const LogHeader& header,
                                                                              ReplayedMachine& machine) {
  auto mirrors = SparseMemory::create(header.mirror_pages);
  if (!mirrors) return tl::unexpected(mirrors.error());
  return std::unique_ptr<ReplayedDomain>(new ReplayedDomain(header, machine, std::move(*mirrors)));
}

ReplayedDomain::ReplayedDomain(const LogHeader& header, ReplayedMachine& machine, SparseMemory mirrors)
    : header_(header),
      machine_(machine),
      arena_(std::move(mirrors)),
      mirrors_(arena_.pages(), header.mirrors_at),
      listener_(header_, machine.lives),
      view_(listener_, machine.memory.pages()),
      mmu_(pvmmu::ValidatorParts{header.domain, machine.frames, machine.memory.pages(), machine.m2p.pages(),
                                 mirrors_, stale_, view_, header.l4_xen_slots, header.machphys_slot,
                                 header.max_frames, &listener_, header.most_windows}) {}

bool ReplayedDomain::is_live_l1(Mfn mfn) const {
  return mmu_.owns(mfn) && mmu_.frame(mfn).type == pvmmu::FrameType::l1 && mmu_.frame(mfn).mirror != 0;
}

std::optional<std::string> ReplayedDomain::step(const LogEvent& event) {
  if (is_within_operation(event.kind)) {
    ReplayListener::Within within{event, {event.contents.begin(), event.contents.end()}};
    within.event.contents = {};
    listener_.within.push_back(std::move(within));
    return std::nullopt;
  }
  if (over_) return inconsistent("it goes on after the domain's end");
  if (event.kind == TraceKind::state) return compare_state(event);
  if (!is_operation(event.kind)) return std::nullopt;
  if (event.marks.budgeted) mmu_.set_budget(held_, pvmmu::Budget(event.budget));
  if (header_.version == oldest_version && event.kind > TraceKind::release_readable)
    return inconsistent("a kind of event that its version does not have");
  listener_.expect(event);
  ++operations_;
  if (auto wrong = apply(event)) return wrong;
  return listener_.result();
}

std::optional<std::string> ReplayedDomain::compare_state(const LogEvent& event) {
  if (event.digests.size() != pvmmu::digests_of(mmu_.machine_frames()))
    return inconsistent("its digests are not those of its machine");
  const auto digests = pvmmu::state_digests(held_, mmu_);
  compared_end_ = true;
  for (std::size_t i = 0; i < digests.size(); ++i)
    if (digests[i] != event.digests[i])
      return fmt::format("the state at the end differs, in frames {:#x} to {:#x}",
                         i * pvmmu::frames_per_digest, (i + 1) * pvmmu::frames_per_digest - 1);
  return std::nullopt;
}

/// Answers with what forbids the operation; what comes of it, the listener hears.
std::optional<std::string> ReplayedDomain::apply(const LogEvent& event) {
  switch (event.kind) {
    case TraceKind::update:
    case TraceKind::update_va:
    case TraceKind::store_l1:
    case TraceKind::touch: return apply_to_table(event);
    case TraceKind::load_root:
    case TraceKind::unload_root:
    case TraceKind::fill_windows:
    case TraceKind::hide_machphys: return apply_to_root(event);
    case TraceKind::allocate:
    case TraceKind::allocate_special:
    case TraceKind::deallocate:
    case TraceKind::check_exchange:
    case TraceKind::give_away:
    case TraceKind::receive:
    case TraceKind::machine_grew:
    case TraceKind::destroy: return apply_to_reservation(event);
    case TraceKind::hold:
    case TraceKind::release:
    case TraceKind::hold_readable:
    case TraceKind::release_readable: return apply_to_hold(event);
    case TraceKind::map_granted:
    case TraceKind::unmap_granted:
    case TraceKind::replace_granted: return apply_to_grant(event);
    default: return apply_to_frame(event);
  }
}

std::optional<std::string> ReplayedDomain::apply_to_table(const LogEvent& e) {
  const auto place = entry_address(e.table, e.slot);
  switch (e.kind) {
    case TraceKind::update: {
      // What the processor had set.
      if (e.marks.accessed_by_processor && is_live_l1(e.table)) {
        const pvmmu::MirrorId mirror(mmu_.frame(e.table).mirror);
        mirrors_.store(mirror, e.slot, mirrors_.load(mirror, e.slot).with(pvmmu::bit::accessed));
      }
      const auto preserve = e.marks.preserve ? pvmmu::Preserve::accessed_and_dirty : pvmmu::Preserve::nothing;
      (void)mmu_.update(held_, place, e.now, preserve);
      return std::nullopt;
    }
    case TraceKind::update_va:
      if (!roots_.contains(e.root)) return inconsistent("an address is looked up under what is no root");
      (void)mmu_.update_va(held_, e.root, GuestVaddr(e.argument), e.now);
      return std::nullopt;
    case TraceKind::store_l1: {
      pvmmu::Leaf target;
      target.entry = Pte(e.table, 0);
      (void)mmu_.update_l1_by_store(held_, target, e.slot, e.now);
      return std::nullopt;
    }
    default:
      if (!is_live_l1(e.table)) return inconsistent("an access through what is no L1");
      (void)mmu_.touch(
          held_,
          pvmmu::Leaf{e.table, e.slot, Pte(machine_.memory.pages().load(e.table.raw(), e.slot)), true, true},
          e.marks.write);
      return std::nullopt;
  }
}

std::optional<std::string> ReplayedDomain::apply_to_root(const LogEvent& e) {
  if (e.kind == TraceKind::hide_machphys) {
    if (!roots_.contains(e.frame)) return inconsistent("what is no root has its machine-to-phys slot hidden");
    mmu_.hide_machphys(held_, e.frame);
    return std::nullopt;
  }
  if (e.kind == TraceKind::fill_windows) {
    if (!roots_.contains(e.root)) return inconsistent("windows are filled under what is no root");
    (void)mmu_.fill_windows(held_, e.root, GuestVaddr(e.argument));
    return std::nullopt;
  }
  const auto before = roots_.find(e.root);
  if (e.root != no_mfn && before == roots_.end())
    return inconsistent("a root register holds what is no root");
  Mfn root = e.root;
  if (e.kind == TraceKind::load_root)
    (void)mmu_.load_root(held_, root, e.frame);
  else
    mmu_.unload_root(held_, root);
  if (root == e.root) return std::nullopt;
  if (before != roots_.end()) roots_.erase(before);
  if (root != no_mfn) roots_.insert(root);
  return std::nullopt;
}

std::optional<std::string> ReplayedDomain::apply_to_frame(const LogEvent& e) {
  switch (e.kind) {
    case TraceKind::set_machphys: (void)mmu_.set_machphys(held_, e.frame, Pfn(e.argument), e.count); break;
    case TraceKind::pin:
      if (e.level == 0) return inconsistent("a pin as no level");
      (void)mmu_.pin(held_, static_cast<pvmmu::Level>(e.level), e.frame);
      break;
    case TraceKind::unpin: (void)mmu_.unpin(held_, e.frame); break;
    case TraceKind::clear_page: (void)mmu_.clear_page(held_, e.frame); break;
    case TraceKind::copy_page: (void)mmu_.copy_page(held_, e.frame, Mfn(e.argument)); break;
    case TraceKind::write_descriptor:
      (void)mmu_.write_descriptor(held_, MachineAddr(e.argument), e.now.raw());
      break;
    case TraceKind::finish_releases: (void)mmu_.finish_releases(held_); break;
    case TraceKind::forget_mirrors: mmu_.retired_mirrors_forgotten(held_, e.argument); break;
    default: return inconsistent("an operation that there is not");
  }
  return std::nullopt;
}

std::optional<std::string> ReplayedDomain::apply_to_hold(const LogEvent& e) {
  switch (e.kind) {
    case TraceKind::hold:
      if (e.wanted == pvmmu::FrameType::none) return inconsistent("a frame is held as nothing");
      if (mmu_.hold(held_, e.frame, e.wanted)) holds_.insert(e.frame);
      break;
    case TraceKind::hold_readable:
      if (mmu_.hold_readable(held_, e.frame)) readers_.insert(e.frame);
      break;
    case TraceKind::release_readable: {
      const auto reader = readers_.find(e.frame);
      if (reader == readers_.end()) return inconsistent("a reader lets go of a frame that it does not hold");
      readers_.erase(reader);
      mmu_.release_readable(held_, e.frame);
      break;
    }
    default: {
      const auto held = holds_.find(e.frame);
      if (held == holds_.end()) return inconsistent("a reference is released that nobody holds");
      holds_.erase(held);
      mmu_.release(held_, e.frame);
      break;
    }
  }
  return std::nullopt;
}

std::optional<std::string> ReplayedDomain::apply_to_grant(const LogEvent& e) {
  if (!e.grant || e.count >= sizeof(Pte)) return inconsistent("a grant without a name, or no place for it");
  const MachineAddr where(entry_address(e.table, e.slot).raw() + e.count);
  if (e.kind == TraceKind::map_granted)
    (void)mmu_.map_granted(held_, where, e.now, *e.grant);
  else if (e.kind == TraceKind::unmap_granted)
    (void)mmu_.unmap_granted(held_, where, e.now, *e.grant);
  else
    (void)mmu_.replace_granted(held_, where, e.now, MachineAddr(e.argument), *e.grant);
  return std::nullopt;
}

std::optional<std::string> ReplayedDomain::apply_to_reservation(const LogEvent& e) {
  switch (e.kind) {
    case TraceKind::allocate:
    case TraceKind::allocate_special: return allocate(e);
    case TraceKind::deallocate: (void)mmu_.deallocate(held_, e.frame); break;
    case TraceKind::check_exchange: (void)mmu_.check_exchangeable(held_, e.frame); break;
    case TraceKind::give_away: (void)mmu_.give_away(held_, e.frame); break;
    case TraceKind::receive: return receive(e);
    case TraceKind::machine_grew: return grow(e);
    default: return end();
  }
  return std::nullopt;
}

std::optional<std::string> ReplayedDomain::allocate(const LogEvent& e) {
  if (header_.version != oldest_version)
    if (auto wrong = prescribe(e)) return wrong;
  if (e.kind == TraceKind::allocate_special) {
    (void)mmu_.allocate_special(held_);
    return std::nullopt;
  }
  if (e.count == 0 || e.argument == 0 || e.argument > largest_alignment)
    return inconsistent("an allocation of no frames, or of no alignment that can be");
  if (e.marks.beyond_limit)
    (void)mmu_.allocate_beyond_limit(held_, e.count, e.argument);
  else
    (void)mmu_.allocate(held_, e.count, e.argument);
  return std::nullopt;
}

/// Which frames the machine has is for the pool to say, not for the validator: they are the recorded ones.
std::optional<std::string> ReplayedDomain::prescribe(const LogEvent& e) {
  machine_.frames.prescribe(std::nullopt);
  // What is recorded as refused, or as no frame at all, is for the validator to judge.
  if (e.refusal || e.frame == no_mfn) return std::nullopt;
  const bool special = e.kind == TraceKind::allocate_special;
  if (!is_free(e.frame, special ? 1 : e.count) ||
      (!special && (e.argument == 0 || e.frame.raw() % e.argument != 0)))
    return inconsistent("frames are given that are somebody's, or not where they were asked for");
  machine_.frames.prescribe(pvmmu::FrameTable::Taken{e.frame, e.marks.cleared});
  return std::nullopt;
}

bool ReplayedDomain::is_free(Mfn first, std::uint64_t count) const {
  const std::uint64_t all = mmu_.machine_frames();
  if (first.raw() == 0 || first.raw() >= all || count == 0 || count > all - first.raw()) return false;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint16_t tag = machine_.frames.owner_tag(first.plus(i));
    if (header_.withheld.contains(first.plus(i))) return false;
    if (tag != 0 && machine_.lives(DomId(static_cast<std::uint16_t>(tag - 1)))) return false;
  }
  return true;
}

std::optional<std::string> ReplayedDomain::receive(const LogEvent& e) {
  if (!is_free(e.frame, 1)) return inconsistent("a frame is received that is somebody's");
  (void)mmu_.receive(held_, e.frame, Pfn(e.argument));
  return std::nullopt;
}

std::optional<std::string> ReplayedDomain::grow(const LogEvent& e) {
  if (e.count < mmu_.machine_frames() || e.count > header_.most_frames)
    return inconsistent("the machine grows past what it can have, or shrinks");
  if (!machine_.frames.make_room(e.count) || !mmu_.make_room(e.count))
    return "there is no room for so large a machine";
  mmu_.machine_grew(held_, e.count);
  if (e.count > machine_.frames.size()) machine_.frames.grow(e.count);
  return std::nullopt;
}

/// Its neighbours may hold frames of it.
std::optional<std::string> ReplayedDomain::end() {
  const bool alone = header_.version == oldest_version;
  if (!roots_.empty() || (alone && (!holds_.empty() || !readers_.empty())))
    return inconsistent("the domain ends with references held");
  over_ = true;
  (void)mmu_.destroy(held_);
  return std::nullopt;
}

}  // namespace pinfold::trace
