// Entries are not trusted when they are read back. An entry that was written without the validator, into a
// guest's table or into a mirror, changes no count, whichever operation finds it.
#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include "fake_machine.hpp"

namespace pinfold::pvmmu::test {
namespace {

constexpr std::uint64_t frames = 64;
constexpr std::uint64_t clean_rw = rw & ~bit::dirty;

/// A pinned tree, linked in slot 0 of each level. Its L1 maps a page writable, one read-only, and one
/// writable and clean.
struct Scene {
  enum Slot : std::size_t { dirty_slot, read_only_slot, clean_slot, empty_slot, slots };
  using Counts = std::vector<std::tuple<std::uint32_t, std::uint32_t, std::uint16_t>>;

  FakeMachine machine{frames};
  FakeDomain one{machine, DomId(1)}, two{machine, DomId(2)};
  Tree tree = build_tree(machine, one);
  Mfn written = one.allocate(), read = one.allocate(), clean = one.allocate(), other = one.allocate(),
      spare = one.allocate();
  Mfn foreign = two.allocate();
  Mfn root = no_mfn;

  Scene() {
    EXPECT_TRUE(one.mmu.load_root(one.held, root, tree.l4));
    EXPECT_TRUE(update(dirty_slot, Pte(written, rw)));
    EXPECT_TRUE(update(read_only_slot, Pte(read, ro)));
    EXPECT_TRUE(update(clean_slot, Pte(clean, clean_rw)));
  }
  Verdict<> update(std::size_t slot, Pte want) {
    return one.mmu.update(one.held, entry_at(tree.l1, slot), want, Preserve::nothing);
  }
  void forge_mirror(Mfn table_frame, std::size_t slot, Pte entry) {
    one.mirrors.store(MirrorId(machine.frames[table_frame].mirror), slot, entry);
  }
  [[nodiscard]] Counts counts() const {
    Counts all;
    for (std::uint64_t i = 0; i < frames; ++i) {
      const Frame f = machine.frames[Mfn(i)];
      all.emplace_back(f.refs, f.type_count, f.owner_tag());
    }
    return all;
  }
  /// The counts of frames that are not the domain's.
  void expect_others_as_in(const Counts& before) const {
    for (std::uint64_t i = 0; i < frames; ++i) {
      if (one.mmu.owns(Mfn(i))) continue;
      EXPECT_EQ(counts()[i], before[i]) << "frame " << i << " of another domain";
    }
  }
  /// What an attacker writes into a slot that has an entry, or none.
  [[nodiscard]] std::vector<Pte> forgeries() const {
    std::vector<Pte> all{Pte(), Pte(written, ro), Pte(read, rw)};
    for (const Mfn mfn : {other, foreign, tree.l1, tree.l4, Mfn(frames + 5), Mfn((1ULL << 40) - 3)})
      for (const std::uint64_t flags : {rw, ro, clean_rw}) all.emplace_back(mfn, flags);
    return all;
  }
  [[nodiscard]] Pte stored(std::size_t slot) const { return machine.peek(tree.l1, slot); }
};

/// Does the forgery stand for the references that the entry holds?
bool holds_the_same(Pte stored, Pte forged) {
  if (!stored.present() || !forged.present()) return stored.present() == forged.present();
  return stored.mfn() == forged.mfn() && stored.writable() == forged.writable();
}

using Forge = std::function<void(Scene&, std::size_t slot, Pte forged)>;
const std::vector<std::pair<const char*, Forge>>& ways_to_forge() {
  static const std::vector<std::pair<const char*, Forge>> ways{
      {"in the guest's table", [](Scene& s, std::size_t slot, Pte e) { s.machine.poke(s.tree.l1, slot, e); }},
      {"in the mirror",
       [](Scene& s, std::size_t slot, Pte e) { s.forge_mirror(s.tree.l1, slot, mirror_leaf(e)); }},
  };
  return ways;
}

/// Runs `operation` on each L1 entry, forged in each way; it has to notice the difference.
void expect_found(const std::function<void(Scene&, std::size_t slot)>& operation, bool releases_the_table) {
  for (const auto& [how, forge] : ways_to_forge())
    for (std::size_t slot = 0; slot < Scene::slots; ++slot)
      for (std::size_t i = 0; i < Scene().forgeries().size(); ++i) {
        Scene s;
        const Pte forged = s.forgeries()[i];
        if (holds_the_same(s.stored(slot), forged)) continue;
        SCOPED_TRACE(testing::Message() << how << ", slot " << slot << ", forgery " << i);
        forge(s, slot, forged);
        const Scene::Counts before = s.counts();
        operation(s, slot);
        // The end of a whole table skips an entry that only the guest's table has: it holds no reference.
        const bool passed_over = releases_the_table && slot == Scene::empty_slot && how[3] != 'e';
        ASSERT_TRUE(passed_over || s.one.mmu.breach() != nullptr);
        EXPECT_TRUE(passed_over || s.one.mmu.breach()->slot == slot);
        EXPECT_TRUE(releases_the_table || s.counts() == before);
        s.expect_others_as_in(before);
      }
}

TEST(Untrusted, an_entry_that_differs_is_not_cleared_or_replaced) {
  for (const bool present : {false, true})
    expect_found(
        [present](Scene& s, std::size_t slot) {
          const auto verdict = s.update(slot, present ? Pte(s.spare, ro) : Pte());
          if (s.one.mmu.breach() != nullptr) {
            ASSERT_FALSE(verdict);
            EXPECT_EQ(verdict.error().rule, Rule::table_not_as_stored);
          }
        },
        false);
}

TEST(Untrusted, an_entry_that_differs_keeps_its_flags) {
  // The guest asks for the entry that it has forged: only flags seem to change then.
  for (const Pte forged : Scene().forgeries()) {
    if (!forged.present()) continue;
    Scene s;
    s.machine.poke(s.tree.l1, Scene::dirty_slot, forged);
    if (holds_the_same(Pte(s.written, rw), forged)) continue;
    const auto before = s.counts();
    EXPECT_FALSE(s.update(Scene::dirty_slot, forged.with(bit::accessed | bit::dirty)));
    EXPECT_NE(s.one.mmu.breach(), nullptr);
    EXPECT_EQ(s.counts(), before);
  }
}

TEST(Untrusted, an_entry_that_differs_is_not_written_by_address_or_by_a_store) {
  expect_found(
      [](Scene& s, std::size_t slot) {
        (void)s.one.mmu.update_va(s.one.held, s.tree.l4, va_of(0, slot), Pte());
      },
      false);
}

TEST(Untrusted, an_entry_that_differs_is_left_to_who_has_the_lock_alone) {
  expect_found(
      [](Scene& s, std::size_t slot) {
        const std::vector<EntryUpdate> wanted{{entry_at(s.tree.l1, slot), Pte()}};
        EXPECT_EQ(s.one.update_concurrently(wanted), 0U);
        EXPECT_EQ(s.one.mmu.breach(), nullptr) << "who shares the lock notes nothing";
        (void)s.update(slot, Pte());
      },
      false);
}

TEST(Untrusted, no_address_is_translated_by_an_entry_that_differs) {
  expect_found(
      [](Scene& s, std::size_t slot) { EXPECT_FALSE(s.one.mmu.walk(s.one.held, s.tree.l4, va_of(0, slot))); },
      false);
}

TEST(Untrusted, marks_are_not_set_in_an_entry_that_differs) {
  Scene s;
  const auto leaf = s.one.mmu.walk(s.one.held, s.tree.l4, va_of(0, Scene::clean_slot));
  ASSERT_TRUE(leaf);
  s.forge_mirror(s.tree.l1, Scene::clean_slot, mirror_leaf(Pte(s.tree.l1, rw)));
  EXPECT_FALSE(s.one.mmu.touch(s.one.held, *leaf, true));
  EXPECT_NE(s.one.mmu.breach(), nullptr);
}

TEST(Untrusted, a_table_that_ends_gives_back_only_what_it_held) {
  expect_found(
      [](Scene& s, std::size_t) {
        ASSERT_TRUE(s.one.mmu.update(s.one.held, entry_at(s.tree.l2, 0), Pte(), Preserve::nothing));
      },
      true);
}

TEST(Untrusted, frame_numbers_that_both_forge_alike_are_looked_up_only_if_they_are_the_domains) {
  for (const bool clears : {true, false})
    for (const Pte forged : Scene().forgeries()) {
      Scene s;
      if (!forged.present() || s.one.mmu.owns(forged.mfn())) continue;
      s.machine.poke(s.tree.l1, Scene::dirty_slot, forged);
      s.forge_mirror(s.tree.l1, Scene::dirty_slot, mirror_leaf(forged));
      // The mirror has no bits for a frame past 256 GiB: then the two differ.
      const auto before = s.counts();
      (void)s.update(Scene::dirty_slot, clears ? Pte() : Pte(s.written, ro));
      EXPECT_NE(s.one.mmu.breach(), nullptr);
      s.expect_others_as_in(before);
    }
}

TEST(Untrusted, a_frame_that_somebody_relies_on_is_not_freed_by_forged_entries) {
  // Entries that name the tree's L3, in the guest's table and in the mirror, dropped one by one.
  Scene s;
  for (int i = 0; i < 4; ++i) {
    s.machine.poke(s.tree.l1, Scene::read_only_slot, Pte(s.tree.l3, ro));
    s.forge_mirror(s.tree.l1, Scene::read_only_slot, mirror_leaf(Pte(s.tree.l3, ro)));
    (void)s.update(Scene::read_only_slot, Pte());
  }
  EXPECT_TRUE(s.one.mmu.owns(s.tree.l3));
  EXPECT_EQ(s.one.view.of(s.tree.l3), FakeView::Access::read_only);
  EXPECT_NE(s.one.mmu.breach(), nullptr);
}

TEST(Untrusted, a_frame_that_an_entry_maps_writable_is_not_freed_by_a_forged_one) {
  // Only an entry refers to the frame. Dropping a read-only one, which holds nothing, counts that reference
  // away.
  Scene s;
  ASSERT_TRUE(s.one.mmu.deallocate(s.one.held, s.written));
  s.machine.poke(s.tree.l1, Scene::read_only_slot, Pte(s.written, ro));
  s.forge_mirror(s.tree.l1, Scene::read_only_slot, mirror_leaf(Pte(s.written, ro)));
  (void)s.update(Scene::read_only_slot, Pte());
  EXPECT_TRUE(s.one.mmu.owns(s.written)) << "the processor can write it through the other entry";
  EXPECT_EQ(s.one.view.of(s.written), FakeView::Access::read_write);
  EXPECT_NE(s.one.mmu.breach(), nullptr);
}

// -- above L1

class UntrustedUpper : public testing::TestWithParam<Level> {
 protected:
  [[nodiscard]] Mfn table_here() const { return table_of(s.tree, GetParam()); }
  [[nodiscard]] std::vector<Pte> forgeries() const {
    std::vector<Pte> all{Pte()};
    for (const Mfn mfn : {s.other, s.foreign, s.tree.l1, s.tree.l4, Mfn(frames + 5), Mfn((1ULL << 40) - 3)})
      all.emplace_back(mfn, table);
    return all;
  }
  Scene s;
};

TEST_P(UntrustedUpper, an_entry_that_differs_is_not_changed) {
  const Pte stored = s.machine.peek(table_here(), 0);
  for (const Pte forged : forgeries()) {
    if (forged.present() && forged.mfn() == stored.mfn()) continue;
    for (const Pte want : {Pte(), Pte(stored.mfn(), table), Pte(forged.mfn(), ro)}) {
      Scene fresh;
      fresh.machine.poke(table_here(), 0, forged);
      const auto before = fresh.counts();
      EXPECT_FALSE(fresh.one.mmu.update(fresh.one.held, entry_at(table_here(), 0), want, Preserve::nothing));
      ASSERT_NE(fresh.one.mmu.breach(), nullptr);
      EXPECT_EQ(fresh.one.mmu.breach()->level, GetParam());
      EXPECT_EQ(fresh.counts(), before);
    }
  }
}

TEST_P(UntrustedUpper, an_entry_of_the_mirror_that_differs_is_not_changed) {
  for (const Mfn to : {s.tree.l4, s.tree.l1, s.tree.l2}) {
    Scene fresh;
    const Mfn mirror = fresh.one.mirrors.frame(MirrorId(fresh.machine.frames[to].mirror));
    const Pte forged(mirror, table);
    const MirrorId here(fresh.machine.frames[table_here()].mirror);
    if (fresh.one.mirrors.load(here, 0).mfn() == mirror) continue;
    fresh.forge_mirror(table_here(), 0, forged);
    const auto before = fresh.counts();
    EXPECT_FALSE(fresh.one.mmu.update(fresh.one.held, entry_at(table_here(), 0), Pte(), Preserve::nothing));
    EXPECT_NE(fresh.one.mmu.breach(), nullptr);
    EXPECT_EQ(fresh.counts(), before);
  }
}

TEST_P(UntrustedUpper, a_table_that_ends_gives_back_only_what_it_held) {
  for (const Pte forged : forgeries()) {
    Scene fresh;
    if (forged.mfn() == fresh.machine.peek(table_here(), 0).mfn()) continue;
    fresh.machine.poke(table_here(), 0, forged);
    const auto before = fresh.counts();
    fresh.one.mmu.unload_root(fresh.one.held, fresh.root);
    EXPECT_NE(fresh.one.mmu.breach(), nullptr);
    fresh.expect_others_as_in(before);
    // The frame that the true entry names is leaked, not freed.
    const Mfn child = table_of(fresh.tree, below(GetParam()));
    EXPECT_NE(fresh.machine.frames[child].type_count, 0U);
  }
}

TEST_P(UntrustedUpper, a_walk_follows_the_mirrors_and_not_the_guests_tables) {
  for (const Pte forged : forgeries()) {
    Scene fresh;
    fresh.machine.poke(table_here(), 0, forged);
    const auto leaf = fresh.one.mmu.walk(fresh.one.held, fresh.tree.l4, va_of(0, Scene::dirty_slot));
    ASSERT_TRUE(leaf);
    EXPECT_EQ(leaf->table, fresh.tree.l1);
    EXPECT_EQ(leaf->entry.mfn(), fresh.written);
  }
}

TEST_P(UntrustedUpper, a_walk_over_forged_mirrors_ends_at_an_l1_of_the_domain_or_nowhere) {
  const Mfn first = s.one.mirrors.frame(MirrorId(0));
  for (const std::uint64_t offset :
       {0ULL, 1ULL, 2ULL, 3ULL, 4ULL, 5ULL, 200ULL, 256ULL, 257ULL, 1ULL << 30}) {
    Scene fresh;
    fresh.forge_mirror(table_here(), 0, Pte(first.plus(offset), table));
    const auto leaf = fresh.one.mmu.walk(fresh.one.held, fresh.tree.l4, va_of(0, Scene::dirty_slot));
    EXPECT_TRUE(!leaf || leaf->table == fresh.tree.l1);
  }
  for (const Mfn mfn : {s.tree.l1, s.foreign, Mfn(0), Mfn((1ULL << 40) - 1)}) {
    Scene fresh;
    fresh.forge_mirror(table_here(), 0, Pte(mfn, table));
    EXPECT_FALSE(fresh.one.mmu.walk(fresh.one.held, fresh.tree.l4, va_of(0, Scene::dirty_slot)));
    EXPECT_NE(fresh.one.mmu.breach(), nullptr);
  }
}

TEST_P(UntrustedUpper, a_table_of_another_domain_is_not_the_one_whose_mirror_has_the_same_number) {
  const Tree theirs = build_tree(s.machine, s.two);
  ASSERT_TRUE(s.two.mmu.pin(s.two.held, Level::l4, theirs.l4));
  const Mfn child = table_of(s.tree, below(GetParam())), their_child = table_of(theirs, below(GetParam()));
  ASSERT_EQ(s.machine.frames[child].mirror, s.machine.frames[their_child].mirror);
  s.machine.poke(table_here(), 0, Pte(their_child, table));
  const auto before = s.counts();
  EXPECT_FALSE(s.one.mmu.update(s.one.held, entry_at(table_here(), 0), Pte(), Preserve::nothing));
  EXPECT_NE(s.one.mmu.breach(), nullptr);
  EXPECT_EQ(s.counts(), before);
}

TEST(Untrusted, no_l1_entry_is_written_where_forged_mirrors_lead) {
  for (const Level level : {Level::l2, Level::l3, Level::l4}) {
    Scene s;
    const Mfn there = table_of(s.tree, level);
    const MirrorId mirror(s.machine.frames[there].mirror);
    s.forge_mirror(s.tree.l2, 0, Pte(s.one.mirrors.frame(mirror), table));
    EXPECT_FALSE(s.one.mmu.update_va(s.one.held, s.tree.l4, va_of(0, 5), Pte(s.spare, rw)));
    EXPECT_NE(s.one.mmu.breach(), nullptr);
    EXPECT_EQ(s.machine.peek(there, 5), Pte());
  }
}

INSTANTIATE_TEST_SUITE_P(levels, UntrustedUpper, testing::Values(Level::l2, Level::l3, Level::l4),
                         [](const auto& level) { return "l" + std::to_string(number(level.param)); });

TEST(Untrusted, a_check_that_is_given_up_gives_back_only_what_it_took) {
  // An L2 with two entries. Its check stops after the first one, which is then forged.
  Scene s;
  const Mfn l2 = s.one.allocate(), first = s.one.allocate(), second = s.one.allocate();
  s.machine.poke(l2, 0, Pte(first, table));
  s.machine.poke(l2, 1, Pte(second, table));
  s.one.mmu.set_budget(s.one.held, Budget(1 + entries_per_table));
  ASSERT_FALSE(s.one.mmu.pin(s.one.held, Level::l2, l2));
  ASSERT_EQ(s.machine.frames[first].type, FrameType::l1);
  s.machine.poke(l2, 0, Pte(s.tree.l3, table));
  s.machine.poke(l2, 1, Pte(s.foreign, table));
  const std::uint32_t refs_before = s.machine.frames[s.tree.l3].refs;
  s.one.mmu.set_budget(s.one.held, Budget::unlimited());
  ASSERT_FALSE(s.one.mmu.pin(s.one.held, Level::l2, l2));
  EXPECT_NE(s.one.mmu.breach(), nullptr);
  EXPECT_EQ(s.machine.frames[s.tree.l3].refs, refs_before);
}

// -- descriptors

TEST(Untrusted, a_descriptor_that_differs_is_not_used) {
  constexpr std::uint64_t code = 0x00affb000000ffffULL, kernel_code = 0x00af9b000000ffffULL,
                          task = 0x0000890000000067ULL, gate = 0x0000ec00e0330000ULL;
  Scene s;
  s.machine.poke(s.other, 1, Pte(code));
  s.machine.poke(s.other, 2, Pte(gate));
  ASSERT_TRUE(s.one.mmu.hold(s.one.held, s.other, FrameType::seg_desc));
  std::array<std::uint64_t, entries_per_table> page{};
  EXPECT_TRUE(s.one.mmu.read_descriptors(s.one.held, s.other, page));
  EXPECT_EQ(page[1], code);
  EXPECT_EQ(s.one.mmu.breach(), nullptr) << "a gate that was checked is as it was checked";
  for (const std::uint64_t forged : {kernel_code, task, gate}) {
    Scene fresh;
    ASSERT_TRUE(fresh.one.mmu.hold(fresh.one.held, fresh.other, FrameType::seg_desc));
    fresh.machine.poke(fresh.other, 3, Pte(forged));
    EXPECT_FALSE(fresh.one.mmu.read_descriptors(fresh.one.held, fresh.other, page));
    ASSERT_NE(fresh.one.mmu.breach(), nullptr);
    EXPECT_EQ(fresh.one.mmu.breach()->slot, 3U);
  }
}

TEST(Untrusted, an_entry_that_only_the_processor_marked_is_as_it_was) {
  Scene s;
  for (std::size_t slot = 0; slot < Scene::empty_slot; ++slot) {
    ASSERT_TRUE(s.update(slot, s.stored(slot).without(bit::accessed)));
    const MirrorId mirror(s.machine.frames[s.tree.l1].mirror);
    s.one.mirrors.store(mirror, slot, s.one.mirrors.load(mirror, slot).with(bit::accessed));
    EXPECT_TRUE(s.one.mmu.walk(s.one.held, s.tree.l4, va_of(0, slot)));
    EXPECT_TRUE(s.update(slot, Pte()));
  }
  EXPECT_EQ(s.one.mmu.breach(), nullptr);
}

}  // namespace
}  // namespace pinfold::pvmmu::test
