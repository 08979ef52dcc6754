// The core for L1 updates with policies that need no operating system: what code inside a VM would use. It is
// compiled by `check`, beside this file, and never run.
#include "pvmmu/core/plain_l1.hpp"

namespace pinfold::pvmmu {
namespace {

/// All that the code may know: where things are mapped. It has no data of its own.
struct Mappings {
  std::uint64_t* machine;
  std::uint64_t* mirrors;
  FrameFacts* facts;
  FrameUses* uses;
  std::uint64_t frames;
  std::uint32_t* table_locks;
  std::uint64_t strays;
};

struct MappedMemory {
  Mappings& at;
  [[nodiscard]] std::atomic_ref<std::uint64_t> entry(MachineAddr where) const {
    return std::atomic_ref(at.machine[where.raw() / sizeof(Pte)]);
  }
  [[nodiscard]] Pte load(MachineAddr where) const {
    return Pte(entry(where).load(std::memory_order_relaxed));
  }
  void store(MachineAddr where, Pte now) const { entry(where).store(now.raw(), std::memory_order_relaxed); }
  [[nodiscard]] MirrorEntry mirror(const FrameFacts& table, MachineAddr where) const {
    const std::uint64_t slot = offset_in_page(where) / sizeof(Pte);
    return MirrorEntry(std::atomic_ref(at.mirrors[table.mirror * entries_per_table + slot]));
  }
  void changed(MachineAddr, Pte, Pte) const {}
};

template <class AccessOfIt>
struct MappedRecords {
  using Access = AccessOfIt;
  Mappings& at;
  [[nodiscard]] std::uint64_t size() const { return at.frames; }
  [[nodiscard]] FrameFacts& facts(Mfn mfn) const { return at.facts[mfn.raw()]; }
  [[nodiscard]] FrameUses& uses(Mfn mfn) const { return at.uses[mfn.raw()]; }
  [[nodiscard]] bool owns(Mfn mfn) const { return mfn.raw() < at.frames && facts(mfn).mine; }
  [[nodiscard]] bool may_count(Mfn mfn) const { return owns(mfn) && facts(mfn).allocated; }
  [[nodiscard]] bool may_take(Pte want) const { return may_count(want.mfn()); }
  void become_writable(Mfn mfn) const { Access::become_writable(facts(mfn)); }
  [[nodiscard]] const FrameFacts* plain_l1(Mfn mfn) const {
    if (!owns(mfn)) return nullptr;
    const FrameFacts& table = facts(mfn);
    return Access::read(table.type) == FrameType::l1 && table.mirror != 0 ? &table : nullptr;
  }
  void dropped_last(Mfn) const { ++at.strays; }
  void drop_of_others(Pte) const { ++at.strays; }
  void stray(Mfn) const { ++at.strays; }
};

/// Gives up at once where another one is in the table.
struct MappedLocks {
  Mappings& at;
  class Locked {
   public:
    explicit Locked(std::uint32_t& lock)
        : lock_(std::atomic_ref(lock).exchange(1, std::memory_order_acquire) == 0 ? &lock : nullptr) {}
    ~Locked() {
      if (lock_ != nullptr) std::atomic_ref(*lock_).store(0, std::memory_order_release);
    }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;
    explicit operator bool() const { return lock_ != nullptr; }

   private:
    std::uint32_t* lock_;
  };
  [[nodiscard]] Locked lock(Mfn table) const { return Locked(at.table_locks[table.raw() % 64]); }
};

template <class Access>
std::size_t update(Mappings& at, const EntryUpdate* wanted, std::size_t count) {
  MmuCounters counters;
  PlainL1<MappedMemory, MappedRecords<Access>, MappedLocks> l1({at}, {at}, {at}, counters);
  return l1.update_leading({wanted, count});
}

}  // namespace

extern "C" std::size_t update_shared(Mappings& at, const EntryUpdate* wanted, std::size_t count) {
  return update<SharedAccess>(at, wanted, count);
}
extern "C" std::size_t update_exclusive(Mappings& at, const EntryUpdate* wanted, std::size_t count) {
  return update<ExclusiveAccess>(at, wanted, count);
}

}  // namespace pinfold::pvmmu
