// What domains map of each other by grants: from when until when, and within bounds whatever the log says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recorded.hpp"
#include "report/loans.hpp"
#include "report/model.hpp"
#include "report/packed.hpp"
#include "report/page.hpp"

namespace pinfold::report {
namespace {

using pvmmu::Pte;
using pvmmu::TraceKind;
using pvmmu::test::ro;
using pvmmu::test::rw;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

constexpr DomId owner{1}, user{2};
constexpr Mfn lent{20}, table{40};

trace::LogEvent grant_event(TraceKind kind, std::uint16_t slot = 3, Mfn frame = lent) {
  trace::LogEvent event;
  event.kind = kind;
  event.domain = user;
  event.level = 1;
  event.table = table;
  event.slot = slot;
  event.now = Pte(frame, rw);
  event.grant = GrantName(owner, GrantRef(9));
  return event;
}
trace::LogEvent about(TraceKind kind, DomId domain, Mfn frame) {
  trace::LogEvent event;
  event.kind = kind;
  event.domain = domain;
  event.frame = frame;
  return event;
}

/// Mapped at event 10; what ends it comes at event 20; the log ends at 30.
struct OneLoan : testing::Test {
  OneLoan() { loans.event(grant_event(TraceKind::map_granted), 10); }
  std::uint32_t end_after(const trace::LogEvent& event) {
    loans.event(event, 20);
    const auto result = loans.result(30);
    EXPECT_THAT(result.loans, SizeIs(1));
    EXPECT_EQ(result.loans[0].from, 10U);
    EXPECT_EQ(result.pairs[0].ended, result.loans[0].to == 20 ? 1U : 0U);
    return result.loans[0].to;
  }
  Loans loans{{}};
};

TEST_F(OneLoan, says_who_mapped_what_where_by_which_grant) {
  const auto result = loans.result(30);
  EXPECT_THAT(result.loans, testing::ElementsAre(Loan{0, true, 3, 9, 20, 40, 10, 30}));
  ASSERT_THAT(result.pairs, SizeIs(1));
  EXPECT_EQ(result.pairs[0].mapper, user);
  EXPECT_EQ(result.pairs[0].lender, owner);
  EXPECT_EQ(result.pairs[0].maps, 1U);
}

TEST_F(OneLoan, ends_with_its_unmap) { EXPECT_EQ(end_after(grant_event(TraceKind::unmap_granted)), 20U); }

TEST_F(OneLoan, ends_when_another_entry_takes_its_place) {
  trace::LogEvent event = grant_event(TraceKind::update);
  event.now = Pte();
  EXPECT_EQ(end_after(event), 20U);
}

TEST_F(OneLoan, ends_when_its_table_is_none_any_more) {
  EXPECT_EQ(end_after(about(TraceKind::plain_frame, user, table)), 20U);
}

TEST_F(OneLoan, ends_with_the_domain_that_mapped_it) {
  EXPECT_EQ(end_after(about(TraceKind::destroy, user, no_mfn)), 20U);
}

TEST_F(OneLoan, outlasts_its_owner) { EXPECT_EQ(end_after(about(TraceKind::destroy, owner, no_mfn)), 30U); }

TEST_F(OneLoan, stays_when_something_else_is_changed) {
  EXPECT_EQ(end_after(grant_event(TraceKind::unmap_granted, 4)), 30U);
}

TEST_F(OneLoan, stays_when_its_unmap_is_refused) {
  trace::LogEvent event = grant_event(TraceKind::unmap_granted);
  event.refusal.emplace();
  EXPECT_EQ(end_after(event), 30U);
}

TEST_F(OneLoan, of_another_domain_stays_when_a_table_of_that_number_ends) {
  EXPECT_EQ(end_after(about(TraceKind::plain_frame, owner, table)), 30U);
}

TEST_F(OneLoan, that_moves_ends_where_it_is_then) {
  loans.event(grant_event(TraceKind::map_granted, 7, Mfn(21)), 12);
  trace::LogEvent moves = grant_event(TraceKind::replace_granted, 3);
  moves.argument = entry_address(table, 7).raw();
  loans.event(moves, 14);
  loans.event(grant_event(TraceKind::unmap_granted, 7), 16);
  loans.event(grant_event(TraceKind::unmap_granted, 3), 18);
  const auto result = loans.result(30);
  ASSERT_THAT(result.loans, SizeIs(2));
  EXPECT_EQ(result.loans[0].to, 14U);
  EXPECT_EQ(result.loans[1].to, 18U);
}

TEST(Loans, count_what_is_refused) {
  Loans loans({});
  trace::LogEvent event = grant_event(TraceKind::map_granted);
  event.refusal.emplace();
  loans.event(event, 1);
  event.kind = TraceKind::use_grant;
  loans.event(event, 1);
  event.refusal.reset();
  loans.event(event, 1);
  // A frame by its number is nobody's grant.
  event.refusal.emplace();
  event.grant.reset();
  loans.event(event, 1);
  const auto result = loans.result(2);
  EXPECT_THAT(result.loans, SizeIs(0));
  ASSERT_THAT(result.pairs, SizeIs(1));
  EXPECT_EQ(result.pairs[0].refused, 2U);
}

TEST(Loans, of_a_pair_are_kept_up_to_a_bound_and_all_counted) {
  Loans loans({.of_a_pair = 100});
  constexpr std::uint32_t many = 1'000'000;
  for (std::uint32_t i = 0; i < many; ++i) {
    loans.event(grant_event(TraceKind::map_granted, i % 512), 2 * i);
    loans.event(grant_event(TraceKind::unmap_granted, i % 512), 2 * i + 1);
  }
  const auto result = loans.result(2 * many);
  EXPECT_THAT(result.loans, SizeIs(100));
  ASSERT_THAT(result.pairs, SizeIs(1));
  EXPECT_EQ(result.pairs[0].maps, many);
  EXPECT_EQ(result.pairs[0].ended, many);
  std::uint64_t in_buckets = 0;
  for (const std::uint32_t maps : result.pairs[0].maps_in) in_buckets += maps;
  EXPECT_EQ(in_buckets, many);
  EXPECT_LE(result.pairs[0].maps_in.size(), 512U);
}

TEST(Loans, between_more_domains_than_there_can_be_are_left_out) {
  Loans loans({.pairs = 5});
  for (std::uint32_t i = 0; i < 60'000; ++i) {
    trace::LogEvent event = grant_event(TraceKind::map_granted, 3, Mfn(i));
    event.domain = DomId(static_cast<std::uint16_t>(i));
    event.table = Mfn(i % 2 == 0 ? ~0ULL - i : 1ULL << 40);
    event.slot = static_cast<std::uint16_t>(i);
    loans.event(event, i);
  }
  const auto result = loans.result(60'000);
  EXPECT_THAT(result.pairs, SizeIs(5));
  EXPECT_EQ(result.left_out, 60'000U - 5);
}

/// Domain 1 has a frame that domain 2 maps, and gives it to domain 2 for good.
struct TwoDomains : testing::Test {
  TwoDomains() {
    trace::LogSink first(log, 2), second(log, 2);
    pvmmu::test::FakeMachine machine(64);
    trace::test::FakeDomain one(machine, owner, {.trace = &first}), two(machine, user, {.trace = &second});
    frame = one.allocate();
    const auto tree = pvmmu::test::build_tree(machine, two);
    EXPECT_TRUE(two.mmu.pin(two.held, pvmmu::Level::l4, tree.l4));
    const MachineAddr where = entry_address(tree.l1, 3);
    EXPECT_TRUE(two.mmu.map_granted(two.held, where, Pte(frame, ro), {owner, GrantRef(9)}));
    EXPECT_TRUE(two.mmu.unmap_granted(two.held, where, Pte(frame, ro), {owner, GrantRef(9)}));
    EXPECT_TRUE(one.mmu.give_away(one.held, frame));
    EXPECT_TRUE(two.mmu.receive(two.held, frame, Pfn(40)));
    (void)one.mmu.destroy(one.held);
    (void)log->close();
  }
  [[nodiscard]] Model model() const {
    auto reader = trace::LogReader::from(bytes);
    EXPECT_TRUE(reader);
    return make_model(*reader);
  }
  std::vector<std::byte> bytes;
  std::shared_ptr<trace::Log> log =
      std::make_shared<trace::Log>(std::make_unique<trace::test::MemoryOutput>(bytes), trace::Log::Options{});
  Mfn frame = no_mfn;
};

TEST_F(TwoDomains, have_their_frames_told_apart_also_after_a_transfer) {
  const Model found = model();
  ASSERT_THAT(found.domains, SizeIs(2));
  EXPECT_TRUE(found.domains[0].to);
  EXPECT_FALSE(found.domains[1].to);
  EXPECT_FALSE(found.closed);
  std::vector<std::uint8_t> owners;
  for (const auto& run : found.runs)
    if (frame.raw() >= run.first && frame.raw() < run.first + run.count)
      for (const Change& change : run.changes)
        if (change.look.owned()) owners.push_back(change.look.domain);
  EXPECT_EQ(owners.front(), 0);
  EXPECT_EQ(owners.back(), 1);
  ASSERT_THAT(found.loans.loans, SizeIs(1));
  EXPECT_EQ(found.loans.loans[0].frame, frame.raw());
  EXPECT_FALSE(found.loans.loans[0].writable);
}

TEST_F(TwoDomains, are_on_the_page) {
  const std::string page = make_page(model(), {});
  EXPECT_THAT(page, HasSubstr("<script id=\"loans\""));
  EXPECT_THAT(page, HasSubstr("The log ends before its domains do"));
  EXPECT_THAT(page, HasSubstr(R"("pairs":[{"mapper":2,"lender":1,"maps":1,"ended":1,)"));
}

TEST(TwoDomainsPage, is_as_it_was_for_one) {
  const auto log = trace::test::recorded_log();
  auto reader = trace::LogReader::from(log);
  const Model model = make_model(*reader);
  const std::string page = make_page(model, {});
  EXPECT_THAT(page, Not(HasSubstr("<script id=\"loans\"")));
  EXPECT_THAT(page, Not(HasSubstr("\"pairs\"")));
}

TEST(Packed, a_looks_domain_costs_a_byte_only_if_it_is_not_the_first) {
  const auto packed = [](std::uint8_t domain) {
    Look look = Look::of(pvmmu::FrameType::none);
    look.domain = domain;
    return pack(std::vector<report::Run>{{3, 1, {{5, look}}}});
  };
  EXPECT_THAT(packed(0), SizeIs(7));
  EXPECT_THAT(packed(2), SizeIs(8));
  EXPECT_EQ(packed(2)[6], std::byte{64});
  EXPECT_EQ(packed(2)[7], std::byte{2});
}

/// Domains that the log invents.
TEST(FrameFollower, tells_so_many_domains_apart_and_no_more) {
  trace::LogHeader header;
  header.machine_frames = 100;
  struct Listener final : FrameListener {
    void looks(Mfn, std::uint64_t, Look) override {}
    void link(Mfn, std::uint16_t, Mfn, bool) override {}
  } listener;
  FrameFollower follower(header, listener);
  for (std::uint16_t i = 0; i < 5000; ++i) follower.event(about(TraceKind::domain_begins, DomId(i), no_mfn));
  EXPECT_EQ(follower.number_of(header.domain), 0);
  EXPECT_EQ(follower.number_of(DomId(0)), 1);
  EXPECT_EQ(follower.number_of(DomId(4000)), FrameFollower::most_domains - 1);
}

/// An entry that takes the place of a grant's mapping, and the frames of a domain that ended.
struct Followed : testing::Test, FrameListener {
  void looks(Mfn first, std::uint64_t count, Look look) override {
    for (std::uint64_t i = 0; i < count; ++i) now[first.raw() + i] = look;
  }
  void link(Mfn, std::uint16_t, Mfn, bool) override {}
  void allocate(DomId domain, Mfn first, std::uint64_t count) {
    trace::LogEvent event = about(TraceKind::allocate, domain, first);
    event.count = count;
    follower.event(event);
  }
  static trace::LogHeader header() {
    trace::LogHeader made;
    made.machine_frames = 100;
    made.most_frames = 100;
    return made;
  }
  std::map<std::uint64_t, Look> now;
  FrameFollower follower{header(), *this};
};

TEST_F(Followed, an_entry_that_moves_is_where_it_moved_to_and_only_there) {
  allocate(user, Mfn(30), 30);
  std::vector<std::uint64_t> words(512, 0);
  words[7] = Pte(Mfn(50), rw).raw();
  trace::LogEvent protects = about(TraceKind::protected_frame, user, table);
  protects.wanted = pvmmu::FrameType::l1;
  protects.contents = words;
  follower.event(protects);
  follower.event(grant_event(TraceKind::map_granted));
  follower.event(grant_event(TraceKind::map_granted, 4));
  EXPECT_EQ(follower.counts().writable, 2U);
  trace::LogEvent moves = grant_event(TraceKind::replace_granted);
  moves.argument = entry_address(table, 7).raw();
  follower.event(moves);
  EXPECT_EQ(follower.counts().writable, 2U) << "the frame that moved, and the lent one elsewhere";
  follower.event(grant_event(TraceKind::unmap_granted, 4));
  EXPECT_EQ(follower.counts().writable, 1U) << "the lent frame is mapped no more";
  trace::LogEvent clears = grant_event(TraceKind::update, 3);
  clears.now = Pte();
  follower.event(clears);
  EXPECT_EQ(follower.counts().writable, 0U) << "the entry was at its new place only";
}

TEST_F(Followed, frames_of_a_domain_that_ended_are_nobodys_and_its_neighbours_stay) {
  allocate(user, Mfn(30), 10);
  allocate(owner, Mfn(40), 10);
  allocate(user, Mfn(50), 10);
  follower.event(about(TraceKind::destroy, user, no_mfn));
  for (const std::uint64_t mfn : {30, 39, 50, 59}) EXPECT_EQ(now[mfn], look_absent) << mfn;
  for (const std::uint64_t mfn : {40, 49}) EXPECT_TRUE(now[mfn].owned()) << mfn;
}

TEST_F(Followed, what_a_domain_that_ended_had_mapped_writable_is_not_counted_any_more) {
  allocate(user, Mfn(30), 30);
  std::vector<std::uint64_t> words(512, 0);
  words[7] = Pte(Mfn(50), rw).raw();
  trace::LogEvent protects = about(TraceKind::protected_frame, user, table);
  protects.wanted = pvmmu::FrameType::l1;
  protects.contents = words;
  follower.event(protects);
  EXPECT_EQ(follower.counts().tables[static_cast<std::size_t>(pvmmu::FrameType::l1)], 1U);
  EXPECT_EQ(follower.counts().writable, 1U);
  follower.event(about(TraceKind::destroy, user, no_mfn));
  EXPECT_EQ(follower.counts(), FrameCounts{});
}

}  // namespace
}  // namespace pinfold::report
