// The races of the advisories on page types, provoked on purpose. Operations of one domain exclude each other
// by its lock, but stores by the domain's code exclude nothing: so there are two kinds of races. Hooks force
// a race with a store to either side of the moment that decides, FrameView::protect; races between operations
// are run many times, in whatever order results. Each test says what must hold; the audit, which recounts
// everything, confirms it.
#include <gtest/gtest.h>

#include <future>
#include <random>

#include "rig.hpp"

namespace pinfold::pvmmu::concurrency {
namespace {

using test::entry_at;
using test::ro;
using test::rw;
using test::Tree;

constexpr int rounds = 400;

/// A loaded tree with `frame` mapped read-write by slot 0 of its L1, and a second domain's frame that must
/// never be reached.
struct Scene {
  Scene() {
    view_tree(tree);
    one.call([&](Held held, Validator& v) { EXPECT_TRUE(v.pin(held, Level::l4, tree.l4)); });
  }
  void view_tree(const Tree& t) {
    machine.poke(t.l4, 0, Pte(t.l3, test::table));
    machine.poke(t.l3, 0, Pte(t.l2, test::table));
    machine.poke(t.l2, 0, Pte(t.l1, test::table));
  }
  Tree new_tree() { return {one.allocate(), one.allocate(), one.allocate(), one.allocate()}; }
  bool map(Mfn mfn, std::uint64_t flags) {
    return one.call([&](Held held, Validator& v) {
      return v.update(held, entry_at(tree.l1, 0), Pte(mfn, flags), Preserve::nothing).has_value();
    });
  }
  bool unmap() {
    return one.call([&](Held held, Validator& v) {
      return v.update(held, entry_at(tree.l1, 0), Pte(), Preserve::nothing).has_value();
    });
  }
  Verdict<> pin(Level level, Mfn mfn) {
    return one.call([&](Held held, Validator& v) { return v.pin(held, level, mfn); });
  }
  Verdict<> unpin(Mfn mfn) {
    return one.call([&](Held held, Validator& v) { return v.unpin(held, mfn); });
  }
  [[nodiscard]] std::uint64_t evil() const { return Pte(secret, rw).raw(); }
  test::FakeMachine machine{256};
  SharedDomain one{machine, DomId(1)}, two{machine, DomId(2)};
  Tree tree = new_tree();
  Mfn frame = one.allocate(), secret = two.allocate();
};

const std::vector<std::string> nothing;

// -- XSA-241, XSA-401: a frame becomes a table while another vCPU still writes it through a translation that
// it cached when it was mapped read-write. If the store comes before the frame is protected, the check sees
// it. If it comes after that, the view stops it. A table never holds an entry that was not checked.

TEST(Xsa241, a_store_through_a_stale_translation_before_the_protection_is_seen_by_the_check) {
  Scene s;
  ASSERT_TRUE(s.map(s.frame, rw));
  ASSERT_TRUE(s.unmap());  // the last type reference; no flush follows
  bool stored = false;
  s.one.view.before_protect = [&](Mfn mfn) {
    std::thread([&] { stored = s.one.view.guest_store(mfn, 7, s.evil()); }).join();
  };
  const auto verdict = s.pin(Level::l1, s.frame);
  EXPECT_TRUE(stored);
  ASSERT_FALSE(verdict);
  EXPECT_EQ(verdict.error().rule, Rule::l1_foreign_frame);
  EXPECT_TRUE(s.one.is_plain(s.frame));
  EXPECT_EQ(s.one.findings(), nothing);
}

TEST(Xsa241, a_store_through_a_stale_translation_after_the_protection_does_not_happen) {
  Scene s;
  ASSERT_TRUE(s.map(s.frame, rw));
  ASSERT_TRUE(s.unmap());
  bool stored = true;
  s.one.view.after_protect = [&](Mfn mfn) {
    std::thread([&] { stored = s.one.view.guest_store(mfn, 7, s.evil()); }).join();
  };
  EXPECT_TRUE(s.pin(Level::l1, s.frame));
  EXPECT_FALSE(stored);
  EXPECT_FALSE(s.one.view.guest_store(s.frame, 7, s.evil()));
  EXPECT_EQ(s.one.findings(), nothing);
}

TEST(Xsa241, stores_at_any_moment_never_put_an_unchecked_entry_into_a_table) {
  Scene s;
  std::atomic<bool> done = false;
  std::atomic<int> landed = 0, stopped = 0;
  together({[&] {
              for (int i = 0; i < rounds; ++i) {
                EXPECT_TRUE(s.map(s.frame, rw));
                EXPECT_TRUE(s.unmap());
                if (const auto pinned = s.pin(Level::l1, s.frame); pinned) {
                  EXPECT_EQ(s.one.findings(), nothing);
                  EXPECT_TRUE(s.unpin(s.frame));
                } else {
                  EXPECT_EQ(pinned.error().rule, Rule::l1_foreign_frame);
                }
                // For another round the frame is plain again, and what was stored is removed.
                s.one.view.guest_store(s.frame, 7, 0);
              }
              done = true;
            },
            [&] {
              while (!done) ++(s.one.view.guest_store(s.frame, 7, s.evil()) ? landed : stopped);
            }});
  EXPECT_TRUE(s.one.is_plain(s.frame));
  EXPECT_EQ(s.one.findings(), nothing);
  EXPECT_TRUE(s.two.is_plain(s.secret));
  std::cout << landed << " stores landed in a plain frame, " << stopped << " were stopped\n";
}

// XSA-401: the other vCPU maps the frame read-write, writes and unmaps it, all while it is becoming a table.
// The mapping needs the lock, so it is made either before the pin (then the frame is still plain at the
// check, and the check sees what was written) or after it (then it is refused).
TEST(Xsa401, a_writable_mapping_asked_for_during_the_validation_is_refused_after_it) {
  Scene s;
  std::promise<bool> mapped;
  std::thread other;
  std::promise<void> asked;
  s.one.view.after_protect = [&](Mfn) {
    other = std::thread([&] {
      asked.set_value();
      mapped.set_value(s.map(s.frame, rw));
    });
    asked.get_future().wait();
  };
  EXPECT_TRUE(s.pin(Level::l1, s.frame));
  other.join();
  EXPECT_FALSE(mapped.get_future().get()) << "the frame is a table by now";
  EXPECT_FALSE(s.one.view.guest_store(s.frame, 3, s.evil()));
  EXPECT_EQ(s.one.findings(), nothing);
}

TEST(Xsa401, map_write_unmap_around_a_validation_leaves_either_a_checked_table_or_a_plain_frame) {
  Scene s;
  together({[&] {
              for (int i = 0; i < rounds; ++i) {
                if (!s.pin(Level::l1, s.frame)) continue;
                EXPECT_EQ(s.one.findings(), nothing);
                EXPECT_TRUE(s.unpin(s.frame));
              }
            },
            [&] {
              for (int i = 0; i < rounds; ++i) {
                const bool mapped = s.map(s.frame, rw);
                s.one.view.guest_store(s.frame, 9, i % 2 == 0 ? s.evil() : 0);
                EXPECT_EQ(mapped && !s.unmap(), false);
                s.one.view.guest_store(s.frame, 9, i % 3 == 0 ? s.evil() : 0);  // stale by now
              }
            }});
  EXPECT_TRUE(s.one.is_plain(s.frame));
  EXPECT_EQ(s.one.findings(), nothing);
}

// -- XSA-242: an entry of a table is written while another vCPU drops the table's last reference. If the
// entry is written first, it is checked, and the end of the table drops its reference. If the table ends
// first, the write stores eight plain bytes and takes no reference. In neither case is a reference left.
TEST(Xsa242, an_entry_written_while_its_table_ends_leaks_no_reference) {
  Scene s;
  const Mfn l1 = s.one.allocate();
  for (int i = 0; i < rounds; ++i) {
    ASSERT_TRUE(s.pin(Level::l1, l1));
    together({[&] {
                s.one.call([&](Held held, Validator& v) {
                  EXPECT_TRUE(v.update(held, entry_at(l1, 5), Pte(s.frame, rw), Preserve::nothing));
                });
              },
              [&] { EXPECT_TRUE(s.unpin(l1)); }});
    ASSERT_TRUE(s.one.is_plain(l1)) << "round " << i;
    ASSERT_TRUE(s.one.is_plain(s.frame)) << "round " << i;
    s.machine.poke(l1, 5, Pte());
  }
  EXPECT_EQ(s.one.findings(), nothing);
}

/// The same one level up, where the old entry's child goes with the table.
TEST(Xsa242, an_upper_entry_replaced_while_its_table_ends_leaks_no_child) {
  Scene s;
  const Mfn l2 = s.one.allocate(), first = s.one.allocate(), second = s.one.allocate();
  for (int i = 0; i < rounds; ++i) {
    s.machine.poke(l2, 0, Pte(first, test::table));
    ASSERT_TRUE(s.pin(Level::l2, l2));
    together({[&] {
                s.one.call([&](Held held, Validator& v) {
                  EXPECT_TRUE(v.update(held, entry_at(l2, 0), Pte(second, test::table), Preserve::nothing));
                });
              },
              [&] { EXPECT_TRUE(s.unpin(l2)); }});
    for (const Mfn mfn : {l2, first, second}) ASSERT_TRUE(s.one.is_plain(mfn)) << "round " << i;
    s.one.call([](Held held, Validator& v) { v.retired_mirrors_forgotten(held, v.mirrors().retired_end()); });
  }
  EXPECT_EQ(s.one.findings(), nothing);
}

// -- XSA-299, XSA-310: big trees are validated and released while others change them: bad entries appear,
// subtrees are pinned and unpinned, entries are replaced. However far each got, the counts are those of the
// entries that exist; when everything has been unpinned, they are those of plain frames.
struct Forest : Scene {
  Forest() {
    for (const Tree& t : trees) view_tree(t);
    for (std::size_t i = 0; i < trees.size(); ++i) {  // they share what is below them
      machine.poke(trees[i].l4, 1, Pte(trees[(i + 1) % trees.size()].l3, test::table));
      machine.poke(trees[i].l2, 1, Pte(trees[(i + 1) % trees.size()].l1, test::table));
      machine.poke(trees[i].l1, 0, Pte(frame, rw));
      machine.poke(trees[i].l1, 1, Pte(trees[i].l4, ro));
    }
  }
  void pin_and_unpin(unsigned seed, int times) {
    std::mt19937 random(seed);
    for (int i = 0; i < times; ++i) {
      const Tree& t = trees[random() % trees.size()];
      const auto level = static_cast<Level>(1 + random() % 4);
      (void)(random() % 2 == 0 ? pin(level, test::table_of(t, level)) : unpin(test::table_of(t, level)));
    }
  }
  /// Writes bad and good entries: by a store if the frame is plain, by an operation if it is a table.
  void spoil(unsigned seed, int times) {
    std::mt19937 random(seed);
    for (int i = 0; i < times; ++i) {
      const Tree& t = trees[random() % trees.size()];
      const auto level = static_cast<Level>(1 + random() % 4);
      const Mfn where = test::table_of(t, level);
      const Mfn child = level == Level::l1 ? frame : test::table_of(t, below(level));
      const std::uint64_t good = Pte(child, level == Level::l1 ? rw : test::table).raw();
      const std::uint64_t value = std::array<std::uint64_t, 3>{good, evil(), 0}[random() % 3];
      const std::size_t slot = random() % 2 == 0 ? 511 : 0;
      if (random() % 2 == 0) {
        one.view.guest_store(where, slot, value);
      } else {
        one.call([&](Held held, Validator& v) {
          (void)v.update(held, entry_at(where, slot), Pte(value), Preserve::nothing);
          if (v.mirrors().retired() > 64) v.retired_mirrors_forgotten(held, v.mirrors().retired_end());
        });
      }
    }
  }
  /// Asks without a budget for each table whose check was interrupted, so that it is checked or given up.
  void unpin_all() {
    one.budget = ~0ULL;
    for (const Tree& t : trees)
      for (const Level level : {Level::l4, Level::l3, Level::l2, Level::l1}) {
        (void)pin(level, test::table_of(t, level));
        (void)unpin(test::table_of(t, level));
      }
    for (const Tree& t : trees)
      for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4})
        (void)unpin(test::table_of(t, level));
  }
  std::array<Tree, 3> trees{new_tree(), new_tree(), new_tree()};
};

// The budgets interrupt each type change after so many entries; a later hypercall of any vCPU continues it.
class Xsa299 : public testing::TestWithParam<std::uint64_t> {};

TEST_P(Xsa299, validations_with_bad_entries_and_pins_in_between_end_with_every_count_at_nothing) {
  Forest f;
  f.one.budget = GetParam();
  together({[&] { f.pin_and_unpin(1, rounds); }, [&] { f.pin_and_unpin(2, rounds); },
            [&] { f.spoil(3, 2 * rounds); },
            [&] {
              for (int i = 0; i < 40; ++i) EXPECT_EQ(f.one.findings(), nothing);
            }});
  EXPECT_EQ(f.one.findings(), nothing);
  f.unpin_all();
  for (const Tree& t : f.trees)
    for (const Level level : {Level::l1, Level::l2, Level::l3, Level::l4})
      EXPECT_TRUE(f.one.is_plain(test::table_of(t, level)));
  EXPECT_TRUE(f.one.is_plain(f.frame));
  EXPECT_TRUE(f.two.is_plain(f.secret));
}

INSTANTIATE_TEST_SUITE_P(Budgets, Xsa299, testing::Values(1, 50, 700, ~0ULL));

TEST(Xsa310, a_domain_that_ends_in_the_middle_of_type_changes_leaves_nothing_behind) {
  for (int i = 0; i < 20; ++i) {
    Forest f;
    Mfn root = no_mfn;
    f.one.budget = std::array<std::uint64_t, 4>{1, 100, 1500, ~0ULL}[static_cast<std::size_t>(i % 4)];
    f.one.call([&](Held held, Validator& v) { (void)v.load_root(held, root, f.trees[0].l4); });
    std::atomic<std::uint64_t> left = ~0ULL;
    together({[&] { f.pin_and_unpin(static_cast<unsigned>(i), 200); },
              [&] { f.spoil(static_cast<unsigned>(i + 100), 200); },
              [&] {
                f.pin_and_unpin(static_cast<unsigned>(i + 200), static_cast<int>(10 * (i % 5)));
                f.one.call([&](Held held, Validator& v) {
                  v.unload_root(held, root);
                  left = v.destroy(held);
                });
              }});
    EXPECT_EQ(left, 0U);
    EXPECT_EQ(f.one.mirrors.in_use(), 0U);
    EXPECT_EQ(f.machine.frames.free_frames(), f.machine.frames.size() - 2) << "all but the other domain's";
    EXPECT_FALSE(f.one.view.guest_store(f.frame, 0, 1));
  }
}

/// Roots of several vCPUs: one vCPU leaves a tree while another one loads it or unpins it. It stays a tree as
/// long as anyone has it loaded.
TEST(Roots, of_several_vcpus_hold_their_trees_whoever_leaves) {
  Forest f;
  std::array<Mfn, 3> roots{no_mfn, no_mfn, no_mfn};
  const auto vcpu = [&](std::size_t id) {
    std::mt19937 random(static_cast<unsigned>(id));
    for (int i = 0; i < rounds; ++i)
      f.one.call([&](Held held, Validator& v) {
        const Mfn wanted = f.trees[random() % f.trees.size()].l4;
        if (random() % 4 == 0) v.unload_root(held, roots[id]);
        (void)v.load_root(held, roots[id], wanted);
        if (roots[id] == no_mfn) return;
        EXPECT_EQ(v.frame(roots[id]).type, FrameType::l4);
        EXPECT_NE(v.frame(roots[id]).mirror, 0U);
        if (v.mirrors().retired() > 64) v.retired_mirrors_forgotten(held, v.mirrors().retired_end());
      });
  };
  together({[&] { vcpu(0); }, [&] { vcpu(1); }, [&] { vcpu(2); }, [&] { f.pin_and_unpin(7, rounds); }});
  OutsideReferences outside;
  for (const Mfn root : roots)
    if (root != no_mfn) outside.add(root);
  EXPECT_EQ(f.one.findings(outside), nothing);
  f.one.call([&](Held held, Validator& v) {
    for (Mfn& root : roots) v.unload_root(held, root);
  });
  f.unpin_all();
  for (const Tree& t : f.trees) EXPECT_TRUE(f.one.is_plain(t.l4));
}

}  // namespace
}  // namespace pinfold::pvmmu::concurrency
