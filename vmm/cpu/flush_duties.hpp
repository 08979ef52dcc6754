// Which vCPUs have to drop their translations, and who waits until they have left the guest. Nothing here
// knows KVM: GuestCpu asks this class what to do, and tells it what was done.
#pragma once

#include <cstdint>
#include <vector>

#include "pvmmu/types.hpp"

namespace pinfold::vmm {

/// The flush protocol among the vCPUs of one domain.
///
/// - request() makes a flush due on a vCPU. A vCPU does not run guest code while a flush is due on it.
/// - If the vCPU is in the guest at that moment, whoever asked waits until it has left (awaits()). The flush
///   itself need not be waited for: it comes before guest code runs on that vCPU again.
/// - The way into the guest drops translations: an entry stub or the gate loads CR3. handed_over() records
/// it.
/// - A table that processors may still walk is reused only after all_dropped_since() is true.
/// - The way in itself runs on the root that CR3 names, which may have been given up since the vCPU left the
///   guest. So a vCPU whose root was last known to be in use before the last mark() loads another one with
///   its registers (root_may_be_gone()), and is never in the guest on an older root while tables are reused.
///
/// Where KVM shadows page tables, one vCPU refreshes what went stale, and KVM tells the others. Then a
/// request is always the requesting vCPU's own duty, and nobody waits.
///
/// All members need the domain's lock. Each is O(1), except the two that look at all vCPUs.
class FlushDuties {
 public:
  FlushDuties(std::uint32_t cpus, bool one_for_all) : one_for_all_(one_for_all), cpus_(cpus) {
    for (Cpu& cpu : cpus_) cpu.awaited_entry.resize(cpus);
  }

  // -- requests
  /// Makes a flush due on `of`.
  void request(VcpuId of) { at(of).asked = ++clock_; }
  /// The same for `by`, which waits for `of` if that is in the guest. True: `of` has to be kicked. The first
  /// of several requests returns true, as long as `of` does not leave the guest in between.
  [[nodiscard]] bool request(VcpuId by, VcpuId of);
  /// Makes `by` wait until `of`, if it is in the guest, has left. True: `of` has to be kicked.
  [[nodiscard]] bool await_exit(VcpuId by, VcpuId of);
  /// Does `by` still wait for a vCPU? Looks at each of those that it waits for.
  [[nodiscard]] bool awaits(VcpuId by) { return !at(by).awaited.empty() && some_is_inside(by); }
  /// The domain is over: nobody waits any more.
  void stop_waiting(VcpuId by);

  // -- the way in
  [[nodiscard]] bool due(VcpuId of) const { return at(of).asked > at(of).dropped; }
  /// The vCPU drops all of its translations on its way in, before it runs guest code. If it comes back
  /// earlier, the caller requests the flush again.
  void handed_over(VcpuId of) { at(of).dropped = ++clock_; }
  /// What stands against running guest code, in words for a report; nullptr: nothing.
  [[nodiscard]] const char* objection_to_entry(VcpuId of) {
    return due(of) || root_may_be_gone(of) || awaits(of) ? words_for_objection(of) : nullptr;
  }
  void entered(VcpuId of) {
    at(of).in_guest = true;
    ++at(of).entries;
  }
  /// While a vCPU is in the guest it keeps its roots: CR3 names one of them.
  void left(VcpuId of) {
    at(of).in_guest = false;
    root_loaded(of);
  }
  /// Its CR3 names a root that is in use at this moment, or will when it enters, before any instruction.
  void root_loaded(VcpuId of) { at(of).root_known = ++clock_; }
  /// Was the root in its CR3 perhaps given up before the last mark()?
  [[nodiscard]] bool root_may_be_gone(VcpuId of) const { return at(of).root_known < last_mark_; }
  [[nodiscard]] bool in_guest(VcpuId of) const { return at(of).in_guest; }

  // -- reuse of tables
  /// A moment, to be passed to all_dropped_since().
  [[nodiscard]] std::uint64_t mark() { return last_mark_ = ++clock_; }
  /// Has each vCPU dropped its translations since `mark`, or will it before it runs guest code again? And is
  /// none in the guest, or on its way in, on a root that may have been given up before `mark`?
  [[nodiscard]] bool all_dropped_since(std::uint64_t mark) const;

 private:
  struct Cpu {
    bool in_guest = false;
    std::uint64_t entries = 0;                 ///< Entries into the guest so far.
    std::uint64_t asked = 0;                   ///< When a flush was last requested, by `clock_`.
    std::uint64_t dropped = 0;                 ///< When one was last handed over to the way in.
    std::uint64_t root_known = 0;              ///< When the root in CR3 was last known to be in use.
    std::vector<std::uint64_t> awaited_entry;  ///< By vCPU: the entry that it has to come back from; 0: none.
    std::vector<VcpuId> awaited;               ///< Those whose awaited_entry is not 0, each once.
  };
  [[nodiscard]] Cpu& at(VcpuId id) { return cpus_[id.raw()]; }
  [[nodiscard]] const Cpu& at(VcpuId id) const { return cpus_[id.raw()]; }
  [[nodiscard]] bool some_is_inside(VcpuId by);
  [[nodiscard]] const char* words_for_objection(VcpuId of) const;

  bool one_for_all_;
  std::uint64_t clock_ = 0;  ///< Counts all of these, so that their order is known.
  std::uint64_t last_mark_ = 0;
  std::vector<Cpu> cpus_;
};

}  // namespace pinfold::vmm
