#include "vmm/cpu/gate_link.hpp"

#include <utility>

#include "vmm/emulate/io_ports.hpp"
#include "vmm/hypercalls/hypercalls.hpp"

namespace pinfold::vmm {
namespace {

using gate::GuestHandler;
using gate::StatePage;

std::uint64_t flags_of(bool masks_events) { return masks_events ? GuestHandler::masks_events : 0; }

}  // namespace

std::uint64_t GateLink::field(gate::StateField which) const {
  return parts_.gate.state(parts_.id.raw(), which);
}

void GateLink::set(gate::StateField which, std::uint64_t value) const {
  parts_.gate.set_state(parts_.id.raw(), which, value);
}

void GateLink::ask_to_come_out() {
  ++interruptions_;
  set(&StatePage::attention, 1);
}

std::uint64_t GateLink::take() {
  CpuState& state = parts_.state;
  state.kernel_mode = field(&StatePage::kernel_mode) != 0;
  parts_.entry_points.kernel_sp = field(&StatePage::kernel_sp);
  parts_.entry_points.kernel_ss = static_cast<std::uint16_t>(field(&StatePage::kernel_ss));
  state.task_switched = field(&StatePage::task_switched) != 0;
  if (field(&StatePage::single_stepped) != 0) state.debug.note(dr6::single_step);
  if (field(&StatePage::gs_moved) != 0) parts_.bases.forget_inactive();
  may_resume_ = false;
  return std::exchange(interruptions_, 0);
}

pvmmu::MmuCounters GateLink::take_entries() {
  using Counters = pvmmu::MmuCounters;
  constexpr std::size_t first = offsetof(StatePage, resident_entries);
  pvmmu::MmuCounters taken;
  const auto take = [&](std::size_t offset) {
    const gate::StateField field = gate::StateField::at(first + offset);
    const std::uint64_t counted = this->field(field);
    if (counted != 0) set(field, 0);
    return counted;
  };
  taken.entries_stored = take(offsetof(Counters, entries_stored));
  if (taken.entries_stored == 0) return taken;
  taken.entries_checked = take(offsetof(Counters, entries_checked));
  return taken;
}

GateLink::Roots GateLink::roots() const {
  return {Mfn(field(&StatePage::kernel_root)), Mfn(field(&StatePage::user_root))};
}

std::uint64_t GateLink::guest_rsp() const { return field(&StatePage::guest_rsp); }
std::uint64_t GateLink::fault_address() const { return field(&StatePage::fault_address); }

GuestException GateLink::refused_return(std::uint64_t cr2) const {
  return {static_cast<std::uint8_t>(field(&StatePage::refused_vector) % gate::exceptions),
          field(&StatePage::refused_error), cr2};
}

bool GateLink::task_switched_differs() const {
  return parts_.state.task_switched != (field(&StatePage::task_switched) != 0);
}

std::uint64_t GateLink::cr3() const { return field(&StatePage::exit_cr3); }

void GateLink::give(std::uint64_t kernel_cr3, std::uint64_t user_cr3, bool has_ldt) {
  const CpuState& state = parts_.state;
  const bool iopl = parts_.assists.architectural_iopl;
  set(&StatePage::kernel_mode, state.kernel_mode ? 1 : 0);
  set(&StatePage::kernel_sp, parts_.entry_points.kernel_sp);
  set(&StatePage::kernel_ss, parts_.entry_points.kernel_ss);
  set(&StatePage::task_switched, state.task_switched ? 1 : 0);
  set(&StatePage::attention, 0);
  set(&StatePage::exit_cr3, 0);
  set(&StatePage::kernel_cr3, kernel_cr3);
  set(&StatePage::user_cr3, user_cr3);
  set(&StatePage::kernel_root, state.kernel_root.raw());
  set(&StatePage::user_root, state.user_root.raw());
  has_ldt_ = has_ldt;
  give_assists();
  set(&StatePage::iopl, iopl ? std::uint64_t{state.iopl} << 12 : 0);
  set(&StatePage::iopl_check, iopl ? rflags::iopl : 0);
  set(&StatePage::io_privileged, io_privileged(state.iopl, true, iopl) ? 1 : 0);
  set(&StatePage::iret_leaves, state.nmi.is_masked() ? 1 : 0);  // the monitor ends the masking
  set(&StatePage::gs_moved, 0);
  set(&StatePage::single_stepped, 0);
  set(&StatePage::watches, state.debug.watches() ? 1 : 0);
  if (std::exchange(parts_.entry_points.changed, false)) give_handlers();
  parts_.bases.give_inactive();
}

/// The pages of an LDT are found through the kernel's root, and a root for programs may have to be changed
/// before it is loaded: both are the monitor's.
void GateLink::give_assists() {
  set(&StatePage::emulates_stores, parts_.assists.writable_page_tables ? 1 : 0);
  set(&StatePage::roots_leave, has_ldt_ || parts_.assists.m2p_strict ? 1 : 0);
}

void GateLink::give_handlers() {
  const EntryPoints& points = parts_.entry_points;
  const auto set_handler = [&](gate::StateHandler which, const GuestHandler& handler) {
    parts_.gate.set_handler(parts_.id.raw(), which, handler);
  };
  set_handler(&StatePage::syscall,
              {points.syscall.address, flags_of(points.syscall.masks_events) | GuestHandler::clears_df});
  set_handler(&StatePage::event, {points.event.address, GuestHandler::masks_events});
  for (std::size_t vector = 0; vector < gate::exceptions; ++vector) {
    const Trap& trap = points.traps[vector];
    set_handler({&StatePage::traps, vector}, {trap.address, flags_of(trap.masks_events)});
  }
  set(&StatePage::version, hypercalls::version);
}

}  // namespace pinfold::vmm
