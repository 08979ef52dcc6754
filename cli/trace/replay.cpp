#include "trace/replay.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "pvmmu/state_digest.hpp"
#include "trace/text.hpp"

namespace pinfold::trace {
namespace {

using pvmmu::Pte;
using pvmmu::TraceEvent;
using pvmmu::TraceKind;

constexpr std::uint64_t largest_alignment = 1 << 20;

bool same_refusal(const std::optional<pvmmu::Refusal>& a, const std::optional<pvmmu::Refusal>& b) {
  if (a.has_value() != b.has_value()) return false;
  if (!a) return true;
  const auto fields = [](const pvmmu::Refusal& r) {
    // Not the mirror: which one a table gets is no decision of the rules.
    return std::tuple(r.rule, r.table, r.slot, r.entry.raw(), r.frame, r.state.refs, r.state.type_count,
                      r.state.owner_plus_1, r.state.type, bool(r.state.pinned), bool(r.state.validated),
                      bool(r.state.partial), bool(r.state.allocated), bool(r.state.special));
  };
  return fields(*a) == fields(*b);
}

/// What of `found` is not as `recorded`; nullptr: nothing.
const char* difference(const TraceEvent& recorded, const TraceEvent& found) {
  if (recorded.kind != found.kind) return "another kind of event";
  if (!same_refusal(recorded.refusal, found.refusal)) return "another verdict";
  if (recorded.frame != found.frame) return "another frame";
  if (recorded.before != found.before) return "other counts before";
  if (recorded.after != found.after) return "other counts after";
  if (recorded.table != found.table || recorded.slot != found.slot || recorded.level != found.level)
    return "another place";
  if (recorded.old != found.old) return "another entry before";
  if (recorded.now != found.now) return "another entry asked for";
  if (recorded.wanted != found.wanted) return "another type";
  if (recorded.argument != found.argument || recorded.count != found.count || recorded.root != found.root)
    return "another number";
  if (!(recorded.marks == found.marks)) return "other marks (flush, work left)";
  return nullptr;
}

std::string inconsistent(const char* what) { return fmt::format("the log contradicts itself: {}", what); }

}  // namespace

// -- what the new validator says

void Replay::Listener::expect(const LogEvent& event) {
  expected_ = &event;
  at_ = 0;
  told_ = false;
  difference_.reset();
}

void Replay::Listener::differs(std::string text) {
  if (!difference_) difference_ = std::move(text);
}

void Replay::Listener::event(const TraceEvent& event) {
  if (event.kind == TraceKind::state) return;  // compared on its own
  const bool inner = is_within_operation(event.kind);
  if (inner && at_ == within.size())
    return differs(fmt::format("{} happens in it now, and did not", name(event.kind)));
  if (!inner && std::exchange(told_, true)) return;
  const TraceEvent& recorded = inner ? within[at_++].event : static_cast<const TraceEvent&>(*expected_);
  const char* what = difference(recorded, event);
  if (what == nullptr) return;
  LogEvent found(*expected_);
  static_cast<TraceEvent&>(found) = event;
  LogEvent was(*expected_);
  static_cast<TraceEvent&>(was) = recorded;
  differs(fmt::format("{}\n  recorded {}\n  now      {}", what, line_of(header_, was, {}),
                      line_of(header_, found, {})));
}

std::optional<std::string> Replay::Listener::result() {
  if (!told_) differs("nothing is done now");
  if (at_ != within.size())
    differs(fmt::format("{} of frame {:#x} does not happen in it any more", name(within[at_].event.kind),
                        within[at_].event.frame.raw()));
  within.clear();
  return std::exchange(difference_, std::nullopt);
}

bool Replay::View::protect(Mfn mfn) {
  const Within* next = listener_.next_within();
  if (next == nullptr || next->event.frame != mfn) {
    listener_.differs(fmt::format("frame {:#x} is to be checked now, and was not", mfn.raw()));
    return true;
  }
  if (next->event.kind == TraceKind::host_refused) return false;
  for (std::size_t slot = 0; slot < next->contents.size(); ++slot)
    machine_.store(mfn.raw(), slot, next->contents[slot]);
  return true;
}

bool Replay::View::revoked(Mfn mfn) const {
  const Within* next = listener_.next_within();
  return next == nullptr || next->event.kind != TraceKind::host_refused || next->event.frame != mfn;
}

// -- the machine again

tl::expected<std::unique_ptr<Replay>, std::string> Replay::of(const LogHeader& header) {
  auto machine = SparseMemory::create(header.machine_frames);
  auto m2p = SparseMemory::create(header.machine_frames / pvmmu::entries_per_table + 1);
  auto mirrors = SparseMemory::create(header.mirror_pages);
  for (const auto* memory : {&machine, &m2p, &mirrors})
    if (!*memory) return tl::unexpected(memory->error());
  return std::unique_ptr<Replay>(
      new Replay(header, std::move(*machine), std::move(*m2p), std::move(*mirrors)));
}

Replay::Replay(const LogHeader& header, SparseMemory machine, SparseMemory m2p, SparseMemory mirrors)
    : header_(header),
      machine_(std::move(machine)),
      m2p_(std::move(m2p)),
      arena_(std::move(mirrors)),
      frames_(header.machine_frames),
      mirrors_(arena_.pages(), header.mirrors_at),
      listener_(header_),
      view_(listener_, machine_.pages()),
      mmu_(pvmmu::ValidatorParts{header.domain, frames_, machine_.pages(), m2p_.pages(), mirrors_, stale_,
                                 view_, header.l4_xen_slots, header.machphys_slot, header.max_frames,
                                 &listener_}) {
  frames_.withhold(header.withheld);
}

bool Replay::is_live_l1(Mfn mfn) const {
  return mmu_.owns(mfn) && mmu_.frame(mfn).type == pvmmu::FrameType::l1 && mmu_.frame(mfn).mirror != 0;
}

std::optional<std::string> Replay::step(const LogEvent& event) {
  if (is_within_operation(event.kind)) {
    Within within{event, {event.contents.begin(), event.contents.end()}};
    within.event.contents = {};
    listener_.within.push_back(std::move(within));
    return std::nullopt;
  }
  if (over_) return inconsistent("it goes on after the domain's end");
  if (event.kind == TraceKind::state) return compare_state(event);
  if (!is_operation(event.kind)) return std::nullopt;
  if (event.marks.budgeted) mmu_.set_budget(held_, pvmmu::Budget(event.budget));
  listener_.expect(event);
  ++operations_;
  if (auto wrong = apply(event)) return wrong;
  return listener_.result();
}

std::optional<std::string> Replay::compare_state(const LogEvent& event) {
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
std::optional<std::string> Replay::apply(const LogEvent& event) {
  switch (event.kind) {
    case TraceKind::update:
    case TraceKind::update_va:
    case TraceKind::store_l1:
    case TraceKind::touch: return apply_to_table(event);
    case TraceKind::load_root:
    case TraceKind::unload_root:
    case TraceKind::hide_machphys: return apply_to_root(event);
    case TraceKind::allocate:
    case TraceKind::allocate_special:
    case TraceKind::deallocate:
    case TraceKind::check_exchange:
    case TraceKind::destroy: return apply_to_reservation(event);
    default: return apply_to_frame(event);
  }
}

std::optional<std::string> Replay::apply_to_table(const LogEvent& e) {
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
          held_, pvmmu::Leaf{e.table, e.slot, Pte(machine_.pages().load(e.table.raw(), e.slot)), true, true},
          e.marks.write);
      return std::nullopt;
  }
}

std::optional<std::string> Replay::apply_to_root(const LogEvent& e) {
  if (e.kind == TraceKind::hide_machphys) {
    if (!roots_.contains(e.frame)) return inconsistent("what is no root has its machine-to-phys slot hidden");
    mmu_.hide_machphys(held_, e.frame);
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

std::optional<std::string> Replay::apply_to_frame(const LogEvent& e) {
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
    case TraceKind::release: {
      const auto held = holds_.find(e.frame);
      if (held == holds_.end()) return inconsistent("a reference is released that nobody holds");
      holds_.erase(held);
      mmu_.release(held_, e.frame);
      break;
    }
    case TraceKind::finish_releases: (void)mmu_.finish_releases(held_); break;
    case TraceKind::forget_mirrors: mmu_.retired_mirrors_forgotten(held_, e.argument); break;
    default: return inconsistent("an operation that there is not");
  }
  return std::nullopt;
}

std::optional<std::string> Replay::apply_to_reservation(const LogEvent& e) {
  switch (e.kind) {
    case TraceKind::allocate:
      if (e.count == 0 || e.argument == 0 || e.argument > largest_alignment)
        return inconsistent("an allocation of no frames, or of no alignment that can be");
      if (e.marks.beyond_limit)
        (void)mmu_.allocate_beyond_limit(held_, e.count, e.argument);
      else
        (void)mmu_.allocate(held_, e.count, e.argument);
      break;
    case TraceKind::allocate_special: (void)mmu_.allocate_special(held_); break;
    case TraceKind::deallocate: (void)mmu_.deallocate(held_, e.frame); break;
    case TraceKind::check_exchange: (void)mmu_.check_exchangeable(held_, e.frame); break;
    default:
      if (!roots_.empty() || !holds_.empty() || !readers_.empty())
        return inconsistent("the domain ends with references held");
      over_ = true;
      (void)mmu_.destroy(held_);
      break;
  }
  return std::nullopt;
}

}  // namespace pinfold::trace
