// Finds an access that faults again and again although nothing stands against it.
#pragma once

#include <cstdint>

namespace pinfold::vmm {

/// Counts page faults of one instruction at one address that found nothing to do: the tables permit the
/// access, and no table has changed since the fault before. A correct processor and monitor make one or two
/// of these in a row (a translation that another vCPU's change outdated); a program can't make more, since a
/// further one takes a change of a table or another exit, and each of these starts the count anew.
class RepeatedFault {
 public:
  /// Far above what can be right, and reached within one tick of a guest's clock.
  static constexpr std::uint64_t limit = 1000;

  /// Such a fault; `stores` is a number that every change of a table increases. True: it is one too many.
  [[nodiscard]] bool repeats(std::uint64_t rip, std::uint64_t address, std::uint64_t stores) {
    const bool same = rip == rip_ && address == address_ && stores == stores_;
    rip_ = rip;
    address_ = address;
    stores_ = stores;
    count_ = same ? count_ + 1 : 1;
    return count_ > limit;
  }
  /// The vCPU left the guest for another reason.
  void other_exit() { count_ = rip_ = address_ = stores_ = 0; }

 private:
  std::uint64_t rip_ = 0, address_ = 0, stores_ = 0;
  std::uint64_t count_ = 0;
};

}  // namespace pinfold::vmm
