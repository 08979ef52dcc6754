// Counts of what a domain's run consisted of.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>

namespace pinfold::vmm {

/// Why a vCPU left the guest.
enum class ExitReason : std::uint8_t {
  hypercall,
  guest_syscall,
  page_fault,
  protection_fault,
  invalid_opcode,
  other_exception,
  interrupted,
  filled,  ///< KVM filled a translation on a shadow-paging host and reported back; nothing to do.
  view_fault,
  other,
};
inline constexpr std::size_t exit_reasons = 10;
[[nodiscard]] const char* name(ExitReason reason);

/// Written under the domain's lock.
struct Statistics {
  std::array<std::uint64_t, exit_reasons> exits{};
  /// TSC ticks between entering the guest and an exit for this reason: guest code, KVM and the way there and
  /// back.
  std::array<std::uint64_t, exit_reasons> ticks_outside{};
  std::uint64_t entered_at = 0;  ///< TSC at the last entry.
  std::array<std::uint64_t, 64> hypercalls{};
  std::uint64_t unknown_hypercalls = 0;
  std::uint64_t multicall_entries = 0;
  std::uint64_t continuations = 0;  ///< Hypercalls that the guest makes again, for what was left of them.
  std::map<std::uint32_t, std::uint64_t> mmuext_operations;  ///< By MMUEXT_*.
  std::uint64_t mmu_updates = 0;                             ///< Requests in mmu_update lists.
  std::uint64_t mmu_updates_together = 0;  ///< Of these: made while other vCPUs might make theirs.
  std::uint64_t pte_stores = 0;            ///< Plain stores to L1 entries that were emulated.
  std::uint64_t privileged = 0;            ///< Privileged instructions emulated.
  std::uint64_t events = 0;                ///< Upcalls delivered.
  std::uint64_t sleeps = 0;                ///< Times that a vCPU blocked or polled and had to wait.
  std::uint64_t sleeps_again = 0;          ///< Times that such a vCPU was woken for nothing and slept on.
  /// Signals sent to vCPUs in the guest, so that they look at their events. Written by any thread.
  std::atomic<std::uint64_t> signals{0};
  std::uint64_t entry_stubs = 0;       ///< Entries into the guest by way of an entry stub.
  std::uint64_t entry_stub_steps = 0;  ///< Stale entries that these made KVM drop.
  /// SYSCALLs that KVM did not leave at, although it can be made to on this host: each cost a second entry.
  std::uint64_t slow_syscalls = 0;
  std::uint64_t audits = 0;
  std::uint64_t monitor_ticks = 0;  ///< TSC ticks spent in the monitor between an exit and the next entry.
  std::uint64_t blocked_ticks = 0;  ///< TSC ticks slept; not in monitor_ticks.

  void count(ExitReason reason) {
    ++exits[static_cast<std::size_t>(reason)];
    ticks_outside[static_cast<std::size_t>(reason)] += left_at - entered_at;
  }
  std::uint64_t left_at = 0;  ///< TSC at the last exit.
  [[nodiscard]] std::uint64_t total_exits() const {
    std::uint64_t sum = 0;
    for (const auto n : exits) sum += n;
    return sum;
  }
};

}  // namespace pinfold::vmm
