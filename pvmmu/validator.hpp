// The validator of one domain: every change of a page table, descriptor table or reservation goes through it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "pvmmu/borrowed_frames.hpp"
#include "pvmmu/budget.hpp"
#include "pvmmu/checked_entry.hpp"
#include "pvmmu/commit.hpp"
#include "pvmmu/concurrent_locks.hpp"
#include "pvmmu/core/access.hpp"
#include "pvmmu/core/entry_update.hpp"
#include "pvmmu/counters.hpp"
#include "pvmmu/domain_records.hpp"
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/frame_table.hpp"
#include "pvmmu/frame_view.hpp"
#include "pvmmu/linear_windows.hpp"
#include "pvmmu/lock.hpp"
#include "pvmmu/memory.hpp"
#include "pvmmu/mirror.hpp"
#include "pvmmu/trace.hpp"
#include "pvmmu/unfinished_tables.hpp"
#include "pvmmu/validator_parts.hpp"
#include "pvmmu/verdict.hpp"

namespace pinfold::pvmmu {

template <class Memory, class Records, class Locks>
class PlainL1;
struct L1Outcome;

/// Xen's page-type rules for one domain: who owns a frame, what it is used as, and how many references rely
/// on that.
///
/// A change goes decode → check → commit → release: the checks (core/check_l1.hpp, entry_check.hpp) take
/// references for what a new entry names and are the only makers of a CheckedEntry; `commit` (commit.hpp) is
/// the only function that stores into a guest table and its mirror, takes nothing else, and can't fail; the
/// old entry's references are dropped last. Whatever can fail happens before the first store.
///
/// Entries are not trusted when they are read back: a guest may have got at its tables in spite of the view,
/// and code that took over the gate may have written a mirror. So a guest's entry is compared with its mirror
/// wherever references are dropped because of it, a walk follows the mirrors, and a frame number from either
/// is used only if the frame is the domain's. A difference is a Breach: the entry is left alone, and the
/// caller must end the domain (breach()).
///
/// Big trees: the check or release of a table of an upper level stops when the budget is used up; the
/// operation's verdict is then Rule::unfinished. An interrupted check leaves the table partial and goes on
/// when the table is asked for again. A table that nobody relies on any more, or whose check failed, is
/// released entry by entry, in the same operation or in later ones; no operation that needs a table begins
/// before all releases are finished.
///
/// Concurrency: all members need the domain's lock, which callers prove with `Held`. A plain change of an L1
/// entry and a device's hold need it only shared (`Shared`, concurrent_update.cpp).
///
/// Size: the class has more public methods than others have, since each is one request of the hypercall ABI
/// or one question about the same records, under the same lock. Its parts are classes of their own.
///
/// Tracing: a TracedOperation tells the TraceSink, if there is one, what was asked and what the outcome was.
class Validator {
 public:
  explicit Validator(const ValidatorParts& parts);
  Validator(const Validator&) = delete;
  Validator& operator=(const Validator&) = delete;

  // -- tables: operations.cpp
  /// Writes one entry of a table (mmu_update's NORMAL and PRESERVE_AD), or 8 bytes of a plain frame, by
  /// machine address.
  Verdict<> update(Held, MachineAddr where, Pte want, Preserve preserve);
  /// The same for the L1 entry that translates `va` under `root`.
  Verdict<> update_va(Held, Mfn root, GuestVaddr va, Pte want);
  /// Writes one entry of an L1 that the guest reached by a plain store (ptwr); refused for anything but an
  /// L1.
  Verdict<> update_l1_by_store(Held, const Leaf& target_of_store, std::size_t slot, Pte want);
  /// The entries of the machine-to-phys array for `count` frames from `mfn` on, which become `pfn` and those
  /// after it; stops at the first frame that is refused.
  Verdict<> set_machphys(Held, Mfn mfn, Pfn pfn, std::uint64_t count = 1);
  /// Makes the leading updates that are plain ones of L1 entries, while others share the lock, and returns
  /// their count; pass the next one to update(). Counts into `counters`, which belongs to the caller alone
  /// and goes to count() afterwards. No flush may be due then: take_flush_duty(), before the lock is
  /// released. (concurrent_update.cpp)
  [[nodiscard]] std::size_t update_concurrently(Shared, MmuCounters& counters,
                                                std::span<const EntryUpdate> wanted);
  /// Adds what update_concurrently() counted.
  void count(Held, const MmuCounters& concurrent);
  Verdict<> pin(Held, Level level, Mfn mfn);
  Verdict<> unpin(Held, Mfn mfn);
  /// Moves a root register (`root`, no_mfn for none) to a new L4; the old one is released after the new one
  /// is held.
  Verdict<> load_root(Held, Mfn& root, Mfn wanted);
  /// Empties a root register. It is not an argument of load_root, since a guest could pass that.
  void unload_root(Held, Mfn& root);
  /// Code in the VM has loaded `moved_to` instead of `root`, without references (ResidentPath::root_mirror):
  /// takes the new one's and drops the old one's, as load_root() does. `no_mfn`: it has loaded none. False,
  /// and nothing was changed: it may not have loaded that.
  [[nodiscard]] bool settle_root(Held, Mfn& root, Mfn moved_to);
  Verdict<> clear_page(Held, Mfn mfn);
  Verdict<> copy_page(Held, Mfn to, Mfn from);

  // -- work at a stretch: tables.cpp
  /// Sets what the operations from here on may do in all.
  void set_budget(Held, Budget budget) { budget_ = budget; }
  [[nodiscard]] bool budget_used_up() const { return budget_.used_up(); }
  /// The budget, for other work in the same stretch.
  [[nodiscard]] Budget& budget(Held) { return budget_; }
  /// Goes on with releases. True: all are finished.
  [[nodiscard]] bool finish_releases(Held) { return !unfinished_.has_releases() || continue_releases(); }
  /// How many of a table's entries, from the first, hold references.
  [[nodiscard]] std::size_t entries_held(Mfn table) const;
  /// Is it a partial table that is being released, not one whose check was interrupted?
  [[nodiscard]] bool is_releasing(Mfn table) const { return unfinished_.is_releasing(table); }

  // -- descriptors: descriptors.cpp
  /// Checks one 8-byte descriptor, adjusts it, and writes it into a descriptor page or plain frame. Returns
  /// the value that was stored.
  Verdict<std::uint64_t> write_descriptor(Held, MachineAddr where, std::uint64_t descriptor);

  // -- references held outside of tables (GDT, LDT, vcpu_info): types.cpp
  Verdict<> hold(Held, Mfn mfn, FrameType type);
  void release(Held, Mfn mfn);
  /// Takes a reference of the type `writable`, as hold() does, while others share the lock: for a thread of a
  /// device. False: nothing was done, because it takes more than counting; ask hold(), which takes the
  /// reference or refuses it. Always false while a TraceSink watches. (concurrent_update.cpp)
  [[nodiscard]] bool try_hold_writable(Shared, Mfn mfn);
  /// Drops a reference of the type `writable` that either of the two took. False: nothing was done, because
  /// the frame might have to be freed with it; call release().
  [[nodiscard]] bool try_release_writable(Shared, Mfn mfn);

  // -- grants: grants.cpp
  /// A reference without a type, as of a read-only entry: the frame stays the domain's, whatever it is used
  /// as. The others are as those for `writable` above.
  Verdict<> hold_readable(Held, Mfn mfn);
  void release_readable(Held, Mfn mfn);
  [[nodiscard]] bool try_hold_readable(Shared, Mfn mfn);
  [[nodiscard]] bool try_release_readable(Shared, Mfn mfn);
  /// Maps what the lender, the domain itself or another, granted: the L1 entry at `where` becomes `want`. The
  /// caller holds the frame in the lender's records until unmap_granted() or replace_granted() succeeds.
  Verdict<> map_granted(Held, MachineAddr where, Pte want, GrantName grant);
  /// Clears the entry, which must still have frame and RW of `granted`. The grant's name is for a TraceSink.
  Verdict<> unmap_granted(Held, MachineAddr where, Pte granted, GrantName grant = {});
  /// The same; the entry at `from` moves to `where`, and leaves `from` in any case, as on Xen.
  Verdict<> replace_granted(Held, MachineAddr where, Pte granted, MachineAddr from, GrantName grant = {});

  // -- the reservation: reservation.cpp
  /// Gives the domain `count` contiguous free frames, the first at a multiple of `alignment`. Their contents
  /// are zero.
  Verdict<Mfn> allocate(Held, std::uint64_t count = 1, std::uint64_t alignment = 1);
  /// The same without regard to the domain's limit: for XENMEM_exchange, which gives as many back.
  Verdict<Mfn> allocate_beyond_limit(Held, std::uint64_t count, std::uint64_t alignment);
  /// Gives the domain a page of the monitor's own (shared_info, grant table): mappable, never freed by the
  /// guest.
  Verdict<Mfn> allocate_special(Held);
  /// Drops the allocation reference. The frame stays the domain's until its last reference goes.
  Verdict<> deallocate(Held, Mfn mfn);
  /// Does the same for adjacent frames, with one change of the view, if nothing but the reservation uses any
  /// of them. False: nothing was done; deallocate them one by one. Always false while a TraceSink watches.
  [[nodiscard]] bool deallocate_run(Held, Mfn first, std::uint64_t count);
  /// Is it the domain's, in its reservation, and referenced by nothing else? (XENMEM_exchange)
  Verdict<> check_exchangeable(Held, Mfn mfn) const;

  // -- frames that go from one domain to another: transfer.cpp
  /// The frame leaves the domain with what is in it, if nothing but the reservation uses it. Nobody has it
  /// then, until receive() of another domain or of this one, or drop_given(), is called for it. No processor
  /// reaches it any more once this returns.
  Verdict<> give_away(Held, Mfn mfn);
  /// A frame that was given away becomes the domain's, as the guest's `pfn`. Refused without has_room(), or
  /// if the host can't give access to the frame.
  Verdict<> receive(Held, Mfn mfn, Pfn pfn);
  [[nodiscard]] bool has_room() const { return owned_ < max_frames_; }
  /// Nobody receives a frame that this domain gave away: it is the machine's.
  void drop_given(Held, Mfn mfn) { frames_.give_back(mfn); }

  /// Frames that the domain has. A frame that it gave back counts until its last reference is dropped: until
  /// then nobody else can have it.
  [[nodiscard]] std::uint64_t allocated_frames() const { return owned_; }
  [[nodiscard]] std::uint64_t max_frames() const { return max_frames_; }
  /// Memory for the records of a machine of `frames`. Whoever calls it for one domain at a time needs no
  /// lock: what others read stays as it is. False: the host refuses.
  [[nodiscard]] bool make_room(std::uint64_t frames) { return records_.make_room(frames); }
  /// The machine has `frames` now, more than before, and memory for their records.
  void machine_grew(Held, std::uint64_t frames);
  /// Drops all pins and allocations; the caller has dropped roots and holds. How many frames still have
  /// references: 0 unless a count was wrong, or a neighbour holds some.
  std::uint64_t destroy(Held);

  // -- entries that are not what was stored
  /// The first difference that was found between a table and what was stored there, or null. After one the
  /// domain must not run on.
  [[nodiscard]] const Breach* breach() const { return breach_ ? &*breach_ : nullptr; }
  /// Copies the first descriptors of a page that is held as such. False, and a breach: one was never checked.
  [[nodiscard]] bool read_descriptors(Held, Mfn mfn, std::span<std::uint64_t> to) const;

  // -- looking: walk.cpp
  /// The L1 entry that translates `va`; nullopt if a level above is not present, the address is not the
  /// guest's, or the entry differs from its mirror (a breach). The leaf itself may be not present. The levels
  /// above are those of the mirrors. Behind a linear entry, it is the entry of level 2 to 4 that a processor
  /// takes for an L1's (`Leaf::linear`).
  [[nodiscard]] std::optional<Leaf> walk(Held, Mfn root, GuestVaddr va) const;
  /// The guest's entry with the accessed bit that the processor set in the mirror.
  [[nodiscard]] Pte merged_entry(Held, Mfn table, std::size_t slot) const;
  /// Sets A (and D, for a write) as the processor would; the leaf's frame may then be accessed. False if the
  /// leaf does not permit the access.
  bool touch(Held, const Leaf& leaf, bool write);
  /// What the processor's CR3 shall hold for a loaded root.
  [[nodiscard]] Mfn mirror_of_root(Held, Mfn root) const;
  /// Clears or restores the mirror's machine-to-phys slot of a root (VMASST_TYPE_m2p_strict).
  void hide_machphys(Held, Mfn root);

  // -- linear page tables: linear.cpp
  /// Makes the windows that a processor needs to read at an address behind a linear entry.
  Filled fill_windows(Held, Mfn root, GuestVaddr va);
  [[nodiscard]] const LinearWindows& windows() const { return windows_; }
  /// Does an entry of a table of this level that names this frame name a table of its own level?
  [[nodiscard]] bool is_linear(Level level, Mfn named) const {
    return level != Level::l1 && facts(named).type == table_type(level);
  }
  /// What an entry of a window holds for a present or absent entry of the guest's.
  [[nodiscard]] Pte window_entry(Level level, unsigned shift, Pte guest) const;

  // -- after changes
  /// Must every processor of the domain drop its translations before the guest goes on? Asking clears it.
  [[nodiscard]] bool take_flush_duty() { return std::exchange(flush_duty_, false); }
  /// No processor uses the stale log's entries numbered below `end` any more: they are dropped, and retired
  /// mirrors among them may be used again.
  void stale_entries_settled(Held, std::uint64_t end);
  /// For hosts without a log: mirrors whose number of retirement is below `end` may be used again, since each
  /// processor has dropped its translations since then, or will before it runs guest code again.
  void retired_mirrors_forgotten(Held, std::uint64_t end);

  /// What the domain may know of a frame: everything if the frame is its own, else only the owner.
  [[nodiscard]] Frame frame(Mfn mfn) const { return records_.frame(mfn, frames_.owner_tag(mfn)); }
  /// Is the frame's window (FrameView::open_window) as its record says?
  [[nodiscard]] bool knows_window(Mfn mfn) const { return view_.is_window_open(mfn) == facts(mfn).window; }
  /// Where the records lie that code in the domain's VM uses: facts, which it may read, and uses, which it
  /// may change.
  [[nodiscard]] const DomainRecords& records() const { return records_; }
  /// The same of a frame of its own, without the counts; and for a reader that may outlive the validator.
  [[nodiscard]] const FrameFacts& facts(Mfn mfn) const { return records_.facts(mfn); }
  [[nodiscard]] std::shared_ptr<const FrameFacts> lasting_facts(Mfn mfn) const {
    return records_.lasting_facts(mfn);
  }
  /// Frames of the machine, as far as the domain knows: machine_grew() tells it.
  [[nodiscard]] std::uint64_t machine_frames() const { return records_.size(); }
  [[nodiscard]] bool contains(Mfn mfn) const { return mfn.raw() < records_.size(); }
  [[nodiscard]] bool owns(Mfn mfn) const { return records_.owns(mfn); }
  /// Frames of other domains that this one has mapped by grants.
  [[nodiscard]] const BorrowedFrames& borrowed() const { return borrowed_; }
  /// May a frame that an entry of the domain names be read or written for it? (borrowed.cpp)
  [[nodiscard]] bool may_access(Mfn mfn, bool write) const;
  [[nodiscard]] DomId domain() const { return domain_; }
  [[nodiscard]] const FrameTable& frames() const { return frames_; }
  [[nodiscard]] const Pages& machine() const { return machine_; }
  [[nodiscard]] const MirrorArena& mirrors() const { return mirrors_; }
  [[nodiscard]] const std::array<Pte, xen_slots>& l4_xen_slots() const { return l4_xen_slots_; }
  /// The slot of an L4 through which the machine-to-phys table is seen.
  [[nodiscard]] std::size_t machphys_slot() const { return machphys_slot_; }
  [[nodiscard]] const MmuCounters& counters() const { return counters_; }

 private:
  friend struct StateAccess;   ///< Of tests that go back to earlier states.
  friend struct RecordAccess;  ///< Of tests that write records.

  using Where = EntryWhere;
  // validator_l1.hpp: the core for updates of L1 entries (core/plain_l1.hpp), with this validator's policies
  struct L1Memory;
  template <class Access>
  struct L1Records;
  struct NoTableLocks;
  struct TableLocks;
  using ExclusiveL1 = PlainL1<L1Memory, L1Records<ExclusiveAccess>, NoTableLocks>;
  using SharedL1 = PlainL1<L1Memory, L1Records<SharedAccess>, TableLocks>;
  ExclusiveL1 exclusive_l1();
  SharedL1 shared_l1(MmuCounters& counters);

  [[nodiscard]] FrameFacts& mutable_facts(Mfn mfn) { return records_.facts(mfn); }

  // entry_check.hpp
  Verdict<CheckedEntry> check_upper(Where where, Pte want);
  [[gnu::cold]] tl::unexpected<Refusal> refuse(Rule rule, Where where, Pte want, Mfn frame = no_mfn);
  [[gnu::cold]] tl::unexpected<Refusal> refuse(Rule rule, Mfn frame);

  [[gnu::noinline]] void log_stale(MachineAddr where, Pte before, Pte now);

  // types.cpp: the only place where a type is taken or dropped
  Verdict<> take_owned(Mfn mfn, FrameType type);
  Verdict<> take_type(Mfn mfn, FrameType type, Where where, Pte want);
  /// Takes one more reference of a type that the frame has already. False, and nothing done, if it takes more
  /// than counting.
  bool share(Mfn mfn, FrameType type) {
    std::uint32_t& holds = records_.holds(mfn);
    if (records_.transition(mfn, type) != Transition::share || holds >= max_references ||
        (is_table(type) && !facts(mfn).validated))
      return false;
    ++holds;
    return true;
  }
  void drop_type(Mfn mfn);
  Verdict<> become(Mfn mfn, FrameType type);
  [[nodiscard]] bool protect_as(Mfn mfn, FrameType type);
  void become_plain(Mfn mfn);
  /// To be called after a reference was dropped.
  void free_if_unreferenced(Mfn mfn) {
    if (!records_.is_referenced(mfn)) [[unlikely]]
      free_frame(mfn);
  }
  void drop_upper_entry(Mfn table, Level level, Pte old);

  // linear.cpp
  /// Where a walk through the guest's own tables has come to.
  struct Step {
    Mfn table;           ///< What the entry names.
    unsigned shift = 0;  ///< By how many levels a processor takes that for less than it is.
    Where at;            ///< The entry that led here.
    Pte entry;
    bool executable = true;
  };
  Verdict<CheckedEntry> check_linear(Where where, Pte want);
  bool drop_linear(Mfn table, Mfn named);
  /// What a processor walks behind an entry of a table of this level, which it takes for one `shift` levels
  /// down: a mirror or a window; no_mirror if that is not there.
  [[nodiscard]] MirrorId behind(Level level, Mfn named, unsigned shift) const;
  std::optional<MirrorId> window_of(Mfn table, unsigned shift);
  [[nodiscard]] std::optional<Pte> read_upper(Where where, Pte mirrored) const;
  void update_windows(Where where, Pte guest);
  void set_window_entry(MirrorId window, std::size_t slot, Pte now);
  void end_windows(Mfn table);
  [[nodiscard]] std::optional<Step> step_down(const Step& from, GuestVaddr va) const;
  [[nodiscard]] std::optional<Leaf> find_linear(Mfn root, GuestVaddr va) const;

  // breach.cpp
  /// The mirror's entry for the one at `where`, which is in the table with this record.
  [[nodiscard]] MirrorEntry mirror_entry(const FrameFacts& table, MachineAddr where) const {
    return MirrorEntry(mirror_pages_.at((std::uint64_t{table.mirror} << page_shift) + offset_in_page(where)));
  }
  /// Do an upper entry of the guest's table and the mirror's entry fit each other?
  [[nodiscard]] bool is_as_stored(Level level, Pte guest, Pte mirrored) const;
  /// Notes a breach, unless there was one.
  [[gnu::cold, gnu::noinline]] void note_breach(Where where, Pte guest, Pte mirrored) const;
  [[gnu::cold, gnu::noinline]] tl::unexpected<Refusal> refuse_breach(Where where, Pte guest,
                                                                     Pte mirrored) const;
  /// Notes a breach: an entry named a frame to which it can't have held a reference.
  [[gnu::cold, gnu::noinline]] void note_stray(Mfn named) const;

  // tables.cpp: what a type says of a frame's contents
  [[nodiscard]] std::size_t next_used(Mfn table, Level level, std::size_t slot) const;
  std::optional<MirrorId> take_empty_mirror(Mfn table);
  Verdict<> validate_l1(Mfn mfn);
  Verdict<> validate_upper(Mfn mfn, Level level);
  Verdict<> validate_descriptors(Mfn mfn);
  Verdict<> validate_upper_entry(Where where, Pte found, MirrorId mirror);
  void devalidate_l1(Mfn mfn);
  [[gnu::noinline]] bool end_marked_leaf(Where where, Pte guest, Pte mirrored);
  void drop_l1_entries(Mfn mfn, MirrorId mirror, std::size_t end);
  Verdict<> interrupt(Mfn mfn, std::size_t slot);
  void give_up(Mfn mfn, std::size_t end);
  void release_entries(Mfn mfn, std::size_t end, bool was_seen);
  void end_mirror(MirrorId mirror, bool was_seen);
  [[nodiscard]] bool releases_finished() { return !unfinished_.has_releases() || work_off_releases(); }
  [[nodiscard]] bool work_off_releases();
  void drop_entries(UnfinishedTables::Release& release);
  [[nodiscard]] bool continue_releases();
  static tl::unexpected<Refusal> unfinished();
  /// Finishes pending releases, runs an operation that needs tables, then releases what it left, within the
  /// budget.
  template <class Operation>
  Verdict<> after_releases(Operation&& operation) {
    if (!releases_finished()) return unfinished();
    const Verdict<> verdict = operation();
    (void)releases_finished();
    return verdict;
  }

  // traced_operation.cpp
  friend class TracedOperation;
  [[gnu::cold, gnu::noinline]] void trace_frame_change(TraceKind kind, Mfn mfn, FrameType type) const;
  [[gnu::cold, gnu::noinline]] void trace_host_refusal(Mfn mfn, bool revoke) const;
  [[gnu::cold, gnu::noinline]] void trace_hidden_machphys(Mfn root) const;
  void trace_forgotten_mirrors(std::uint64_t reused_before) const;

  // reservation.cpp
  Verdict<Mfn> allocate_traced(std::uint64_t count, std::uint64_t alignment, bool beyond_limit);
  struct TakenFrames {
    Mfn first;
    bool cleared = false;
  };
  Verdict<TakenFrames> take_frames(std::uint64_t count, std::uint64_t alignment, bool beyond_limit);
  [[nodiscard]] std::optional<Rule> why_not_exchangeable(Mfn mfn) const;
  std::uint64_t give_back_everything(Held held);

  // operations.cpp An update of an L1 entry is one of small functions that change `verdict` only to refuse:
  // registers and tail calls do.
  void update_l1(Verdict<>& verdict, const FrameFacts& table, MachineAddr where, Pte want);
  [[gnu::noinline]] void clear_l1(Verdict<>& verdict, MachineAddr where, Pte old, Pte want);
  [[gnu::noinline]] void replace_l1(Verdict<>& verdict, MachineAddr where, Pte old, Pte want);
  [[gnu::cold, gnu::noinline]] void refuse_l1(Verdict<>& verdict, MachineAddr where, Pte want,
                                              L1Outcome outcome);
  [[gnu::noinline]] void update_any(Verdict<>& verdict, MachineAddr where, Pte want, Preserve preserve);
  void update_owned(Verdict<>& verdict, MachineAddr where, Pte want, Preserve preserve);
  [[nodiscard]] bool only_flags_change(Level level, Pte old, Pte want) const;
  Verdict<> update_upper(Mfn table, std::size_t slot, Pte want, Preserve preserve);
  [[gnu::noinline]] Verdict<> load_new_root(Mfn& root, Mfn wanted);
  void replace_root(Mfn& root, Mfn wanted);
  Verdict<> check_owned(Mfn mfn);
  [[gnu::cold]] void free_frame(Mfn mfn);
  [[nodiscard]] bool is_unused(Mfn mfn) const;
  void give_back(Mfn mfn);

  // walk.cpp
  /// The place of the L1 entry for an address, in a table of the domain, and what the levels above allow.
  [[nodiscard]] std::optional<Leaf> find_leaf(Mfn root, GuestVaddr va) const;
  [[nodiscard]] std::optional<Leaf> follow_mirrors(Mfn root, GuestVaddr va) const;

  // borrowed.cpp
  Verdict<> borrow(Mfn mfn, bool writable, DomId lender);
  Verdict<> end_borrow(Pte granted);
  [[nodiscard]] Checked check_borrowed(Pte want);
  Verdict<> store_borrowed(MachineAddr where, Pte want);
  [[gnu::cold, gnu::noinline]] void drop_of_others(Pte old);
  // grants.cpp
  [[nodiscard]] bool is_l1_entry(MachineAddr where) const;
  Verdict<> check_intact(MachineAddr where);
  Verdict<> check_granted(MachineAddr where, Pte granted);
  Verdict<> store_own(MachineAddr where, Pte want);
  Verdict<> change_granted(MachineAddr where, Pte granted, Pte instead);
  Verdict<> map_lent(MachineAddr where, Pte want, DomId lender);
  Verdict<> move_granted(MachineAddr where, Pte granted, MachineAddr from);
  // concurrent_update.cpp
  [[nodiscard]] bool stays(Mfn mfn) const;
  [[nodiscard]] bool stays_l1(Mfn mfn) const;

  void set_m2p(Mfn mfn, Pfn pfn) {
    m2p_.store(mfn.raw() / entries_per_table, mfn.raw() % entries_per_table, pfn.raw());
  }

  DomId domain_;
  FrameTable& frames_;
  DomainRecords records_;
  BorrowedFrames borrowed_;
  TraceSink* trace_;
  /// Frames below this take the short way of an L1 update: all of the machine's, or none while a sink
  /// watches.
  std::uint64_t short_way_end_;
  /// What was left of the budget after the last operation that was traced.
  mutable std::uint64_t traced_budget_ = Budget::unlimited().left();
  Pages machine_;
  Pages m2p_;
  MirrorArena& mirrors_;
  Pages mirror_pages_;
  StaleLog& stale_;
  bool logs_stale_;
  FrameView& view_;
  std::array<Pte, xen_slots> l4_xen_slots_;
  std::size_t machphys_slot_;
  std::uint64_t max_frames_;
  std::uint64_t owned_ = 0;          ///< Frames of the domain, special ones aside.
  mutable bool flush_duty_ = false;  ///< Mutable for TracedOperation: does this operation need a flush?
  Budget budget_ = Budget::unlimited();
  UnfinishedTables unfinished_;
  LinearWindows windows_;
  MmuCounters counters_;
  mutable std::optional<Breach> breach_;  ///< Mutable: const members find breaches, too.
  ConcurrentLocks concurrent_locks_;
};

}  // namespace pinfold::pvmmu
