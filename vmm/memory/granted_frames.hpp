// A domain as its grant table sees it.
#pragma once

#include <functional>
#include <optional>

#include "pvmmu/validator.hpp"
#include "vmm/for_devices/grant_target.hpp"
#include "vmm/memory/frame_holds.hpp"

namespace pinfold::vmm {

/// Finds the entries that a guest names, and passes on what is to become of them to the validator.
///
/// Concurrency: as GrantTarget says, with the domain's lock held.
class GrantedFrames final : public GrantTarget {
 public:
  struct Parts {
    pvmmu::Validator& mmu;
    FrameHolds& holds;
    std::function<Mfn(VcpuId)> kernel_root;  ///< The L4 that the vCPU's kernel runs on.
    std::function<void(VcpuId)> flush_all;   ///< Flushes all vCPUs, for this one.
    pvmmu::TraceSink* trace = nullptr;       ///< Null: nobody watches.
  };
  explicit GrantedFrames(Parts parts) : GrantTarget(parts.trace != nullptr), parts_(std::move(parts)) {}

  [[nodiscard]] tl::expected<SharedPage, Errno> hold_granted(pvmmu::Held held, Mfn frame,
                                                             FrameUse use) override;
  [[nodiscard]] Status map_granted(pvmmu::Held held, const GrantPlace& where,
                                   const GrantedEntry& entry) override;
  [[nodiscard]] Status unmap_granted(pvmmu::Held held, const GrantPlace& where,
                                     const GrantedEntry& entry) override;
  [[nodiscard]] Status replace_granted(pvmmu::Held held, const GrantPlace& where, const GrantedEntry& entry,
                                       GuestVaddr from) override;
  [[nodiscard]] Status give_away(pvmmu::Held held, VcpuId by, Mfn frame) override;
  [[nodiscard]] Status give_to_itself(pvmmu::Held held, Mfn frame, const AcceptFrame& accept) override;
  void drop_given(pvmmu::Held held, Mfn frame) override { parts_.mmu.drop_given(held, frame); }
  void without_lock(pvmmu::DomainLock& held, VcpuId by, const std::function<void()>& visit) override;
  void keep_to_the_end(std::shared_ptr<void> uses) override { kept_ = std::move(uses); }
  void flush_granted(pvmmu::Held held, VcpuId by) override;
  void tell(pvmmu::Held held, const GrantAttempt& attempt) override;

  /// The domain's tables and view are gone.
  void end() { kept_.reset(); }

 private:
  [[nodiscard]] std::optional<MachineAddr> find(pvmmu::Held held, const GrantPlace& where) const;
  [[nodiscard]] Status no_entry(pvmmu::Held held, pvmmu::GrantPurpose purpose, const GrantedEntry& entry);
  Parts parts_;
  std::shared_ptr<void> kept_;
};

/// The same domain for its neighbours, as a receiver of frames.
class DomainFrameReceiver final : public FrameReceiver {
 public:
  DomainFrameReceiver(pvmmu::DomainMutex& mutex, pvmmu::Validator& mmu) : mutex_(mutex), mmu_(mmu) {}
  [[nodiscard]] Status receive(Mfn frame, const AcceptFrame& accept) override;

 private:
  pvmmu::DomainMutex& mutex_;
  pvmmu::Validator& mmu_;
};

}  // namespace pinfold::vmm
