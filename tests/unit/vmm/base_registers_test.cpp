// The segment bases between an exit and the next entry: asked for when needed, given when changed.
#include "vmm/cpu/base_registers.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

struct FakeProcessor final : ProcessorBases {
  bool in_guest() const override { return inside; }
  std::uint64_t fs() override {
    ++asked;
    return fs_base;
  }
  std::uint64_t gs() override {
    ++asked;
    return gs_base;
  }
  std::optional<std::uint64_t> inactive_gs() override {
    ++asked;
    return kernel_gs;
  }
  std::optional<std::string> set_inactive_gs(std::uint64_t base) override {
    if (refuses) return "no";
    kernel_gs = base;
    ++given;
    return std::nullopt;
  }
  bool inside = false, refuses = false;
  std::uint64_t fs_base = 0x10, gs_base = 0x20;
  std::optional<std::uint64_t> kernel_gs = 0x30;
  int asked = 0, given = 0;
};

struct Scene {
  FakeProcessor processor;
  DomainEnd end{[] {}};
  BaseRegisters bases{processor, end};
  void exit_from_guest() {
    bases.forget_active();
    bases.forget_inactive();
  }
};

TEST(BaseRegisters, the_processor_is_asked_once_and_only_when_they_are_needed) {
  Scene s;
  s.exit_from_guest();
  EXPECT_FALSE(s.bases.knows_active());
  EXPECT_EQ(s.processor.asked, 0);
  EXPECT_EQ(s.bases.fs(), 0x10U);
  EXPECT_EQ(s.bases.active_gs(), 0x20U);
  EXPECT_EQ(s.processor.asked, 2);
  EXPECT_EQ(s.bases.inactive_gs(), 0x30U);
  EXPECT_EQ(s.bases.inactive_gs(), 0x30U);
  EXPECT_EQ(s.processor.asked, 3);
}

TEST(BaseRegisters, setting_one_keeps_the_others) {
  Scene s;
  s.exit_from_guest();
  s.bases.set_fs(0x11);
  EXPECT_EQ(s.bases.active_gs(), 0x20U);
  s.bases.set_active_gs(0x21);
  EXPECT_EQ(s.bases.fs(), 0x11U);
  s.bases.set_inactive_gs(0x31);
  EXPECT_EQ(s.bases.active_gs(), 0x21U);
  EXPECT_EQ(s.bases.inactive_gs(), 0x31U);
  EXPECT_TRUE(s.bases.knows_active());
}

TEST(BaseRegisters, a_change_of_modes_swaps_the_two_of_gs) {
  Scene s;
  s.exit_from_guest();
  s.bases.swap_gs();
  EXPECT_EQ(s.bases.active_gs(), 0x30U);
  EXPECT_EQ(s.bases.inactive_gs(), 0x20U);
  EXPECT_EQ(s.bases.fs(), 0x10U);
}

TEST(BaseRegisters, of_a_vcpu_in_the_guest_nothing_is_asked) {
  Scene s;
  s.exit_from_guest();
  EXPECT_EQ(s.bases.fs(), 0x10U);
  s.bases.forget_active();
  s.processor.inside = true;
  s.processor.fs_base = 0x77;
  EXPECT_EQ(s.bases.fs(), 0x10U) << "that of the last exit";
  s.processor.inside = false;
  EXPECT_EQ(s.bases.fs(), 0x77U);
}

TEST(BaseRegisters, the_processor_gets_the_inactive_gs_if_it_has_another) {
  Scene s;
  s.bases.set_all(1, 2, 3);
  s.bases.give_inactive();
  EXPECT_EQ(s.processor.kernel_gs, 3U);
  s.bases.give_inactive();
  EXPECT_EQ(s.processor.given, 1) << "it has it";
  s.bases.swap_gs();
  s.bases.give_inactive();
  EXPECT_EQ(s.processor.kernel_gs, 2U);
  s.bases.forget_inactive();
  s.bases.give_inactive();
  EXPECT_EQ(s.processor.given, 2) << "nobody asked what it is, so it stays as it is";
  EXPECT_EQ(s.bases.inactive_gs(), 2U);
  s.bases.give_inactive();
  EXPECT_EQ(s.processor.given, 2) << "it came from there";
}

TEST(BaseRegisters, a_host_that_does_not_tell_or_take_the_inactive_gs_ends_the_domain) {
  Scene silent;
  silent.processor.kernel_gs.reset();
  silent.bases.forget_inactive();
  (void)silent.bases.inactive_gs();
  EXPECT_EQ(silent.end.result().ending, Ending::host_failure);

  Scene odd;
  odd.processor.kernel_gs = 1ULL << 60;  // not canonical
  odd.bases.forget_inactive();
  (void)odd.bases.inactive_gs();
  EXPECT_EQ(odd.end.result().ending, Ending::host_failure);

  Scene refusing;
  refusing.processor.refuses = true;
  refusing.bases.set_inactive_gs(5);
  refusing.bases.give_inactive();
  EXPECT_EQ(refusing.end.result().ending, Ending::host_failure);
}

}  // namespace
}  // namespace pinfold::vmm
