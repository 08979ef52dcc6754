#include "vmm/kvm/kvm.hpp"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vmm/kvm/ioctl.hpp"
#include "vmm/kvm/private_memory.hpp"

namespace pinfold::vmm {

using namespace ioctls;

namespace {

constexpr std::size_t cpuid_limit = 4096;

/// The command that gives this user access: to its group, if that may use the device (on Debian, kvm may).
std::string command_for_access(const char* path) {
  const passwd* const entry = ::getpwuid(::getuid());
  const std::string user = entry != nullptr ? entry->pw_name : std::to_string(::getuid());
  constexpr mode_t group_may_use = S_IRGRP | S_IWGRP;
  struct stat device {};
  if (::stat(path, &device) != 0 || device.st_gid == 0 || (device.st_mode & group_may_use) != group_may_use)
    return "sudo setfacl -m u:" + user + ":rw " + path;
  const group* const its = ::getgrgid(device.st_gid);
  return "sudo adduser " + user + " " + (its != nullptr ? its->gr_name : std::to_string(device.st_gid)) +
         ", then log in again";
}

KvmError open_error(const char* path, int error) {
  const std::string name = path;
  if (error == ENOENT || error == ENODEV || error == ENXIO) {
    return {KvmError::Kind::missing, error,
            "no " + name + ": enable virtualization in the firmware and load kvm-intel or kvm-amd"};
  }
  if (error == EACCES || error == EPERM) {
    return {KvmError::Kind::no_access, error, "no access to " + name + ": " + command_for_access(path)};
  }
  return {KvmError::Kind::failed, error, "cannot open " + name + ": " + std::strerror(error)};
}

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

std::optional<std::uint64_t> Kvm::host_msr(std::uint32_t index) const {
  const kvm_msr_entry wanted{index, 0, 0};
  MsrList list{std::span(&wanted, 1)};
  if (call(fd_, abi::get_msrs, list.data()) != 1) return std::nullopt;
  return list.entries().front().data;
}

KvmResult<Vm> Kvm::create_vm() const {
  // A signal that comes meanwhile interrupts it, as mm_take_all_locks() of Linux says, and nothing is made.
  Fd fd;
  do fd = Fd(call(fd_, KVM_CREATE_VM, 0UL));
  while (!fd.open() && errno == EINTR);
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

void Vm::remove_memory(std::uint32_t slot) { (void)set_memory(slot, 0, 0, nullptr); }

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

int Vm::extension(int cap) const {
  return std::max(0, call(fd_, KVM_CHECK_EXTENSION, static_cast<unsigned long>(cap)));
}

}  // namespace pinfold::vmm
