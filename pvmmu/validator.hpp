// The validator of one domain: every change of a page table, descriptor table or reservation goes through
// here.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "pvmmu/budget.hpp"
#include "pvmmu/checked_entry.hpp"
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/frame_table.hpp"
#include "pvmmu/frame_view.hpp"
#include "pvmmu/lock.hpp"
#include "pvmmu/memory.hpp"
#include "pvmmu/mirror.hpp"
#include "pvmmu/record_access.hpp"
#include "pvmmu/trace.hpp"
#include "pvmmu/verdict.hpp"

namespace pinfold::pvmmu {

/// What the validator works on. All outlive it.
struct ValidatorParts {
  DomId domain;
  FrameTable& frames;
  Pages machine;  ///< Guest frames, by MFN.
  Pages m2p;      ///< The machine-to-phys array: one 8-byte PFN per MFN, 512 a page.
  MirrorArena& mirrors;
  StaleLog& stale;
  FrameView& view;
  std::array<Pte, xen_slots> l4_xen_slots;     ///< What each root's mirror holds in slots 256 to 271.
  std::size_t machphys_slot = first_xen_slot;  ///< Which of those is the machine-to-phys table's.
  std::uint64_t max_frames = 1ULL << 40;       ///< The domain's reservation may not exceed this.
  TraceSink* trace = nullptr;                  ///< Is told of everything; null: nobody is.
};

struct MmuCounters {
  std::uint64_t entries_checked = 0;  ///< Present entries that the guest asked for and a rule looked at.
  std::uint64_t entries_refused = 0;
  std::uint64_t entries_stored = 0;
  std::uint64_t tables_validated = 0;
  std::uint64_t tables_released = 0;
  std::uint64_t root_loads = 0;
  std::uint64_t dirty_faults = 0;
};

/// Where an L1 entry is, and what the levels above it allow.
struct Leaf {
  Mfn table;
  std::uint16_t slot = 0;
  Pte entry;
  bool writable = false;    ///< RW at every level.
  bool executable = false;  ///< NX at none.
};

/// Proof that something wrote a table, a descriptor page or a mirror past the validator: what was read back
/// is not what was stored. What it says was not used.
struct Breach {
  Mfn table = no_mfn;  ///< Where the entry or descriptor is; no_mfn: not known, only what it named.
  std::uint16_t slot = 0;
  Level level = Level::l1;
  Pte guest;           ///< What the guest's table holds.
  Pte mirror;          ///< What the mirror holds.
  Mfn named = no_mfn;  ///< A frame that an entry named without holding a reference to it.
  /// One sentence.
  [[nodiscard]] std::string describe() const;
};

/// What an entry is to become; `where` as update() has it.
struct EntryUpdate {
  MachineAddr where;
  Pte want;
};

/// How a store hits an entry.
enum class Preserve : std::uint8_t { nothing, accessed_and_dirty };

/// Xen's rules for one domain (the page-type system: who owns a frame, what it is, how often that is relied
/// upon).
///
/// A change goes decode → check → commit → release: `check_*` (entry_check.hpp) take references for what a
/// new entry names and are the only makers of a CheckedEntry; `commit` (commit.hpp) is the only function that
/// stores into a guest table and its mirror, takes nothing else, and can't fail; the old entry's references
/// are dropped last. Whatever can fail happens before the first store.
///
/// What was stored is not believed when it is read back. A guest's table may have been written past the view,
/// a mirror by code that took over the gate: the two are compared wherever references are dropped by what an
/// entry says, a walk follows the mirrors, and a frame number from either is looked up only if it is the
/// domain's. A difference is a Breach: the entry is left alone, and the caller must end the domain
/// (breach()).
///
/// Big trees: what makes a table of an upper level, or ends one, stops when the budget is used up, and the
/// refusal is Rule::unfinished. A check that was interrupted leaves the table partial; whoever asks for the
/// table again goes on with it. A table that nobody relies on any more, or whose check failed, is released
/// entry by entry, in the same operation or in later ones: none that needs a table begins before all that is
/// finished.
///
/// Concurrency: all members need the domain's lock, which callers prove with `Held`; held together with
/// others it is enough for the plain change of an L1 entry (`Shared`, together.cpp).
///
/// Tracing: with a TraceSink, each operation is a TracedOperation, which tells the sink what was asked and
/// what the outcome was. Without a sink that costs a branch where the operation begins and where it ends; the
/// change of an L1 entry, the shortest operation, finds out about the sink by a comparison that it makes
/// anyway.
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
  /// The same as update() for entries of L1 tables, while others do that: as many as are plain, from the
  /// first. How many; the next one is for update() to decide. Counts into `counters`, which the caller has
  /// for itself and hands in with count(). No flush is due then (take_flush_duty, before the lock is let go
  /// of).
  [[nodiscard]] std::size_t update_together(Shared, MmuCounters& counters,
                                            std::span<const EntryUpdate> wanted);
  void count(Held, const MmuCounters& together);
  Verdict<> pin(Held, Level level, Mfn mfn);
  Verdict<> unpin(Held, Mfn mfn);
  /// Moves a root register (`root`, no_mfn for none) to a new L4; the old one is released after the new one
  /// is held.
  Verdict<> load_root(Held, Mfn& root, Mfn wanted);
  /// Empties a root register. A step of its own, so that no number that a guest passes to load_root can mean
  /// it.
  void unload_root(Held, Mfn& root);
  Verdict<> clear_page(Held, Mfn mfn);
  Verdict<> copy_page(Held, Mfn to, Mfn from);

  // -- work at a stretch: tables.cpp
  /// What the operations from here on may do together.
  void set_budget(Held, Budget budget) { budget_ = budget; }
  [[nodiscard]] bool budget_used_up() const { return budget_.used_up(); }
  /// For work other than the validator's own that is done in the same stretch.
  [[nodiscard]] Budget& budget(Held) { return budget_; }
  /// Goes on releasing what operations have left; true: nothing is left.
  [[nodiscard]] bool finish_releases(Held) { return releasing_.empty() || continue_releases(); }
  /// How many of a table's entries, from the first, hold references.
  [[nodiscard]] std::size_t entries_held(Mfn table) const;
  /// Is it a partial table that ends, not one whose check was interrupted?
  [[nodiscard]] bool is_releasing(Mfn table) const { return release_of(table) != releasing_.end(); }

  // -- descriptors: descriptors.cpp
  /// Writes one 8-byte descriptor, checked and fixed up, into a descriptor page or plain frame. The value
  /// stored.
  Verdict<std::uint64_t> write_descriptor(Held, MachineAddr where, std::uint64_t descriptor);

  // -- references held outside of tables (GDT, LDT, vcpu_info): types.cpp
  Verdict<> hold(Held, Mfn mfn, FrameType type);
  void release(Held, Mfn mfn);
  /// Takes a reference of the type `writable`, as hold() does, while others share the lock: for a thread of a
  /// device. False: nothing was done, because it takes more than counting; ask hold(), which takes the
  /// reference or refuses it. Always false while a TraceSink watches. (together.cpp)
  [[nodiscard]] bool try_hold_writable(Shared, Mfn mfn);
  /// Drops a reference of the type `writable` that either of the two took. False: nothing was done, because
  /// the frame might have to be freed with it; call release().
  [[nodiscard]] bool try_release_writable(Shared, Mfn mfn);

  // -- the reservation: reservation.cpp
  /// Gives the domain `count` contiguous free frames, the first at a multiple of `alignment`. Their contents
  /// are zero.
  Verdict<Mfn> allocate(Held, std::uint64_t count = 1, std::uint64_t alignment = 1);
  /// The same, for a moment over the domain's limit: XENMEM_exchange gives as many back.
  Verdict<Mfn> allocate_beyond_limit(Held, std::uint64_t count, std::uint64_t alignment);
  /// Gives the domain a page of the monitor's own (shared_info, grant table): mappable, never freed by the
  /// guest.
  Verdict<Mfn> allocate_special(Held);
  /// Drops the allocation reference. The frame stays the domain's until its last reference goes.
  Verdict<> deallocate(Held, Mfn mfn);
  /// Is it the domain's, in its reservation, and referenced by nothing else? (XENMEM_exchange)
  Verdict<> check_exchangeable(Held, Mfn mfn) const;
  /// Frames that the domain has. One that it gave back counts until its last reference goes: the limit is on
  /// memory that others can't have.
  [[nodiscard]] std::uint64_t allocated_frames() const { return owned_; }
  [[nodiscard]] std::uint64_t max_frames() const { return max_frames_; }
  /// Takes everything back: pins, allocations. Roots and holds must be gone. The number of frames that still
  /// had references, which is 0 unless a count was wrong.
  std::uint64_t destroy(Held);

  // -- what was stored and is found changed
  /// The first difference that was found between a table and what was stored there; null: there was none.
  /// The domain must not run on after one.
  [[nodiscard]] const Breach* breach() const { return breach_ ? &*breach_ : nullptr; }
  /// Copies the first descriptors of a page that is held as descriptors. False, and a breach: one of them is
  /// not as a check leaves it.
  [[nodiscard]] bool read_descriptors(Held, Mfn mfn, std::span<std::uint64_t> to) const;

  // -- looking: walk.cpp
  /// The L1 entry that translates `va`; nullopt if a level above is not present, the address is not the
  /// guest's, or the entry differs from its mirror (a breach). The leaf itself may be not present. The levels
  /// above are those of the mirrors.
  [[nodiscard]] std::optional<Leaf> walk(Held, Mfn root, GuestVaddr va) const;
  /// The guest's entry with the accessed bit that the processor set in the mirror.
  [[nodiscard]] Pte merged_entry(Held, Mfn table, std::size_t slot) const;
  /// Sets A (and D, for a write) as the processor would; the leaf's frame may then be accessed. A leaf that
  /// does not permit the access gives false.
  bool touch(Held, const Leaf& leaf, bool write);
  /// The frame that the processor's CR3 shall hold for a loaded root.
  [[nodiscard]] Mfn mirror_of_root(Held, Mfn root) const;
  /// Clears or restores the mirror's machine-to-phys slot of a root (VMASST_TYPE_m2p_strict).
  void hide_machphys(Held, Mfn root);

  // -- after changes
  /// Must every processor of the domain drop its translations before the guest goes on? Asking clears it.
  [[nodiscard]] bool take_flush_duty() { return std::exchange(flush_duty_, false); }
  /// A processor has taken care of the stale log's entries numbered below `end`, for all processors: they go,
  /// and retired mirrors among them may be used again.
  void stale_entries_settled(Held, std::uint64_t end);
  /// For hosts without a log: since the retired mirrors numbered below `end` were retired, each processor has
  /// dropped its translations, or will before it runs guest code again. They may be used again.
  void retired_mirrors_forgotten(Held, std::uint64_t end);

  [[nodiscard]] const Frame& frame(Mfn mfn) const { return frames_[mfn]; }
  [[nodiscard]] bool contains(Mfn mfn) const { return frames_.contains(mfn); }
  [[nodiscard]] bool owns(Mfn mfn) const {
    return mfn.raw() < records_.size() && record(mfn).owner_tag() == self_plus_1_;
  }
  [[nodiscard]] DomId domain() const { return domain_; }
  [[nodiscard]] const FrameTable& frames() const { return frames_; }
  [[nodiscard]] const Pages& machine() const { return machine_; }
  [[nodiscard]] const MirrorArena& mirrors() const { return mirrors_; }
  [[nodiscard]] const std::array<Pte, xen_slots>& l4_xen_slots() const { return l4_xen_slots_; }
  /// The slot of an L4 through which the machine-to-phys table is seen.
  [[nodiscard]] std::size_t machphys_slot() const { return machphys_slot_; }
  [[nodiscard]] const MmuCounters& counters() const { return counters_; }

 private:
  friend struct StateAccess;  ///< Of tests that go back to earlier states.

  /// An entry by its place. Small, so that it travels in registers.
  struct Where {
    Where() = default;
    Where(Mfn in, std::size_t at, Level of = Level::l1)
        : table(in), slot(static_cast<std::uint16_t>(at)), level(of) {}
    Mfn table = no_mfn;
    std::uint16_t slot = 0;
    Level level = Level::l1;
  };

  /// One entry of a mirror, where it is.
  class MirrorEntry {
   public:
    explicit MirrorEntry(std::atomic_ref<std::uint64_t> at) : at_(at) {}
    [[nodiscard]] Pte load() const { return Pte(at_.load(std::memory_order_relaxed)); }
    void store(Pte entry) const { at_.store(entry.raw(), std::memory_order_relaxed); }

   private:
    std::atomic_ref<std::uint64_t> at_;
  };

  /// A CheckedEntry, or the rule that refused it. Plain fields: it stays in registers.
  class Checked {
   public:
    Checked(const CheckedEntry& entry) : entry_(entry) {}
    Checked(Rule rule) : entry_(CheckedEntry::not_present(Pte())), refused_(true), rule_(rule) {}
    explicit operator bool() const { return !refused_; }
    [[nodiscard]] const CheckedEntry& operator*() const { return entry_; }
    [[nodiscard]] Rule rule() const { return rule_; }

   private:
    CheckedEntry entry_;
    bool refused_ = false;
    Rule rule_{};
  };

  /// What frames_[mfn] is, one load nearer.
  [[nodiscard]] Frame& record(Mfn mfn) const { return records_[mfn.raw()]; }

  // entry_check.hpp: Q1 of the mail is answered here.
  template <class Way>
  Checked check_l1(Pte want);
  Verdict<CheckedEntry> check_upper(Where where, Pte want);
  [[gnu::cold]] tl::unexpected<Refusal> refuse(Rule rule, Where where, Pte want, Mfn frame = no_mfn);
  [[gnu::cold]] tl::unexpected<Refusal> refuse(Rule rule, Mfn frame);

  // commit.hpp
  /// `before`: what the mirror holds.
  void commit(MachineAddr where, MirrorEntry mirror, Pte before, const CheckedEntry& entry,
              MmuCounters& counters);
  [[gnu::noinline]] void log_stale(MachineAddr where, Pte before, Pte now);

  // types.cpp: the only place where a type is taken or dropped
  Verdict<> take_owned(Mfn mfn, FrameType type);
  Verdict<> take_type(Mfn mfn, FrameType type, Where where, Pte want);
  /// One more reliance on what a frame is known to be; false, and nothing done, if it takes more than
  /// counting.
  static bool share(Frame& frame, FrameType type) {
    if (transition(frame, type) != Transition::share || frame.refs >= max_references ||
        (is_table(type) && !frame.validated))
      return false;
    ++frame.type_count;
    ++frame.refs;
    return true;
  }
  void drop_type(Mfn mfn);
  Verdict<> become(Mfn mfn, FrameType type);
  void become_plain(Mfn mfn);
  /// Drops the references that an entry of an L1 held since it was checked. It was read from memory: what is
  /// not the domain's is a breach, and nothing is dropped.
  template <class Way>
  void drop_l1_entry(Pte old) {
    if (!old.present()) return;
    const Mfn mfn = old.mfn();
    if (!owns(mfn)) [[unlikely]]
      return note_stray(mfn);
    if (!Way::drop(record(mfn), old.writable())) [[unlikely]]
      free_frame(mfn);
  }
  void drop_upper_entry(Pte old);

  // breach.cpp
  /// The mirror's entry beside the one at `where`, which is in the table with this record.
  [[nodiscard]] MirrorEntry mirror_entry(const Frame& table, MachineAddr where) const {
    return MirrorEntry(mirror_pages_.at((std::uint64_t{table.mirror} << page_shift) + offset_in_page(where)));
  }
  /// Does an upper entry of the guest's table name the table whose mirror the mirror's entry names?
  [[nodiscard]] bool is_as_stored(Pte guest, Pte mirrored) const;
  /// Notes a breach, unless there was one.
  [[gnu::cold, gnu::noinline]] void note_breach(Where where, Pte guest, Pte mirrored) const;
  [[gnu::cold, gnu::noinline]] tl::unexpected<Refusal> refuse_breach(Where where, Pte guest,
                                                                     Pte mirrored) const;
  /// The same where an entry named a frame that it can't have held a reference to.
  [[gnu::cold, gnu::noinline]] void note_stray(Mfn named) const;
  void drop_reference(Mfn mfn);

  // tables.cpp: what a type says of a frame's contents
  [[nodiscard]] std::size_t next_used(Mfn table, Level level, std::size_t slot) const;
  std::optional<MirrorId> take_empty_mirror(Mfn table);
  Verdict<> validate_l1(Mfn mfn);
  Verdict<> validate_upper(Mfn mfn, Level level);
  Verdict<> validate_descriptors(Mfn mfn);
  Verdict<> validate_upper_entry(Where where, MirrorId mirror);
  void devalidate_l1(Mfn mfn);
  [[gnu::noinline]] bool end_marked_leaf(Where where, Pte guest, Pte mirrored);
  void drop_l1_entries(Mfn mfn, MirrorId mirror, std::size_t end);
  Verdict<> interrupt(Mfn mfn, std::size_t slot);
  void give_up(Mfn mfn, std::size_t end);
  void release_entries(Mfn mfn, std::size_t end, bool was_seen);
  void end_mirror(MirrorId mirror, bool was_seen);
  [[nodiscard]] bool releases_finished() { return releasing_.empty() || work_off_releases(); }
  [[nodiscard]] bool work_off_releases();
  [[nodiscard]] bool continue_releases();
  static tl::unexpected<Refusal> unfinished();
  /// How an operation that needs tables runs: after what is left to be released, and it releases what it can
  /// of what it leaves itself.
  template <class Operation>
  Verdict<> after_releases(Operation&& operation) {
    if (!releases_finished()) return unfinished();
    const Verdict<> verdict = operation();
    (void)releases_finished();
    return verdict;
  }

  // traced_operation.cpp: events other than those of operations
  friend class TracedOperation;
  [[gnu::cold, gnu::noinline]] void trace_frame_change(TraceKind kind, Mfn mfn, FrameType type) const;
  [[gnu::cold, gnu::noinline]] void trace_host_refusal(Mfn mfn, bool revoke) const;
  [[gnu::cold, gnu::noinline]] void trace_hidden_machphys(Mfn root) const;
  void trace_forgotten_mirrors(std::uint64_t reused_before) const;

  // reservation.cpp
  Verdict<Mfn> allocate_traced(std::uint64_t count, std::uint64_t alignment, bool beyond_limit);
  Verdict<Mfn> take_frames(std::uint64_t count, std::uint64_t alignment, bool beyond_limit);
  std::uint64_t give_back_everything(Held held);

  // operations.cpp
  // An L1 entry's way is one of small functions that change `verdict` only to refuse: registers and tail
  // calls do.
  void update_l1(Verdict<>& verdict, const Frame& table, MachineAddr where, Pte want);
  [[gnu::noinline]] void clear_l1(Verdict<>& verdict, MachineAddr where, Pte old, Pte want);
  [[gnu::noinline]] void clear_marked_l1(Verdict<>& verdict, MachineAddr where, Pte old, Pte want);
  void clear_l1_at(MachineAddr where, MirrorEntry mirror, Pte mirrored, Pte old, Pte want);
  [[gnu::noinline]] void replace_l1(Verdict<>& verdict, MachineAddr where, Pte old, Pte want);
  [[gnu::cold, gnu::noinline]] void refuse_forged_l1(Verdict<>& verdict, MachineAddr where) const;
  [[gnu::noinline]] void update_any(Verdict<>& verdict, MachineAddr where, Pte want, Preserve preserve);
  void update_owned(Verdict<>& verdict, MachineAddr where, Pte want, Preserve preserve);
  Verdict<> update_upper(Mfn table, std::size_t slot, Pte want, Preserve preserve);
  [[gnu::noinline]] Verdict<> load_new_root(Mfn& root, Mfn wanted);
  void replace_root(Mfn& root, Mfn wanted);
  Verdict<> check_owned(Mfn mfn);
  [[gnu::cold]] void free_frame(Mfn mfn);

  // walk.cpp
  /// Where the L1 entry for an address is; what the levels above allow. `table` is one of the domain's L1s.
  [[nodiscard]] std::optional<Leaf> find_leaf(Mfn root, GuestVaddr va) const;
  [[nodiscard]] std::optional<Leaf> follow_mirrors(Mfn root, GuestVaddr va) const;

  // together.cpp
  [[nodiscard]] bool stays(Mfn mfn) const;
  [[nodiscard]] bool stays_l1(Mfn mfn) const;
  bool change_l1_together(MachineAddr where, const Frame& table, Pte want, MmuCounters& counters);

  void set_m2p(Mfn mfn, Pfn pfn) {
    m2p_.store(mfn.raw() / entries_per_table, mfn.raw() % entries_per_table, pfn.raw());
  }

  DomId domain_;
  std::uint16_t self_plus_1_;
  FrameTable& frames_;
  std::span<Frame> records_;
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
  /// Tables whose check was interrupted, and the slot at which it goes on.
  std::unordered_map<Mfn, std::size_t> interrupted_;
  /// Tables that end, the innermost last. Those of one operation's making, a few at most.
  struct Release {
    Mfn table;
    std::size_t end;  ///< Entries from here on hold nothing any more.
    MirrorId mirror;  ///< Kept until then: it says what the entries hold.
    bool was_seen;    ///< A processor may know the mirror.
  };
  std::vector<Release> releasing_;
  [[nodiscard]] std::vector<Release>::const_iterator release_of(Mfn table) const;
  MmuCounters counters_;
  mutable std::optional<Breach> breach_;  ///< Mutable: who only looks finds it as well.

  // For those who hold the domain's lock together; who has it alone finds them free.
  struct alignas(64) TableLock {
    ShortLock lock;
  };
  std::array<TableLock, 64> table_locks_;  ///< Each guards the entries of some tables.
  /// Tables lie side by side, or at equal distances: the product's upper bits differ all the same.
  [[nodiscard]] ShortLock& table_lock(Mfn table) {
    constexpr std::uint64_t golden_ratio = 0x9e37'79b9'7f4a'7c15;  // of 2^64; Knuth vol. 3, 6.4
    return table_locks_[table.raw() * golden_ratio >> 58].lock;
  }
  ShortLock stale_lock_;  ///< Guards stale_.
};

}  // namespace pinfold::pvmmu
