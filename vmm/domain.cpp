#include "vmm/domain.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <algorithm>
#include <cstdint>
#include <system_error>

#include <xen/xen.h>

#include "pvmmu/audit.hpp"
#include "vmm/cpuid_native.hpp"
#include "vmm/hypercalls/hypercalls.hpp"
#include "vmm/memory/large_pages.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t frames_per_large = 512;
constexpr std::uint32_t arena_slot_number = 0, m2p_slot = 1, first_machine_slot = 2;

[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t unit) {
  return (n + unit - 1) / unit * unit;
}

/// The leaves that KVM supports, as a source for the policy.
CpuidSource source_of(std::vector<kvm_cpuid_entry2> supported) {
  return [supported = std::move(supported)](std::uint32_t leaf, std::uint32_t subleaf) {
    for (const auto& e : supported)
      if (e.function == leaf && ((e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) == 0 || e.index == subleaf))
        return CpuidResult{e.eax, e.ebx, e.ecx, e.edx};
    return CpuidResult{};
  };
}

/// The policy's leaves as KVM takes them: what CPUID shows where it is not executed by the processor itself.
std::vector<kvm_cpuid_entry2> entries_of(const CpuidPolicy& policy, VcpuId vcpu) {
  constexpr std::uint32_t xen_leaves = 0x40000000, extended_leaves = 0x80000000;
  const CpuidAsker asker{vcpu, false, true, policy.xcr0_offered()};
  std::vector<kvm_cpuid_entry2> entries;
  const auto add = [&](std::uint32_t leaf, std::uint32_t subleaves) {
    for (std::uint32_t sub = 0; sub < subleaves; ++sub) {
      const CpuidResult r = policy.answer(leaf, sub, asker);
      kvm_cpuid_entry2 e{};
      e.function = leaf;
      e.index = sub;
      e.flags = subleaves > 1 ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0U;
      e.eax = r.eax, e.ebx = r.ebx, e.ecx = r.ecx, e.edx = r.edx;
      entries.push_back(e);
    }
  };
  for (std::uint32_t leaf = 0; leaf <= policy.answer(0, 0, asker).eax; ++leaf) {
    constexpr std::uint32_t state_components = 12;
    add(leaf, leaf == 0xd ? state_components : leaf == 4 || leaf == 7 || leaf == 0xb ? 3U : 1U);
  }
  for (std::uint32_t leaf = xen_leaves; leaf <= policy.answer(xen_leaves, 0, asker).eax; ++leaf) add(leaf, 1);
  for (std::uint32_t leaf = extended_leaves; leaf <= policy.answer(extended_leaves, 0, asker).eax; ++leaf)
    add(leaf, 1);
  return entries;
}

}  // namespace

Domain::Domain(Machine& machine, const DomainConfig& config, Vm vm)
    : machine_(machine),
      config_(config),
      vm_(std::move(vm)),
      flushes_(
          {config.vcpus, config.host.stale_entries, end_, [this](VcpuId id) { kick(id); }, config.trace}),
      stale_(config.host.stale_entries) {}

Domain::~Domain() = default;

tl::expected<std::unique_ptr<Domain>, std::string> Domain::create(const Kvm& kvm, Machine& machine,
                                                                  const DomainConfig& config) {
  auto vm = kvm.create_vm();
  if (!vm) return tl::unexpected(vm.error().message);
  std::unique_ptr<Domain> domain(new Domain(machine, config, std::move(*vm)));
  if (auto done = domain->set_up(kvm); !done) return tl::unexpected(done.error());
  return domain;
}

tl::expected<void, std::string> Domain::set_up(const Kvm& kvm) {
  // Memory: the view, far above it the arena, the machine-to-phys table past that.
  auto view = View::create(machine_, config_.host.protection);
  if (!view) return tl::unexpected(view.error().message);
  view_ = std::move(*view);
  // Address space for a guest whose memory is all page tables; memory is taken for those that it has.
  const std::uint64_t least = pvmmu::most_mirrors(machine_.frames().size());
  const std::uint64_t fixed = Gate::pages_needed(config_.vcpus, least);
  const std::uint64_t mirrors = round_up(fixed + least, frames_per_large) - fixed;
  auto arena = Arena::create(pvmmu::first_monitor_frame, fixed, mirrors);
  if (!arena) return tl::unexpected(arena.error().message);
  arena_ = std::move(*arena);
  const Mfn m2p_first = pvmmu::first_monitor_frame.plus(fixed + mirrors);
  auto m2p = Mapping::of_file(machine_.m2p_file(), machine_.m2p_bytes(), Mapping::Access::read);
  if (!m2p) return tl::unexpected(m2p.error().message);
  m2p_view_ = std::move(*m2p);

  const auto slot = [&](std::uint32_t number, Mfn first, std::size_t size, std::byte* host,
                        std::uint32_t flags) -> tl::expected<void, std::string> {
    auto set = vm_.set_memory(number, address_of(first).raw(), size, host, flags);
    if (!set) return tl::unexpected(set.error().message);
    return {};
  };
  std::uint32_t number = first_machine_slot;
  for (const auto& [first, count] : Machine::slots(machine_.frames().size()))
    if (auto s = slot(number++, first, count * page_size, view_->base() + address_of(first).raw(), 0); !s)
      return s;
  if (auto s = slot(arena_slot_number, pvmmu::first_monitor_frame, arena_->size(), arena_->base(), 0); !s)
    return s;
  if (auto s = slot(m2p_slot, m2p_first, m2p_view_.size(), m2p_view_.base(), KVM_MEM_READONLY); !s) return s;

  gate_ = std::make_unique<Gate>(*arena_, config_.vcpus, config_.host, m2p_first, machine_.m2p_bytes());
  const std::uint64_t m2p_l4_slot = pvmmu::slot_of(pvmmu::Level::l4, GuestVaddr(gate_->machphys_address()));
  mmu_ = std::make_unique<pvmmu::Validator>(pvmmu::ValidatorParts{
      config_.id, machine_.frames(), machine_.pages(), machine_.m2p(), arena_->mirrors(), stale_, *view_,
      gate_->l4_slots(), m2p_l4_slot, config_.frames, config_.trace});

  holds_ = std::make_unique<FrameHolds>(*mmu_, [this](Mfn frame, pvmmu::FrameType type) {
    end(Ending::isolation_fault,
        fmt::format("the monitor was about to write frame {:#x}, which it shares with the guest as data, and "
                    "which is typed {}; nothing was written",
                    frame.raw(), pvmmu::name(type)));
  });

  // The guest's memory, and the page that it shares with the monitor.
  const pvmmu::DomainLock lock(mutex_);
  const auto shared = mmu_->allocate_special(lock);
  if (!shared || !allocate_memory(lock))
    return tl::unexpected(std::string("the machine has not enough frames for the domain"));
  shared_info_ = *shared;
  auto page = holds_->hold(lock, shared_info_);
  if (!page) return tl::unexpected("shared_info can't be held: " + page.error().describe());
  shared_info_page_ = std::move(*page);
  for (std::uint32_t i = 0; i < XEN_LEGACY_MAX_VCPUS; ++i) {
    vcpu_infos_.push_back(VcpuInfoPlace{shared_info_page_, i * VcpuInfo::size});
    VcpuInfo(vcpu_infos_.back()).set_upcall_mask(true);
  }
  if (config_.host.fast_paths)
    for (std::uint32_t i = 0; i < std::min<std::uint32_t>(XEN_LEGACY_MAX_VCPUS, config_.vcpus); ++i)
      gate_->map_info(i, shared_info_, i * VcpuInfo::size);
  // Past the legacy ones a vCPU has no vcpu_info until it registers one; what is written there is not read.
  while (vcpu_infos_.size() < config_.vcpus) {
    vcpu_infos_.push_back(VcpuInfoPlace{SharedPage::of_monitor(), 0});
    VcpuInfo(vcpu_infos_.back()).set_upcall_mask(true);
  }

  if (auto made = create_processors(kvm); !made) return made;
  register_hypercalls();
  return {};
}

/// The domain's memory, in its order: one extent, or two around the frames that the machine withholds.
bool Domain::allocate_memory(pvmmu::Held held) {
  frames_.reserve(config_.frames);
  prefer_large_pages(frames_.data(), config_.frames * sizeof(Mfn));
  const auto withheld = machine_.frames().withheld();
  // Behind frame 0, which is nobody's, and shared_info.
  const std::uint64_t before = withheld.count == 0 ? config_.frames : withheld.first.raw() - 2;
  for (std::uint64_t count = std::min(before, config_.frames); count != 0;
       count = config_.frames - frames_.size()) {
    const auto first = mmu_->allocate(held, count);
    if (!first) return false;
    (void)mmu_->set_machphys(held, *first, Pfn(frames_.size()), count);
    for (std::uint64_t i = 0; i < count; ++i) frames_.push_back(first->plus(i));
  }
  return true;
}

tl::expected<void, std::string> Domain::create_processors(const Kvm& kvm) {
  for (std::uint32_t i = 0; i < config_.vcpus; ++i) {
    auto cpu = GuestCpu::create(*this, VcpuId(i));
    if (!cpu) return tl::unexpected(cpu.error().message);
    cpus_.push_back(std::move(*cpu));
    // KVM starts each vCPU's TSC at zero; the guest's clocks stand on one that is alike everywhere. (Where it
    // can't be set, it is the host's.)
    (void)cpus_.back()->vcpu().set_tsc_offset(0);
  }
  const Vcpu& first = cpus_[0]->vcpu();
  const std::uint32_t khz = first.tsc_khz().value_or(0);
  if (khz == 0) return tl::unexpected(std::string("the host does not tell its TSC's frequency"));
  clock_ = std::make_unique<Clock>(khz, first.tsc_offset().value_or(0));

  auto supported = kvm.supported_cpuid();
  if (!supported) return tl::unexpected(supported.error().message);
  // Where code at CPL3 runs without VT-x or SVM, programs can use what the processor has, whatever KVM
  // supports: the guest's kernel has to know of it, or it loses their registers.
  const bool native = config_.host.syscall_stays_at_cpl3;
  const CpuidSource source = native ? native_cpuid() : source_of(std::move(*supported));
  CpuidOptions options;
  const CpuidResult states = source(0xd, 0);
  options.xcr0 = native ? native_xcr0() : std::uint64_t{states.edx} << 32 | states.eax;
  options.tsc_khz = khz;
  options.tsc_to_ns_mul = clock_->scale().mul;
  options.tsc_shift = clock_->scale().shift;
  options.tsc_reliable = config_.host.tsc_invariant;
  options.sysenter = false;
  constexpr std::uint32_t genu = 0x756e6547;  // Intel processors clear it; AMD ones say so themselves
  options.null_selector_clears_base = source(0, 0).ebx == genu;
  cpuid_ = std::make_unique<CpuidPolicy>(source, options);

  for (std::uint32_t i = 0; i < config_.vcpus; ++i) {
    Vcpu& vcpu = cpus_[i]->vcpu();
    if (auto set = vcpu.set_cpuid(entries_of(*cpuid_, VcpuId(i))); !set)
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
  publish_wall_clock();
  return {};
}

End Domain::run() {
  install_kick_handler();
  std::vector<std::thread> threads;
  // All threads that the domain will ever need, before its first instruction.
  try {
    if (!watchdog_.start()) end(Ending::host_failure, "the host has no thread for the watchdog");
    for (std::size_t i = 1; i < cpus_.size(); ++i) threads.emplace_back([&cpu = *cpus_[i]] { cpu.run(); });
  } catch (const std::system_error& error) {
    end(Ending::host_failure, std::string("the host has no thread for a vCPU: ") + error.what());
  }
  cpus_[0]->run();
  for (auto& thread : threads) thread.join();
  watchdog_.stop();
  return end_.result();
}

Domain::Leftovers Domain::tear_down(bool audit) {
  Leftovers left;
  const pvmmu::DomainLock lock(mutex_);
  if (audit) left.findings = this->audit(lock);
  for (const auto& cpu : cpus_) cpu->drop_everything(lock);
  vcpu_infos_.clear();
  shared_info_page_ = SharedPage();
  holds_->settle(lock);
  for (const Mfn mfn : holds_->frames())
    left.findings.push_back(fmt::format("frame {:#x} is still held for a device", mfn.raw()));
  view_->close();
  left.frames = mmu_->destroy(lock);
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
  return pvmmu::audit(held, *mmu_, outside);
}

void Domain::mmu_operation(pvmmu::Held held) {
  if (config_.audit_interval == 0 || ++operations_since_audit_ < config_.audit_interval) return;
  operations_since_audit_ = 0;
  for (const std::string& finding : audit(held)) end(Ending::isolation_fault, "audit: " + finding);
}

void Domain::mmu_outcome(pvmmu::Held held, GuestCpu& cpu, bool done) {
  refusals_in_a_row_ = done ? 0 : refusals_in_a_row_ + 1;
  if (refusals_in_a_row_ < refusal_limit) return;
  end(Ending::crash, fmt::format("the guest made {} refused MMU requests in a row\n{}", refusals_in_a_row_,
                                 cpu.describe(held)));
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
  // A vCPU counts itself before it looks at its ports, and this runs after the port is pending.
  if (pollers_ == 0) return;
  for (const auto& cpu : cpus_)
    if (cpu->sleep().is_polling()) cpu->kick();
}

void Domain::set_vcpu_info(pvmmu::Held, VcpuId vcpu, const SharedFrame& frame, std::size_t offset) {
  // What the guest had in the old place comes along; then everything is looked at again (xen/vcpu.h).
  VcpuInfoPlace& place = vcpu_infos_[vcpu.raw()];
  std::array<std::byte, VcpuInfo::size> content{};
  place.page.copy_out(place.offset, content);
  place = VcpuInfoPlace{frame.page, offset};
  place.page.copy_in(offset, content);
  if (config_.host.fast_paths) gate_->map_info(vcpu.raw(), frame.mfn, offset);
  if (events_ != nullptr) events_->vcpu_info_moved(vcpu);
}

void Domain::publish_wall_clock() {
  constexpr std::uint64_t second = 1'000'000'000;
  const std::uint64_t at = clock_->wall_at_zero();
  SharedPage& page = shared_info_page_;
  const auto version = page.load<std::uint32_t>(offsetof(shared_info_t, wc_version));
  page.store<std::uint32_t>(offsetof(shared_info_t, wc_version), version | 1);
  page.store<std::uint32_t>(offsetof(shared_info_t, wc_sec), static_cast<std::uint32_t>(at / second));
  page.store<std::uint32_t>(offsetof(shared_info_t, wc_nsec), static_cast<std::uint32_t>(at % second));
  page.store<std::uint32_t>(offsetof(shared_info_t, wc_sec_hi),
                            static_cast<std::uint32_t>(at / second >> 32));
  page.store<std::uint32_t>(offsetof(shared_info_t, wc_version), (version | 1) + 1);
}

void Domain::descriptor_changed(Mfn frame, std::size_t slot, std::uint64_t descriptor) {
  for (const auto& cpu : cpus_) cpu->descriptors().descriptor_changed(frame, slot, descriptor);
}

}  // namespace pinfold::vmm
