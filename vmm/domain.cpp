#include "vmm/domain.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <algorithm>
#include <cstdint>
#include <new>
#include <system_error>

#include <xen/xen.h>

#include "pvmmu/audit.hpp"
#include "pvmmu/service_thread.hpp"
#include "vmm/cpu/cpuid_setup.hpp"
#include "vmm/hypercalls/hypercalls.hpp"
#include "vmm/memory/large_pages.hpp"

namespace pinfold::vmm {

Domain::Domain(Machine& machine, const DomainConfig& config, Vm vm, VmMemory memory)
    : machine_(machine),
      config_(config),
      vm_(std::move(vm)),
      flushes_(
          {config.vcpus, config.host.stale_entries, end_, [this](VcpuId id) { kick(id); }, config.trace}),
      memory_(std::move(memory)),
      memory_limit_(config.frames, config.max_frames),
      stale_(config.host.stale_entries),
      outcomes_(config.audit_interval) {}

Domain::~Domain() {
  if (!threads_.empty()) {
    end(Ending::left, "it never ran");
    (void)run();
  }
  machine_.leave(*this);
  if (mmu_ != nullptr && !view().closed()) (void)tear_down(false);
}

tl::expected<std::unique_ptr<Domain>, std::string> Domain::create(const Kvm& kvm, Machine& machine,
                                                                  const DomainConfig& asked) {
  DomainConfig config = asked;
  if (std::max(config.frames, config.max_frames) > VmMemory::most_frames_with_windows)
    config.host.resident = false;
  auto vm = kvm.create_vm();
  if (!vm) return tl::unexpected(vm.error().message);
  std::unique_ptr<Domain> domain;
  const Machine::SizeLock size = machine.hold_size();  // released before a domain that fails is destroyed
  auto memory =
      VmMemory::create(machine, config.host, {std::max(config.frames, config.max_frames), config.vcpus}, *vm);
  if (!memory) return tl::unexpected(memory.error());
  domain.reset(new Domain(machine, config, std::move(*vm), std::move(*memory)));
  try {
    if (auto done = domain->set_up(kvm); !done) return tl::unexpected(done.error());
  } catch (const std::bad_alloc&) {
    return tl::unexpected(std::string("the host has no memory for the domain's records"));
  }
  machine.join(size, *domain);
  return domain;
}

tl::expected<void, std::string> Domain::make_room(std::uint64_t from, std::uint64_t to) {
  if (!mmu_->make_room(to)) return tl::unexpected(std::string("the host has no memory for its records"));
  if (auto added = memory_.add_slots(vm_, from, to); !added) return tl::unexpected(added.error().message);
  return {};
}

void Domain::machine_grew(std::uint64_t to) {
  const pvmmu::DomainLock lock(mutex_);
  const std::size_t had = Machine::m2p_bytes(mmu_->machine_frames()), has = Machine::m2p_bytes(to);
  if (has > had) gate_->extend_machphys(memory_.machphys().plus(had / page_size), had, has);
  if (resident_share_ != nullptr) {
    gate_->extend_windows(VmMemory::windows(), mmu_->machine_frames(), to);
    resident_share_->set_frames(to);
  }
  mmu_->machine_grew(lock, to);
}

tl::expected<void, std::string> Domain::set_up(const Kvm& kvm) {
  create_validator();
  if (config_.host.resident)
    if (auto made = create_resident_path(); !made) return made;
  {
    const pvmmu::DomainLock lock(mutex_);
    if (auto allocated = allocate_frames(lock); !allocated) return allocated;
  }
  if (auto made = create_processors(); !made) return made;
  if (auto made = set_up_processors(kvm); !made) return made;
  register_hypercalls();
  return {};
}

void Domain::create_validator() {
  gate_ = std::make_unique<Gate>(memory_.arena(), config_.vcpus, config_.host, memory_.machphys(),
                                 Machine::m2p_bytes(machine_.frames().size()));
  const std::uint64_t m2p_l4_slot = pvmmu::slot_of(pvmmu::Level::l4, GuestVaddr(gate_->machphys_address()));
  mmu_ = std::make_unique<pvmmu::Validator>(pvmmu::ValidatorParts{
      config_.id, machine_.frames(), machine_.pages(), machine_.m2p(), memory_.arena().mirrors(), stale_,
      memory_.view(), gate_->l4_slots(), m2p_l4_slot, memory_limit_.most(), config_.trace,
      pvmmu::most_windows(memory_limit_.most()), config_.host.resident});
  holds_ = std::make_unique<FrameHolds>(*mmu_, [this](Mfn frame, pvmmu::FrameType type) {
    end(Ending::isolation_fault,
        fmt::format("the monitor was about to write frame {:#x}, which it shares with the guest as data, and "
                    "which is typed {}; nothing was written",
                    frame.raw(), pvmmu::name(type)));
  });
  granted_frames_ = std::make_unique<GrantedFrames>(
      GrantedFrames::Parts{*mmu_, *holds_, [this](VcpuId vcpu) { return cpu(vcpu).state().kernel_root; },
                           [this](VcpuId by) { flushes_.flush_all(by); }, config_.trace});
}

/// What the gate needs to finish page-table updates: the domain's records and windows, and a share of its
/// lock.
tl::expected<void, std::string> Domain::create_resident_path() {
  const pvmmu::SparseMemory& facts = mmu_->records().facts_memory();
  const pvmmu::SparseMemory& uses = mmu_->records().uses_memory();
  if (auto added = memory_.add_records(vm_, facts, uses); !added)
    return tl::unexpected(added.error().message);
  gate_->map_records(VmMemory::facts(), VmMemory::uses(), facts.reserved());
  gate_->extend_windows(VmMemory::windows(), 0, mmu_->machine_frames());
  resident_share_ = std::make_unique<ResidentShare>(ResidentShare::Parts{
      gate_->resident_flags(), gate_->control_page(), view().windows_complete(),
      [this](VcpuId id) { kick(id); }, [this](pvmmu::Held held, VcpuId id) { cpu(id).settle_roots(held); }});
  resident_share_->set_frames(mmu_->machine_frames());
  mutex_.share_with(resident_share_.get());
  return {};
}

/// Allocates the guest's memory, and then its shared_info page: PV GRUB looks for a frame of its memory whose
/// number is the machine *address* of shared_info (2.06: grub_xen_is_page_usable), and takes it out of its
/// use. So that address, read as a number, must be none of the guest's frames.
tl::expected<void, std::string> Domain::allocate_frames(pvmmu::Held held) {
  const bool allocated = allocate_memory(held);
  const auto shared = mmu_->allocate_special(held);
  if (!allocated || !shared)
    return tl::unexpected(std::string("the machine has not enough frames for the domain"));
  auto page = holds_->hold(held, *shared);
  if (!page) return tl::unexpected("shared_info can't be held: " + page.error().describe());
  shared_info_ = SharedInfo({*shared, std::move(*page)}, config_.vcpus);
  if (config_.host.fast_paths)
    for (std::uint32_t i = 0; i < std::min(SharedInfo::legacy_vcpus, config_.vcpus); ++i)
      gate_->map_info(i, *shared, i * VcpuInfo::size);
  return {};
}

/// Allocates the domain's memory, in its pseudo-physical order: frames that were never used, one extent or
/// two around those that the machine withholds, then what other domains have given back.
bool Domain::allocate_memory(pvmmu::Held held) {
  frames_.reserve(config_.frames);
  prefer_large_pages(frames_.data(), config_.frames * sizeof(Mfn));
  while (frames_.size() < config_.frames) {
    constexpr std::uint64_t largest_returned = 1ULL << pvmmu::FreeFrames::max_order;
    const std::uint64_t wanted = config_.frames - frames_.size();
    std::uint64_t count = std::min(machine_.frames().unused_extent(), wanted);
    if (count == 0) count = std::min(largest_returned, wanted);
    auto first = mmu_->allocate(held, count);
    if (!first) first = mmu_->allocate(held, count = 1);
    if (!first) return false;
    (void)mmu_->set_machphys(held, *first, Pfn(frames_.size()), count);
    for (std::uint64_t i = 0; i < count; ++i) frames_.push_back(first->plus(i));
  }
  return true;
}

/// The vCPUs, and the clock that they share.
tl::expected<void, std::string> Domain::create_processors() {
  for (std::uint32_t i = 0; i < config_.vcpus; ++i) {
    auto cpu = GuestCpu::create(*this, VcpuId(i));
    if (!cpu) return tl::unexpected(cpu.error().message);
    cpus_.push_back(std::move(*cpu));
    // KVM starts each vCPU's TSC at zero, but the guest's clocks need the same TSC on all vCPUs. (If the
    // offset can't be set, the TSC is the host's.)
    (void)cpus_.back()->vcpu().set_tsc_offset(0);
  }
  const Vcpu& first = cpus_[0]->vcpu();
  const std::uint32_t khz = first.tsc_khz().value_or(0);
  if (khz == 0) return tl::unexpected(std::string("the host does not tell its TSC's frequency"));
  clock_ = std::make_unique<Clock>(khz, first.tsc_offset().value_or(0));
  clock_->set_wall_offset(config_.wall_offset_seconds);
  return {};
}

/// Sets what CPUID shows to the vCPUs, and their system registers.
tl::expected<void, std::string> Domain::set_up_processors(const Kvm& kvm) {
  auto policy = cpuid_policy_for(kvm, config_.host, *clock_);
  if (!policy) return tl::unexpected(policy.error());
  cpuid_ = std::make_unique<CpuidPolicy>(std::move(*policy));
  for (std::uint32_t i = 0; i < config_.vcpus; ++i) {
    Vcpu& vcpu = cpus_[i]->vcpu();
    if (auto set = vcpu.set_cpuid(cpuid_entries(*cpuid_, VcpuId(i))); !set)
      return tl::unexpected(set.error().message);
    if (auto set = gate_->set_up(vcpu, i); !set) return tl::unexpected(set.error().message);
    (void)vcpu.set_xcr0(cpuid_->xcr0_offered());
  }
  return {};
}

void Domain::register_hypercalls() {
  hypercalls::register_mmu(*this);
  hypercalls::register_descriptors(*this);
  hypercalls::register_memory(*this);
  hypercalls::register_traps(*this);
  hypercalls::register_scheduling(*this);
  hypercalls::register_platform(*this);
  hypercalls::register_multicall(*this);
}

tl::expected<void, std::string> Domain::adopt(Mfn l4, GuestVaddr entry, GuestVaddr stack,
                                              GuestVaddr start_info) {
  const pvmmu::DomainLock lock(mutex_);
  if (auto pinned = mmu_->pin(lock, pvmmu::Level::l4, l4); !pinned)
    return tl::unexpected("the initial page tables are refused: " + pinned.error().describe());
  GuestCpu& cpu = *cpus_[0];
  if (auto loaded = cpu.load_kernel_root(lock, l4); !loaded)
    return tl::unexpected("the initial root is refused: " + loaded.error().describe());
  cpu.start_at(entry, stack, start_info);
  cpu.publish_time(lock);
  shared_info_.publish_wall_clock(*clock_);
  return {};
}

void Domain::create_threads() {
  has_threads_ = true;
  install_kick_handler();
  try {
    if (!watchdog_.start()) end(Ending::host_failure, "the host has no thread for the watchdog");
    for (std::size_t i = 0; i < cpus_.size(); ++i) {
      const auto& cpu = cpus_[i];
      // The new thread inherits it: no other thread needs the system call, and none once the guest runs.
      std::optional<Binding> binding;
      if (!config_.processors.empty()) binding.emplace(config_.processors[i]);
      threads_.push_back(start_thread(ThreadKind::vcpu, [this, &cpu = *cpu] {
        may_run_.wait();
        try {
          cpu.run();
        } catch (const std::bad_alloc&) {
          end(Ending::host_failure, "the host has not enough memory");
        }
      }));
    }
  } catch (const std::system_error& error) {
    end(Ending::host_failure, std::string("the host has no thread for a vCPU: ") + error.what());
  }
}

End Domain::run() {
  if (!has_threads_) create_threads();
  may_run_.count_down();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
  watchdog_.stop();
  return end_.result();
}

Domain::Leftovers Domain::tear_down(bool audit) {
  Leftovers left;
  const pvmmu::DomainLock lock(mutex_);
  if (audit) left.findings = this->audit(lock);
  for (const auto& cpu : cpus_) cpu->drop_everything(lock);
  shared_info_ = SharedInfo();
  holds_->settle(lock);
  for (const Mfn mfn : holds_->frames(FrameHolds::For::monitor))
    left.findings.push_back(fmt::format("frame {:#x} is still held for a device", mfn.raw()));
  // Nobody's number of a page of its memory names them any more.
  for (const Mfn mfn : holds_->frames(FrameHolds::For::neighbour))
    (void)mmu_->set_machphys(lock, mfn, no_pfn);
  view().close();
  left.frames = mmu_->destroy(lock);
  left.frames -= holds_->leave_to_neighbours(lock, machine_.frames());
  granted_frames_->end();
  return left;
}

std::vector<std::string> Domain::audit(pvmmu::Held held) {
  ++statistics_.audits;
  pvmmu::OutsideReferences outside;
  for (const auto& cpu : cpus_) {
    const CpuState& s = cpu->state();
    if (s.kernel_root != no_mfn) outside.add(s.kernel_root);
    if (s.user_root != no_mfn) outside.add(s.user_root);
    for (const Mfn mfn : cpu->descriptors().gdt_frames()) outside.add(mfn);
    for (const Mfn mfn : cpu->descriptors().ldt_frames())
      if (mfn.raw() != 0) outside.add(mfn);
  }
  for (const Mfn mfn : holds_->frames()) outside.add(mfn);
  for (const Mfn mfn : holds_->frames(FrameUse::read)) outside.add_readable(mfn);
  return pvmmu::audit(held, *mmu_, outside);
}

void Domain::mmu_operation(pvmmu::Held held) {
  if (!outcomes_.count()) return;
  for (const std::string& finding : audit(held)) end(Ending::isolation_fault, "audit: " + finding);
}

void Domain::mmu_outcome(pvmmu::Held held, GuestCpu& cpu, bool done) {
  if (!outcomes_.note(done)) return;
  end(Ending::crash, fmt::format("the guest made {} refused MMU requests in a row\n{}",
                                 outcomes_.refusals_in_a_row(), cpu.describe(held)));
}

tl::expected<SharedFrame, Errno> Domain::allocate(pvmmu::Held held) {
  const auto mfn = mmu_->allocate_special(held);
  if (!mfn) return fail(Errno::enomem);
  auto page = holds_->hold(held, *mfn);
  if (!page) return fail(Errno::enomem);
  return SharedFrame{*mfn, std::move(*page)};
}

tl::expected<SharedPage, Errno> Domain::hold_frame(pvmmu::Held held, Mfn frame) {
  auto page = holds_->hold(held, frame);
  if (!page) return fail(Errno::einval);
  return std::move(*page);
}

void Domain::wake_pollers(Port) {
  // No wake-up is lost: a vCPU counts itself before it looks at its ports, and this runs after the port is
  // pending.
  if (pollers_ == 0) return;
  for (const auto& cpu : cpus_)
    if (cpu->sleep().is_polling()) cpu->kick();
}

void Domain::set_vcpu_info(pvmmu::Held, VcpuId vcpu, const SharedFrame& frame, std::size_t offset) {
  shared_info_.move(vcpu, frame.page, offset);
  if (config_.host.fast_paths) gate_->map_info(vcpu.raw(), frame.mfn, offset);
  if (events_ != nullptr) events_->vcpu_info_moved(vcpu);  // everything is looked at again (xen/vcpu.h)
}

void Domain::descriptor_changed(Mfn frame, std::size_t slot, std::uint64_t descriptor) {
  for (const auto& cpu : cpus_) cpu->descriptors().descriptor_changed(frame, slot, descriptor);
}

}  // namespace pinfold::vmm
