// Recorded boots, one of them with 60 forks and 15 programs, lived again through the resident path and then
// the monitor: each decision and the state at the end are the recorded ones, and nearly all plain updates are
// finished without the monitor.
#include <gtest/gtest.h>

#include <array>

#include "native_resident.hpp"
#include "trace/reader.hpp"
#include "trace/replay.hpp"

namespace pinfold::trace {
namespace {

using pvmmu::FrameType;
using pvmmu::ResidentWork;
using pvmmu::TraceKind;
using pvmmu::Validator;

struct Count {
  std::uint64_t finished = 0, all = 0;
};

/// The request goes to the resident path first. Whatever that finished, the validator then does once more,
/// which changes nothing; so its verdict and the counts after it are compared as well.
bool try_resident(Validator& mmu, const LogEvent& event) {
  pvmmu::FrameFacts& facts = pvmmu::RecordAccess::of(mmu).facts(event.table);
  // A replay has no windows. They would be open for tables, and for frames that were some.
  facts.window = facts.type == FrameType::l1;
  if (event.marks.accessed_by_processor && facts.type == FrameType::l1 && facts.mirror != 0) {
    const pvmmu::MirrorId mirror(facts.mirror);
    mmu.mirrors().store(mirror, event.slot,
                        mmu.mirrors().load(mirror, event.slot).with(pvmmu::bit::accessed));
  }
  const auto work = pvmmu::test::finish_resident(mmu, entry_address(event.table, event.slot), event.now,
                                                 event.marks.preserve);
  facts.window = false;
  return work != ResidentWork::none;
}

void live_again(const char* name, Count& l1_updates) {
  auto log = LogReader::open(std::string(PINFOLD_SOURCE_DIR "/tests/data/") + name);
  ASSERT_TRUE(log);
  auto replay = Replay::of(log->header());
  ASSERT_TRUE(replay);
  while (log->next() == LogReader::Step::event) {
    const LogEvent& event = log->event();
    if (event.kind == TraceKind::update && event.table != no_mfn) {
      auto& mmu = const_cast<Validator&>((*replay)->domains().begin()->second->mmu());
      const bool known = mmu.contains(event.table);
      const bool is_l1 = known && mmu.owns(event.table) && mmu.facts(event.table).type == FrameType::l1;
      const bool finished = known && try_resident(mmu, event);
      ASSERT_FALSE(finished && event.refusal) << "event " << event.number << " was refused";
      if (is_l1 && !event.refusal) ++l1_updates.all, l1_updates.finished += finished;
      if (finished) continue;
    }
    const auto difference = (*replay)->step(event);
    ASSERT_EQ(difference, std::nullopt) << "event " << event.number;
  }
  EXPECT_TRUE((*replay)->compared_end());
}

class Boots : public testing::TestWithParam<const char*> {};

TEST_P(Boots, come_out_as_recorded_through_the_resident_path) {
  Count l1_updates;
  live_again(GetParam(), l1_updates);
  std::cout << l1_updates.finished << " of " << l1_updates.all << " plain L1 updates are finished\n";
  EXPECT_GT(l1_updates.all, 10'000U);
  EXPECT_GT(l1_updates.finished * 100, l1_updates.all * 95);
}

std::string name_of(const testing::TestParamInfo<const char*>& one) {
  return std::array{"Debian", "DebianCloud", "Forks"}[one.index];
}

INSTANTIATE_TEST_SUITE_P(Resident, Boots,
                         testing::Values("boot-debian-6.1-96M.log.zst",
                                         "boot-debian-cloud-6.1-80M-2-vcpus.log.zst",
                                         "forks-debian-6.1-96M.log.zst"),
                         name_of);

}  // namespace
}  // namespace pinfold::trace
