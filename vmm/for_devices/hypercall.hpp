// Hypercall numbers meet the code that answers them.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "pvmmu/budget.hpp"
#include "pvmmu/lock.hpp"
#include "pvmmu/types.hpp"
#include "vmm/for_devices/guest_memory.hpp"

namespace pinfold::vmm {

/// How a hypercall ends.
enum class Completion : std::uint8_t {
  result,   ///< RAX gets the handler's value.
  restart,  ///< Not finished: the guest makes the same hypercall again, with the arguments as they are now.
  registers_set,  ///< The handler set the guest's registers itself (iret).
};

/// One hypercall, fetched by value: who calls, with what, and the memory that its pointers point into.
struct Hypercall {
  VcpuId vcpu;
  std::uint64_t number = 0;
  /// RDI, RSI, RDX, R10, R8 (xen/arch-x86/xen-x86_64.h); the sixth exists in multicall entries only.
  std::array<std::uint64_t, 6> args{};
  GuestMemory& memory;
  /// The domain's lock, which the caller holds. Null in tests of handlers that don't need it.
  pvmmu::DomainLock* held = nullptr;
  Completion completion = Completion::result;
  /// What may be done before the guest's events are served, shared with all other work of this exit. Null in
  /// tests of handlers: without a bound.
  pvmmu::Budget* budget = nullptr;

  void spend(std::uint64_t entries) const {
    if (budget != nullptr) budget->spend(entries);
  }
  /// Is it time to stop, at a place from which a restarted call goes on? A call does something first.
  [[nodiscard]] bool has_done_enough() const { return budget != nullptr && budget->used_up(); }
  [[nodiscard]] GuestVaddr pointer(std::size_t i) const { return GuestVaddr(args[i]); }
};

/// Answers one hypercall; the value goes to RAX (negative: to_rax(Errno)). Called with the domain's lock
/// held.
using HypercallHandler = std::function<std::int64_t(Hypercall&)>;

/// Who answers which number. Devices add theirs before the first vCPU runs; afterwards the table is only
/// read.
class HypercallTable {
 public:
  static constexpr std::size_t size = 64;

  /// A second handler for one number is a bug of the caller: the program stops.
  void set(std::uint64_t number, const char* name, HypercallHandler handler);
  /// Null when nobody answers: the guest gets -ENOSYS.
  [[nodiscard]] const HypercallHandler* find(std::uint64_t number) const;
  /// The ABI's name of a number, for tables and traces; "unknown" if none was set.
  [[nodiscard]] const char* name(std::uint64_t number) const;

 private:
  struct Slot {
    const char* name = nullptr;
    HypercallHandler handler;
  };
  std::array<Slot, size> slots_;
};

}  // namespace pinfold::vmm
