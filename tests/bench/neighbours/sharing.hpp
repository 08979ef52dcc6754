// Two domains of a machine, one of which uses grants of its own and of the other's, and sends itself events.
#pragma once

#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

#include "devices/event_channels.hpp"
#include "devices/grant_table.hpp"
#include "vmm/memory/frame_holds.hpp"
#include "vmm/memory/granted_frames.hpp"
#include "vmm/memory/guest_access.hpp"
#include "world.hpp"

namespace pinfold::bench {

/// One domain: what bench::World has for the validator, and what vmm::Domain adds for grants.
class Side final : public vmm::SharedFrameSource, public vmm::EventTarget {
 public:
  Side(DomId id, pvmmu::FrameTable& frames, pvmmu::bench::SparsePages& memory,
       const std::shared_ptr<devices::GrantNeighbours>& all);
  ~Side() override;
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  /// One of a few frames that nothing uses.
  [[nodiscard]] Mfn spare_frame(std::uint64_t number) const { return root_.plus(5 + number); }
  [[nodiscard]] Mfn root() const { return root_; }
  /// Grants a data frame of this domain's.
  void grant(std::uint32_t ref, DomId to);
  /// The vCPU's hypercall: what the dispatcher does with the handler's lock, memory and holds.
  void call(std::uint64_t number, const std::function<std::int64_t(vmm::Hypercall&)>& handler,
            std::array<std::uint64_t, 6> args);

  // vmm::SharedFrameSource
  [[nodiscard]] tl::expected<vmm::SharedFrame, Errno> allocate(pvmmu::Held held) override;
  // vmm::EventTarget: what a kick costs is the kernel's.
  [[nodiscard]] std::uint32_t vcpu_count() const override { return 1; }
  [[nodiscard]] vmm::SharedPage shared_info() override { return shared_info_; }
  [[nodiscard]] vmm::VcpuInfoPlace vcpu_info(VcpuId) override { return {shared_info_, 0}; }
  void kick(VcpuId) override {}
  void wake_pollers(Port) override {}
  [[nodiscard]] tl::expected<vmm::SharedPage, Errno> hold_frame(pvmmu::Held, Mfn) override {
    return fail(Errno::einval);
  }

  /// The guest's page for arguments, and an address at which nothing is mapped.
  static constexpr GuestVaddr arguments{0x10000}, window{0x20000};
  DomId id;

 private:
  pvmmu::bench::SparsePages m2p_, arena_;
  pvmmu::MirrorArena mirrors_;
  pvmmu::StaleLog stale_{false};
  pvmmu::bench::NoView view_;

 public:
  pvmmu::Validator mmu;
  pvmmu::DomainMutex mutex;
  vmm::FrameHolds holds;
  vmm::GrantedFrames granted;
  std::unique_ptr<devices::GrantTable> grants;
  std::unique_ptr<devices::EventChannels> events;
  std::byte* arguments_page = nullptr;

 private:
  Mfn root_;
  vmm::SharedPage shared_info_;
  vmm::HypercallTable hypercalls_;
};

class Sharing {
 public:
  static constexpr std::uint32_t source_ref = 20, dest_ref = 21;
  Sharing();

  [[nodiscard]] DomId self() const { return user_.id; }
  [[nodiscard]] DomId neighbour() const { return owner_.id; }
  [[nodiscard]] Side& user() { return user_; }
  [[nodiscard]] Side& owner() { return owner_; }
  [[nodiscard]] GuestVaddr window() const { return Side::window; }
  [[nodiscard]] std::uint32_t port_to_itself() const { return port_; }

  /// As the guest writes its arguments, and reads the results.
  template <class Args>
  void put(std::span<const Args> list) {
    std::memcpy(user_.arguments_page, list.data(), list.size_bytes());
  }
  template <class Args>
  void put(std::span<Args> list) {
    put(std::span<const Args>(list));
  }
  template <class Args>
  [[nodiscard]] Args get(std::size_t index) const {
    Args args{};
    std::memcpy(&args, user_.arguments_page + index * sizeof(Args), sizeof args);
    return args;
  }
  void grant_op(std::uint32_t op, std::uint32_t count);
  void event_op(std::uint32_t op);
  /// As the guest's upcall handler does.
  void take_events(std::uint32_t port);
  static void check(std::int16_t status) {
    if (status != GNTST_okay) throw std::runtime_error("a grant operation failed");
  }

 private:
  pvmmu::bench::SparsePages memory_;
  pvmmu::FrameTable frames_;
  std::shared_ptr<devices::GrantNeighbours> all_ = std::make_shared<devices::GrantNeighbours>();
  Side user_, owner_;
  std::uint32_t port_ = 0;
};

}  // namespace pinfold::bench
