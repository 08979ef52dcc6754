// Domains whose vCPUs are threads. Operations hold the domain's lock; the guest's own stores hold none.
#pragma once

#include <array>
#include <atomic>
#include <barrier>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::concurrency {

/// A view that several processors use at once. A store by the guest's code happens either before or after a
/// change of its frame's permission, never in between. FrameView promises that (the host's KVM waits for all
/// processors when a mapping changes), and so a cached translation is of no use afterwards.
class SharedView final : public FrameView {
 public:
  enum class Access : std::uint8_t { none, read_only, read_write };
  SharedView(std::uint64_t frames, Pages machine) : access_(frames), windows_(frames), machine_(machine) {}

  /// Hooks that protect() calls before and after it makes the frame read-only, in the thread that holds the
  /// domain's lock: so that another vCPU can act exactly then.
  std::function<void(Mfn)> before_protect, after_protect;

  bool protect(Mfn mfn) override {
    if (before_protect) before_protect(mfn);
    set(mfn, Access::read_only);
    if (after_protect) after_protect(mfn);
    return true;
  }
  void unprotect(Mfn mfn) override { set(mfn, Access::read_write); }
  void grant(Mfn first, std::uint64_t count) override {
    for (std::uint64_t i = 0; i < count; ++i) set(first.plus(i), Access::read_write);
  }
  void revoke(Mfn mfn) override {
    windows_[mfn.raw()] = 0;
    set(mfn, Access::none);
  }
  bool lend(Mfn mfn, Loan loan) override {
    if (loan == Loan::none) windows_[mfn.raw()] = 0;
    set(mfn, static_cast<Access>(loan));
    return true;
  }

  // Under the domain's lock alone, as all that looks at windows.
  bool open_window(Mfn mfn) override {
    windows_[mfn.raw()] = 1;
    return true;
  }
  bool close_window(Mfn mfn) override {
    windows_[mfn.raw()] = 0;
    return true;
  }
  [[nodiscard]] bool is_window_open(Mfn mfn) const override { return windows_[mfn.raw()] != 0; }

  /// A store by the guest's code, through any translation, however old. False: the view stopped it.
  bool guest_store(Mfn mfn, std::size_t slot, std::uint64_t value) {
    const std::shared_lock lock(stripe(mfn));
    if (access_[mfn.raw()] != Access::read_write) return false;
    machine_.store(mfn.raw(), slot, value);
    return true;
  }

 private:
  void set(Mfn mfn, Access access) {
    const std::unique_lock lock(stripe(mfn));
    access_[mfn.raw()] = access;
  }
  std::shared_mutex& stripe(Mfn mfn) { return stripes_[mfn.raw() % stripes_.size()]; }
  std::array<std::shared_mutex, 64> stripes_;
  std::vector<Access> access_;
  std::vector<char> windows_;
  Pages machine_;
};

/// A domain of a machine that other threads use as well.
class SharedDomain {
 public:
  SharedDomain(test::FakeMachine& machine, DomId id, std::uint64_t most_tables = 1024)
      : view(machine.frames.size(), machine.memory.pages()),
        arena_memory(most_tables + 1),
        mirrors(arena_memory.pages(), test::first_mirror_frame),
        mmu(ValidatorParts{.domain = id,
                           .frames = machine.frames,
                           .machine = machine.memory.pages(),
                           .m2p = machine.m2p_memory.pages(),
                           .mirrors = mirrors,
                           .stale = stale,
                           .view = view,
                           .l4_xen_slots = test::fake_xen_slots()}) {}

  /// One hypercall: `what(held, mmu)` under the lock, with the domain's budget for work on big trees.
  template <class What>
  auto call(What&& what) {
    const DomainLock held(mutex);
    mmu.set_budget(held, Budget(budget));
    return what(held, mmu);
  }
  [[nodiscard]] Mfn allocate() {
    return call([](Held held, Validator& v) { return v.allocate(held).value(); });
  }
  [[nodiscard]] std::vector<std::string> findings(const OutsideReferences& outside = {}) {
    return call([&](Held held, Validator& v) { return audit(held, v, outside); });
  }
  /// Are the counts of a frame as if nobody had ever used it?
  [[nodiscard]] bool is_plain(Mfn mfn) {
    return call([&](Held, Validator& v) {
      const Frame f = v.frame(mfn);
      return v.owns(mfn) && f.refs == 1 && f.type_count == 0 && !f.pinned && f.mirror == 0;
    });
  }

  SharedView view;
  test::PageMemory arena_memory;
  MirrorArena mirrors;
  StaleLog stale{true};
  DomainMutex mutex;
  Validator mmu;
  std::atomic<std::uint64_t> budget =
      ~0ULL;  ///< Entries a hypercall; what is left over is for the next ones.
};

/// Runs each function in a thread of its own. All start at once; returns when all are done.
inline void together(const std::vector<std::function<void()>>& threads) {
  std::barrier start(static_cast<std::ptrdiff_t>(threads.size()));
  std::vector<std::thread> running;
  for (const auto& work : threads)
    running.emplace_back([&start, &work] {
      start.arrive_and_wait();
      work();
    });
  for (std::thread& t : running) t.join();
}

}  // namespace pinfold::pvmmu::concurrency
