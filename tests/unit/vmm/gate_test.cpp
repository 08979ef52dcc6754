#include "vmm/gate/gate.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <set>

#include "vmm/gate/text.hpp"

namespace pinfold::vmm {
namespace {

GateAddress at(std::uint64_t rip) { return GateAddress::at(0, rip).value(); }

TEST(GateAddresses, only_cpl0_in_the_monitors_slots_is_in_the_gate) {
  for (const std::uint64_t rip : {gate::syscall_text, gate::kernel_text, gate::cpu_area(0)}) {
    EXPECT_TRUE(GateAddress::at(0, rip)) << rip;
    for (const unsigned cpl : {1U, 2U, 3U}) EXPECT_FALSE(GateAddress::at(cpl, rip)) << rip;
  }
  EXPECT_FALSE(GateAddress::at(0, 0));
  EXPECT_FALSE(GateAddress::at(0, 0xffffffff81000000));
  EXPECT_FALSE(GateAddress::at(0, gate::slot_base(255)));
  EXPECT_TRUE(GateAddress::at(0, gate::slot_base(256)));
  EXPECT_FALSE(GateAddress::at(0, gate::slot_base(272)));
}

TEST(GateAddresses, system_calls_of_both_widths_are_told_apart) {
  EXPECT_EQ(Gate::syscall_entry(at(gate::syscall_text), AtOut::before), SyscallEntry::bits64);
  EXPECT_EQ(Gate::syscall_entry(at(gate::syscall_text + 2), AtOut::behind), SyscallEntry::bits64);
  EXPECT_EQ(Gate::syscall_entry(at(gate::compat_entry), AtOut::before), SyscallEntry::bits32);
  EXPECT_EQ(Gate::syscall_entry(at(gate::compat_entry + 2), AtOut::behind), SyscallEntry::bits32);
  EXPECT_TRUE(Gate::is_syscall_entry_at_cpl3(gate::syscall_text, AtOut::before));
  EXPECT_TRUE(Gate::is_syscall_entry_at_cpl3(gate::syscall_text + 2, AtOut::behind));
}

TEST(GateAddresses, addresses_between_the_entries_are_no_system_call) {
  for (const std::uint64_t offset : {1ULL, 3ULL, 4ULL, 15ULL, 17ULL, 19ULL, 0x1000ULL})
    for (const AtOut stopped : {AtOut::before, AtOut::behind}) {
      EXPECT_FALSE(Gate::syscall_entry(at(gate::syscall_text + offset), stopped)) << offset;
      EXPECT_FALSE(Gate::is_syscall_entry_at_cpl3(gate::syscall_text + offset, stopped)) << offset;
    }
  EXPECT_FALSE(Gate::syscall_entry(at(gate::syscall_text + 2), AtOut::before));
  EXPECT_FALSE(Gate::syscall_entry(at(gate::syscall_text), AtOut::behind));
  EXPECT_FALSE(Gate::is_syscall_entry_at_cpl3(gate::syscall_text + 2, AtOut::before));
  EXPECT_FALSE(Gate::is_syscall_entry_at_cpl3(gate::syscall_text, AtOut::behind));
  EXPECT_FALSE(Gate::is_syscall_entry_at_cpl3(gate::compat_entry, AtOut::before));
}

TEST(GateAddresses, each_exception_entry_names_its_vector) {
  for (unsigned vector = 0; vector < gate::exceptions; ++vector) {
    const std::uint64_t entry = gate::kernel_text + vector * gate::exception_stub_size;
    EXPECT_EQ(Gate::exception_vector(at(entry), AtOut::before), vector);
    EXPECT_EQ(Gate::exception_vector(at(entry + 2), AtOut::behind), vector);
    EXPECT_FALSE(Gate::exception_vector(at(entry + 2), AtOut::before));
    EXPECT_FALSE(Gate::exception_vector(at(entry), AtOut::behind));
    EXPECT_FALSE(Gate::exception_vector(at(entry + 4), AtOut::before));
  }
  EXPECT_FALSE(Gate::exception_vector(at(gate::kernel_text + gate::exceptions * gate::exception_stub_size),
                                      AtOut::before));
  EXPECT_FALSE(Gate::exception_vector(at(gate::syscall_text), AtOut::before));
}

TEST(GateAddresses, an_entry_stub_is_its_own_processors_page) {
  const std::uint64_t stub = gate::cpu_area(1) + gate::entry_stub_page * page_size;
  EXPECT_TRUE(Gate::in_entry_stub(1, at(stub)));
  EXPECT_TRUE(Gate::in_entry_stub(1, at(stub + page_size - 1)));
  EXPECT_FALSE(Gate::in_entry_stub(1, at(stub + page_size)));
  EXPECT_FALSE(Gate::in_entry_stub(0, at(stub)));
}

TEST(GateAddresses, fast_paths_leave_at_a_few_places_and_nowhere_else) {
  const std::uint64_t text = gate::cpu_area(3) + gate::fast_text_page * page_size;
  std::map<GateExit, unsigned> places;
  for (std::uint64_t offset = 0; offset < page_size; ++offset)
    ++places[Gate::fast_exit(3, at(text + offset))];
  for (const GateExit exit : {GateExit::syscall, GateExit::exception, GateExit::refused, GateExit::broken})
    EXPECT_EQ(places[exit], 1U);
  EXPECT_LT(places[GateExit::returning], 20U);
  EXPECT_GT(places[GateExit::returning], 0U);
}

TEST(GateAddresses, fast_paths_are_each_processors_own) {
  const std::uint64_t text = gate::cpu_area(3) + gate::fast_text_page * page_size;
  EXPECT_TRUE(Gate::in_fast_paths(3, at(text)));
  EXPECT_FALSE(Gate::in_fast_paths(2, at(text)));
  EXPECT_FALSE(Gate::in_fast_paths(3, at(text - 1)));
  EXPECT_FALSE(Gate::in_fast_paths(3, at(text + page_size)));
  for (std::uint64_t offset = 0; offset < page_size; ++offset)
    EXPECT_EQ(Gate::fast_exit(2, at(text + offset)), GateExit::none);
}

/// Assembly code gets the places from offsetof (vmm/asm_constants.cpp).
TEST(StatePlaces, are_where_the_members_are) {
  using gate::StatePage;
  EXPECT_EQ(gate::StateField(&StatePage::kernel_mode).word(), 0U);
  EXPECT_EQ(gate::StateField(&StatePage::next_cr3).word() * 8, offsetof(StatePage, next_cr3));
  EXPECT_EQ(gate::StateField(&StatePage::bounced, 5).word() * 8, offsetof(StatePage, bounced) + 5 * 8);
  EXPECT_EQ(gate::StateHandler(&StatePage::event).word() * 8, offsetof(StatePage, event));
  EXPECT_EQ(gate::StateHandler(&StatePage::traps, 3).word() * 8, offsetof(StatePage, traps) + 3 * 16);
}

/// The L2 entry for an address in the monitor's slots, in the tables of a gate for that host, or the first
/// entry that is not present.
pvmmu::Pte large_page_at(std::uint64_t address, const HostTraits& host) {
  const auto arena = Arena::create(pvmmu::first_monitor_frame, Gate::pages_needed(1, 2048), 2048).value();
  const Gate gate(*arena, 1, host, pvmmu::first_monitor_frame.plus(1 << 20), 4096);
  const GuestVaddr va(address);
  pvmmu::Pte entry = gate.l4_slots()[slot_of(pvmmu::Level::l4, va) - pvmmu::first_xen_slot];
  for (const pvmmu::Level level : {pvmmu::Level::l3, pvmmu::Level::l2})
    if (entry.present()) entry = pvmmu::Pte(arena->load(entry.mfn(), slot_of(level, va)));
  return entry;
}

/// The L1 entry for an address in the tables of a gate for that host.
pvmmu::Pte small_page_at(std::uint64_t address, const HostTraits& host) {
  using pvmmu::Level;
  const auto arena = Arena::create(pvmmu::first_monitor_frame, Gate::pages_needed(1, 2048), 2048).value();
  const Gate gate(*arena, 1, host, pvmmu::first_monitor_frame.plus(1 << 20), 4096);
  const GuestVaddr va(address);
  pvmmu::Pte entry = gate.l4_slots()[slot_of(Level::l4, va) - pvmmu::first_xen_slot];
  for (const Level level : {Level::l3, Level::l2, Level::l1})
    entry = pvmmu::Pte(arena->load(entry.mfn(), slot_of(level, va)));
  return entry;
}

TEST(GateMapping, programs_can_run_the_system_call_entry_only_where_nothing_else_leaves_there) {
  HostTraits host;  // of the kind where SYSCALL stays at CPL3 and KVM leaves
  EXPECT_FALSE(host.port_open_to_cpl3());
  EXPECT_FALSE(small_page_at(gate::syscall_text, host).any(pvmmu::bit::user));
  host.leaves_at_syscall = false;
  EXPECT_TRUE(host.port_open_to_cpl3());
  EXPECT_TRUE(small_page_at(gate::syscall_text, host).any(pvmmu::bit::user));
  host.syscall_stays_at_cpl3 = false;
  EXPECT_FALSE(host.port_open_to_cpl3());
  EXPECT_FALSE(small_page_at(gate::syscall_text, host).any(pvmmu::bit::user));
  EXPECT_FALSE(small_page_at(gate::kernel_text, host).any(pvmmu::bit::user));
}

TEST(GateMapping, mirrors_are_there_for_cpl0_alone_and_writable_only_where_kvm_has_to_see_the_stores) {
  using namespace pvmmu;
  const std::uint64_t mirrors = gate::slot_base(gate::arena_slot);
  HostTraits walking;
  walking.stale_entries = walking.syscall_stays_at_cpl3 = false;
  EXPECT_FALSE(large_page_at(mirrors, walking).present());
  walking.fast_paths = true;
  const Pte seen = large_page_at(mirrors, walking);
  EXPECT_TRUE(seen.has(bit::present | bit::no_execute | bit::pat_or_large));
  EXPECT_FALSE(seen.any(bit::writable | bit::user));
  // The gate's own pages come first, and are not among what can be reached here.
  EXPECT_EQ(seen.mfn(), first_monitor_frame.plus(Gate::pages_needed(1, 2048)));
  walking.resident = true;
  EXPECT_TRUE(large_page_at(mirrors, walking).has(bit::present | bit::writable | bit::no_execute));
  EXPECT_FALSE(large_page_at(mirrors, walking).any(bit::user));
  const Pte stored = large_page_at(mirrors, HostTraits());
  EXPECT_TRUE(stored.has(bit::present | bit::writable | bit::no_execute));
  EXPECT_FALSE(stored.any(bit::user));
}

TEST(GateMapping, the_resident_path_can_write_uses_and_windows_and_only_read_facts) {
  using namespace pvmmu;
  HostTraits host;
  host.stale_entries = host.syscall_stays_at_cpl3 = false;
  host.fast_paths = host.resident = true;
  const auto arena = Arena::create(first_monitor_frame, Gate::pages_needed(1, 2048, 1 << 20), 2048).value();
  Gate gate(*arena, 1, host, first_monitor_frame.plus(1 << 20), 4096);
  // Roots have them from the beginning.
  const auto slots = gate.l4_slots();
  gate.map_records(Mfn(0x10000000), Mfn(0x10020000), 4ULL << 20);
  gate.extend_windows(Mfn(0x8000000), 0, 700);
  gate.extend_windows(Mfn(0x8000000), 700, 1 << 20);
  EXPECT_EQ(slots, gate.l4_slots());
  const auto entry = [&](std::uint64_t address) {
    Pte found = slots[slot_of(Level::l4, GuestVaddr(address)) - first_xen_slot];
    for (const Level level : {Level::l3, Level::l2})
      if (found.present()) found = Pte(arena->load(found.mfn(), slot_of(level, GuestVaddr(address))));
    return found;
  };
  const Pte facts = entry(gate::slot_base(gate::facts_slot) + (2ULL << 20));
  EXPECT_TRUE(facts.has(bit::present | bit::no_execute));
  EXPECT_FALSE(facts.any(bit::writable | bit::user));
  EXPECT_EQ(facts.mfn(), Mfn(0x10000200));
  const Pte uses = entry(gate::slot_base(gate::uses_slot));
  EXPECT_TRUE(uses.has(bit::present | bit::no_execute | bit::writable));
  EXPECT_FALSE(uses.any(bit::user));
  EXPECT_EQ(uses.mfn(), Mfn(0x10020000));
  for (const std::uint64_t frame : {0ULL, 512ULL, (1ULL << 20) - 1}) {
    const Pte window = entry(gate::slot_base(gate::windows_slot) + frame * page_size);
    EXPECT_TRUE(window.has(bit::present | bit::no_execute | bit::writable));
    EXPECT_FALSE(window.any(bit::user));
    EXPECT_EQ(window.mfn(), Mfn(0x8000000 + frame / 512 * 512));
  }
  EXPECT_FALSE(entry(gate::slot_base(gate::windows_slot) + (1ULL << 32)).present());
  EXPECT_EQ(gate.state(0, &gate::StatePage::resident), gate::resident_entry());
}

TEST(GateMapping, without_a_resident_path_the_gate_does_not_call_it) {
  HostTraits host;
  host.stale_entries = host.syscall_stays_at_cpl3 = false;
  host.fast_paths = true;
  const auto arena = Arena::create(pvmmu::first_monitor_frame, Gate::pages_needed(1, 2048), 2048).value();
  const Gate gate(*arena, 1, host, pvmmu::first_monitor_frame.plus(1 << 20), 4096);
  EXPECT_EQ(gate.state(0, &gate::StatePage::resident), 0U);
  for (const std::uint64_t slot : {gate::facts_slot, gate::uses_slot, gate::windows_slot})
    EXPECT_FALSE(gate.l4_slots()[slot - 256].present());
}

TEST(GateAddresses, the_resident_path_belongs_to_all_processors_fast_paths) {
  for (const std::uint32_t cpu : {0U, 3U}) {
    EXPECT_TRUE(Gate::in_fast_paths(cpu, at(gate::resident_text)));
    EXPECT_TRUE(Gate::in_fast_paths(cpu, at(gate::resident_text + page_size - 1)));
    EXPECT_EQ(Gate::fast_exit(cpu, at(gate::resident_text)), GateExit::none);
  }
  EXPECT_FALSE(Gate::in_fast_paths(0, at(gate::control_page)));
}

/// A gate for two vCPUs, and what its pages hold.
class BuiltGate {
 public:
  explicit BuiltGate(const HostTraits& host)
      : arena_(Arena::create(pvmmu::first_monitor_frame, Gate::pages_needed(2, 2048), 2048).value()),
        gate_(*arena_, 2, host, pvmmu::first_monitor_frame.plus(1 << 20), 4096) {}

  [[nodiscard]] pvmmu::Pte entry(std::uint64_t address) const {
    using pvmmu::Level;
    const GuestVaddr va(address);
    pvmmu::Pte entry = gate_.l4_slots()[slot_of(Level::l4, va) - pvmmu::first_xen_slot];
    for (const Level level : {Level::l3, Level::l2, Level::l1})
      entry = pvmmu::Pte(arena_->load(entry.mfn(), slot_of(level, va)));
    return entry;
  }
  [[nodiscard]] std::uint64_t word(std::uint64_t address) const {
    std::uint64_t value = 0;
    std::memcpy(&value, arena_->bytes(entry(address).mfn()) + address % page_size, sizeof value);
    return value;
  }
  [[nodiscard]] const Gate& gate() const { return gate_; }
  [[nodiscard]] Arena& arena() const { return *arena_; }

 private:
  std::unique_ptr<Arena> arena_;
  Gate gate_;
};

HostTraits walking_host(bool fast_paths) {
  HostTraits host;
  host.stale_entries = host.syscall_stays_at_cpl3 = false;
  host.debug_registers = true;
  host.fast_paths = fast_paths;
  return host;
}

/// Number of the interrupt stack table's entry in the gate of a vector.
std::uint64_t stack_of(const BuiltGate& built, std::uint64_t idt, unsigned vector) {
  return built.word(idt + vector * 16) >> 32 & 7;
}

TEST(GateStacks, exceptions_that_may_come_on_the_guests_stack_have_one_of_their_own) {
  for (const bool fast : {false, true}) {
    const BuiltGate built(walking_host(fast));
    for (std::uint32_t cpu = 0; cpu < 2; ++cpu) {
      const std::uint64_t idt = fast ? gate::page_address(cpu, gate::fast_idt_page) : gate::idt;
      std::set<std::uint64_t> stacks;
      for (const unsigned vector : {vector::db, vector::nmi, vector::df, vector::mc}) {
        const std::uint64_t number = stack_of(built, idt, vector);
        ASSERT_NE(number, 0U) << vector;
        const std::uint64_t top = built.word(gate::page_address(cpu, gate::tss_page) + 28 + 8 * number);
        EXPECT_EQ(top % 16, 0U);
        EXPECT_TRUE(stacks.insert(top).second) << "no two share one";
        const pvmmu::Pte page = built.entry(top - 8);
        EXPECT_TRUE(page.has(pvmmu::bit::present | pvmmu::bit::writable | pvmmu::bit::no_execute));
        EXPECT_FALSE(page.any(pvmmu::bit::user));
        EXPECT_EQ((top - 1) / page_size * page_size, gate::page_address(cpu, gate::own_stacks_page));
      }
      for (const unsigned vector : {vector::bp, vector::gp, vector::pf, vector::nm})
        EXPECT_EQ(stack_of(built, idt, vector), 0U) << vector;
    }
  }
}

TEST(GateStacks, frames_are_read_from_each_of_a_processors_stacks_and_from_no_other_address) {
  const BuiltGate built(walking_host(true));
  constexpr std::uint64_t secret = 0x123456789abcdef0;
  const auto put = [&](std::uint64_t address) {
    std::memcpy(built.arena().bytes(built.entry(address).mfn()) + address % page_size, &secret,
                sizeof secret);
  };
  const std::uint64_t own = gate::page_address(1, gate::own_stacks_page),
                      stack = gate::page_address(1, gate::stack_page);
  for (const std::uint64_t at : {own, own + 4088, stack + 64}) {
    put(at);
    EXPECT_EQ(built.gate().exception_frame(1, at, false).rip, secret);
    EXPECT_EQ(built.gate().exception_frame(0, at, false).rip, 0U) << "another processor's";
  }
  put(gate::page_address(1, gate::state_page));
  EXPECT_EQ(built.gate().exception_frame(1, gate::page_address(1, gate::state_page), false).rip, 0U);
  EXPECT_EQ(built.gate().exception_frame(1, own + 4, false).rip, 0U);
}

TEST(GateAddresses, the_way_to_the_entry_of_debug_exceptions_is_none_of_the_entries) {
  EXPECT_TRUE(Gate::in_debug_entry(at(gate::debug_entry)));
  EXPECT_TRUE(Gate::in_debug_entry(at(gate::debug_entry + 8)));
  EXPECT_FALSE(Gate::in_debug_entry(at(gate::debug_entry - 1)));
  EXPECT_FALSE(Gate::in_debug_entry(at(gate::kernel_text + gate::exception_stub_size)));
  EXPECT_FALSE(Gate::in_debug_entry(at(gate::cpu_area(0))));
}

}  // namespace
}  // namespace pinfold::vmm
