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
  };
  explicit GrantedFrames(Parts parts) : parts_(std::move(parts)) {}

  [[nodiscard]] tl::expected<SharedPage, Errno> hold_granted(pvmmu::Held held, Mfn frame,
                                                             FrameUse use) override;
  [[nodiscard]] Status map_granted(pvmmu::Held held, const GrantPlace& where,
                                   const GrantedEntry& entry) override;
  [[nodiscard]] Status unmap_granted(pvmmu::Held held, const GrantPlace& where,
                                     const GrantedEntry& entry) override;
  [[nodiscard]] Status replace_granted(pvmmu::Held held, const GrantPlace& where, const GrantedEntry& entry,
                                       GuestVaddr from) override;
  void without_lock(pvmmu::DomainLock& held, VcpuId by, const std::function<void()>& visit) override;
  void keep_to_the_end(std::shared_ptr<void> uses) override { kept_ = std::move(uses); }
  void flush_granted(pvmmu::Held held, VcpuId by) override;

  /// The domain's tables and view are gone.
  void end() { kept_.reset(); }

 private:
  [[nodiscard]] std::optional<MachineAddr> find(pvmmu::Held held, const GrantPlace& where) const;
  Parts parts_;
  std::shared_ptr<void> kept_;
};

}  // namespace pinfold::vmm
