// Where a VM has a machine's memory: everywhere but where KVM has memory of its own.
#include <gtest/gtest.h>

#include "vmm/kvm/private_memory.hpp"
#include "vmm/memory/machine.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t four_gib = 1UL << 20;  // in frames

TEST(Machine, has_all_its_frames_in_slots_but_those_that_kvm_takes) {
  for (const std::uint64_t frames :
       {1UL, 1000UL, first_private_frame.raw() - 1, first_private_frame.raw(), first_private_frame.raw() + 2,
        private_frames_end.raw(), private_frames_end.raw() + 1, four_gib, 8 * four_gib}) {
    std::uint64_t at = 0;
    for (const auto& range : Machine::slots(frames)) {
      EXPECT_GT(range.count, 0U);
      if (range.first.raw() != at) {
        EXPECT_EQ(Mfn(at), first_private_frame);
        EXPECT_EQ(range.first, private_frames_end);
      }
      at = range.end().raw();
      EXPECT_TRUE(range.end() <= first_private_frame || private_frames_end <= range.first) << frames;
    }
    EXPECT_TRUE(at == frames || (at == first_private_frame.raw() && frames <= private_frames_end.raw()));
  }
}

TEST(Machine, of_more_than_4_gib_withholds_what_kvm_takes) {
  const auto machine = Machine::create(four_gib + 100).value();
  EXPECT_EQ(machine->frames().withheld().first, first_private_frame);
  EXPECT_EQ(machine->frames().withheld().count, private_pages);
  EXPECT_EQ(Machine::create(1000).value()->frames().withheld().count, 0U);
}

}  // namespace
}  // namespace pinfold::vmm
