// Trees that are validated and released piece by piece. Whatever the budget is, all counts and mirrors are
// right at each stop, and the result is the same as without a budget.
#include <gtest/gtest.h>

#include <functional>
#include <tuple>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

constexpr std::uint64_t tables_in_grove = 9;

/// A root over two L3s, three L2s and three L1s; some tables are shared, and one L1 maps the root read-only.
/// Each table has entries in its first and last slots.
struct Grove {
  Grove() {
    for (const auto& [l3, l2, slot] : {std::tuple(tree.l3, l2_b, std::size_t{511}),
                                       {l3_b, l2_b, std::size_t{0}},
                                       {l3_b, l2_c, std::size_t{7}}})
      machine.poke(l3, slot, Pte(l2, table));
    machine.poke(tree.l4, 511, Pte(l3_b, table));
    machine.poke(tree.l2, 511, Pte(l1_b, table));
    machine.poke(l2_b, 3, Pte(tree.l1, table));
    machine.poke(l2_b, 511, Pte(l1_b, table));
    machine.poke(l2_c, 0, Pte(l1_c, table));
    for (std::size_t i = 0; i < 4; ++i)
      for (const Mfn l1 : {tree.l1, l1_b, l1_c}) machine.poke(l1, i * 170, Pte(page, i == 0 ? rw : ro));
    machine.poke(l1_c, 511, Pte(tree.l4, ro));
  }
  [[nodiscard]] Verdict<> pin(Mfn mfn, Level level = Level::l4) { return one.mmu.pin(one.held, level, mfn); }
  [[nodiscard]] Verdict<> update(Mfn mfn, std::size_t slot, Pte want) {
    return one.mmu.update(one.held, entry_at(mfn, slot), want, Preserve::nothing);
  }
  [[nodiscard]] auto state() const { return snapshot(machine.frames); }
  void budget(std::uint64_t entries) { one.mmu.set_budget(one.held, Budget(entries)); }
  [[nodiscard]] bool finish() { return one.mmu.finish_releases(one.held); }

  /// Repeats a request with this budget until it is done, as a guest does, and returns how many times that
  /// took. It checks the state at each stop. The last answer is in `answer`.
  template <class Request>
  std::size_t persist(std::uint64_t entries, Request&& request) {
    for (std::size_t round = 1;; ++round) {
      budget(entries);
      answer = request();
      EXPECT_EQ(one.findings(), std::vector<std::string>()) << "budget " << entries << ", round " << round;
      const bool unfinished = !answer && answer.error().rule == Rule::unfinished;
      if (testing::Test::HasFailure() || round > 20'000) return round;
      if (!unfinished) return round;
    }
  }
  /// The same for releases that an operation left unfinished.
  std::size_t finish_with(std::uint64_t entries) {
    return persist(entries, [this]() -> Verdict<> {
      Refusal unfinished;
      unfinished.rule = Rule::unfinished;
      return finish() ? Verdict<>() : tl::unexpected(unfinished);
    });
  }

  /// Pins the root and unpins it, which begins to release the tree.
  void release_with(std::uint64_t entries) {
    budget(~0ULL);
    EXPECT_TRUE(pin(tree.l4));
    budget(entries);
    EXPECT_TRUE(one.mmu.unpin(one.held, tree.l4));
  }

  FakeMachine machine{64};
  FakeDomain one{machine, DomId(1)};
  Tree tree = build_tree(machine, one);
  Mfn l3_b = one.allocate(), l2_b = one.allocate(), l2_c = one.allocate(), l1_b = one.allocate(),
      l1_c = one.allocate(), page = one.allocate();
  Verdict<> answer;
};

/// Every point at which work can stop: a budget of 1 stops at each, larger ones in other combinations.
constexpr std::array<std::uint64_t, 16> budgets{1,   2,   3,   4,   5,   7,   11,   64,
                                                255, 256, 257, 511, 512, 513, 1024, 2500};

TEST(Partial, a_tree_pinned_in_pieces_is_the_tree_pinned_at_once) {
  Grove whole;
  const auto unpinned = whole.state();
  ASSERT_TRUE(whole.pin(whole.tree.l4));
  for (const std::uint64_t entries : budgets) {
    Grove g;
    EXPECT_GT(g.persist(entries, [&] { return g.pin(g.tree.l4); }), 1U);
    ASSERT_TRUE(g.answer);
    EXPECT_EQ(g.state(), whole.state()) << "budget " << entries;
    EXPECT_EQ(g.one.mirrors.in_use(), tables_in_grove);

    g.budget(entries);
    ASSERT_TRUE(g.one.mmu.unpin(g.one.held, g.tree.l4))
        << "what is left to be released is no part of the answer";
    EXPECT_EQ(g.one.findings(), std::vector<std::string>());
    EXPECT_FALSE(g.finish());
    g.finish_with(entries);
    EXPECT_EQ(g.state(), unpinned) << "budget " << entries;
    EXPECT_EQ(g.one.mirrors.in_use(), 0U);
    EXPECT_EQ(g.one.mmu.counters().tables_validated, g.one.mmu.counters().tables_released);
    for (std::uint64_t i = 1; i <= 10; ++i) EXPECT_EQ(g.one.view.of(Mfn(i)), FakeView::Access::read_write);
  }
}

TEST(Partial, an_update_of_a_table_that_ends_with_what_is_left_to_be_released_finds_a_plain_frame) {
  Grove g;
  g.release_with(1);
  ASSERT_TRUE(g.one.mmu.frame(g.tree.l3).validated) << "the root's first entry is held still";
  g.budget(~0ULL);
  const Pte want(g.tree.l2, table);
  EXPECT_TRUE(g.update(g.tree.l3, 9, want));
  EXPECT_EQ(g.machine.peek(g.tree.l3, 9), want);
  EXPECT_EQ(g.one.mmu.frame(g.tree.l3).type_count, 0U);
  EXPECT_EQ(g.one.mmu.frame(g.tree.l2).type_count, 0U);
  EXPECT_EQ(g.one.findings(), std::vector<std::string>());
}

TEST(Partial, an_update_of_a_table_whose_frame_goes_with_what_is_left_to_be_released_is_refused) {
  Grove g;
  g.release_with(1);
  ASSERT_TRUE(g.one.mmu.deallocate(g.one.held, g.tree.l3))
      << "the root's entry keeps it until it is released";
  ASSERT_TRUE(g.one.mmu.owns(g.tree.l3));
  const Pte before = g.machine.peek(g.tree.l3, 9);
  g.budget(~0ULL);
  const auto answer = g.update(g.tree.l3, 9, Pte(g.tree.l2, table));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().rule, Rule::frame_not_owned);
  EXPECT_FALSE(g.one.mmu.owns(g.tree.l3));
  EXPECT_EQ(g.machine.peek(g.tree.l3, 9), before) << "the frame may be another domain's by now";
}

TEST(Partial, a_piece_is_no_more_work_than_the_budget_and_a_table) {
  for (const std::uint64_t entries : {1ULL, 100ULL, 600ULL}) {
    Grove g;
    const auto pieces = g.persist(entries, [&] { return g.pin(g.tree.l4); });
    // 6 tables of upper levels, entry by entry, and 3 L1s, each as a whole.
    EXPECT_GE(pieces, tables_in_grove * entries_per_table / (entries + entries_per_table));
    EXPECT_LE(pieces, tables_in_grove * entries_per_table / entries + 1);
  }
}

TEST(Partial, a_bad_entry_at_any_place_is_undone_in_pieces) {
  for (const std::uint64_t entries : {1ULL, 2ULL, 300ULL, 700ULL, 2500ULL})
    for (std::size_t place = 0; place < tables_in_grove; ++place) {
      Grove g;
      const std::array<Mfn, tables_in_grove> tables{g.tree.l4, g.tree.l1, g.tree.l3, g.l3_b, g.tree.l2,
                                                    g.l2_b,    g.l2_c,    g.l1_b,    g.l1_c};
      g.machine.poke(tables[place], 500, Pte(g.page, table | bit::pat_or_large));
      const auto before = g.state();
      g.persist(entries, [&] { return g.pin(g.tree.l4); });
      ASSERT_FALSE(g.answer);
      EXPECT_EQ(g.answer.error().error(), Errno::einval) << g.answer.error().describe();
      g.finish_with(entries);
      EXPECT_EQ(g.state(), before) << "bad entry in table " << place << ", budget " << entries;
      EXPECT_EQ(g.one.mirrors.in_use(), 0U);
      g.machine.poke(tables[place], 500, Pte());
      g.budget(~0ULL);
      EXPECT_TRUE(g.pin(g.tree.l4));
    }
}

TEST(Partial, a_protection_or_mirror_refused_at_any_call_is_undone_in_pieces) {
  for (std::uint64_t call = 0; call < tables_in_grove; ++call)
    for (const bool mirrors : {false, true}) {
      Grove g;
      if (mirrors)
        while (g.one.mirrors.in_use() + call < 256) (void)g.one.mirrors.take();
      else
        g.one.view.fail_at = call;
      const auto used = g.one.mirrors.in_use();
      const auto before = g.state();
      g.persist(100, [&] { return g.pin(g.tree.l4); });
      ASSERT_FALSE(g.answer);
      EXPECT_EQ(g.answer.error().error(), Errno::enomem);
      g.finish_with(100);
      EXPECT_EQ(g.state(), before) << "call " << call;
      EXPECT_EQ(g.one.mirrors.in_use(), used);
    }
}

TEST(Partial, an_upper_entry_takes_and_releases_its_subtree_in_pieces) {
  Grove whole;
  const Mfn whole_root = whole.one.allocate();
  ASSERT_TRUE(whole.pin(whole_root));
  ASSERT_TRUE(whole.update(whole_root, 9, Pte(whole.tree.l3, table)));
  for (const std::uint64_t entries : budgets) {
    Grove g;
    const Mfn root = g.one.allocate();
    ASSERT_TRUE(g.pin(root));
    const auto before = g.state();
    EXPECT_GT(g.persist(entries, [&] { return g.update(root, 9, Pte(g.tree.l3, table)); }), 1U);
    EXPECT_EQ(g.state(), whole.state());
    g.budget(entries);
    ASSERT_TRUE(g.update(root, 9, Pte()));
    EXPECT_EQ(g.machine.peek(root, 9), Pte()) << "the entry is gone at once, the tables after it";
    EXPECT_EQ(g.one.findings(), std::vector<std::string>());
    g.finish_with(entries);
    EXPECT_EQ(g.state(), before);
  }
}

TEST(Partial, a_root_is_loaded_and_left_in_pieces) {
  Grove g;
  const auto before = g.state();
  const Mfn other = g.one.allocate();
  Mfn root = no_mfn;
  g.persist(1, [&] {
    const auto loaded = g.one.mmu.load_root(g.one.held, root, g.tree.l4);
    if (loaded) g.one.outside.add(root);
    return loaded;
  });
  ASSERT_TRUE(g.answer);
  EXPECT_EQ(root, g.tree.l4);
  g.budget(600);
  ASSERT_TRUE(g.one.mmu.load_root(g.one.held, root, other))
      << "the new root is there, the old one's tables wait";
  EXPECT_EQ(root, other);
  EXPECT_FALSE(g.finish());
  Mfn second = no_mfn;
  EXPECT_EQ(g.one.mmu.load_root(g.one.held, second, g.tree.l4).error().rule, Rule::unfinished);
  EXPECT_EQ(second, no_mfn);
  g.one.outside = OutsideReferences();
  g.one.outside.add(other);
  g.finish_with(600);
  g.one.mmu.unload_root(g.one.held, root);
  g.budget(~0ULL);
  ASSERT_TRUE(g.finish());
  ASSERT_TRUE(g.one.mmu.deallocate(g.one.held, other));
  EXPECT_EQ(g.state(), before);
}

TEST(Partial, an_interrupted_root_is_not_loaded) {
  Grove g;
  Mfn root = no_mfn;
  g.budget(700);
  EXPECT_EQ(g.one.mmu.load_root(g.one.held, root, g.tree.l4).error().rule, Rule::unfinished);
  EXPECT_EQ(root, no_mfn);
}

TEST(Partial, no_operation_that_needs_a_table_begins_before_what_is_left_is_released) {
  Grove g;
  const Mfn other = g.one.allocate();
  ASSERT_TRUE(g.pin(g.tree.l4));
  ASSERT_TRUE(g.pin(other));
  g.budget(1);
  ASSERT_TRUE(g.one.mmu.unpin(g.one.held, g.tree.l4));
  const auto validated = g.one.mmu.counters().tables_validated;
  Mfn root = no_mfn;
  const std::array<std::function<Verdict<>()>, 5> operations{
      [&] { return g.pin(g.page, Level::l1); },
      [&] { return g.one.mmu.unpin(g.one.held, other); },
      [&] { return g.update(other, 0, Pte(g.tree.l3, table)); },
      [&] { return g.one.mmu.load_root(g.one.held, root, other); },
      [&] { return g.one.mmu.hold(g.one.held, g.page, FrameType::l1); },
  };
  for (const auto& operation : operations) {
    g.budget(1);
    EXPECT_EQ(operation().error().rule, Rule::unfinished);
    EXPECT_EQ(g.one.findings(), std::vector<std::string>());
  }
  EXPECT_EQ(g.one.mmu.counters().tables_validated, validated);
  EXPECT_TRUE(g.machine.frames[other].pinned);
}

TEST(Partial, a_partial_table_is_neither_data_nor_a_table) {
  for (const bool releasing : {false, true}) {
    Grove g;
    if (releasing) g.release_with(1000);
    g.budget(1000);
    EXPECT_TRUE(releasing || !g.pin(g.tree.l4));
    const Mfn partial = g.tree.l4;
    ASSERT_TRUE(g.machine.frames[partial].partial);
    const auto before = g.state();
    EXPECT_EQ(g.update(partial, 5, Pte()).error().rule, Rule::frame_not_a_table);
    EXPECT_FALSE(g.one.mmu.clear_page(g.one.held, partial));
    EXPECT_FALSE(g.one.mmu.copy_page(g.one.held, partial, g.page));
    EXPECT_FALSE(g.one.mmu.write_descriptor(g.one.held, entry_at(partial, 0), 0));
    EXPECT_FALSE(g.one.mmu.hold(g.one.held, partial, FrameType::seg_desc));
    EXPECT_FALSE(g.one.mmu.hold(g.one.held, partial, FrameType::writable));
    EXPECT_FALSE(g.one.mmu.check_exchangeable(g.one.held, partial));
    EXPECT_EQ(g.state(), before);
    EXPECT_EQ(g.one.view.of(partial), FakeView::Access::read_only);
    ASSERT_TRUE(g.one.mmu.deallocate(g.one.held, partial));
    EXPECT_TRUE(g.one.mmu.owns(partial)) << "the table's own reference keeps the frame";
    EXPECT_EQ(g.one.findings(), std::vector<std::string>());
    g.budget(~0ULL);
    if (releasing) {
      ASSERT_TRUE(g.finish());
      ASSERT_TRUE(g.machine.frames[g.tree.l1].type_count == 0);
    }
  }
}

TEST(Partial, another_root_that_shares_an_interrupted_table_goes_on_with_it) {
  for (const std::uint64_t entries : budgets) {
    Grove g;
    const Mfn other = g.one.allocate();
    g.machine.poke(other, 1, Pte(g.l3_b, table));
    g.machine.poke(other, 2, Pte(g.tree.l3, table));
    const auto before = g.state();
    // Two requests in turn, as of two vCPUs: each goes on with a table where the other one stopped.
    std::array<bool, 2> done{};
    for (int round = 0; round < 20'000 && !(done[0] && done[1]); ++round) {
      const auto which = static_cast<std::size_t>(round % 2);
      if (done[which]) continue;
      g.budget(entries);
      done[which] = g.pin(which == 0 ? g.tree.l4 : other).has_value();
      ASSERT_EQ(g.one.findings(), std::vector<std::string>()) << "budget " << entries << ", round " << round;
    }
    EXPECT_EQ(g.one.mirrors.in_use(), tables_in_grove + 1);
    g.budget(~0ULL);
    ASSERT_TRUE(g.one.mmu.unpin(g.one.held, g.tree.l4));
    ASSERT_TRUE(g.one.mmu.unpin(g.one.held, other));
    EXPECT_EQ(g.state(), before);
  }
}

TEST(Partial, a_domain_that_ends_leaves_nothing_at_any_stop) {
  for (const bool releasing : {false, true})
    for (std::uint64_t entries = 1; entries < 4200; entries += entries < 20 ? 1 : 97) {
      Grove g;
      if (releasing) {
        g.release_with(entries);
      } else {
        g.budget(entries);
        (void)g.pin(g.tree.l4);
      }
      EXPECT_EQ(g.one.mmu.destroy(g.one.held), 0U) << "budget " << entries;
      EXPECT_EQ(g.one.mirrors.in_use(), 0U);
      EXPECT_EQ(g.machine.frames.free_frames(), 63U);
    }
}

TEST(Partial, the_audit_finds_a_wrong_count_of_an_interrupted_table) {
  Grove g;
  g.budget(700);
  ASSERT_FALSE(g.pin(g.tree.l4));
  ASSERT_EQ(g.one.findings(), std::vector<std::string>());
  for (const Mfn mfn : {g.tree.l4, g.tree.l3, g.tree.l2}) {
    FrameFacts& facts = g.one.records().facts(mfn);
    ASSERT_TRUE(facts.partial);
    const FrameFacts saved = facts;
    const auto spoil = [&](auto change) {
      change(facts);
      EXPECT_FALSE(g.one.findings().empty());
      facts = saved;
    };
    spoil([](FrameFacts& f) { f.partial = false; });
    spoil([](FrameFacts& f) { f.validated = true; });
    spoil([](FrameFacts& f) { f.mirror = 0; });
    ++g.one.records().holds(mfn);
    EXPECT_FALSE(g.one.findings().empty());
    --g.one.records().holds(mfn);
  }
}

}  // namespace
}  // namespace pinfold::pvmmu::test
