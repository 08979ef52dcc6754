// The wrappers of KVM; their errors also on hosts without KVM.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "vmm/kvm/kvm.hpp"

namespace pinfold::vmm {
namespace {

class KvmWrappers : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Kvm::open();
    if (!opened) GTEST_SKIP() << opened.error().message;
    kvm_.emplace(std::move(*opened));
  }
  std::optional<Kvm> kvm_;
};

TEST(KvmErrors, missing_device_is_told_apart_and_names_the_module) {
  auto opened = Kvm::open("/dev/no-such-device");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, KvmError::Kind::missing);
  EXPECT_NE(opened.error().message.find("load kvm-intel or kvm-amd"), std::string::npos);
}

TEST(KvmErrors, device_that_is_not_kvm_is_unusable) {
  auto opened = Kvm::open("/dev/null");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, KvmError::Kind::unusable);
}

TEST_F(KvmWrappers, supported_cpuid_has_leaf_1_and_can_be_set) {
  auto leaves = kvm_->supported_cpuid();
  ASSERT_TRUE(leaves) << leaves.error().message;
  EXPECT_TRUE(std::any_of(leaves->begin(), leaves->end(), [](const auto& e) { return e.function == 1; }));
  auto vm = kvm_->create_vm();
  ASSERT_TRUE(vm) << vm.error().message;
  auto vcpu = vm->create_vcpu(0);
  ASSERT_TRUE(vcpu) << vcpu.error().message;
  auto set = vcpu->set_cpuid(*leaves);
  ASSERT_TRUE(set) << set.error().message;
}

TEST_F(KvmWrappers, msr_that_was_set_is_read_back) {
  auto vm = kvm_->create_vm();
  auto vcpu = vm->create_vcpu(0);
  ASSERT_TRUE(vcpu->set_msr(0xc0000102, 0xffff880000001000));
  EXPECT_EQ(vcpu->msr(0xc0000102).value(), 0xffff880000001000);
}

TEST_F(KvmWrappers, unknown_msr_is_an_error_that_names_it) {
  auto vm = kvm_->create_vm();
  auto vcpu = vm->create_vcpu(0);
  auto value = vcpu->msr(0x7fff0000);
  ASSERT_FALSE(value);
  EXPECT_NE(value.error().message.find("2147418112"), std::string::npos);
}

TEST_F(KvmWrappers, immediate_exit_interrupts_before_the_guest_runs) {
  auto vm = kvm_->create_vm();
  auto vcpu = vm->create_vcpu(0);
  vcpu->set_immediate_exit(true);
  EXPECT_EQ(vcpu->run().kind, RunResult::Kind::interrupted);
}

TEST_F(KvmWrappers, a_moved_vcpu_still_runs) {
  auto vm = kvm_->create_vm();
  auto first = vm->create_vcpu(0);
  Vcpu second = std::move(*first);
  second.set_immediate_exit(true);
  EXPECT_EQ(second.run().kind, RunResult::Kind::interrupted);
}

TEST_F(KvmWrappers, an_interrupt_shadow_ends_on_request) {
  auto vm = kvm_->create_vm();
  auto vcpu = vm->create_vcpu(0);
  auto events = vcpu->events();
  ASSERT_TRUE(events);
  events->interrupt.shadow = KVM_X86_SHADOW_INT_MOV_SS;
  events->flags |= KVM_VCPUEVENT_VALID_SHADOW;
  ASSERT_TRUE(vcpu->set_events(*events));
  if (vcpu->events()->interrupt.shadow == 0) GTEST_SKIP() << "this KVM keeps none";
  ASSERT_TRUE(vcpu->end_interrupt_shadow());
  EXPECT_EQ(vcpu->events()->interrupt.shadow, 0);
}

TEST_F(KvmWrappers, real_mode_out_exits_with_its_port_and_data) {
  void* memory = ::mmap(nullptr, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const unsigned char code[] = {0xb0, 0x5a, 0xe6, 0x42, 0xf4};  // mov $0x5a,%al; out %al,$0x42; hlt
  std::memcpy(memory, code, sizeof code);
  auto vm = kvm_->create_vm();
  ASSERT_TRUE(vm->set_memory(0, 0x1000, 0x1000, memory));
  auto vcpu = vm->create_vcpu(0);
  vcpu->sregs().cs.base = 0;
  vcpu->sregs().cs.selector = 0;
  vcpu->mark_sregs_dirty();
  vcpu->regs().rip = 0x1000;
  vcpu->regs().rflags = 2;
  vcpu->mark_regs_dirty();
  ASSERT_EQ(vcpu->run().kind, RunResult::Kind::exited);
  EXPECT_EQ(vcpu->shared().exit_reason, unsigned{KVM_EXIT_IO});
  EXPECT_EQ(vcpu->shared().io.port, 0x42);
  ASSERT_EQ(vcpu->io_data().size(), 1U);
  EXPECT_EQ(vcpu->io_data()[0], std::byte{0x5a});
  ::munmap(memory, 0x1000);
}

}  // namespace
}  // namespace pinfold::vmm
