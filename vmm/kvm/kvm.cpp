#include "vmm/kvm/kvm.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include "vmm/kvm/private_memory.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::size_t cpuid_limit = 4096;

/// Upper bound of the KVM_RUN calls that complete one access. KVM enters the guest after at most a page of a
/// repeated access, and MMIO exits for each 8 bytes.
constexpr int pieces_of_an_access = 2 * 4096 / 8;

bool leaves_access_pending(const kvm_run& run) {
  return run.exit_reason == KVM_EXIT_MMIO || (run.exit_reason == KVM_EXIT_IO && !is_finished_out(run));
}

tl::unexpected<KvmError> failed(const std::string& what, int error = errno) {
  return tl::unexpected(KvmError{KvmError::Kind::failed, error, what + ": " + std::strerror(error)});
}

tl::unexpected<KvmError> unusable(std::string what) {
  return tl::unexpected(KvmError{KvmError::Kind::unusable, 0, std::move(what)});
}

int call(const Fd& fd, unsigned long request, unsigned long argument = 0) {
  return ::ioctl(fd.get(), request, argument);
}
template <class T>
int call(const Fd& fd, unsigned long request, T* argument) {
  return ::ioctl(fd.get(), request, argument);
}

/// An ioctl that only reads or only writes one struct.
template <class T>
KvmResult<T> get(const Fd& fd, unsigned long request, const char* what) {
  T value{};
  if (call(fd, request, &value) < 0) return failed(what);
  return value;
}
template <class T>
KvmResult<void> set(const Fd& fd, unsigned long request, const T& value, const char* what) {
  if (call(fd, request, const_cast<T*>(&value)) < 0) return failed(what);
  return {};
}

KvmError open_error(const char* path, int error) {
  const std::string name = path;
  if (error == ENOENT || error == ENODEV || error == ENXIO) {
    return {KvmError::Kind::missing, error,
            "no " + name + ": enable virtualization in the firmware and load kvm-intel or kvm-amd"};
  }
  if (error == EACCES || error == EPERM) {
    return {KvmError::Kind::no_access, error,
            "no access to " + name + ": join its group (usually kvm) or run as root"};
  }
  return {KvmError::Kind::failed, error, "cannot open " + name + ": " + std::strerror(error)};
}

/// KVM's variable-sized arguments: a header with the number of entries, then the entries.
template <class Header, class Entry>
class Counted {
 public:
  explicit Counted(std::size_t count) : words_((sizeof(Header) + count * sizeof(Entry) + 7) / 8) {
    Header header{};
    header.count = static_cast<std::uint32_t>(count);
    std::memcpy(data(), &header, sizeof header);
  }
  explicit Counted(std::span<const Entry> entries) : Counted(entries.size()) {
    if (!entries.empty()) std::memcpy(data() + sizeof(Header), entries.data(), entries.size_bytes());
  }
  [[nodiscard]] std::byte* data() { return reinterpret_cast<std::byte*>(words_.data()); }
  [[nodiscard]] std::vector<Entry> entries() {
    Header header{};
    std::memcpy(&header, data(), sizeof header);
    const std::size_t room = (words_.size() * 8 - sizeof(Header)) / sizeof(Entry);
    std::vector<Entry> result(std::min<std::size_t>(header.count, room));
    if (!result.empty()) std::memcpy(result.data(), data() + sizeof(Header), result.size() * sizeof(Entry));
    return result;
  }

 private:
  std::vector<std::uint64_t> words_;
};
using CpuidList = Counted<abi::CpuidHeader, kvm_cpuid_entry2>;
using MsrList = Counted<abi::MsrsHeader, kvm_msr_entry>;

}  // namespace

KvmResult<Kvm> Kvm::open(const char* path) {
  Fd fd(::open(path, O_RDWR | O_CLOEXEC));
  if (!fd.open()) return tl::unexpected(open_error(path, errno));
  const int version = call(fd, KVM_GET_API_VERSION);
  if (version != KVM_API_VERSION)
    return unusable(std::string(path) + " is not a KVM device of API version 12");
  const int run_size = call(fd, KVM_GET_VCPU_MMAP_SIZE);
  if (run_size < static_cast<int>(sizeof(kvm_run))) return unusable("KVM's run page is too small");
  Kvm kvm(std::move(fd), static_cast<std::size_t>(run_size));
  constexpr int needed = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
  if ((kvm.extension(KVM_CAP_SYNC_REGS) & needed) != needed) {
    return unusable("KVM lacks KVM_CAP_SYNC_REGS: Linux 4.17 or newer is needed");
  }
  if (kvm.extension(KVM_CAP_IMMEDIATE_EXIT) == 0) {
    return unusable("KVM lacks KVM_CAP_IMMEDIATE_EXIT: Linux 4.12 or newer is needed");
  }
  return kvm;
}

int Kvm::extension(int cap) const {
  return std::max(0, call(fd_, KVM_CHECK_EXTENSION, static_cast<unsigned long>(cap)));
}

KvmResult<std::vector<kvm_cpuid_entry2>> Kvm::supported_cpuid() const {
  // KVM returns E2BIG while the list is too short.
  for (std::size_t room = 128; room <= cpuid_limit; room *= 2) {
    CpuidList list(room);
    if (call(fd_, abi::get_supported_cpuid, list.data()) == 0) return list.entries();
    if (errno != E2BIG) break;
  }
  return failed("KVM_GET_SUPPORTED_CPUID");
}

KvmResult<Vm> Kvm::create_vm() const {
  Fd fd(call(fd_, KVM_CREATE_VM, 0UL));
  if (!fd.open()) return failed("cannot create a virtual machine");
  // Intel hosts need these before the first vCPU runs. Elsewhere they do no harm; a host without
  // these calls needs none.
  std::uint64_t identity = identity_map_address;
  (void)call(fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
  (void)call(fd, KVM_SET_TSS_ADDR, tss_address);
  return Vm(std::move(fd), run_size_);
}

KvmResult<void> Vm::set_memory(std::uint32_t slot, std::uint64_t gpa, std::uint64_t size, void* host,
                               std::uint32_t flags) {
  kvm_userspace_memory_region region{};
  region.slot = slot;
  region.flags = flags;
  region.guest_phys_addr = gpa;
  region.memory_size = size;
  region.userspace_addr = reinterpret_cast<std::uint64_t>(host);
  return set(fd_, KVM_SET_USER_MEMORY_REGION, region, "cannot give memory to the virtual machine");
}

KvmResult<void> Vm::remove_memory(std::uint32_t slot) { return set_memory(slot, 0, 0, nullptr); }

KvmResult<Vcpu> Vm::create_vcpu(std::uint32_t id) {
  Fd fd(call(fd_, KVM_CREATE_VCPU, static_cast<unsigned long>(id)));
  if (!fd.open()) return failed("cannot create a virtual processor");
  void* page = ::mmap(nullptr, run_size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (page == MAP_FAILED) return failed("cannot map a virtual processor's run page");
  auto* run = static_cast<kvm_run*>(page);
  run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
  Vcpu vcpu(std::move(fd), run, run_size_);
  if (auto done = vcpu.refresh(); !done) return tl::unexpected(done.error());
  return vcpu;
}

KvmResult<void> Vm::enable_cap(std::uint32_t cap, std::uint64_t arg0) {
  kvm_enable_cap request{};
  request.cap = cap;
  request.args[0] = arg0;
  return set(fd_, KVM_ENABLE_CAP, request, "KVM_ENABLE_CAP");
}

KvmResult<void> Vm::create_irqchip() {
  if (call(fd_, KVM_CREATE_IRQCHIP) < 0) return failed("KVM_CREATE_IRQCHIP");
  return {};
}

int Vm::extension(int cap) const {
  return std::max(0, call(fd_, KVM_CHECK_EXTENSION, static_cast<unsigned long>(cap)));
}

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

KvmResult<void> Vcpu::set_signal_mask(std::uint64_t blocked) {
  abi::SignalMask mask;
  mask.blocked = blocked;
  return set(fd_, abi::set_signal_mask, mask, "KVM_SET_SIGNAL_MASK");
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

KvmResult<std::uint64_t> Vcpu::xcr0() const {
  return get<kvm_xcrs>(fd_, KVM_GET_XCRS, "KVM_GET_XCRS").map([](const kvm_xcrs& x) -> std::uint64_t {
    return x.xcrs[0].value;
  });
}

KvmResult<void> Vcpu::set_fpu(const kvm_fpu& fpu) { return set(fd_, KVM_SET_FPU, fpu, "KVM_SET_FPU"); }
KvmResult<kvm_fpu> Vcpu::fpu() const { return get<kvm_fpu>(fd_, KVM_GET_FPU, "KVM_GET_FPU"); }

KvmResult<void> Vcpu::set_xsave(const abi::XsaveArea& area) {
  return set(fd_, abi::set_xsave, area, "KVM_SET_XSAVE");
}
KvmResult<abi::XsaveArea> Vcpu::xsave() const {
  return get<abi::XsaveArea>(fd_, abi::get_xsave, "KVM_GET_XSAVE");
}

KvmResult<void> Vcpu::set_debug_registers(const kvm_debugregs& registers) {
  return set(fd_, KVM_SET_DEBUGREGS, registers, "KVM_SET_DEBUGREGS");
}
KvmResult<kvm_debugregs> Vcpu::debug_registers() const {
  return get<kvm_debugregs>(fd_, KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS");
}

KvmResult<void> Vcpu::set_events(const kvm_vcpu_events& events) {
  return set(fd_, KVM_SET_VCPU_EVENTS, events, "KVM_SET_VCPU_EVENTS");
}
KvmResult<kvm_vcpu_events> Vcpu::events() const {
  return get<kvm_vcpu_events>(fd_, KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS");
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

KvmResult<void> Vcpu::interrupt(std::uint8_t vector) {
  kvm_interrupt request{};
  request.irq = vector;
  return set(fd_, KVM_INTERRUPT, request, "KVM_INTERRUPT");
}

}  // namespace pinfold::vmm
