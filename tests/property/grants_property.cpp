// Three domains that grant frames to each other, map, update, pin, give back, end and begin again: after each
// step the validators have done the same as a model that knows who owns, grants and maps what, all audits
// agree, and no domain's view gives access to a frame that it neither owns nor has mapped by a grant,
// whatever translations its processors have cached.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "fake_machine.hpp"
#include "recorded.hpp"
#include "trace/replay.hpp"

namespace pinfold::pvmmu::property {
namespace {

using test::FakeDomain;
using test::FakeMachine;

constexpr std::size_t domains = 3, frames_each = 6, slots = 8, steps_a_sequence = 400;
constexpr std::uint64_t machine_frames = 64;

/// What an L1 entry names.
struct Named {
  Mfn frame = no_mfn;
  bool writable = false;
  bool operator==(const Named&) const = default;
};

/// A grant in use: a map that was not unmapped.
struct Mapping {
  std::size_t owner = 0, mapper = 0;
  std::uint64_t owners_life = 0;
  Named what;
};

struct Tally {
  std::map<std::string, std::uint64_t> accepted, refused;
};

class Machine {
 public:
  /// What watches a domain that begins; may be null.
  using Watcher = std::function<TraceSink*()>;
  explicit Machine(std::uint64_t seed, Watcher watcher = {}) : random_(seed), watcher_(std::move(watcher)) {
    for (std::size_t d = 0; d < domains; ++d) begin(d);
  }
  std::optional<std::string> step(Tally& tally);
  std::optional<std::string> finish();

 private:
  struct Domain {
    DomId id;
    std::uint64_t life = 0;
    std::unique_ptr<FakeDomain> fake;
    test::Tree tree;
    std::array<Named, slots> entries;  ///< Of its L1.
  };
  /// The model of a frame.
  struct Model {
    std::optional<std::size_t> owner;
    bool allocated = false, table = false;
    bool left = false;  ///< Of a domain that has ended.
  };

  std::size_t pick(std::size_t n) { return random_() % n; }
  bool coin() { return random_() % 2 == 0; }
  Mfn some_frame() { return Mfn(1 + pick(machine_frames - 1)); }
  void begin(std::size_t d);
  [[nodiscard]] static Pte entry(const Named& n) { return Pte(n.frame, n.writable ? test::rw : test::ro); }
  [[nodiscard]] MachineAddr at(std::size_t d, std::size_t slot) const {
    return test::entry_at(domains_[d].tree.l1, slot);
  }
  Model& model(Mfn mfn) { return model_[mfn.raw()]; }
  [[nodiscard]] bool owns(std::size_t d, Mfn mfn) { return model(mfn).owner == d; }
  [[nodiscard]] std::size_t uses(std::size_t d, Mfn mfn, bool writable) const;
  [[nodiscard]] std::size_t mappings(std::size_t d, Mfn mfn, bool writable) const;
  [[nodiscard]] std::size_t holds(Mfn mfn, bool writable) const;
  void settle(Mfn mfn);
  void end_hold(const Mapping& mapping);

  std::optional<std::string> expect(Tally& tally, const char* what, bool done, bool wanted);
  std::optional<std::string> map(Tally& tally);
  std::optional<std::string> unmap(Tally& tally);
  std::optional<std::string> replace(Tally& tally);
  std::optional<std::string> update(Tally& tally);
  std::optional<std::string> pin(Tally& tally);
  std::optional<std::string> unpin(Tally& tally);
  std::optional<std::string> give_back(Tally& tally);
  std::optional<std::string> allocate(Tally& tally);
  std::optional<std::string> transfer(Tally& tally);
  void end(std::size_t d);
  std::optional<std::string> check();
  std::optional<std::string> check_domain(std::size_t d);

  std::mt19937_64 random_;
  Watcher watcher_;
  FakeMachine machine_{machine_frames};
  std::array<Domain, domains> domains_;
  std::array<Model, machine_frames> model_;
  std::vector<Mapping> mappings_;
  std::uint16_t next_id_ = 1;
};

void Machine::begin(std::size_t d) {
  Domain& domain = domains_[d];
  domain.id = DomId(next_id_++);
  ++domain.life;
  domain.entries = {};
  domain.fake.reset();
  test::FakeDomainOptions options;
  options.trace = watcher_ ? watcher_() : nullptr;
  domain.fake = std::make_unique<FakeDomain>(machine_, domain.id, options);
  domain.tree = test::build_tree(machine_, *domain.fake);
  for (const Mfn table : {domain.tree.l4, domain.tree.l3, domain.tree.l2, domain.tree.l1})
    model(table) = {d, true, true, false};
  EXPECT_TRUE(domain.fake->mmu.pin(domain.fake->held, Level::l4, domain.tree.l4));
  for (std::size_t i = 0; i < frames_each; ++i) {
    const auto mfn = domain.fake->mmu.allocate(domain.fake->held);
    if (!mfn) break;
    model(*mfn) = {d, true, false, false};
    machine_.poke(*mfn, 1, Pte(std::uint64_t{domain.id.raw()} << 8));
  }
}

std::size_t Machine::uses(std::size_t d, Mfn mfn, bool writable) const {
  const auto& entries = domains_[d].entries;
  return static_cast<std::size_t>(std::count(entries.begin(), entries.end(), Named{mfn, writable}));
}
std::size_t Machine::mappings(std::size_t d, Mfn mfn, bool writable) const {
  return static_cast<std::size_t>(std::count_if(mappings_.begin(), mappings_.end(), [&](const Mapping& m) {
    return m.mapper == d && m.what == Named{mfn, writable};
  }));
}
std::size_t Machine::holds(Mfn mfn, bool writable) const {
  return static_cast<std::size_t>(std::count_if(mappings_.begin(), mappings_.end(), [&](const Mapping& m) {
    return m.what == Named{mfn, writable};
  }));
}

/// A frame that nobody refers to any more is free.
void Machine::settle(Mfn mfn) {
  Model& m = model(mfn);
  if (m.allocated || m.table || holds(mfn, false) + holds(mfn, true) != 0) return;
  if (m.owner && uses(*m.owner, mfn, false) + uses(*m.owner, mfn, true) != 0) return;
  m = {};
}

/// The owner's half of a mapping ends: in its records, or with the frame that it left.
void Machine::end_hold(const Mapping& mapping) {
  Domain& owner = domains_[mapping.owner];
  const Mfn mfn = mapping.what.frame;
  if (owner.life != mapping.owners_life) {
    if (holds(mfn, false) + holds(mfn, true) == 0) machine_.frames.give_back(mfn);
  } else if (mapping.what.writable) {
    owner.fake->mmu.release(owner.fake->held, mfn);
  } else {
    owner.fake->mmu.release_readable(owner.fake->held, mfn);
  }
  settle(mfn);
}

std::optional<std::string> Machine::expect(Tally& tally, const char* what, bool done, bool wanted) {
  ++(done ? tally.accepted : tally.refused)[what];
  if (done == wanted) return std::nullopt;
  return std::string(what) + (done ? " was done, and the model refuses it" : " was refused");
}

std::optional<std::string> Machine::map(Tally& tally) {
  const std::size_t owner = pick(domains), mapper = (owner + 1 + pick(domains - 1)) % domains;
  Domain &from = domains_[owner], &to = domains_[mapper];
  const Named what{some_frame(), coin()};
  const bool may = owns(owner, what.frame) && !(what.writable && model(what.frame).table);
  auto& mmu = from.fake->mmu;
  const auto held = what.writable ? mmu.hold(from.fake->held, what.frame, FrameType::writable)
                                  : mmu.hold_readable(from.fake->held, what.frame);
  if (auto wrong = expect(tally, "hold", held.has_value(), may); wrong || !held) return wrong;
  const std::size_t slot = pick(slots + 1);  // one past those that are used: not an L1's
  const MachineAddr where = slot == slots ? test::entry_at(to.tree.l2, 9) : at(mapper, slot);
  const GrantName grant(from.id, GrantRef(static_cast<std::uint32_t>(8 + slot)));
  const auto mapped = to.fake->mmu.map_granted(to.fake->held, where, entry(what), grant);
  mappings_.push_back({owner, mapper, from.life, what});
  if (!mapped) {
    const Mapping failed = mappings_.back();
    mappings_.pop_back();
    end_hold(failed);
  } else {
    const Named old = std::exchange(to.entries[slot], what);
    if (old.frame != no_mfn) settle(old.frame);
  }
  return expect(tally, "map", mapped.has_value(), slot != slots);
}

std::optional<std::string> Machine::unmap(Tally& tally) {
  if (mappings_.empty()) return std::nullopt;
  const std::size_t n = pick(mappings_.size());
  const Mapping mapping = mappings_[n];
  Domain& to = domains_[mapping.mapper];
  std::size_t slot = pick(slots);
  for (std::size_t i = 0; i < slots && random_() % 4 != 0; ++i)
    if (to.entries[i] == mapping.what) slot = i;
  const bool may = to.entries[slot] == mapping.what;
  const auto unmapped =
      to.fake->mmu.unmap_granted(to.fake->held, at(mapping.mapper, slot), entry(mapping.what));
  if (unmapped) {
    to.entries[slot] = {};
    mappings_.erase(mappings_.begin() + static_cast<std::ptrdiff_t>(n));
    end_hold(mapping);
  }
  return expect(tally, "unmap", unmapped.has_value(), may);
}

std::optional<std::string> Machine::replace(Tally& tally) {
  if (mappings_.empty()) return std::nullopt;
  const std::size_t n = pick(mappings_.size());
  const Mapping mapping = mappings_[n];
  Domain& to = domains_[mapping.mapper];
  const std::size_t slot = pick(slots), from = pick(slots);
  const bool may = slot != from && to.entries[slot] == mapping.what;
  const auto replaced = to.fake->mmu.replace_granted(to.fake->held, at(mapping.mapper, slot),
                                                     entry(mapping.what), at(mapping.mapper, from));
  const Named moved = std::exchange(to.entries[from], {});
  if (replaced) {
    to.entries[slot] = moved;
    mappings_.erase(mappings_.begin() + static_cast<std::ptrdiff_t>(n));
    end_hold(mapping);
  } else if (moved.frame != no_mfn) {
    settle(moved.frame);
  }
  return expect(tally, "replace", replaced.has_value(), may);
}

std::optional<std::string> Machine::update(Tally& tally) {
  const std::size_t d = pick(domains), slot = pick(slots);
  Domain& domain = domains_[d];
  Named want{some_frame(), coin()};
  if (random_() % 4 == 0) want = {};
  if (random_() % 4 == 0) want = domain.entries[slot];
  if (random_() % 4 == 0 && !mappings_.empty()) want.frame = mappings_[pick(mappings_.size())].what.frame;
  const bool empty = want.frame == no_mfn;
  const bool may = empty || want == domain.entries[slot] ||
                   (owns(d, want.frame) && !(want.writable && model(want.frame).table));
  const auto updated =
      domain.fake->mmu.update(domain.fake->held, at(d, slot), empty ? Pte() : entry(want), Preserve::nothing);
  if (updated) {
    const Named old = std::exchange(domain.entries[slot], empty ? Named{} : want);
    if (old.frame != no_mfn) settle(old.frame);
  }
  return expect(tally, "update", updated.has_value(), may);
}

std::optional<std::string> Machine::pin(Tally& tally) {
  const std::size_t d = pick(domains);
  const Mfn mfn = some_frame();
  const bool may = owns(d, mfn) && !model(mfn).table && uses(d, mfn, true) == 0 && holds(mfn, true) == 0;
  auto& fake = *domains_[d].fake;
  const bool pinned = fake.mmu.pin(fake.held, Level::l1, mfn).has_value();
  // The tree's own L1 may be pinned as well.
  if (owns(d, mfn) && mfn == domains_[d].tree.l1) {
    if (pinned) {
      EXPECT_TRUE(fake.mmu.unpin(fake.held, mfn));
    }
    return std::nullopt;
  }
  if (pinned) model(mfn).table = true;
  return expect(tally, "pin", pinned, may);
}

std::optional<std::string> Machine::unpin(Tally& tally) {
  const std::size_t d = pick(domains);
  const Mfn mfn = some_frame();
  const test::Tree& tree = domains_[d].tree;
  if (mfn == tree.l4) return std::nullopt;
  const bool may = owns(d, mfn) && model(mfn).table && mfn != tree.l1 && mfn != tree.l2 && mfn != tree.l3;
  auto& fake = *domains_[d].fake;
  const bool unpinned = fake.mmu.unpin(fake.held, mfn).has_value();
  if (unpinned) {
    model(mfn).table = false;
    settle(mfn);
  }
  return expect(tally, "unpin", unpinned, may);
}

std::optional<std::string> Machine::give_back(Tally& tally) {
  const std::size_t d = pick(domains);
  const Mfn mfn = some_frame();
  const test::Tree& tree = domains_[d].tree;
  if (mfn == tree.l1 || mfn == tree.l2 || mfn == tree.l3 || mfn == tree.l4) return std::nullopt;
  const bool may = owns(d, mfn) && model(mfn).allocated;
  auto& fake = *domains_[d].fake;
  const bool done = fake.mmu.deallocate(fake.held, mfn).has_value();
  if (done) {
    model(mfn).allocated = false;
    settle(mfn);
  }
  return expect(tally, "give back", done, may);
}

std::optional<std::string> Machine::allocate(Tally& tally) {
  const std::size_t d = pick(domains);
  auto& fake = *domains_[d].fake;
  const auto mfn = fake.mmu.allocate(fake.held);
  ++(mfn ? tally.accepted : tally.refused)["allocate"];
  if (!mfn) return std::nullopt;
  if (model(*mfn).owner || model(*mfn).left) return std::string("a frame was given that is somebody's");
  if (machine_.peek(*mfn, 1).raw() != 0) return std::string("a frame was given with another domain's data");
  model(*mfn) = {d, true, false, false};
  machine_.poke(*mfn, 1, Pte(std::uint64_t{domains_[d].id.raw()} << 8));
  return std::nullopt;
}

/// From one domain to another, to itself, or to nobody.
std::optional<std::string> Machine::transfer(Tally& tally) {
  const std::size_t giver = pick(domains);
  Mfn mfn = some_frame();
  for (int i = 0; i < 8 && !owns(giver, mfn); ++i) mfn = some_frame();
  const bool may = owns(giver, mfn) && model(mfn).allocated && !model(mfn).table &&
                   uses(giver, mfn, false) + uses(giver, mfn, true) == 0 &&
                   holds(mfn, false) + holds(mfn, true) == 0;
  const Pte before = machine_.peek(mfn, 1);
  auto& from = *domains_[giver].fake;
  const bool given = from.mmu.give_away(from.held, mfn).has_value();
  if (auto wrong = expect(tally, "give away", given, may); wrong || !given) return wrong;
  model(mfn) = {};
  if (auto wrong = check()) return wrong;  // on its way it is nobody's
  if (pick(4) == 0) {
    from.mmu.drop_given(from.held, mfn);
    ++tally.accepted["lose"];
    return std::nullopt;
  }
  const std::size_t receiver = pick(domains);
  auto& to = *domains_[receiver].fake;
  const bool received = to.mmu.receive(to.held, mfn, Pfn(pick(100))).has_value();
  model(mfn) = {receiver, true, false, false};
  if (machine_.peek(mfn, 1) != before) return std::string("a transferred frame has lost what was in it");
  return expect(tally, "receive", received, true);
}

/// As Domain::tear_down and FrameHolds::leave_to_neighbours do it.
void Machine::end(std::size_t d) {
  auto& fake = *domains_[d].fake;
  std::set<Mfn> left;
  for (const Mapping& mapping : mappings_)
    if (mapping.owner == d && mapping.owners_life == domains_[d].life) left.insert(mapping.what.frame);
  EXPECT_EQ(fake.mmu.destroy(fake.held), left.size());
  for (Model& m : model_)
    if (m.owner == d) m = {};
  for (const Mfn mfn : left) model(mfn).left = true;
  std::vector<Mapping> its;
  std::erase_if(mappings_, [&](const Mapping& m) {
    if (m.mapper == d) its.push_back(m);
    return m.mapper == d;
  });
  for (const Mapping& mapping : its) end_hold(mapping);
  begin(d);
}

std::optional<std::string> Machine::check_domain(std::size_t d) {
  Domain& domain = domains_[d];
  domain.fake->outside = {};
  for (const Mapping& m : mappings_) {
    if (m.owner != d || m.owners_life != domain.life) continue;
    m.what.writable ? domain.fake->outside.add(m.what.frame)
                    : domain.fake->outside.add_readable(m.what.frame);
  }
  if (const auto findings = domain.fake->findings(); !findings.empty()) return "audit: " + findings.front();
  if (const Breach* breach = domain.fake->mmu.breach()) return "breach: " + breach->describe();
  for (std::size_t slot = 0; slot < slots; ++slot) {
    const Pte found = machine_.peek(domain.tree.l1, slot);
    const Named named = found.present() ? Named{found.mfn(), found.writable()} : Named{};
    if (named != domain.entries[slot]) return std::string("an entry is not the model's");
  }
  for (std::uint64_t i = 1; i < machine_frames; ++i) {
    const Mfn mfn(i);
    const bool own = owns(d, mfn);
    if (own != domain.fake->mmu.owns(mfn)) return std::string("a frame is not the model's domain's");
    const bool read = own || mappings(d, mfn, false) + mappings(d, mfn, true) != 0;
    const bool written = own ? !model(mfn).table : mappings(d, mfn, true) != 0;
    const auto access = domain.fake->view.of(mfn);
    if ((access != test::FakeView::Access::none) != read)
      return "the view is wrong about frame " + std::to_string(i);
    if ((access == test::FakeView::Access::read_write) != written)
      return "the view is wrong about writes of frame " + std::to_string(i);
  }
  return std::nullopt;
}

std::optional<std::string> Machine::check() {
  for (std::size_t d = 0; d < domains; ++d)
    if (auto wrong = check_domain(d)) return "domain " + std::to_string(d) + ": " + *wrong;
  return std::nullopt;
}

std::optional<std::string> Machine::step(Tally& tally) {
  std::optional<std::string> wrong;
  switch (pick(22)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: wrong = map(tally); break;
    case 5:
    case 6:
    case 7: wrong = unmap(tally); break;
    case 8: wrong = replace(tally); break;
    case 9:
    case 10:
    case 11: wrong = update(tally); break;
    case 12:
    case 13: wrong = pin(tally); break;
    case 14:
    case 15: wrong = unpin(tally); break;
    case 16: wrong = give_back(tally); break;
    case 17:
    case 18: wrong = allocate(tally); break;
    case 19:
    case 20: wrong = transfer(tally); break;
    default:
      if (pick(8) == 0) {
        end(pick(domains));
        ++tally.accepted["end"];
      }
  }
  return wrong ? wrong : check();
}

std::optional<std::string> Machine::finish() {
  for (std::size_t d = 0; d < domains; ++d) end(d);
  return check();
}

void expect_agreement(std::uint64_t seed, Tally& tally, const Machine::Watcher& watcher = {}) {
  Machine machine(seed, watcher);
  for (std::size_t i = 0; i < steps_a_sequence; ++i) {
    if (const auto wrong = machine.step(tally)) {
      ADD_FAILURE() << "seed " << seed << ", step " << i << ": " << *wrong;
      return;
    }
    if (testing::Test::HasFailure()) {
      ADD_FAILURE() << "seed " << seed << ", step " << i;
      return;
    }
  }
  const auto wrong = machine.finish();
  EXPECT_FALSE(wrong) << "seed " << seed << ": " << *wrong;
}

TEST(GrantsAndModel, agree_on_fixed_seeds_and_every_kind_of_step_is_both_accepted_and_refused) {
  Tally tally;
  for (std::uint64_t seed = 1; seed <= 60 && !testing::Test::HasFailure(); ++seed)
    expect_agreement(seed, tally);
  if (testing::Test::HasFailure()) return;
  for (const char* what :
       {"hold", "map", "unmap", "replace", "update", "pin", "unpin", "give back", "allocate"}) {
    EXPECT_GT(tally.accepted[what], 20U) << what;
    if (what != std::string("allocate")) {
      EXPECT_GT(tally.refused[what], 20U) << what;
    }
    std::cout << what << ": " << tally.accepted[what] << " accepted, " << tally.refused[what] << " refused\n";
  }
  for (const char* what : {"end", "give away", "lose", "receive"})
    EXPECT_GT(tally.accepted[what], 20U) << what;
  EXPECT_GT(tally.refused["give away"], 20U);
}

/// The first difference between a log and what fresh validators make of it; nothing: there is none, and all
/// domains came to their end.
std::optional<std::string> replayed(std::span<const std::byte> bytes) {
  auto log = trace::LogReader::from(bytes);
  if (!log) return log.error().describe();
  auto replay = trace::Replay::of(log->header());
  if (!replay) return replay.error();
  trace::LogReader::Step step{};
  while ((step = log->next()) == trace::LogReader::Step::event)
    if (auto difference = (*replay)->step(log->event()))
      return "event " + std::to_string(log->event().number) + " of domain " +
             std::to_string(log->event().domain.raw()) + ": " + *difference;
  if (step != trace::LogReader::Step::end) return log->error().describe();
  if ((*replay)->living() != domains) return std::string("other domains are there than in the end");
  return std::nullopt;
}

/// Their log is one: with the same inputs, each validator says again what it said.
TEST(GrantsAndReplay, a_log_of_three_domains_comes_out_as_it_was_recorded) {
  Tally tally;
  std::uint64_t begun = 0;
  for (std::uint64_t seed = 1; seed <= 30 && !testing::Test::HasFailure(); ++seed) {
    std::vector<std::byte> bytes;
    const auto log = std::make_shared<trace::Log>(std::make_unique<trace::test::MemoryOutput>(bytes),
                                                  trace::Log::Options{});
    std::vector<std::unique_ptr<trace::LogSink>> sinks;
    expect_agreement(seed, tally,
                     [&] { return sinks.emplace_back(std::make_unique<trace::LogSink>(log, 1)).get(); });
    (void)log->close();
    begun += sinks.size();
    EXPECT_EQ(replayed(bytes), std::nullopt) << "seed " << seed;
  }
  EXPECT_GT(begun, 200U) << "domains hardly ever end";
  for (const char* what : {"map", "unmap", "replace", "end", "give away", "lose", "receive"})
    EXPECT_GT(tally.accepted[what], 20U) << what;
}

/// A new seed in each run; PINFOLD_SEED repeats one, PINFOLD_SEQUENCES runs more sequences.
TEST(GrantsAndModel, agree_on_a_seed_of_the_day) {
  const char* given = std::getenv("PINFOLD_SEED");
  const char* count = std::getenv("PINFOLD_SEQUENCES");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  const std::uint64_t sequences = count != nullptr ? std::strtoull(count, nullptr, 0) : 20;
  std::cout << "PINFOLD_SEED=" << seed << "\n";
  Tally tally;
  for (std::uint64_t i = 0; i < sequences && !testing::Test::HasFailure(); ++i)
    expect_agreement(seed + i, tally);
}

}  // namespace
}  // namespace pinfold::pvmmu::property
