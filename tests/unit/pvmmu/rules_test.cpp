// Every rule is met here at least once, and the error is the one that Xen gives. A rule without a line in
// this table fails its test.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <optional>

#include "fake_machine.hpp"
#include "test_of_rule.hpp"

namespace pinfold::pvmmu::test {
namespace {

/// A machine with domain 1, whose tree is pinned, and domain 2, which owns one frame.
struct Scene {
  FakeMachine machine{128};
  FakeDomain one{machine, DomId(1), {.mirrors = 16, .max_frames = 40, .windows = 8}};
  FakeDomain two{machine, DomId(2)};
  Tree tree = build_tree(machine, one);
  Mfn page = one.allocate();
  Mfn foreign = two.allocate();
  Scene() { EXPECT_TRUE(one.mmu.pin(one.held, Level::l4, tree.l4)); }

  std::optional<Rule> update(Mfn table_frame, std::size_t slot, Pte want) {
    return rule_of(one.mmu.update(one.held, entry_at(table_frame, slot), want, Preserve::nothing));
  }
  template <class V>
  static std::optional<Rule> rule_of(const V& verdict) {
    if (verdict) return std::nullopt;
    EXPECT_FALSE(verdict.error().describe().empty());
    return verdict.error().rule;
  }
};

using Provocation = std::function<std::optional<Rule>(Scene&)>;

constexpr std::uint64_t code_segment = 0x00cffa000000ffffULL;
constexpr std::uint64_t present_tss = 0x0000890000000067ULL;
constexpr std::uint64_t gate_to_monitor = 0x0000ec00e0080000ULL;  // selector 0xe008: a reserved GDT entry

const std::multimap<Rule, Provocation>& provocations() {
  static const std::multimap<Rule, Provocation> all{
      {Rule::entry_bad_flags,
       [](Scene& s) { return s.update(s.tree.l2, 1, Pte(s.tree.l1, table | bit::pat_or_large)); }},
      {Rule::entry_bad_flags,
       [](Scene& s) { return s.update(s.tree.l3, 1, Pte(s.tree.l2, table | bit::global)); }},
      {Rule::entry_bad_flags,
       [](Scene& s) { return s.update(s.tree.l4, 1, Pte(s.tree.l3, table | bit::cache_disable)); }},
      {Rule::grant_no_l1_entry,
       [](Scene& s) {
         return Scene::rule_of(
             s.one.mmu.map_granted(s.one.held, entry_at(s.tree.l2, 1), Pte(s.page, ro), DomId(1)));
       }},
      {Rule::grant_other_mapping,
       [](Scene& s) {
         return Scene::rule_of(s.one.mmu.unmap_granted(s.one.held, entry_at(s.tree.l1, 1), Pte(s.page, ro)));
       }},
      {Rule::view_cannot_lend,
       [](Scene& s) {
         s.one.view.stuck = s.foreign;
         return Scene::rule_of(
             s.one.mmu.map_granted(s.one.held, entry_at(s.tree.l1, 1), Pte(s.foreign, ro), DomId(2)));
       }},
      {Rule::l1_no_such_frame, [](Scene& s) { return s.update(s.tree.l1, 0, Pte(Mfn(128), ro)); }},
      {Rule::l1_no_such_frame,
       [](Scene& s) { return s.update(s.tree.l1, 0, Pte(Mfn((1ULL << 40) - 2), rw)); }},
      {Rule::l1_invalid_frame,
       [](Scene& s) { return s.update(s.tree.l1, 0, Pte(Mfn((1ULL << 40) - 1), ro)); }},
      {Rule::l1_foreign_frame, [](Scene& s) { return s.update(s.tree.l1, 0, Pte(s.foreign, ro)); }},
      {Rule::l1_foreign_frame, [](Scene& s) { return s.update(s.tree.l1, 0, Pte(Mfn(0), ro)); }},
      {Rule::l1_foreign_frame, [](Scene& s) { return s.update(s.tree.l1, 0, Pte(Mfn(127), rw)); }},
      {Rule::l1_writable_map_of_table, [](Scene& s) { return s.update(s.tree.l1, 0, Pte(s.tree.l1, rw)); }},
      {Rule::l1_writable_map_of_table, [](Scene& s) { return s.update(s.tree.l1, 0, Pte(s.tree.l4, rw)); }},
      {Rule::l1_writable_map_of_table,
       [](Scene& s) {
         EXPECT_TRUE(s.one.mmu.hold(s.one.held, s.page, FrameType::seg_desc));
         return s.update(s.tree.l1, 0, Pte(s.page, rw));
       }},
      {Rule::l1_cache_attributes,
       [](Scene& s) { return s.update(s.tree.l1, 0, Pte(s.page, rw | bit::cache_disable)); }},
      {Rule::l1_cache_attributes,
       [](Scene& s) { return s.update(s.tree.l1, 0, Pte(s.page, rw | bit::write_through)); }},
      {Rule::l1_cache_attributes,
       [](Scene& s) { return s.update(s.tree.l1, 0, Pte(s.page, rw | bit::pat_or_large)); }},
      {Rule::upper_foreign_frame, [](Scene& s) { return s.update(s.tree.l2, 1, Pte(s.foreign, table)); }},
      {Rule::upper_foreign_frame,
       [](Scene& s) { return s.update(s.tree.l4, 1, Pte(Mfn(1ULL << 39), table)); }},
      {Rule::upper_wrong_type,
       [](Scene& s) {
         EXPECT_FALSE(s.update(s.tree.l1, 0, Pte(s.page, rw)));
         return s.update(s.tree.l2, 1, Pte(s.page, table));
       }},
      {Rule::upper_wrong_type, [](Scene& s) { return s.update(s.tree.l4, 1, Pte(s.tree.l1, table)); }},
      {Rule::upper_linear, [](Scene& s) { return s.update(s.tree.l4, 1, Pte(s.tree.l4, table)); }},
      {Rule::upper_linear_chain,
       [](Scene& s) {
         const Mfn b = s.one.allocate(), c = s.one.allocate();
         for (const Mfn mfn : {b, c}) EXPECT_TRUE(s.one.mmu.pin(s.one.held, Level::l3, mfn));
         EXPECT_FALSE(s.update(s.tree.l3, 1, Pte(b, ro)));
         return s.update(b, 0, Pte(c, ro));
       }},
      {Rule::upper_linear,
       [](Scene& s) {
         const Mfn b = s.one.allocate();
         EXPECT_TRUE(s.one.mmu.pin(s.one.held, Level::l3, b));
         return s.update(s.tree.l3, 1, Pte(b, table));
       }},
      {Rule::l4_xen_slot, [](Scene& s) { return s.update(s.tree.l4, 256, Pte(s.tree.l3, table)); }},
      {Rule::l4_xen_slot, [](Scene& s) { return s.update(s.tree.l4, 271, Pte()); }},
      {Rule::count_overflow,
       [](Scene& s) {
         s.one.records().uses(s.page).refs = max_references;
         return s.update(s.tree.l1, 0, Pte(s.page, ro));
       }},
      {Rule::count_overflow,
       [](Scene& s) {
         s.one.records().holds(s.tree.l1) = max_references;
         return s.update(s.tree.l2, 1, Pte(s.tree.l1, table));
       }},
      {Rule::frame_not_owned, [](Scene& s) { return s.update(s.foreign, 0, Pte()); }},
      {Rule::frame_not_owned,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.pin(s.one.held, Level::l1, s.foreign)); }},
      {Rule::frame_not_owned,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.set_machphys(s.one.held, s.foreign, Pfn(1))); }},
      {Rule::frame_not_owned,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.deallocate(s.one.held, s.foreign)); }},
      {Rule::frame_not_owned,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.clear_page(s.one.held, s.foreign)); }},
      {Rule::frame_not_owned,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.copy_page(s.one.held, s.page, s.foreign)); }},
      {Rule::frame_not_owned,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.check_exchangeable(s.one.held, s.foreign)); }},
      {Rule::frame_out_of_range, [](Scene& s) { return s.update(Mfn(1ULL << 40), 0, Pte()); }},
      {Rule::frame_out_of_range,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.unpin(s.one.held, no_mfn)); }},
      {Rule::frame_out_of_range,
       [](Scene& s) {
         Mfn root = no_mfn;
         return Scene::rule_of(s.one.mmu.load_root(s.one.held, root, no_mfn));
       }},
      {Rule::frame_wrong_type,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.pin(s.one.held, Level::l1, s.tree.l2)); }},
      {Rule::frame_wrong_type,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.hold(s.one.held, s.tree.l1, FrameType::seg_desc)); }},
      {Rule::frame_wrong_type,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.clear_page(s.one.held, s.tree.l1)); }},
      {Rule::frame_wrong_type,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.copy_page(s.one.held, s.tree.l1, s.page)); }},
      {Rule::frame_not_a_table,
       [](Scene& s) {
         EXPECT_TRUE(s.one.mmu.hold(s.one.held, s.page, FrameType::seg_desc));
         return s.update(s.page, 0, Pte());
       }},
      {Rule::frame_not_a_table,
       [](Scene& s) {
         return Scene::rule_of(s.one.mmu.write_descriptor(s.one.held, entry_at(s.tree.l1, 0), code_segment));
       }},
      {Rule::frame_special,
       [](Scene& s) {
         const Mfn special = s.one.mmu.allocate_special(s.one.held).value();
         return Scene::rule_of(s.one.mmu.deallocate(s.one.held, special));
       }},
      {Rule::frame_special,
       [](Scene& s) {
         const Mfn special = s.one.mmu.allocate_special(s.one.held).value();
         return Scene::rule_of(s.one.mmu.check_exchangeable(s.one.held, special));
       }},
      {Rule::frame_in_use,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.check_exchangeable(s.one.held, s.tree.l1)); }},
      {Rule::pin_already,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.pin(s.one.held, Level::l4, s.tree.l4)); }},
      {Rule::pin_missing, [](Scene& s) { return Scene::rule_of(s.one.mmu.unpin(s.one.held, s.tree.l3)); }},
      {Rule::root_not_l4,
       [](Scene& s) {
         Mfn root = s.tree.l4;
         return Scene::rule_of(s.one.mmu.load_root(s.one.held, root, s.tree.l3));
       }},
      {Rule::va_no_l1,
       [](Scene& s) {
         return Scene::rule_of(s.one.mmu.update_va(s.one.held, s.tree.l4, va_of(1, 0), Pte()));
       }},
      {Rule::va_no_l1,
       [](Scene& s) {
         return Scene::rule_of(s.one.mmu.update_va(s.one.held, s.tree.l4, GuestVaddr(1ULL << 47), Pte()));
       }},
      {Rule::va_no_l1,
       [](Scene& s) {
         return Scene::rule_of(
             s.one.mmu.update_va(s.one.held, s.tree.l4, GuestVaddr(xen_range_begin), Pte()));
       }},
      {Rule::va_no_l1,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.update_va(s.one.held, no_mfn, va_of(0, 0), Pte())); }},
      {Rule::ptwr_not_l1,
       [](Scene& s) {
         const Leaf leaf{s.tree.l1, 0, Pte(s.tree.l2, ro)};
         return Scene::rule_of(s.one.mmu.update_l1_by_store(s.one.held, leaf, 0, Pte()));
       }},
      {Rule::ptwr_not_l1,
       [](Scene& s) {
         const Leaf leaf{s.tree.l1, 0, Pte(s.foreign, ro)};
         return Scene::rule_of(s.one.mmu.update_l1_by_store(s.one.held, leaf, 0, Pte()));
       }},
      {Rule::desc_system,
       [](Scene& s) {
         return Scene::rule_of(s.one.mmu.write_descriptor(s.one.held, entry_at(s.page, 0), present_tss));
       }},
      {Rule::desc_system,
       [](Scene& s) {
         s.machine.poke(s.page, 511, Pte(present_tss));
         return Scene::rule_of(s.one.mmu.hold(s.one.held, s.page, FrameType::seg_desc));
       }},
      {Rule::desc_gate,
       [](Scene& s) {
         return Scene::rule_of(s.one.mmu.write_descriptor(s.one.held, entry_at(s.page, 0), gate_to_monitor));
       }},
      {Rule::desc_misaligned,
       [](Scene& s) {
         return Scene::rule_of(
             s.one.mmu.write_descriptor(s.one.held, MachineAddr(address_of(s.page).raw() + 4), code_segment));
       }},
      {Rule::view_cannot_protect,
       [](Scene& s) {
         s.one.view.fail_at = s.one.view.protections;
         return Scene::rule_of(s.one.mmu.pin(s.one.held, Level::l1, s.page));
       }},
      {Rule::mirror_exhausted,
       [](Scene& s) {
         while (s.one.mirrors.take()) {
         }
         return Scene::rule_of(s.one.mmu.pin(s.one.held, Level::l1, s.page));
       }},
      {Rule::machine_exhausted, [](Scene& s) { return Scene::rule_of(s.two.mmu.allocate(s.two.held, 128)); }},
      {Rule::machine_exhausted,
       [](Scene& s) { return Scene::rule_of(s.one.mmu.allocate_beyond_limit(s.one.held, ~0ULL, 1)); }},
      {Rule::domain_limit, [](Scene& s) { return Scene::rule_of(s.one.mmu.allocate(s.one.held, 36)); }},
      {Rule::domain_limit, [](Scene& s) { return Scene::rule_of(s.one.mmu.allocate(s.one.held, ~0ULL)); }},
      {Rule::unfinished,
       [](Scene& s) {
         s.one.mmu.set_budget(s.one.held, Budget(1));
         return Scene::rule_of(s.one.mmu.pin(s.one.held, Level::l2, s.page));
       }},
      {Rule::table_not_as_stored,
       [](Scene& s) {
         s.machine.poke(s.tree.l1, 9, Pte(s.page, ro));
         return s.update(s.tree.l1, 9, Pte());
       }},
      {Rule::table_not_as_stored,
       [](Scene& s) {
         s.machine.poke(s.tree.l2, 9, Pte(s.tree.l1, table));
         return s.update(s.tree.l2, 9, Pte());
       }},
  };
  return all;
}

/// The test of one rule, named after the rule as in docs/rules.md: each provocation of the rule is refused by
/// this rule and no other.
class OneRule : public ::testing::Test {
 public:
  explicit OneRule(Rule rule) : rule_(rule) {}
  void TestBody() override {
    const auto [begin, end] = provocations().equal_range(rule_);
    ASSERT_NE(begin, end) << "nothing here provokes " << info(rule_).name;
    for (auto it = begin; it != end; ++it) {
      Scene scene;
      const auto met = it->second(scene);
      ASSERT_TRUE(met.has_value()) << info(rule_).name << " was not applied";
      EXPECT_EQ(info(*met).name, info(rule_).name);
    }
  }

 private:
  Rule rule_;
};

[[maybe_unused]] const bool registered = [] {
  // Those of grants are applied, and provoked, in devices.
  for (std::size_t i = 0; i < rules.size() && !is_of_grants(rules[i]); ++i)
    ::testing::RegisterTest("Rule", test_of(rules[i]).c_str(), nullptr, nullptr, __FILE__, __LINE__,
                            [i]() -> OneRule* { return new OneRule(static_cast<Rule>(i)); });
  return true;
}();

TEST(Rules, a_refusal_changes_no_count) {
  for (const auto& [rule, provoke] : provocations()) {
    if (rule == Rule::count_overflow) continue;  // its counts are made up
    Scene scene;
    (void)provoke(scene);
    scene.one.view.fail_at = FakeView::never;
    const auto after_first = snapshot(scene.machine.frames);
    for (const Mfn mfn : {scene.page, scene.foreign, scene.tree.l1, scene.tree.l4}) {
      (void)scene.one.mmu.pin(scene.one.held, Level::l4, mfn == scene.page ? scene.foreign : mfn);
      (void)scene.update(scene.tree.l1, 7, Pte(mfn, rw | bit::cache_disable));
    }
    EXPECT_EQ(snapshot(scene.machine.frames), after_first) << info(rule).name;
  }
}

TEST(Rules, have_the_codes_of_the_abi) {
  const std::map<Rule, Errno> not_einval{
      {Rule::l1_no_such_frame, Errno::eperm},
      {Rule::l1_foreign_frame, Errno::ebusy},
      {Rule::l1_writable_map_of_table, Errno::ebusy},
      {Rule::view_cannot_protect, Errno::enomem},
      {Rule::mirror_exhausted, Errno::enomem},
      {Rule::machine_exhausted, Errno::enomem},
      {Rule::domain_limit, Errno::enomem},
      {Rule::unfinished, Errno::erestart},
      {Rule::view_cannot_lend, Errno::enomem},
  };
  for (std::size_t i = 0; i < rules.size() && !is_of_grants(rules[i]); ++i) {
    const auto found = not_einval.find(static_cast<Rule>(i));
    EXPECT_EQ(rules[i].error, found == not_einval.end() ? Errno::einval : found->second) << rules[i].name;
  }
}

TEST(Rules, have_distinct_names_and_say_something) {
  std::map<std::string_view, int> names;
  for (const RuleInfo& rule : rules) {
    EXPECT_EQ(++names[rule.name], 1) << rule.name;
    EXPECT_NE(rule.name.find('.'), std::string_view::npos) << rule.name;
    EXPECT_GT(rule.text.size(), 10U) << rule.name;
  }
}

TEST(Refusal, names_the_rule_the_entry_and_the_frame_with_its_state) {
  Scene s;
  const auto verdict =
      s.one.mmu.update(s.one.held, entry_at(s.tree.l1, 3), Pte(s.tree.l2, rw), Preserve::nothing);
  ASSERT_FALSE(verdict);
  const std::string text = verdict.error().describe();
  EXPECT_NE(text.find("l1.writable-map-of-table"), std::string::npos) << text;
  EXPECT_NE(text.find("slot 3"), std::string::npos) << text;
  EXPECT_NE(text.find("type l2 x1"), std::string::npos) << text;
  EXPECT_NE(text.find("domain 1"), std::string::npos) << text;
}

}  // namespace
}  // namespace pinfold::pvmmu::test
