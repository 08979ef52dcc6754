// When a vCPU's way into the guest leads through an entry stub (gate/entry_stub.hpp), and what that stub
// does.
#pragma once

#include <cstdint>
#include <optional>

#include "pvmmu/validator.hpp"
#include "vmm/cpu/flush_duties.hpp"
#include "vmm/gate/entry_stub.hpp"
#include "vmm/gate/gate.hpp"
#include "vmm/statistics.hpp"

namespace pinfold::vmm {

/// Makes one vCPU's entry stubs: for the flush that is due on it, for stale entries of mirrors that KVM has
/// to forget where it shadows them, and for selectors that only an IRETQ loads. Knows how far the vCPU has
/// come.
///
/// A stub that was not run to its end is made again: all that it does can be done twice.
///
/// Concurrency: under the domain's lock.
class EntryStubs {
 public:
  struct Parts {
    VcpuId id;
    bool shadowed;  ///< KVM shadows page tables, and its copies go stale (HostTraits::stale_entries).
    pvmmu::Validator& mmu;
    const pvmmu::StaleLog& stale;
    const Gate& gate;
    FlushDuties& duties;
    Statistics& statistics;
  };
  /// A stub for the next entry.
  struct Stub {
    EntryStub code;
    bool leaves = false;  ///< It does not lead to guest code: more work is left for another one.
  };
  explicit EntryStubs(const Parts& parts) : parts_(parts) {}

  /// Before an entry that goes directly into the guest. `cr3`: what it enters with. `through_iret`: only an
  /// IRETQ can load the guest's selectors. Nothing: no stub is needed. The flush counts as handed over.
  void prepare(pvmmu::Held held, std::optional<Stub>& stub, std::uint64_t cr3, bool through_iret);
  /// The vCPU is entered through the gate, or goes on there.
  void skip() { more_ = false; }

  /// Was the last entry one through a stub, which has not been looked at since?
  [[nodiscard]] bool under_way() const { return under_way_; }
  /// Does the stub under way leave again for the next one?
  [[nodiscard]] bool has_more() const { return more_; }
  /// The vCPU was interrupted in its stub: what that does has to be done again.
  void interrupted() { parts_.duties.request(parts_.id); }
  /// The vCPU got to the end of its stub.
  void finished(pvmmu::Held held);

 private:
  void refresh(pvmmu::Held held, std::optional<Stub>& stub);
  void flush(std::optional<Stub>& stub, std::uint64_t cr3, bool through_iret);
  [[nodiscard]] std::uint64_t refresh_stale_entries(EntryStub& code) const;

  Parts parts_;
  bool under_way_ = false;
  bool more_ = false;
  std::uint64_t settles_below_ = 0;  ///< Number of the stale log's entry at which the stub under way ends.
};

}  // namespace pinfold::vmm
