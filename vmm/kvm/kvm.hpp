// KVM as objects that close themselves: the device and a virtual machine. A thin layer like vcpu.hpp.
// Any thread may use them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "vmm/kvm/vcpu.hpp"

namespace pinfold::vmm {

/// One virtual machine: its memory slots and its vCPUs.
class Vm {
 public:
  /// Makes the monitor's memory at `host` the guest-physical memory [gpa, gpa + size), in bytes,
  /// page-aligned. It must stay mapped until the slot is removed or the VM ends. Replaces a slot of
  /// the same number and size.
  [[nodiscard]] KvmResult<void> set_memory(std::uint32_t slot, std::uint64_t gpa, std::uint64_t size,
                                           void* host, std::uint32_t flags = 0);
  /// Removes the slot of this number, if there is one. No vCPU may use its memory.
  void remove_memory(std::uint32_t slot);
  [[nodiscard]] KvmResult<Vcpu> create_vcpu(std::uint32_t id);
  /// As Kvm::extension(), but for this VM.
  [[nodiscard]] int extension(int cap) const;

 private:
  friend class Kvm;
  Vm(Fd fd, std::size_t run_size) : fd_(std::move(fd)), run_size_(run_size) {}

  Fd fd_;
  std::size_t run_size_ = 0;
};

/// The KVM device.
class Kvm {
 public:
  /// Opens the device and checks what every host must have: API version 12, and registers in the run page.
  [[nodiscard]] static KvmResult<Kvm> open(const char* path = "/dev/kvm");

  /// KVM_CHECK_EXTENSION: 0 if absent; the meaning of other values depends on the capability.
  [[nodiscard]] int extension(int cap) const;
  [[nodiscard]] KvmResult<std::vector<kvm_cpuid_entry2>> supported_cpuid() const;
  /// A register of the host's that KVM lets programs read (KVM_CAP_GET_MSR_FEATURES); nullopt: it does not.
  [[nodiscard]] std::optional<std::uint64_t> host_msr(std::uint32_t index) const;
  [[nodiscard]] KvmResult<Vm> create_vm() const;

 private:
  Kvm(Fd fd, std::size_t run_size) : fd_(std::move(fd)), run_size_(run_size) {}

  Fd fd_;
  std::size_t run_size_ = 0;
};

}  // namespace pinfold::vmm
