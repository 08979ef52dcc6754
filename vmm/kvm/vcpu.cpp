#include "vmm/kvm/vcpu.hpp"

#include <sys/mman.h>

#include <stdexcept>
#include <system_error>

#include "vmm/kvm/ioctl.hpp"

namespace pinfold::vmm {

using namespace ioctls;

namespace {

/// Upper bound of the KVM_RUN calls that complete one access. KVM enters the guest after at most a page of a
/// repeated access, and MMIO exits for each 8 bytes.
constexpr int pieces_of_an_access = 2 * 4096 / 8;

bool leaves_access_pending(const kvm_run& run) {
  return run.exit_reason == KVM_EXIT_MMIO || (run.exit_reason == KVM_EXIT_IO && !is_finished_out(run));
}

}  // namespace

Vcpu::Vcpu(Vcpu&& other) noexcept
    : fd_(std::move(other.fd_)),
      run_(std::exchange(other.run_, nullptr)),
      access_pending_(other.access_pending_),
      sregs_known_(other.sregs_known_),
      run_size_(other.run_size_) {}

Vcpu& Vcpu::operator=(Vcpu&& other) noexcept {
  if (this == &other) return *this;
  release();
  fd_ = std::move(other.fd_);
  run_ = std::exchange(other.run_, nullptr);
  access_pending_ = other.access_pending_;
  sregs_known_ = other.sregs_known_;
  run_size_ = other.run_size_;
  return *this;
}

Vcpu::~Vcpu() { release(); }

void Vcpu::release() {
  if (run_ != nullptr) ::munmap(run_, run_size_);
  run_ = nullptr;
}

bool is_finished_out(const kvm_run& run) {
  return run.exit_reason == KVM_EXIT_IO && run.io.direction == KVM_EXIT_IO_OUT && run.io.port == exit_port &&
         run.io.size == 1 && run.io.count == 1;
}

RunResult Vcpu::run() {
  const int result = call(fd_, KVM_RUN);
  const int error = errno;
  // KVM clears the dirty sets when it takes them over, but not if it fails before that. The next run must
  // not take over old ones.
  run_->kvm_dirty_regs = 0;
  sregs_known_ = (run_->kvm_valid_regs & KVM_SYNC_X86_SREGS) != 0;
  access_pending_ = result == 0 && leaves_access_pending(*run_);
  if (result == 0) return {RunResult::Kind::exited, 0};
  if (error == EINTR) return {RunResult::Kind::interrupted, EINTR};
  return {RunResult::Kind::failed, error};
}

KvmResult<void> Vcpu::finish_access() {
  const std::uint8_t immediate_exit = run_->immediate_exit;
  set_immediate_exit(true);
  RunResult finished{RunResult::Kind::interrupted, 0};
  for (int i = 0; access_pending_ && i < pieces_of_an_access; ++i) {
    if (run_->exit_reason == KVM_EXIT_MMIO)
      std::memset(run_->mmio.data, 0, sizeof run_->mmio.data);
    else if (const auto data = io_data(); run_->io.direction == KVM_EXIT_IO_IN)
      std::memset(data.data(), 0, data.size());
    finished = run();
  }
  set_immediate_exit(immediate_exit != 0);
  if (finished.kind == RunResult::Kind::failed)
    return failed("KVM does not finish an access of the guest's", finished.error);
  if (access_pending_) return unusable("KVM does not come to the end of an access of the guest's");
  return drop_exception();
}

KvmResult<void> Vcpu::drop_exception() {
  auto now = events();
  if (!now) return tl::unexpected(now.error());
  now->exception = {};
  return set_events(*now);
}

KvmResult<void> Vcpu::end_interrupt_shadow() {
  auto now = events();
  if (!now) return tl::unexpected(now.error());
  now->interrupt.shadow = 0;
  now->flags |= KVM_VCPUEVENT_VALID_SHADOW;
  return set_events(*now);
}

void Vcpu::refuse_registers() {
  throw std::logic_error(
      "registers of a vCPU were to be set while KVM holds an unfinished access of its guest's");
}

std::span<std::byte> Vcpu::io_data() {
  const auto& io = run_->io;
  const std::uint64_t bytes = std::uint64_t{io.size} * io.count;
  if (io.data_offset > run_size_ || bytes > run_size_ - io.data_offset) return {};
  return {reinterpret_cast<std::byte*>(run_) + io.data_offset, bytes};
}

KvmResult<void> Vcpu::refresh() {
  if (call(fd_, KVM_GET_REGS, &regs()) < 0) return failed("KVM_GET_REGS");
  if (call(fd_, KVM_GET_SREGS, &run_->s.regs.sregs) < 0) return failed("KVM_GET_SREGS");
  sregs_known_ = true;
  return {};
}

void Vcpu::fetch_sregs() {
  if (call(fd_, KVM_GET_SREGS, &run_->s.regs.sregs) < 0)
    throw std::system_error(errno, std::generic_category(), "KVM_GET_SREGS");
  sregs_known_ = true;
}

KvmResult<void> Vcpu::set_cpuid(std::span<const kvm_cpuid_entry2> entries) {
  CpuidList list(entries);
  if (call(fd_, abi::set_cpuid2, list.data()) < 0) return failed("KVM_SET_CPUID2");
  return {};
}

KvmResult<void> Vcpu::set_msrs(std::span<const Msr> msrs) {
  std::vector<kvm_msr_entry> entries;
  entries.reserve(msrs.size());
  for (const auto& msr : msrs) entries.push_back({msr.index, 0, msr.value});
  MsrList list{std::span<const kvm_msr_entry>(entries)};
  const int done = call(fd_, abi::set_msrs, list.data());
  if (done < 0) return failed("KVM_SET_MSRS");
  if (static_cast<std::size_t>(done) == msrs.size()) return {};
  return failed("KVM refuses MSR " + std::to_string(msrs[static_cast<std::size_t>(done)].index), EINVAL);
}

KvmResult<void> Vcpu::set_msr(std::uint32_t index, std::uint64_t value) {
  const Msr msr{index, value};
  return set_msrs(std::span(&msr, 1));
}

KvmResult<std::uint64_t> Vcpu::msr(std::uint32_t index) const {
  const kvm_msr_entry wanted{index, 0, 0};
  MsrList list{std::span(&wanted, 1)};
  const int done = call(fd_, abi::get_msrs, list.data());
  if (done < 0) return failed("KVM_GET_MSRS");
  if (done != 1) return failed("KVM does not know MSR " + std::to_string(index), EINVAL);
  return list.entries().front().data;
}

KvmResult<void> Vcpu::set_xcr0(std::uint64_t value) {
  kvm_xcrs xcrs{};
  xcrs.nr_xcrs = 1;
  xcrs.xcrs[0].value = value;
  return set(fd_, KVM_SET_XCRS, xcrs, "KVM_SET_XCRS");
}

KvmResult<void> Vcpu::set_fpu(const kvm_fpu& fpu) { return set(fd_, KVM_SET_FPU, fpu, "KVM_SET_FPU"); }
KvmResult<kvm_fpu> Vcpu::fpu() const { return get<kvm_fpu>(fd_, KVM_GET_FPU, "KVM_GET_FPU"); }

KvmResult<void> Vcpu::set_events(const kvm_vcpu_events& events) {
  return set(fd_, KVM_SET_VCPU_EVENTS, events, "KVM_SET_VCPU_EVENTS");
}
KvmResult<kvm_vcpu_events> Vcpu::events() const {
  return get<kvm_vcpu_events>(fd_, KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS");
}

KvmResult<void> Vcpu::set_debug_registers(const kvm_debugregs& registers) {
  return set(fd_, KVM_SET_DEBUGREGS, registers, "KVM_SET_DEBUGREGS");
}
KvmResult<kvm_debugregs> Vcpu::debug_registers() const {
  return get<kvm_debugregs>(fd_, KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS");
}

KvmResult<void> Vcpu::set_tsc_offset(std::uint64_t offset) {
  kvm_device_attr attribute{};
  attribute.group = KVM_VCPU_TSC_CTRL;
  attribute.attr = KVM_VCPU_TSC_OFFSET;
  attribute.addr = reinterpret_cast<std::uint64_t>(&offset);
  return set(fd_, KVM_SET_DEVICE_ATTR, attribute, "KVM_VCPU_TSC_OFFSET");
}

KvmResult<std::uint64_t> Vcpu::tsc_offset() const {
  std::uint64_t offset = 0;
  kvm_device_attr attribute{};
  attribute.group = KVM_VCPU_TSC_CTRL;
  attribute.attr = KVM_VCPU_TSC_OFFSET;
  attribute.addr = reinterpret_cast<std::uint64_t>(&offset);
  if (auto done = set(fd_, KVM_GET_DEVICE_ATTR, attribute, "KVM_VCPU_TSC_OFFSET"); !done) {
    return tl::unexpected(done.error());
  }
  return offset;
}

KvmResult<std::uint32_t> Vcpu::tsc_khz() const {
  const int khz = call(fd_, KVM_GET_TSC_KHZ);
  if (khz < 0) return failed("KVM_GET_TSC_KHZ");
  return static_cast<std::uint32_t>(khz);
}

}  // namespace pinfold::vmm
