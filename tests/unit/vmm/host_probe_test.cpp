// The probe on whatever host this is: its findings must be stable and agree with each other.
#include "vmm/host/probe.hpp"

#include <gtest/gtest.h>

#include <optional>

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

HostFacts shadowing_host() {
  HostFacts facts;
  facts.mprotect_protects = facts.out_7e_completes = true;
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
  for (bool HostFacts::*fact : {&HostFacts::mprotect_protects, &HostFacts::out_7e_completes,
                                &HostFacts::stale_entries, &HostFacts::syscall_stays_at_cpl3}) {
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
