// A machine of a few frames in memory, with domains whose views record what they were asked for and can be
// made to fail.
#pragma once

#include <cstdlib>
#include <functional>
#include <memory>
#include <tuple>
#include <vector>

#include "pvmmu/audit.hpp"
#include "pvmmu/validator.hpp"
#include "record_access.hpp"

namespace pinfold::pvmmu::test {

/// Flags as kernels use them: mapped read-write (and dirty), mapped read-only, naming a table.
inline constexpr std::uint64_t rw = bit::present | bit::writable | bit::user | bit::accessed | bit::dirty;
inline constexpr std::uint64_t ro = bit::present | bit::user | bit::accessed;
inline constexpr std::uint64_t table = bit::present | bit::writable | bit::user | bit::accessed;

/// Zeroed, page-aligned memory.
class PageMemory {
 public:
  explicit PageMemory(std::uint64_t pages)
      : bytes_(static_cast<std::byte*>(std::aligned_alloc(page_size, pages * page_size))), pages_(pages) {
    std::memset(bytes_.get(), 0, pages * page_size);
  }
  [[nodiscard]] Pages pages() const { return {bytes_.get(), pages_}; }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> bytes_;
  std::uint64_t pages_;
};

/// Whoever owns a frame knows what it is; this asks the owner, so that tests can look at any frame.
class FakeFrames : public FrameTable {
 public:
  using FrameTable::FrameTable;
  [[nodiscard]] Frame operator[](Mfn mfn) const {
    const std::uint16_t owner = owner_tag(mfn);
    for (const Validator* mmu : domains_)
      if (tag_of(mmu->domain()) == owner) return mmu->frame(mfn);
    Frame nobodys;
    nobodys.owner_plus_1 = owner;
    return nobodys;
  }
  void joined(const Validator& mmu) { domains_.push_back(&mmu); }
  void left(const Validator& mmu) { std::erase(domains_, &mmu); }

 private:
  std::vector<const Validator*> domains_;
};

/// The parts of a machine that all domains share.
struct FakeMachine {
  explicit FakeMachine(std::uint64_t count) : FakeMachine(count, count) {}
  /// `most`: frames that it can grow to.
  FakeMachine(std::uint64_t count, std::uint64_t most)
      : memory(most), m2p_memory((most + entries_per_table - 1) / entries_per_table), frames(count, most) {}
  PageMemory memory;
  PageMemory m2p_memory;
  FakeFrames frames;

  /// A store that bypasses the validator: what a processor does through a writable mapping.
  void poke(Mfn mfn, std::size_t slot, Pte value) const {
    memory.pages().store(mfn.raw(), slot, value.raw());
  }
  [[nodiscard]] Pte peek(Mfn mfn, std::size_t slot) const {
    return Pte(memory.pages().load(mfn.raw(), slot));
  }
  [[nodiscard]] std::uint64_t m2p(Mfn mfn) const {
    return m2p_memory.pages().load(mfn.raw() / entries_per_table, mfn.raw() % entries_per_table);
  }
};

/// A view that only records what it is asked for.
class FakeView final : public FrameView {
 public:
  enum class Access : std::uint8_t { none, read_only, read_write };
  explicit FakeView(std::uint64_t frames) : access_(frames), windows_(frames) {}

  bool protect(Mfn mfn) override {
    if (on_protect) on_protect(mfn);
    if (protections++ == fail_at) return false;
    access_[mfn.raw()] = Access::read_only;
    return true;
  }
  void unprotect(Mfn mfn) override { access_[mfn.raw()] = Access::read_write; }
  void grant(Mfn first, std::uint64_t count) override {
    for (std::uint64_t i = 0; i < count; ++i) access_[first.raw() + i] = Access::read_write;
  }
  void revoke(Mfn mfn) override {
    if (on_revoke) on_revoke(mfn);
    windows_[mfn.raw()] = false;  // that goes first
    if (mfn != stuck) end_access(mfn);
  }
  [[nodiscard]] bool revoke_run(Mfn first, std::uint64_t count) override {
    ++runs;
    if (stuck >= first && stuck < first.plus(count)) return false;
    for (std::uint64_t i = 0; i < count; ++i) revoke(first.plus(i));
    return true;
  }
  [[nodiscard]] bool revoked(Mfn mfn) const override { return access_[mfn.raw()] == Access::none; }
  [[nodiscard]] bool lend(Mfn mfn, Loan loan) override {
    if (loan == Loan::none) windows_[mfn.raw()] = false;
    if (mfn == stuck) return false;
    access_[mfn.raw()] = static_cast<Access>(loan);
    return true;
  }
  [[nodiscard]] bool open_window(Mfn mfn) override {
    if (windows_opened++ == open_fails_at) return false;
    windows_[mfn.raw()] = true;
    return true;
  }
  [[nodiscard]] bool close_window(Mfn mfn) override {
    if (mfn == window_stuck) return false;
    ++windows_closed;
    windows_[mfn.raw()] = false;
    return true;
  }
  [[nodiscard]] bool is_window_open(Mfn mfn) const override { return windows_[mfn.raw()]; }
  [[nodiscard]] Access of(Mfn mfn) const { return access_[mfn.raw()]; }

  static constexpr std::uint64_t never = ~0ULL;
  std::function<void(Mfn)> on_protect;  ///< The last moment at which a processor can still store.
  std::function<void(Mfn)> on_revoke;
  Mfn stuck = no_mfn;  ///< The frame that the host can't take out of the view.
  std::uint64_t protections = 0;
  std::uint64_t runs = 0;         ///< Calls of revoke_run().
  std::uint64_t fail_at = never;  ///< The call of protect(), counted from 0, that the host refuses.
  std::uint64_t windows_opened = 0, windows_closed = 0;
  std::uint64_t open_fails_at = never;  ///< The call of open_window() that the host refuses.
  Mfn window_stuck = no_mfn;            ///< The frame whose window the host can't close.

 private:
  void end_access(Mfn mfn) {
    access_[mfn.raw()] = Access::none;
    windows_[mfn.raw()] = false;
  }
  std::vector<Access> access_;
  std::vector<bool> windows_;
};

inline constexpr Mfn first_mirror_frame{0x100000};

/// What the Xen slots of this test's roots hold: recognisable, and present.
[[nodiscard]] inline std::array<Pte, xen_slots> fake_xen_slots() {
  std::array<Pte, xen_slots> slots;
  for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = Pte(Mfn(0x200000 + i), bit::present);
  return slots;
}

struct FakeDomainOptions {
  std::uint64_t mirrors = 256;
  std::uint64_t max_frames = 1ULL << 40;
  bool stale_log = true;
  TraceSink* trace = nullptr;
  std::uint64_t windows = 0;  ///< 0: linear page tables are refused.
  bool records_in_vm = false;
};

/// One domain, its lock held all the time.
class FakeDomain {
 public:
  using Options = FakeDomainOptions;
  FakeDomain(FakeMachine& machine, DomId id, const Options& options = {})
      : view(machine.frames.most()),
        arena_memory(options.mirrors + 1),
        mirrors(arena_memory.pages(), first_mirror_frame),
        stale(options.stale_log),
        mmu(ValidatorParts{id, machine.frames, machine.memory.pages(), machine.m2p_memory.pages(), mirrors,
                           stale, view, fake_xen_slots(), first_xen_slot, options.max_frames, options.trace,
                           options.windows, options.records_in_vm}),
        held(mutex_),
        frames_(machine.frames) {
    frames_.joined(mmu);
  }
  ~FakeDomain() { frames_.left(mmu); }
  FakeDomain(const FakeDomain&) = delete;
  FakeDomain& operator=(const FakeDomain&) = delete;

  /// To put a frame into a state that operations would not give it.
  [[nodiscard]] DomainRecords& records() { return RecordAccess::of(mmu); }
  [[nodiscard]] std::vector<std::string> findings() const { return audit(held, mmu, outside); }
  [[nodiscard]] Mfn allocate() { return mmu.allocate(held).value(); }
  /// What `operation` returns with the lock shared.
  template <class Operation>
  auto while_shared(Operation&& operation) {
    held.unlock();
    const auto result = [&] {
      const DomainShare share(sharer_);
      return operation(share);
    }();
    held.lock();
    return result;
  }
  /// Makes the leading updates that can be made with the lock shared, and returns their count.
  [[nodiscard]] std::size_t update_concurrently(const std::vector<EntryUpdate>& wanted) {
    MmuCounters counters;
    const std::size_t done =
        while_shared([&](Shared share) { return mmu.update_concurrently(share, counters, wanted); });
    mmu.count(held, counters);
    return done;
  }
  [[nodiscard]] bool try_hold_writable(Mfn mfn) {
    return while_shared([&](Shared share) { return mmu.try_hold_writable(share, mfn); });
  }
  [[nodiscard]] bool try_release_writable(Mfn mfn) {
    return while_shared([&](Shared share) { return mmu.try_release_writable(share, mfn); });
  }

  FakeView view;
  PageMemory arena_memory;
  MirrorArena mirrors;
  StaleLog stale;
  Validator mmu;
  OutsideReferences outside;

 private:
  DomainMutex mutex_;
  DomainSharer sharer_{mutex_};

 public:
  DomainLock held;

 private:
  FakeFrames& frames_;
};

/// The part of a frame's record that a refused operation must not change. A type that nobody counts does not
/// matter.
[[nodiscard]] inline auto state_of(const Frame& f) {
  return std::tuple(f.refs, f.type_count, f.mirror, f.owner_plus_1,
                    f.type_count != 0 ? f.type : FrameType::none, bool(f.pinned), bool(f.validated),
                    bool(f.partial), bool(f.allocated), bool(f.special), f.linear);
}
[[nodiscard]] inline auto snapshot(const FakeFrames& frames) {
  std::vector<decltype(state_of(Frame{}))> all;
  for (std::uint64_t i = 0; i < frames.size(); ++i) all.push_back(state_of(frames[Mfn(i)]));
  return all;
}

/// One table of each level, the upper three linked in `slot`; not validated. The L1 is empty.
struct Tree {
  Mfn l4, l3, l2, l1;
};
inline Tree build_tree(const FakeMachine& machine, FakeDomain& domain, std::size_t slot = 0) {
  const Tree t{domain.allocate(), domain.allocate(), domain.allocate(), domain.allocate()};
  machine.poke(t.l4, slot, Pte(t.l3, table));
  machine.poke(t.l3, slot, Pte(t.l2, table));
  machine.poke(t.l2, slot, Pte(t.l1, table));
  return t;
}
[[nodiscard]] inline Mfn table_of(const Tree& t, Level level) {
  return std::array{t.l1, t.l2, t.l3, t.l4}[number(level) - 1];
}
[[nodiscard]] inline MachineAddr entry_at(Mfn mfn, std::size_t slot) {
  return MachineAddr(address_of(mfn).raw() + slot * 8);
}
/// The address that is translated by `slot` in each upper level and by `l1_slot` in the L1.
[[nodiscard]] inline GuestVaddr va_of(std::size_t slot, std::size_t l1_slot) {
  const std::uint64_t upper = slot << 39 | slot << 30 | slot << 21;
  const std::uint64_t sign = slot >= 256 ? 0xffffULL << 48 : 0;
  return GuestVaddr(sign | upper | l1_slot << 12);
}

}  // namespace pinfold::pvmmu::test
