// What a domain did, in numbers.
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
  filled,  ///< KVM filled in a translation on a shadow-paging host. There is nothing to answer.
  view_fault,
  other,
};
inline constexpr std::size_t exit_reasons = 10;
[[nodiscard]] const char* name(ExitReason reason);

/// Written with the domain's lock held.
struct Statistics {
  std::array<std::uint64_t, exit_reasons> exits{};
  /// TSC ticks between entry and exit, by the exit's reason: in guest code, in KVM, and in the
  /// switches between them.
  std::array<std::uint64_t, exit_reasons> ticks_outside{};
  std::uint64_t entered_at = 0;  ///< TSC at the last entry.
  std::array<std::uint64_t, 64> hypercalls{};
  std::uint64_t unknown_hypercalls = 0;
  std::uint64_t multicall_entries = 0;
  /// Hypercalls that were interrupted and that the guest makes again for the rest.
  std::uint64_t continuations = 0;
  /// By MMUEXT_*.
  std::map<std::uint32_t, std::uint64_t> mmuext_operations;
  /// Requests in mmu_update lists.
  std::uint64_t mmu_updates = 0;
  /// Those of them that were made with the domain's lock shared.
  std::uint64_t concurrent_mmu_updates = 0;
  /// Plain stores to L1 entries that were emulated.
  std::uint64_t pte_stores = 0;
  /// Privileged instructions that were emulated.
  std::uint64_t privileged = 0;
  /// Upcalls that were delivered.
  std::uint64_t events = 0;
  /// How often a vCPU blocked or polled and had to wait.
  std::uint64_t sleeps = 0;
  /// How often such a vCPU was woken for nothing and slept on.
  std::uint64_t sleeps_again = 0;
  /// Signals that were sent to vCPUs in the guest to make them look at their events. Written by any thread.
  std::atomic<std::uint64_t> signals{0};
  /// Entries into the guest through an entry stub.
  std::uint64_t entry_stubs = 0;
  /// Stale entries that these made KVM drop.
  std::uint64_t entry_stub_steps = 0;
  /// SYSCALLs at which KVM did not leave the VM, although this host's can be made to.
  /// Each cost a second entry.
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
