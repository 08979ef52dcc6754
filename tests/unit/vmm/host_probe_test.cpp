// The probe on this host: its results must be stable and consistent.
#include "vmm/host/probe.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>

#include "vmm/host/probe_guest.hpp"

namespace pinfold::vmm {
namespace {

class HostProbe : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Kvm::open();
    if (!opened) GTEST_SKIP() << opened.error().message;
    kvm_.emplace(std::move(*opened));
  }
  std::optional<Kvm> kvm_;
};

TEST_F(HostProbe, two_probes_find_the_same) {
  const auto first = probe(*kvm_);
  ASSERT_TRUE(first) << first.error().message;
  const auto second = probe(*kvm_);
  ASSERT_TRUE(second);
  EXPECT_TRUE(*first == *second);
}

TEST_F(HostProbe, view_protection_holds_on_every_host) {
  const auto facts = probe(*kvm_);
  ASSERT_TRUE(facts) << facts.error().message;
  EXPECT_TRUE(facts->mprotect_protects);
}

TEST_F(HostProbe, only_a_syscall_that_stays_at_cpl3_can_be_a_window_exit) {
  const auto facts = probe(*kvm_);
  ASSERT_TRUE(facts) << facts.error().message;
  EXPECT_TRUE(facts->syscall_stays_at_cpl3 || !facts->window_exit_at_syscall);
}

TEST_F(HostProbe, second_slots_are_not_tried_where_kvm_shadows_page_tables) {
  const auto facts = probe(*kvm_);
  ASSERT_TRUE(facts) << facts.error().message;
  EXPECT_FALSE(facts->shadow_paging() && facts->second_slots_work);
}

TEST_F(HostProbe, ports_are_closed_and_waiting_exceptions_told) {
  const auto facts = probe(*kvm_);
  ASSERT_TRUE(facts) << facts.error().message;
  EXPECT_TRUE(facts->closed_port_faults);
  EXPECT_TRUE(facts->access_is_finished_on_request);
  EXPECT_TRUE(facts->tells_if_interruptible);
}

TEST_F(HostProbe, registers_are_not_set_over_an_unfinished_access) {
  auto guest = ProbeGuest::create(*kvm_);
  ASSERT_TRUE(guest) << guest.error().message;
  (void)guest->supervisor(pinfold_probe_in_7e);
  Vcpu& vcpu = guest->vcpu();
  ASSERT_TRUE(vcpu.access_pending());
  EXPECT_THROW(vcpu.mark_regs_dirty(), std::logic_error);
  EXPECT_THROW(vcpu.mark_sregs_dirty(), std::logic_error);
  vcpu.regs().rax = ~0ULL;  // the IN replaces AL
  const std::uint64_t at = vcpu.regs().rip;
  ASSERT_TRUE(vcpu.finish_access());
  EXPECT_FALSE(vcpu.access_pending());
  EXPECT_EQ(vcpu.regs().rip, at + 2);
  EXPECT_EQ(vcpu.regs().rax & 0xff, 0U);
  EXPECT_EQ(vcpu.shared().immediate_exit, 0);
  vcpu.mark_regs_dirty();
}

kvm_run io_exit(std::uint8_t direction, std::uint8_t size, std::uint32_t count, std::uint16_t port) {
  kvm_run run{};
  run.exit_reason = KVM_EXIT_IO;
  run.io.direction = direction;
  run.io.size = size;
  run.io.count = count;
  run.io.port = port;
  return run;
}

TEST(FinishedOut, only_one_out_of_one_byte_to_that_port_leaves_nothing_pending) {
  EXPECT_TRUE(is_finished_out(io_exit(KVM_EXIT_IO_OUT, 1, 1, exit_port)));
  EXPECT_FALSE(is_finished_out(io_exit(KVM_EXIT_IO_IN, 1, 1, exit_port)));
  for (const std::uint8_t size : {std::uint8_t{2}, std::uint8_t{4}})
    EXPECT_FALSE(is_finished_out(io_exit(KVM_EXIT_IO_OUT, size, 1, 0x7e)));
  for (const std::uint32_t count : {0U, 2U, 4096U})
    EXPECT_FALSE(is_finished_out(io_exit(KVM_EXIT_IO_OUT, 1, count, 0x7e)));
  EXPECT_FALSE(is_finished_out(io_exit(KVM_EXIT_IO_OUT, 1, 1, 0x7f)));
  kvm_run mmio = io_exit(KVM_EXIT_IO_OUT, 1, 1, exit_port);
  mmio.exit_reason = KVM_EXIT_MMIO;
  EXPECT_FALSE(is_finished_out(mmio));
}

TEST_F(HostProbe, page_fault_is_told_with_its_vector) {
  auto guest = ProbeGuest::create(*kvm_);
  ASSERT_TRUE(guest) << guest.error().message;
  const auto outcome = guest->user(pinfold_probe_load, 0x700000);
  EXPECT_EQ(outcome.kind, ProbeOutcome::Kind::exception);
  EXPECT_EQ(outcome.vector, 14U);
  EXPECT_EQ(guest->vcpu().sregs().cr2, 0x700000U);
}

TEST_F(HostProbe, supervisor_memory_is_closed_to_cpl3) {
  auto guest = ProbeGuest::create(*kvm_);
  ASSERT_TRUE(guest);
  const auto outcome = guest->user(pinfold_probe_load, 0xffff830000000000);
  EXPECT_EQ(outcome.kind, ProbeOutcome::Kind::exception);
  EXPECT_EQ(outcome.vector, 14U);
}

TEST(HostTraitsOf, protection_follows_what_works) {
  HostFacts facts;
  EXPECT_EQ(traits_of(facts).protection, WriteProtection::mprotect);
  facts.userfaultfd_protects = true;
  EXPECT_EQ(traits_of(facts).protection, WriteProtection::userfaultfd);
}

TEST(HostTraitsOf, page_tables_are_updated_in_the_vm_where_the_processor_walks_them_and_there_is_room) {
  HostFacts facts;
  facts.stale_entries = facts.syscall_stays_at_cpl3 = false;
  facts.second_slots_work = true;
  facts.address_bits = 40;
  EXPECT_TRUE(traits_of(facts).resident);
  facts.address_bits = 39;
  EXPECT_FALSE(traits_of(facts).resident);
  facts.address_bits = 48;
  facts.syscall_stays_at_cpl3 = true;
  EXPECT_FALSE(traits_of(facts).resident);
  facts.syscall_stays_at_cpl3 = false;
  facts.stale_entries = true;
  EXPECT_FALSE(traits_of(facts).resident);
}

TEST(HostTraitsOf, page_tables_are_updated_in_the_vm_only_where_second_slots_work) {
  HostFacts facts;
  facts.address_bits = 40;
  EXPECT_FALSE(traits_of(facts).resident);
  facts.second_slots_work = true;
  EXPECT_TRUE(traits_of(facts).resident);
}

TEST(HostTraitsOf, cpuid_that_is_not_intercepted_is_native) {
  HostFacts facts;
  EXPECT_TRUE(traits_of(facts).native_cpuid);
  facts.cpuid_intercepted = true;
  EXPECT_FALSE(traits_of(facts).native_cpuid);
}

TEST(HostTraitsOf, only_an_invariant_tsc_is_told_to_be_stable) {
  HostFacts facts;
  EXPECT_FALSE(traits_of(facts).tsc_invariant);
  facts.tsc_invariant = true;
  EXPECT_TRUE(traits_of(facts).tsc_invariant);
}

TEST(HostTraitsOf, fsgsbase_is_offered_where_it_works_and_the_gate_reads_bases_without_an_exit) {
  HostFacts facts;
  EXPECT_TRUE(traits_of(facts).fast_paths);
  EXPECT_FALSE(traits_of(facts).fsgsbase);
  facts.fsgsbase_works = true;
  EXPECT_TRUE(traits_of(facts).fsgsbase);
  facts.syscall_stays_at_cpl3 = facts.stale_entries = true;
  EXPECT_FALSE(traits_of(facts).fsgsbase);
}

HostFacts shadowing_host() {
  HostFacts facts;
  facts.mprotect_protects = facts.out_7e_completes = facts.closed_port_faults = true;
  facts.access_is_finished_on_request = facts.tells_if_interruptible = true;
  facts.stale_entries = facts.syscall_stays_at_cpl3 = true;
  facts.tsc_khz = 1'000'000;
  facts.address_bits = 39;
  return facts;
}

TEST(ObjectionTo, both_known_kinds_of_host_may_run_guests) {
  HostFacts facts = shadowing_host();
  EXPECT_EQ(objection_to(facts), nullptr);
  facts.stale_entries = facts.syscall_stays_at_cpl3 = false;
  EXPECT_EQ(objection_to(facts), nullptr);
}

TEST(ObjectionTo, a_missing_wall_or_an_unknown_mixture_is_objected_to) {
  for (bool HostFacts::*fact :
       {&HostFacts::mprotect_protects, &HostFacts::out_7e_completes, &HostFacts::stale_entries,
        &HostFacts::syscall_stays_at_cpl3, &HostFacts::closed_port_faults,
        &HostFacts::access_is_finished_on_request, &HostFacts::tells_if_interruptible}) {
    HostFacts facts = shadowing_host();
    facts.*fact = false;
    EXPECT_NE(objection_to(facts), nullptr);
  }
  HostFacts facts = shadowing_host();
  facts.tsc_khz = 0;
  EXPECT_NE(objection_to(facts), nullptr);
  facts = shadowing_host();
  facts.address_bits = 38;
  EXPECT_NE(objection_to(facts), nullptr);
}

}  // namespace
}  // namespace pinfold::vmm
