// Flushes among vCPUs that other threads are not needed for: who is kicked, who waits and until when, and
// when mirrors are reused.
#include "vmm/cpu/tlb_flushes.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "fake_machine.hpp"

namespace pinfold::vmm {
namespace {

using namespace pvmmu;
using namespace pvmmu::test;

constexpr VcpuId a{0}, b{1}, c{2};

class Sink final : public TraceSink {
 public:
  void started(const ValidatorParts&) override {}
  void operation_begins() override {}
  void event(const TraceEvent& event) override {
    if (event.kind == TraceKind::flushed) flushed.push_back(event.argument);
  }
  void vcpu_entered(VcpuId, GuestVaddr, std::uint64_t) override {}
  std::vector<std::uint64_t> flushed;
};

struct Scene {
  explicit Scene(bool one_for_all = false, TraceSink* sink = nullptr, std::uint32_t vcpus = 3)
      : flushes({vcpus, one_for_all, end, [this](VcpuId id) { kicked.push_back(id); }, sink}) {}
  std::vector<VcpuId> kicked;
  DomainEnd end{[this] { flushes.vcpu_rests(); }};
  TlbFlushes flushes;
};

TEST(TlbFlushes, only_vcpus_in_the_guest_are_kicked_and_each_once) {
  Scene s;
  s.flushes.entered(b);
  s.flushes.flush_all(a);
  s.flushes.flush_all(a);
  EXPECT_EQ(s.kicked, std::vector{b});
  for (const VcpuId id : {a, b, c}) EXPECT_TRUE(s.flushes.duties().due(id));
}

TEST(TlbFlushes, a_flush_names_one_vcpu) {
  Scene s;
  s.flushes.entered(b);
  s.flushes.entered(c);
  s.flushes.flush(a, c);
  EXPECT_EQ(s.kicked, std::vector{c});
  EXPECT_FALSE(s.flushes.duties().due(a));
  EXPECT_FALSE(s.flushes.duties().due(b));
}

TEST(TlbFlushes, whoever_asks_waits_until_the_others_left_the_guest) {
  Scene s;
  DomainMutex mutex;
  std::thread other;
  {
    DomainLock lock(mutex);
    s.flushes.entered(b);
    s.flushes.flush_all(a);
    other = std::thread([&] {
      const DomainLock theirs(mutex);
      s.flushes.left(b);
    });
    s.flushes.await(lock, a);
    EXPECT_FALSE(s.flushes.duties().in_guest(b));
    EXPECT_FALSE(s.flushes.duties().awaits(a));
  }
  other.join();
}

TEST(TlbFlushes, the_domains_end_ends_a_wait) {
  Scene s;
  DomainMutex mutex;
  std::thread other;
  {
    DomainLock lock(mutex);
    s.flushes.entered(b);
    s.flushes.flush_all(a);
    other = std::thread([&] {
      const DomainLock theirs(mutex);
      s.end.end(Ending::left, "");
    });
    s.flushes.await(lock, a);
    EXPECT_TRUE(s.end.happened());
    EXPECT_FALSE(s.flushes.duties().awaits(a)) << "nobody is waited for any more";
  }
  other.join();
}

TEST(TlbFlushes, calling_others_out_makes_no_flush_due) {
  Scene s;
  DomainMutex mutex;
  std::thread other;
  {
    DomainLock lock(mutex);
    s.flushes.entered(b);
    other = std::thread([&] {
      const DomainLock theirs(mutex);
      s.flushes.left(b);
    });
    s.flushes.call_out_others(lock, a);
    EXPECT_EQ(s.kicked, std::vector{b});
    EXPECT_FALSE(s.flushes.duties().in_guest(b));
    for (const VcpuId id : {a, b, c}) EXPECT_FALSE(s.flushes.duties().due(id));
  }
  other.join();
}

TEST(TlbFlushes, whoever_watches_hears_of_each_request) {
  Sink sink;
  Scene s(false, &sink);
  s.flushes.flush(a, c);
  s.flushes.flush_all(b);
  EXPECT_EQ(sink.flushed, (std::vector<std::uint64_t>{2, every_vcpu}));
}

/// Gives up mirrors by pinning and unpinning a table, until there are so many.
void retire_mirrors(FakeDomain& domain, std::size_t count = StaleLog::enough) {
  const Mfn l1 = domain.allocate();
  while (domain.mmu.mirrors().retired() < count) {
    ASSERT_TRUE(domain.mmu.pin(domain.held, Level::l1, l1));
    ASSERT_TRUE(domain.mmu.unpin(domain.held, l1));
  }
}

struct WithMirrors : Scene {
  explicit WithMirrors(bool one_for_all = false, std::uint32_t vcpus = 3)
      : Scene(one_for_all, nullptr, vcpus) {}
  FakeMachine machine{64};
  FakeDomain domain{machine, DomId(1), {.mirrors = 2 * StaleLog::enough, .stale_log = false}};
};

TEST(TlbFlushes, fewer_than_64_retired_mirrors_for_each_vcpu_are_not_worth_a_flush) {
  for (const std::uint32_t vcpus : {1, 3}) {
    WithMirrors s(false, vcpus);
    retire_mirrors(s.domain, std::size_t{64} * vcpus - 1);
    EXPECT_TRUE(s.flushes.reuse_retired_mirrors(s.domain.held, a, s.domain.mmu));
    EXPECT_FALSE(s.flushes.duties().due(a));
    retire_mirrors(s.domain, std::size_t{64} * vcpus);
    EXPECT_TRUE(s.flushes.reuse_retired_mirrors(s.domain.held, a, s.domain.mmu));
    EXPECT_TRUE(s.flushes.duties().due(a));
    EXPECT_EQ(s.domain.mmu.mirrors().retired(), 0U);
  }
}

TEST(TlbFlushes, so_many_retired_mirrors_as_the_arena_has_room_for_are_always_worth_a_flush) {
  WithMirrors s(false, 64);
  retire_mirrors(s.domain);
  EXPECT_TRUE(s.flushes.reuse_retired_mirrors(s.domain.held, a, s.domain.mmu));
  EXPECT_TRUE(s.flushes.duties().due(a));
}

TEST(TlbFlushes, many_retired_mirrors_are_reused_behind_a_flush_of_all) {
  WithMirrors s;
  retire_mirrors(s.domain);
  EXPECT_TRUE(s.flushes.reuse_retired_mirrors(s.domain.held, a, s.domain.mmu));
  for (const VcpuId id : {a, b, c}) EXPECT_TRUE(s.flushes.duties().due(id));
  EXPECT_EQ(s.domain.mmu.mirrors().retired(), 0U);
}

TEST(TlbFlushes, mirrors_are_reused_when_every_vcpu_has_left_the_guest) {
  WithMirrors s;
  retire_mirrors(s.domain);
  DomainMutex mutex;
  std::thread other;
  {
    DomainLock lock(mutex);
    s.flushes.entered(b);
    other = std::thread([&] {
      const DomainLock theirs(mutex);
      s.flushes.left(b);
    });
    EXPECT_TRUE(s.flushes.reuse_retired_mirrors(lock, a, s.domain.mmu));
    EXPECT_FALSE(s.flushes.duties().in_guest(b));
    EXPECT_EQ(s.kicked, std::vector{b});
    EXPECT_EQ(s.domain.mmu.mirrors().retired(), 0U);
  }
  other.join();
}

TEST(TlbFlushes, mirrors_are_kept_from_whoever_came_back_on_an_old_root) {
  WithMirrors s;
  retire_mirrors(s.domain);
  DomainMutex mutex;
  std::thread other;
  {
    DomainLock lock(mutex);
    s.flushes.entered(b);
    s.flushes.entered(c);
    s.flushes.left(c);
    other = std::thread([&] {
      const DomainLock theirs(mutex);
      s.flushes.duties().handed_over(c);  // without a root that is known to be in use
      s.flushes.entered(c);
      s.flushes.left(b);
    });
    EXPECT_FALSE(s.flushes.reuse_retired_mirrors(lock, a, s.domain.mmu));
    EXPECT_NE(s.domain.mmu.mirrors().retired(), 0U);
  }
  other.join();
}

TEST(TlbFlushes, where_kvm_keeps_a_shadow_the_stale_log_sees_to_mirrors) {
  WithMirrors s(true);
  retire_mirrors(s.domain);
  EXPECT_TRUE(s.flushes.reuse_retired_mirrors(s.domain.held, a, s.domain.mmu));
  EXPECT_FALSE(s.flushes.duties().due(a));
  EXPECT_NE(s.domain.mmu.mirrors().retired(), 0U);
}

}  // namespace
}  // namespace pinfold::vmm
