// The resident path beside the validator. Two machines are made alike. Each request goes to the resident path
// on one of them, and to the validator on the other: what the first finishes the second has to accept, and
// both end in the same state. Then the input forges what code in the VM can write (tables, mirrors, counts),
// after which the first machine goes on alone: its domain may lose by it, and nobody else.
#include <array>
#include <memory>
#include <optional>

#include "fake_machine.hpp"
#include "input.hpp"
#include "native_resident.hpp"
#include "pvmmu/state_digest.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::pvmmu;
using pinfold::fuzz::Input;
using pinfold::fuzz::promise;

constexpr std::size_t most_steps = 64;
constexpr std::uint64_t frames = 24;
constexpr std::array<std::size_t, 8> slots{0, 1, 2, 5, 255, 256, 271, 511};

enum class Action : std::uint8_t { update, keep, store, clear, update_va, load_root, pin, unpin, forge };
constexpr std::uint8_t actions = 9;

struct Step {
  Action action{};
  Mfn frame, named;
  std::size_t slot = 0;
  Pte want;
  GuestVaddr va;
  std::uint64_t raw = 0;
  std::uint8_t choice = 0;
};

Mfn frame_of(std::uint8_t byte) {
  constexpr std::array<std::uint64_t, 6> weird{0, frames, 1ULL << 20, 1ULL << 39, 0x100001, (1ULL << 40) - 1};
  return byte < 0xe0 ? Mfn(byte % frames) : Mfn(weird[byte % weird.size()]);
}

Step take_step(Input& input) {
  Step step;
  const auto head = input.take<std::uint8_t>();
  step.action = static_cast<Action>(head % actions);
  step.choice = head / actions;
  step.frame = frame_of(input.take<std::uint8_t>());
  step.named = frame_of(input.take<std::uint8_t>());
  const auto place = input.take<std::uint8_t>();
  step.slot = place < 0x80 ? slots[place % slots.size()] : (place & 0x7fU) * 4 + 3;
  const auto flags = input.take<std::uint16_t>();
  step.want = Pte(step.named, (flags & 0xfffU) | ((flags >> 12 & 1) != 0 ? bit::no_execute : 0));
  const auto address = input.take<std::uint8_t>();
  step.va = GuestVaddr((address & 1ULL) << 39 | (address >> 1 & 1ULL) << 21 | (address >> 2 & 7ULL) << 12 |
                       slots[address >> 5] * sizeof(Pte));
  step.raw = step.want.raw() ^ std::uint64_t{address} << 52;
  return step;
}

/// A machine with two domains. The first has a tree of tables whose L1 maps itself, data, and nothing; a
/// second root; and pages.
struct Side {
  explicit Side(bool records_in_vm)
      : one(machine, DomId(1), {.mirrors = 48, .windows = 16, .records_in_vm = records_in_vm}),
        two(machine, DomId(2), {.mirrors = 8}) {
    tree = test::build_tree(machine, one);
    second_root = one.allocate();
    for (Mfn& page : pages) page = one.allocate();
    machine.poke(tree.l1, 0, Pte(tree.l1, test::ro));
    machine.poke(tree.l1, 1, Pte(pages[0], test::rw));
    machine.poke(tree.l1, 2, Pte(pages[1], test::ro));
    for (const Mfn top : {tree.l4, second_root})
      promise(one.mmu.pin(one.held, Level::l4, top).has_value(), "the tree is a good one");
    promise(one.mmu.load_root(one.held, root, tree.l4).has_value(), "and its root can be loaded");
    foreign = two.allocate();
    promise(two.mmu.pin(two.held, Level::l1, foreign).has_value(), "the neighbour has a table");
  }
  [[nodiscard]] std::vector<std::uint32_t> state() { return state_digests(one.held, one.mmu); }
  /// What the gate would finish of it.
  [[nodiscard]] bool resident(const Step& s) {
    const MachineAddr where = entry_address(s.frame, s.slot);
    switch (s.action) {
      case Action::update:
      case Action::keep:
        return test::finish_resident(one.mmu, where, s.want, s.action == Action::keep) != ResidentWork::none;
      case Action::store:
        return test::finish_store(one.mmu, root, s.va, {L1Change::Kind::exchange, s.want}).has_value();
      case Action::clear:
        return test::finish_store(one.mmu, root, s.va, {L1Change::Kind::clear_bits, s.want}).has_value();
      case Action::update_va: return test::finish_update_va(one.mmu, root, s.va, s.want);
      case Action::load_root:
        return test::may_load_root(one.mmu, s.frame) && one.mmu.settle_root(one.held, root, s.frame);
      default: return false;
    }
  }
  /// The same, as the monitor has it.
  [[nodiscard]] bool monitor(const Step& s) {
    const MachineAddr where = entry_address(s.frame, s.slot);
    switch (s.action) {
      case Action::update: return one.mmu.update(one.held, where, s.want, Preserve::nothing).has_value();
      case Action::keep:
        return one.mmu.update(one.held, where, s.want, Preserve::accessed_and_dirty).has_value();
      case Action::store: return store(s.va, {L1Change::Kind::exchange, s.want});
      case Action::clear: return store(s.va, {L1Change::Kind::clear_bits, s.want});
      case Action::update_va: return one.mmu.update_va(one.held, root, s.va, s.want).has_value();
      case Action::load_root: return one.mmu.load_root(one.held, root, s.frame).has_value();
      case Action::pin:
        return one.mmu.pin(one.held, static_cast<Level>(1 + s.choice % 4), s.frame).has_value();
      case Action::unpin: return one.mmu.unpin(one.held, s.frame).has_value();
      case Action::forge: break;
    }
    return false;
  }
  /// As GuestCpu::on_page_fault and emulate_pte_store.
  bool store(GuestVaddr va, L1Change change) {
    const auto leaf = one.mmu.walk(one.held, root, va);
    if (!leaf || !leaf->entry.present() || leaf->linear) return false;
    const Mfn table = leaf->entry.mfn();
    if (!one.mmu.owns(table) || one.mmu.facts(table).type != FrameType::l1) return false;
    const std::size_t slot = offset_in_page(va) / sizeof(Pte);
    return one.mmu
        .update_l1_by_store(one.held, *leaf, slot, change.of(one.mmu.merged_entry(one.held, table, slot)))
        .has_value();
  }
  /// What code at CPL0 of the VM can write: the domain's L1s, its mirrors, its counts.
  void forge(const Step& s) {
    if (!one.mmu.owns(s.frame)) return;
    const FrameFacts facts = one.mmu.facts(s.frame);
    switch (s.choice % 3) {
      case 0:
        if (facts.type == FrameType::l1 || !is_protected(facts.type))
          machine.poke(s.frame, s.slot, Pte(s.raw));
        return;
      case 1:
        if (facts.mirror != 0) one.mirrors.store(MirrorId(facts.mirror), s.slot, Pte(s.raw));
        return;
      default:
        one.records().uses(s.frame) = {static_cast<std::uint32_t>(s.raw),
                                       static_cast<std::uint32_t>(s.raw >> 32)};
    }
  }

  test::FakeMachine machine{frames};
  test::FakeDomain one, two;
  test::Tree tree;
  Mfn root = no_mfn, second_root, foreign;
  std::array<Mfn, 5> pages;
};

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const bool records_in_vm = (input.take<std::uint8_t>() & 1) != 0;
  Side gate(records_in_vm), monitor(records_in_vm);
  bool forged = false;
  for (std::size_t i = 0; i < most_steps && !input.empty(); ++i) {
    const Step step = take_step(input);
    if (step.action == Action::forge) {
      gate.forge(step);
      forged = true;
      continue;
    }
    const auto before = gate.state();
    const bool finished = gate.resident(step);
    if (forged) {
      if (!finished) (void)gate.monitor(step);
      continue;
    }
    if (!finished) promise(gate.state() == before, "what the resident path leaves is unchanged");
    const bool accepted = monitor.monitor(step);
    if (finished)
      promise(accepted, "the validator accepts what the resident path finishes");
    else
      promise(gate.monitor(step) == accepted, "both validators answer the same");
    promise(gate.state() == monitor.state(), "both machines are in the same state");
    promise(gate.root == monitor.root, "both are on the same root");
  }
  if (!forged) {
    gate.one.outside.add(gate.root);
    promise(gate.one.findings().empty(), "an audit finds nothing");
  }
  promise(gate.two.findings().empty(), "the neighbour is as it was");
  promise(gate.two.mmu.facts(gate.foreign).type == FrameType::l1, "and so is its table");
  return 0;
}
