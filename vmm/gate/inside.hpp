// How code of the gate shares the domain's lock, and excludes other vCPUs from a table. The monitor's side of
// the lock is ResidentShare.
//
// The gate can neither sleep nor wake anybody, and whoever waits for it may have to wait for the host to run
// its vCPU. So it waits about as long as an exit takes, and leaves if that is not enough.
#pragma once

#include <atomic>

#include "vmm/gate/control_page.hpp"
#include "vmm/gate/state_page.hpp"

namespace pinfold::vmm::gate {

/// How often something that another processor has is looked at: together about as long as an exit takes.
inline constexpr int patience = 64;

/// Sharing the domain's lock, as long as it lives and converts to true.
class Inside {
 public:
  Inside(StatePage& state, ControlPage& control) : inside_(state.resident_flags.inside) {
    const std::atomic_ref taken(control.taken);
    for (int i = 0; i < patience; ++i) {
      inside_.exchange(1);
      if (taken.load() == 0) {
        is_in_ = true;
        return;
      }
      inside_.store(0, std::memory_order_release);
      __builtin_ia32_pause();
    }
    ++state.resident_kept_out;
  }
  ~Inside() {
    if (is_in_) inside_.store(0, std::memory_order_release);
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  explicit operator bool() const { return is_in_; }

 private:
  std::atomic_ref<std::uint64_t> inside_;
  bool is_in_ = false;
};

/// The `Locks` of pvmmu/core/plain_l1.hpp, among vCPUs that are inside.
struct TableLocks {
  ControlPage& control;
  std::uint64_t cpu_plus_1;

  class Locked {
   public:
    Locked(std::uint64_t& owner, std::uint64_t as) : owner_(owner) {
      for (int i = 0; i < patience; ++i) {
        std::uint64_t free = 0;
        if (owner_.compare_exchange_strong(free, as, std::memory_order_acquire)) {
          has_it_ = true;
          return;
        }
        __builtin_ia32_pause();
      }
    }
    ~Locked() {
      if (has_it_) owner_.store(0, std::memory_order_release);
    }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;
    explicit operator bool() const { return has_it_; }

   private:
    std::atomic_ref<std::uint64_t> owner_;
    bool has_it_ = false;
  };
  [[nodiscard]] Locked lock(Mfn table) const { return Locked(control.lock_of(table).owner, cpu_plus_1); }
};

}  // namespace pinfold::vmm::gate
