// One log for several domains: each comes out as it was, however they took turns.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <thread>

#include "pvmmu/state_digest.hpp"
#include "recorded.hpp"
#include "trace/replay.hpp"
#include "trace/text.hpp"

namespace pinfold::trace {
namespace {

using pvmmu::Level;
using pvmmu::Pte;
using pvmmu::TraceKind;
using pvmmu::test::entry_at;
using pvmmu::test::ro;
using pvmmu::test::rw;

/// Domains of one machine, and their log.
struct Machine {
  explicit Machine(std::uint64_t frames = 64) : memory(frames) {}
  test::FakeDomain& begin(std::uint16_t id) {
    sinks.push_back(std::make_unique<LogSink>(log, 2));
    domains.push_back(std::make_unique<test::FakeDomain>(
        memory, DomId(id), pvmmu::test::FakeDomainOptions{.trace = sinks.back().get()}));
    return *domains.back();
  }
  /// The first difference of a replay whose events `change` changes first.
  std::optional<std::string> replayed(const std::function<void(LogEvent&)>& change = {}) {
    (void)log->close();
    auto reader = LogReader::from(bytes);
    auto replay = Replay::of(reader->header());
    while (reader->next() == LogReader::Step::event) {
      LogEvent event = reader->event();
      if (change) change(event);
      if (auto difference = (*replay)->step(event)) return difference;
    }
    EXPECT_EQ((*replay)->begun(), sinks.size());
    EXPECT_TRUE(change || (*replay)->compared_end());
    return std::nullopt;
  }

  pvmmu::test::FakeMachine memory;
  std::vector<std::byte> bytes;
  std::shared_ptr<Log> log =
      std::make_shared<Log>(std::make_unique<test::MemoryOutput>(bytes), Log::Options{});
  std::vector<std::unique_ptr<LogSink>> sinks;
  std::vector<std::unique_ptr<test::FakeDomain>> domains;
};

/// Domain 1 lends a frame to domain 2, which maps and unmaps it; gives it another for good; and ends while a
/// third one is mapped.
struct Neighbours : testing::Test {
  Neighbours() {
    (void)one.mmu.hold(one.held, lent, pvmmu::FrameType::writable);
    (void)one.mmu.hold_readable(one.held, kept);
    (void)two.mmu.pin(two.held, Level::l4, tree.l4);
    machine.sinks[1]->vcpu_entered(VcpuId(1), GuestVaddr(0xffffffff81000000), 20);
    const GrantName grant(DomId(1), GrantRef(9));
    EXPECT_FALSE(two.mmu.update(two.held, where, Pte(lent, rw), pvmmu::Preserve::nothing));
    EXPECT_TRUE(two.mmu.map_granted(two.held, where, Pte(lent, rw), grant));
    EXPECT_FALSE(two.mmu.unmap_granted(two.held, where, Pte(lent, ro), grant));
    EXPECT_TRUE(two.mmu.unmap_granted(two.held, where, Pte(lent, rw), grant));
    one.mmu.release(one.held, lent);
    EXPECT_TRUE(one.mmu.give_away(one.held, lent));
    EXPECT_TRUE(two.mmu.receive(two.held, lent, Pfn(40)));
    EXPECT_TRUE(two.mmu.map_granted(two.held, where, Pte(kept, ro), {DomId(1), GrantRef(10)}));
    EXPECT_EQ(one.mmu.destroy(one.held), 1U);
    // Its neighbour lets go: the frame is the machine's, which the log need not say.
    EXPECT_TRUE(two.mmu.unmap_granted(two.held, where, Pte(kept, ro), {DomId(1), GrantRef(10)}));
    machine.memory.frames.give_back(kept);
    while (two.mmu.allocate(two.held)) {
    }
    EXPECT_TRUE(two.mmu.owns(kept));
    (void)two.mmu.destroy(two.held);
    auto& three = machine.begin(3);
    (void)three.allocate();
    (void)three.mmu.destroy(three.held);
  }
  Machine machine;
  test::FakeDomain& one = machine.begin(1);
  test::FakeDomain& two = machine.begin(2);
  Mfn lent = one.allocate(), kept = one.allocate();
  pvmmu::test::Tree tree = pvmmu::test::build_tree(machine.memory, two);
  MachineAddr where = entry_at(tree.l1, 3);
};

TEST_F(Neighbours, come_out_as_they_were) { EXPECT_EQ(machine.replayed(), std::nullopt); }

TEST_F(Neighbours, are_told_apart_with_the_vcpus_that_asked) {
  (void)machine.log->close();
  auto reader = LogReader::from(machine.bytes);
  std::map<std::uint16_t, std::uint64_t> events;
  while (reader->next() == LogReader::Step::event) {
    const LogEvent& event = reader->event();
    ++events[event.domain.raw()];
    if (event.domain != DomId(2)) {
      EXPECT_FALSE(event.by_vcpu) << event.number;
    }
    if (event.kind != TraceKind::map_granted) continue;
    EXPECT_EQ(event.domain, DomId(2));
    EXPECT_EQ(event.vcpu, VcpuId(1));
    ASSERT_TRUE(event.grant);
    EXPECT_EQ(event.grant->lender, DomId(1));
    EXPECT_GE(event.grant->ref.raw(), 9U);
    EXPECT_NE(line_of(reader->header(), event, {}).find(" d2 v1 map-grant"), std::string::npos);
  }
  EXPECT_EQ(events.size(), 3U);
}

TEST_F(Neighbours, differ_if_anything_that_passed_between_them_is_changed) {
  const auto differs = [&](TraceKind kind, const std::function<void(LogEvent&)>& change) {
    const auto difference = machine.replayed([&](LogEvent& e) {
      if (e.kind == kind) change(e);
    });
    EXPECT_TRUE(difference) << name(kind);
  };
  differs(TraceKind::map_granted, [](LogEvent& e) { e.grant->lender = DomId(3); });
  differs(TraceKind::map_granted, [](LogEvent& e) { e.now = Pte(e.now.mfn().plus(1), e.now.raw() & 0xfff); });
  differs(TraceKind::map_granted, [](LogEvent& e) { e.grant.reset(); });
  differs(TraceKind::map_granted, [](LogEvent& e) { e.count = 1; });
  differs(TraceKind::unmap_granted, [](LogEvent& e) { e.refusal.reset(); });
  differs(TraceKind::give_away, [](LogEvent& e) { e.domain = DomId(2); });
  differs(TraceKind::receive, [this](LogEvent& e) { e.frame = tree.l1; });
  differs(TraceKind::destroy, [](LogEvent& e) { e.count = 0; });
  differs(TraceKind::domain_begins, [](LogEvent& e) { e.domain = DomId(9); });
  differs(TraceKind::domain_begins, [](LogEvent& e) { e.domain = DomId(1); });
}

TEST_F(Neighbours, get_no_frame_that_somebody_has) {
  const auto difference = machine.replayed([&](LogEvent& e) {
    if (e.kind == TraceKind::allocate && e.domain == DomId(2)) e.frame = lent;
  });
  ASSERT_TRUE(difference);
  EXPECT_NE(difference->find("somebody's"), std::string::npos) << *difference;
}

TEST_F(Neighbours, have_their_loans_compared_at_the_end) {
  // Of the frame that is mapped when its owner ends, only the mapper's digest could tell.
  const auto digest = [&](bool mapped) {
    Machine other;
    auto& owner = other.begin(1);
    auto& user = other.begin(2);
    const Mfn frame = owner.allocate();
    const auto its = pvmmu::test::build_tree(other.memory, user);
    (void)user.mmu.pin(user.held, Level::l4, its.l4);
    if (mapped) (void)user.mmu.map_granted(user.held, entry_at(its.l1, 0), Pte(frame, ro), DomId(1));
    if (mapped) (void)user.mmu.update(user.held, entry_at(its.l1, 0), Pte(), pvmmu::Preserve::nothing);
    return pvmmu::state_digests(user.held, user.mmu);
  };
  EXPECT_NE(digest(true), digest(false)) << "a mapping whose entry is gone";
}

/// Frames go to and fro between two domains that change their tables at the same time.
TEST(MachineLog, is_in_an_order_in_which_things_happened) {
  Machine machine(24);
  std::vector<test::FakeDomain*> domains{&machine.begin(1), &machine.begin(2)};
  // A domain's lock is its thread's.
  for (test::FakeDomain* domain : domains) domain->held.unlock();
  std::vector<std::thread> threads;
  for (test::FakeDomain* domain : domains)
    threads.emplace_back([domain] {
      domain->held.lock();
      for (int i = 0; i < 3000; ++i) {
        std::vector<Mfn> mine;
        for (int k = 0; k < 14; ++k)
          if (const auto mfn = domain->mmu.allocate(domain->held)) mine.push_back(*mfn);
        if (!mine.empty()) (void)domain->mmu.pin(domain->held, Level::l1, mine.front());
        for (const Mfn mfn : mine) (void)domain->mmu.deallocate(domain->held, mfn);
        if (!mine.empty()) (void)domain->mmu.unpin(domain->held, mine.front());
      }
      (void)domain->mmu.destroy(domain->held);
      domain->held.unlock();
    });
  for (std::thread& thread : threads) thread.join();
  for (test::FakeDomain* domain : domains) domain->held.lock();
  EXPECT_EQ(machine.replayed(), std::nullopt);
}

TEST(MachineLog, grows_with_its_machine) {
  std::vector<std::byte> bytes;
  LogSink sink(std::make_unique<test::MemoryOutput>(bytes), {});
  pvmmu::test::FakeMachine machine(16, 64);
  test::FakeDomain domain(machine, DomId(1), {.trace = &sink});
  EXPECT_TRUE(domain.mmu.allocate(domain.held, 15));
  EXPECT_FALSE(domain.mmu.allocate(domain.held));
  ASSERT_TRUE(machine.frames.make_room(64) && domain.mmu.make_room(64));
  domain.mmu.machine_grew(domain.held, 64);
  machine.frames.grow(64);
  EXPECT_TRUE(domain.mmu.allocate(domain.held, 30));
  (void)domain.mmu.destroy(domain.held);
  (void)sink.close();
  auto reader = LogReader::from(bytes);
  auto replay = Replay::of(reader->header());
  while (reader->next() == LogReader::Step::event) ASSERT_EQ((*replay)->step(reader->event()), std::nullopt);
  EXPECT_TRUE((*replay)->compared_end());
}

}  // namespace
}  // namespace pinfold::trace
