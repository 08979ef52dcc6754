// vCPUs whose gates finish updates in the VM, beside threads of the monitor that hold the domain's lock
// alone. They share the lock by the gate's own code (vmm/gate/inside.hpp). Entry and mirror must agree and
// each count must be right, and nobody may be kept out for good.
#include <gtest/gtest.h>

#include <random>

#include "native_resident.hpp"
#include "rig.hpp"
#include "vmm/gate/inside.hpp"
#include "vmm/gate/resident_share.hpp"

namespace pinfold::pvmmu::concurrency {
namespace {

using test::entry_at;
using test::ro;
using test::rw;
using vmm::gate::ControlPage;
using vmm::gate::Inside;
using vmm::gate::StatePage;

constexpr std::size_t cpus = 4;
constexpr std::size_t slots = 8;  // few: they meet

const std::vector<std::string> nothing;

struct ResidentGates : testing::Test {
  ResidentGates() {
    for (Mfn& table : tables) {
      table = one.allocate();
      one.call([&](Held held, Validator& v) { EXPECT_TRUE(v.pin(held, Level::l1, table)); });
    }
    for (Mfn& frame : frames) frame = one.allocate();
    for (Mfn& frame : frames) make_data(frame);
    for (Mfn& root : roots) {
      root = one.allocate();
      one.call([&](Held held, Validator& v) { EXPECT_TRUE(v.pin(held, Level::l4, root)); });
    }
    loaded.fill(no_mfn);
    std::vector<vmm::gate::ResidentFlags*> flags;
    for (StatePage& state : states) {
      state.kernel_root = no_mfn.raw();
      flags.push_back(&state.resident_flags);
    }
    share = std::make_unique<vmm::ResidentShare>(
        vmm::ResidentShare::Parts{std::move(flags), control, usable, [](VcpuId) {},
                                  [this](Held held, VcpuId cpu) { settle(held, cpu.raw()); }});
    one.mutex.share_with(share.get());
  }
  ~ResidentGates() override { one.mutex.share_with(nullptr); }

  void settle(Held held, std::size_t cpu) {
    EXPECT_TRUE(one.mmu.settle_root(held, loaded[cpu], Mfn(states[cpu].kernel_root)));
    ++settled;
  }
  /// It has been mapped writable, so it has a type.
  void make_data(Mfn frame) {
    one.call([&](Held held, Validator& v) {
      EXPECT_TRUE(v.update(held, entry_at(tables[0], 511), Pte(frame, rw), Preserve::nothing));
      EXPECT_TRUE(v.update(held, entry_at(tables[0], 511), Pte(), Preserve::nothing));
    });
  }
  /// A vCPU: what its gate leaves, it makes with the lock held alone.
  void updates(std::size_t cpu) {
    std::mt19937 random(static_cast<unsigned>(cpu));
    StatePage& state = states[cpu];
    const VcpuId id(static_cast<std::uint32_t>(cpu));
    for (int i = 0; i < rounds; ++i) {
      const MachineAddr where = entry_at(tables[random() % tables.size()], random() % slots);
      const Pte want =
          random() % 4 == 0 ? Pte() : Pte(frames[random() % frames.size()], random() % 2 ? rw : ro);
      share->enters(id);
      const bool done = [&] {
        const Inside inside(state, control);
        return inside && finish(state, cpu, where, want);
      }();
      EXPECT_FALSE(share->leaves(id));
      if (done)
        ++finished;
      else
        one.call(
            [&](Held held, Validator& v) { EXPECT_TRUE(v.update(held, where, want, Preserve::nothing)); });
    }
  }
  bool finish(StatePage& state, std::size_t cpu, MachineAddr where, Pte want) {
    using Path = ResidentPath<test::NativeMemory, test::NativeRecords, vmm::gate::TableLocks>;
    Path path({one.mmu}, {{one.mmu}}, {control, cpu + 1}, state.resident_entries);
    const auto work = path.update(where, want, false, [&](MachineAddr entry, L1Change change) {
      Pte old;
      return path.change(entry, change, old);
    });
    return work != ResidentWork::none;
  }
  /// A vCPU that loads one root after the other, without the lock, as long as they are roots.
  void switches_roots(std::size_t cpu) {
    std::mt19937 random(static_cast<unsigned>(cpu));
    StatePage& state = states[cpu];
    const VcpuId id(static_cast<std::uint32_t>(cpu));
    for (int i = 0; i < rounds; ++i) {
      const Mfn root = roots[random() % roots.size()];
      share->enters(id);
      {
        const Inside inside(state, control);
        if (inside && test::may_load_root(one.mmu, root)) {
          state.kernel_root = root.raw();
          state.resident_flags.roots_moved = 1;
          ++finished;
        }
      }
      EXPECT_FALSE(share->leaves(id));
    }
    one.call([&](Held held, Validator& v) {
      EXPECT_EQ(loaded[cpu], Mfn(state.kernel_root)) << "a move was lost";
      v.unload_root(held, loaded[cpu]);
      loaded[cpu] = no_mfn;
      state.kernel_root = no_mfn.raw();
    });
  }
  /// Roots stop being some while no vCPU is on them.
  void ends_roots() {
    std::mt19937 random(98);
    for (int i = 0; i < rounds / 20; ++i) {
      const Mfn root = roots[random() % roots.size()];
      one.call([&](Held held, Validator& v) {
        EXPECT_TRUE(v.unpin(held, root));
        for (const StatePage& state : states)
          EXPECT_TRUE(state.kernel_root != root.raw() || v.facts(root).type == FrameType::l4);
      });
      one.call([&](Held held, Validator& v) { EXPECT_TRUE(v.pin(held, Level::l4, root)); });
    }
  }
  /// Tables come and go, and frames lose their types and get them again.
  void changes_types() {
    std::mt19937 random(99);
    for (int i = 0; i < rounds / 20; ++i) {
      const Mfn table = tables[random() % tables.size()];
      one.call([&](Held held, Validator& v) {
        EXPECT_TRUE(v.unpin(held, table));
        for (std::size_t slot = 0; slot < entries_per_table; ++slot) machine.poke(table, slot, Pte());
        EXPECT_TRUE(v.pin(held, Level::l1, table));
      });
    }
  }

  static constexpr int rounds = 4000;
  test::FakeMachine machine{256};
  SharedDomain one{machine, DomId(1)};
  std::array<StatePage, cpus> states{};
  ControlPage control{};
  bool usable = true;
  std::unique_ptr<vmm::ResidentShare> share;
  std::array<Mfn, 3> tables;
  std::array<Mfn, 6> frames;
  std::array<Mfn, 2> roots;
  std::array<Mfn, cpus> loaded;  ///< Where the references are.
  std::atomic<std::uint64_t> settled{0};
  std::atomic<std::uint64_t> finished{0};
};

TEST_F(ResidentGates, updates_of_the_same_entries_leave_entry_mirror_and_counts_in_agreement) {
  together({[&] { updates(0); }, [&] { updates(1); }, [&] { updates(2); }, [&] { updates(3); }});
  EXPECT_EQ(one.findings(), nothing);
  EXPECT_GT(finished, std::uint64_t{rounds});
}

TEST_F(ResidentGates, nobody_is_inside_while_tables_come_and_go) {
  together({[&] { updates(0); }, [&] { updates(1); }, [&] { changes_types(); }, [&] { changes_types(); }});
  EXPECT_EQ(one.findings(), nothing);
  EXPECT_GT(finished, 0U);
}

TEST_F(ResidentGates, roots_that_gates_load_are_settled_before_anybody_has_the_lock) {
  together(
      {[&] { switches_roots(0); }, [&] { switches_roots(1); }, [&] { updates(2); }, [&] { ends_roots(); }});
  EXPECT_EQ(one.findings(), nothing);
  EXPECT_GT(finished, 0U);
  EXPECT_GT(settled, 0U);
}

}  // namespace
}  // namespace pinfold::pvmmu::concurrency
