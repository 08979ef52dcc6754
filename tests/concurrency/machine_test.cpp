// Several domains on one machine: the pool of free frames that they share, and what each may learn of the
// others' frames.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "pvmmu/inventory.hpp"
#include "rig.hpp"

namespace pinfold::pvmmu::concurrency {
namespace {

using test::entry_at;
using test::ro;
using test::rw;

const std::vector<std::string> nothing;

/// Takes and returns frames, one by one and in extents, and marks each frame that it has.
void churn(SharedDomain& domain, test::FakeMachine& machine, std::uint64_t mark, unsigned seed, int times) {
  std::mt19937 random(seed);
  std::vector<Mfn> mine;
  const auto give = [&](std::size_t at) {
    const Mfn mfn = mine[at];
    EXPECT_EQ(machine.peek(mfn, 3).raw(), mark) << "somebody else wrote to an owned frame";
    mine[at] = mine.back();
    mine.pop_back();
    EXPECT_TRUE(domain.call([&](Held held, Validator& v) { return v.deallocate(held, mfn); }));
  };
  for (int i = 0; i < times; ++i) {
    const std::uint64_t count = random() % 8 == 0 ? 4 : 1;
    const auto first = domain.call([&](Held held, Validator& v) { return v.allocate(held, count, count); });
    if (first)
      for (std::uint64_t n = 0; n < count; ++n) {
        const Mfn mfn = first->plus(n);
        EXPECT_EQ(machine.peek(mfn, 3), Pte()) << "a fresh frame is not empty";
        EXPECT_TRUE(domain.view.guest_store(mfn, 3, mark));
        mine.push_back(mfn);
      }
    while (mine.size() > 10 || (!first && !mine.empty())) give(random() % mine.size());
  }
  while (!mine.empty()) give(0);
}

TEST(Pool, gives_each_frame_to_one_domain_at_a_time_and_empty) {
  test::FakeMachine machine(40);
  SharedDomain one(machine, DomId(1)), two(machine, DomId(2));
  together({[&] { churn(one, machine, 0x1110, 1, 1500); }, [&] { churn(one, machine, 0x1120, 2, 1500); },
            [&] { churn(two, machine, 0x2210, 3, 1500); }, [&] { churn(two, machine, 0x2220, 4, 1500); }});
  EXPECT_EQ(machine.frames.free_frames(), machine.frames.size() - 1);
  EXPECT_EQ(one.findings(), nothing);
  EXPECT_EQ(two.findings(), nothing);
}

/// A domain tries everything with frames that another one is just getting or giving up. It never gets one,
/// and at most learns their owner.
TEST(Machine, a_frame_of_another_domain_is_refused_also_while_it_changes_hands) {
  test::FakeMachine machine(64);
  SharedDomain attacker(machine, DomId(1)), victim(machine, DomId(2));
  const Mfn l1 = attacker.allocate();
  attacker.call([&](Held held, Validator& v) { ASSERT_TRUE(v.pin(held, Level::l1, l1)); });
  std::atomic<bool> done = false;
  together({[&] {
              churn(victim, machine, 0x2220, 5, 3000);
              done = true;
            },
            [&] {
              std::mt19937 random(6);
              while (!done)
                attacker.call([&](Held held, Validator& v) {
                  const Mfn target(2 + random() % 62);
                  const auto told = [&](const auto& verdict) {
                    ASSERT_FALSE(verdict);
                    EXPECT_EQ(verdict.error().state.refs, 0U);
                    (void)verdict.error().describe();
                  };
                  told(v.update(held, entry_at(l1, 1), Pte(target, rw), Preserve::nothing));
                  told(v.update(held, entry_at(target, 1), Pte(target, ro), Preserve::nothing));
                  told(v.pin(held, Level::l4, target));
                  told(v.check_exchangeable(held, target));
                  told(v.deallocate(held, target));
                  told(v.set_machphys(held, target, Pfn(1)));
                  told(v.copy_page(held, l1, target));
                });
            }});
  EXPECT_EQ(attacker.findings(), nothing);
  EXPECT_EQ(victim.findings(), nothing);
  EXPECT_EQ(machine.frames.free_frames(), machine.frames.size() - 2);
}

/// All at once: two domains with two vCPUs each that make random operations, and beside them an audit and an
/// inventory in steps.
class Crowd {
 public:
  Crowd() {
    for (std::size_t d = 0; d < 2; ++d)
      for (auto& mfn : pages_[d]) mfn = domain(d).allocate();
  }
  SharedDomain& domain(std::size_t d) { return d == 0 ? one_ : two_; }

  void vcpu(std::size_t d, unsigned seed, int times) {
    std::mt19937 random(seed);
    SharedDomain& here = domain(d);
    const auto page = [&](unsigned wanted) {
      const auto& pages = pages_[random() % 50 == 0 ? 1 - d : d];
      return pages[(random() % (pages.size() / 5)) * 5 + wanted];
    };
    Mfn root = no_mfn;
    for (int i = 0; i < times; ++i) {
      const unsigned level = 1 + random() % 4;
      const Mfn table = page(level);
      const Pte entry(page(level - 1), level == 1 ? (random() % 2 == 0 ? rw : ro) : test::table);
      const Pte want = random() % 4 == 0 ? Pte() : entry;
      const std::size_t slot = random() % 3;
      if (random() % 3 == 0) {
        here.view.guest_store(table, slot, want.raw());
        continue;
      }
      here.call([&](Held held, Validator& v) {
        switch (random() % 8) {
          case 0: (void)v.pin(held, static_cast<Level>(level), table); break;
          case 1: (void)v.unpin(held, table); break;
          case 2: (void)v.load_root(held, root, page(4)); break;
          case 3: v.unload_root(held, root); break;
          case 4:
            if (const auto fresh = v.allocate(held)) (void)v.deallocate(held, *fresh);
            break;
          default: (void)v.update(held, entry_at(table, slot), want, Preserve::accessed_and_dirty);
        }
        if (v.mirrors().retired() > 100) v.retired_mirrors_forgotten(held, v.mirrors().retired_end());
      });
    }
    here.call([&](Held held, Validator& v) { v.unload_root(held, root); });
  }

  /// Lists the tables, and who maps a frame, again and again.
  void look(std::size_t d, int times) {
    DomainLock lock(domain(d).mutex);
    for (int i = 0; i < times; ++i) {
      const auto pause = [] { std::this_thread::yield(); };
      const Inventory inventory = take_inventory(lock, domain(d).mmu, {}, pause, 2);
      std::set<Mfn> different;
      for (const TableReport& t : inventory.tables()) EXPECT_TRUE(different.insert(t.table).second);
      (void)entries_mapping(lock, domain(d).mmu, pages_[d][0], pause, 2);
    }
  }

  void end() {
    for (std::size_t d = 0; d < 2; ++d) {
      EXPECT_EQ(domain(d).findings(), nothing);
      EXPECT_EQ(domain(d).call([](Held held, Validator& v) { return v.destroy(held); }), 0U);
    }
    EXPECT_EQ(machine_.frames.free_frames(), machine_.frames.size() - 1);
  }

 private:
  test::FakeMachine machine_{128};
  SharedDomain one_{machine_, DomId(1)}, two_{machine_, DomId(2)};
  std::array<std::array<Mfn, 20>, 2> pages_;
};

TEST(Machine, two_domains_of_two_vcpus_that_do_anything_end_with_nothing_left) {
  Crowd crowd;
  together({[&] { crowd.vcpu(0, 1, 4000); }, [&] { crowd.vcpu(0, 2, 4000); }, [&] { crowd.vcpu(1, 3, 4000); },
            [&] { crowd.vcpu(1, 4, 4000); }, [&] { crowd.look(0, 30); }});
  crowd.end();
}

}  // namespace
}  // namespace pinfold::pvmmu::concurrency
