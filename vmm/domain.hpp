// A running guest: its memory, its vCPUs, and what it asked the monitor for.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <ctime>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "pvmmu/validator.hpp"
#include "vmm/assists.hpp"
#include "vmm/clock.hpp"
#include "vmm/cpu/guest_cpu.hpp"
#include "vmm/cpu/tlb_flushes.hpp"
#include "vmm/cpuid_policy.hpp"
#include "vmm/emulate/io_ports.hpp"
#include "vmm/ending.hpp"
#include "vmm/for_devices/events.hpp"
#include "vmm/for_devices/hypercall.hpp"
#include "vmm/for_devices/shared_frames.hpp"
#include "vmm/gate/resident_share.hpp"
#include "vmm/memory/frame_holds.hpp"
#include "vmm/memory/granted_frames.hpp"
#include "vmm/memory/memory_limit.hpp"
#include "vmm/memory/vm_memory.hpp"
#include "vmm/mmu_outcomes.hpp"
#include "vmm/processors.hpp"
#include "vmm/shared_info.hpp"
#include "vmm/statistics.hpp"
#include "vmm/uuid.hpp"
#include "vmm/vcpu_info.hpp"
#include "vmm/watchdog.hpp"

namespace pinfold::vmm {

inline constexpr std::uint32_t max_vcpus = gate::max_cpus;

struct DomainConfig {
  DomId id{1};
  Uuid uuid;
  std::uint64_t frames = 0;      ///< Memory at the start, in 4 KiB frames.
  std::uint64_t max_frames = 0;  ///< What it may ever have; less than `frames` means the same as `frames`.
  std::uint32_t vcpus = 1;       ///< All that it has. The guest decides which of them it uses.
  std::vector<Processors> processors;    ///< Of the host, for each vCPU's thread; empty: any.
  std::int64_t wall_offset_seconds = 0;  ///< Of the guest's wall clock, from the host's.
  HostTraits host;
  std::uint64_t audit_interval = 0;   ///< MMU hypercalls between two audits; 0: none but the last.
  pvmmu::TraceSink* trace = nullptr;  ///< Is told of the domain's MMU events; outlives the domain.
};

/// One domain. Create, let devices register hypercalls, build the guest into `frames()`, `adopt` its tables,
/// `create_threads`, `run`, which is called if `create_threads` was.
///
/// Has more members than other classes because most of them only hand out a part: hypercall handlers, vCPUs
/// and commands find the parts here. What a part does, and under which lock, is in its own header. Nobody is
/// handed the lock itself but by mutex(); whoever needs it held takes the proof (`Held`).
class Domain final : public EventTarget, private SharedFrameSource, private MachineTenant {
 public:
  [[nodiscard]] static tl::expected<std::unique_ptr<Domain>, std::string> create(const Kvm& kvm,
                                                                                 Machine& machine,
                                                                                 const DomainConfig& config);
  ~Domain() override;

  // -- building
  /// The domain's memory in pseudo-physical order.
  [[nodiscard]] const std::vector<Mfn>& frames() const { return frames_; }
  [[nodiscard]] Mfn shared_info_frame() const { return shared_info_.frame(); }
  /// Makes pages of the monitor that the guest may map (grant table); for use in hypercalls.
  [[nodiscard]] SharedFrameSource& shared_frames() { return *this; }
  /// The event channels; null when they are gone.
  void set_events(EventSource* events) { events_ = events; }
  [[nodiscard]] HypercallTable& hypercalls() { return hypercalls_; }
  /// Validates and pins the initial tables and starts vCPU 0 on them. An error says why they were refused.
  [[nodiscard]] tl::expected<void, std::string> adopt(Mfn l4, GuestVaddr entry, GuestVaddr stack,
                                                      GuestVaddr start_info);

  /// Makes all threads that it will ever need. They wait for run(). Whatever fails ends the domain.
  void create_threads();
  /// Runs all vCPUs until the domain ends; creates the threads if there are none yet.
  [[nodiscard]] End run();
  /// Ends it, from any thread. The first reason stays.
  void end(Ending ending, std::string why) { end_.end(ending, std::move(why)); }
  [[nodiscard]] bool ended() const { return end_.happened(); }
  [[nodiscard]] DomainEnd& ending() { return end_; }
  /// After run(), when devices have let go of their pages: audits, releases everything, and says how many
  /// frames still had references (0). Frames that other domains hold stay theirs until they let go of them.
  struct Leftovers {
    std::uint64_t frames = 0;
    std::vector<std::string> findings;  ///< Of the last audit.
  };
  [[nodiscard]] Leftovers tear_down(bool audit);

  // -- EventTarget
  [[nodiscard]] std::uint32_t vcpu_count() const override { return config_.vcpus; }
  [[nodiscard]] SharedPage shared_info() override { return shared_info_.page(); }
  /// Needs the domain's lock, or that no vCPU runs yet.
  [[nodiscard]] VcpuInfoPlace vcpu_info(VcpuId vcpu) override { return shared_info_.place(vcpu); }
  void kick(VcpuId vcpu) override { cpu(vcpu).kick(); }
  void wake_pollers(Port port) override;
  [[nodiscard]] tl::expected<SharedPage, Errno> hold_frame(pvmmu::Held held, Mfn frame) override;

  // -- for vCPUs and hypercalls
  [[nodiscard]] DomId id() const { return config_.id; }
  [[nodiscard]] const DomainConfig& config() const { return config_; }
  [[nodiscard]] pvmmu::DomainMutex& mutex() { return mutex_; }
  [[nodiscard]] pvmmu::Validator& mmu() { return *mmu_; }
  [[nodiscard]] pvmmu::TraceSink* trace() const { return config_.trace; }
  [[nodiscard]] pvmmu::StaleLog& stale() { return stale_; }
  [[nodiscard]] Arena& arena() { return memory_.arena(); }
  [[nodiscard]] Gate& gate() { return *gate_; }
  /// How the gate shares the domain's lock; null where it has no resident path.
  [[nodiscard]] ResidentShare* resident_share() { return resident_share_.get(); }
  [[nodiscard]] TlbFlushes& flushes() { return flushes_; }
  [[nodiscard]] View& view() { return memory_.view(); }
  [[nodiscard]] MemoryLimit& memory_limit() { return memory_limit_; }
  [[nodiscard]] Machine& machine() { return machine_; }
  [[nodiscard]] Clock& clock() { return *clock_; }
  [[nodiscard]] const Clock& clock() const { return *clock_; }
  [[nodiscard]] const CpuidPolicy& cpuid() const { return *cpuid_; }
  [[nodiscard]] IoPorts& ports() { return ports_; }
  [[nodiscard]] EventSource* events() { return events_; }
  [[nodiscard]] Vm& vm() { return vm_; }
  [[nodiscard]] bool has_cpu(std::uint64_t n) const { return n < cpus_.size(); }
  [[nodiscard]] GuestCpu& cpu(VcpuId n) { return *cpus_[n.raw()]; }
  [[nodiscard]] Statistics& statistics() { return statistics_; }
  [[nodiscard]] Watchdog& watchdog() { return watchdog_; }
  /// What is in a vCPU's vcpu_info, wherever it is now. Needs the domain's lock.
  [[nodiscard]] VcpuInfo info_of(VcpuId vcpu) { return shared_info_.info(vcpu); }
  /// Moves a vCPU's vcpu_info into a page of the guest's.
  void set_vcpu_info(pvmmu::Held held, VcpuId vcpu, const SharedFrame& frame, std::size_t offset);
  /// Frames that the guest shares with the monitor and its devices.
  [[nodiscard]] FrameHolds& holds() { return *holds_; }
  /// The domain for its grant table.
  [[nodiscard]] GrantTarget& granted_frames() { return *granted_frames_; }
  /// Holds of frames for a thread of a device's, or for another domain's hypercalls. Without any domain's
  /// lock.
  [[nodiscard]] std::unique_ptr<FrameHolder> frame_holder(FrameHolds::For whom = FrameHolds::For::monitor) {
    return std::make_unique<DomainFrameHolder>(mutex_, *holds_, whom);
  }
  [[nodiscard]] std::unique_ptr<FrameReceiver> frame_receiver() {
    return std::make_unique<DomainFrameReceiver>(mutex_, *mmu_);
  }
  // -- keeping vCPUs out of the guest, from outside: cpu/stopping.cpp
  void stop(pvmmu::Held held, StopReason reason);
  void go_on(pvmmu::Held held, StopReason reason);
  /// Waits until each stopped vCPU rests, or the domain is over.
  void wait_until_stopped(pvmmu::DomainLock& lock);
  /// The same with a time limit. False: a vCPU has not left the guest yet; it will rest when it does.
  [[nodiscard]] bool wait_until_stopped(pvmmu::DomainLock& lock, std::chrono::milliseconds limit);
  /// The debugger gets the guest's debug traps from now on; null: nobody does.
  void set_debugger(pvmmu::Held, Debugger* debugger) { debugger_ = debugger; }
  [[nodiscard]] Debugger* debugger() { return debugger_; }
  /// The host has slept and no vCPU is in the guest: time goes on from where it was. cpu/host_sleep.cpp
  void host_woke(pvmmu::Held held, std::uint64_t tsc_offset);
  /// A descriptor of a held descriptor page changed.
  void descriptor_changed(Mfn frame, std::size_t slot, std::uint64_t descriptor);
  /// How many vCPUs wait in SCHEDOP_poll.
  std::atomic<std::uint32_t>& pollers() { return pollers_; }
  /// Counts one MMU hypercall; audits when it is time to.
  void mmu_operation(pvmmu::Held held);
  /// Notes whether an MMU request of this vCPU's was done or refused; ends a guest that gets nowhere.
  void mmu_outcome(pvmmu::Held held, GuestCpu& cpu, bool done);
  [[nodiscard]] Assists& assists() { return assists_; }
  /// What SCHEDOP_shutdown_code announced.
  [[nodiscard]] std::optional<std::uint32_t>& shutdown_code() { return shutdown_code_; }

 private:
  Domain(Machine& machine, const DomainConfig& config, Vm vm, VmMemory memory);
  [[nodiscard]] tl::expected<void, std::string> set_up(const Kvm& kvm);
  // -- MachineTenant
  [[nodiscard]] tl::expected<void, std::string> make_room(std::uint64_t from, std::uint64_t to) override;
  void take_back_room() override { memory_.remove_last_slots(vm_); }
  [[nodiscard]] std::uint64_t most_frames() const override { return memory_limit_.most() + spare_frames; }
  void machine_grew(std::uint64_t to) override;
  void create_validator();
  [[nodiscard]] tl::expected<void, std::string> create_resident_path();
  [[nodiscard]] tl::expected<void, std::string> allocate_frames(pvmmu::Held held);
  [[nodiscard]] bool allocate_memory(pvmmu::Held held);
  [[nodiscard]] tl::expected<void, std::string> create_processors();
  [[nodiscard]] tl::expected<void, std::string> set_up_processors(const Kvm& kvm);
  void register_hypercalls();
  [[nodiscard]] tl::expected<SharedFrame, Errno> allocate(pvmmu::Held held) override;
  [[nodiscard]] std::vector<std::string> audit(pvmmu::Held held);

  Machine& machine_;
  DomainConfig config_;
  Vm vm_;
  pvmmu::DomainMutex mutex_;
  DomainEnd end_{[this] {
    for (const auto& cpu : cpus_) cpu->kick();
  }};
  TlbFlushes flushes_;
  VmMemory memory_;
  MemoryLimit memory_limit_;
  std::unique_ptr<Gate> gate_;
  std::unique_ptr<ResidentShare> resident_share_;
  pvmmu::StaleLog stale_;
  std::unique_ptr<pvmmu::Validator> mmu_;
  std::unique_ptr<FrameHolds> holds_;
  std::unique_ptr<GrantedFrames> granted_frames_;
  std::unique_ptr<Clock> clock_;
  std::unique_ptr<CpuidPolicy> cpuid_;
  IoPorts ports_{[this] { return std::time(nullptr) + config_.wall_offset_seconds; }};
  HypercallTable hypercalls_;
  EventSource* events_ = nullptr;
  Debugger* debugger_ = nullptr;
  std::vector<std::unique_ptr<GuestCpu>> cpus_;
  std::vector<std::thread> threads_;  ///< Of the vCPUs, from create_threads() until run() returns.
  bool has_threads_ = false;
  std::latch may_run_{1};
  std::vector<Mfn> frames_;
  SharedInfo shared_info_;
  std::atomic<std::uint32_t> pollers_{0};
  MmuOutcomes outcomes_;
  Assists assists_;
  std::optional<std::uint32_t> shutdown_code_;
  Statistics statistics_;
  Watchdog watchdog_{[this] { end(Ending::watchdog, "the guest watchdog fired"); }};
};

}  // namespace pinfold::vmm
