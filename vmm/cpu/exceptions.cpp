// Answers to processor exceptions: page-table work, an instruction to emulate, or an exception for the guest.
#include <fmt/format.h>

#include "vmm/domain.hpp"
#include "vmm/emulate/forced_emulation.hpp"
#include "vmm/emulate/pte_write.hpp"
#include "vmm/vectors.hpp"

namespace pinfold::vmm {
namespace {

/// Error codes that name a descriptor (vol. 3, 6.13): bit 1 says that it was the IDT's.
constexpr std::uint64_t error_idt = 2;

}  // namespace

void GuestCpu::on_exception(pvmmu::Held held, const GuestException& exception) {
  Statistics& statistics = domain_.statistics();
  if (exception.vector == vector::db) return on_debug_exception(held);
  if (exception.vector == vector::bp && domain_.debugger() != nullptr &&
      domain_.debugger()->takes_trap(held, *this, exception.vector))
    return statistics.count(ExitReason::other_exception);
  trace_entered(held, pvmmu::cause_exception + exception.vector);
  switch (exception.vector) {
    case 14:
      statistics.count(ExitReason::page_fault);
      return on_page_fault(held, exception.error_code, exception.address);
    case 13:
      statistics.count(ExitReason::protection_fault);
      return on_protection_fault(held, exception.error_code);
    case 6: statistics.count(ExitReason::invalid_opcode); return on_invalid_opcode(held);
    case 2: statistics.count(ExitReason::other_exception); return;  // the host's NMI is not the guest's
    case 7: state_.task_switched = false; break;
    default: break;
  }
  statistics.count(ExitReason::other_exception);
  deliver(held, exception);
}

void GuestCpu::on_page_fault(pvmmu::Held held, std::uint64_t error_code, std::uint64_t address) {
  const GuestVaddr va(address);
  const bool write = (error_code & page_fault::write) != 0;
  const bool fetch = (error_code & page_fault::fetch) != 0;
  const auto leaf = domain_.mmu().walk(held, root(), va);
  if (end_on_breach(held)) return;
  if ((error_code & page_fault::reserved) != 0) {
    // The processor came to a window that is still to be made, behind a linear entry.
    const auto filled = domain_.mmu().fill_windows(held, root(), va);
    if (end_on_breach(held)) return;
    domain_.mmu_operation(held);
    if (filled == pvmmu::Filled::some) return;
    const bool present = leaf && leaf->entry.present();
    error_code =
        (error_code & ~(page_fault::present | page_fault::reserved)) | (present ? page_fault::present : 0);
    if (filled == pvmmu::Filled::full) return deliver_page_fault(held, error_code, address);
  }
  if (leaf && leaf->entry.present()) {
    const bool permitted = write ? leaf->writable : !fetch || leaf->executable;
    if (permitted) {
      // The guest's entry permits the access: this is the first write to a clean page, or the translation
      // changed meanwhile.
      (void)domain_.mmu().touch(held, *leaf, write);
      repeats_fault_ = true;
      if (!repeated_fault_.repeats(regs_.rip, address, domain_.mmu().counters().entries_stored)) return;
      domain_.end(Ending::host_failure,
                  fmt::format("access to {:#x} faults forever, although the tables permit it\n{}", address,
                              describe(held)));
      return;
    }
    // As on Xen, an entry that is taken for an L1's must be read-only itself.
    const bool may_be_emulated = !leaf->linear || !leaf->entry.writable();
    if (write && may_be_emulated && state_.kernel_mode && domain_.assists().writable_page_tables &&
        emulate_pte_store(held, address, *leaf))
      return;
  }
  deliver_page_fault(held, error_code, address);
}

/// Both modes run at CPL3; the guest's handler expects its own notion of user and kernel mode.
void GuestCpu::deliver_page_fault(pvmmu::Held held, std::uint64_t error_code, std::uint64_t address) {
  const std::uint64_t seen = (error_code & ~page_fault::user) | (state_.kernel_mode ? 0 : page_fault::user);
  deliver(held, GuestException{14, seen, address});
}

/// Emulates the kernel's plain store to an entry of an L1 that it has mapped read-only
/// (VMASST_TYPE_writable_pagetables). False: it is something else.
bool GuestCpu::emulate_pte_store(pvmmu::Held held, std::uint64_t address, const pvmmu::Leaf& leaf) {
  pvmmu::Validator& mmu = domain_.mmu();
  const Mfn table = leaf.entry.mfn();
  if (!mmu.owns(table) || mmu.frame(table).type != pvmmu::FrameType::l1) return false;

  const auto code = instruction(held);
  auto write = decode_pte_write(code, regs_, bases_for(code), GuestVaddr(address));
  if (!write) return false;
  const std::uint64_t at = write->address.raw();
  if (at >> page_shift != address >> page_shift) return false;
  if (write->source_address) {
    std::uint64_t source = 0;
    if (!memory(held).read(*write->source_address,
                           std::as_writable_bytes(std::span(&source, 1)).first(write->size)))
      return false;
    write->source = source;
  }
  const std::size_t slot = offset_in_page(write->address) / sizeof(pvmmu::Pte);
  const std::uint64_t old = mmu.merged_entry(held, table, slot).raw();
  const Effect effect = evaluate(*write, operand_of(*write, old), regs_);
  if (effect.stores) {
    const pvmmu::Pte want(merged(*write, old, effect.new_value));
    if (!mmu.update_l1_by_store(held, leaf, slot, want)) return false;
    domain_.mmu_operation(held);
  }
  ++domain_.statistics().pte_stores;
  static_cast<Registers&>(regs_) = effect.after;
  regs_.changed = true;
  if (effect.single_step) deliver_debug(held, dr6::single_step);
  return true;
}

void GuestCpu::on_protection_fault(pvmmu::Held held, std::uint64_t error_code) {
  if (error_code != 0) {
    // INT n: take the vector from the instruction, because some emulated processors report another one.
    if ((error_code & error_idt) != 0)
      return software_interrupt(
          held, decode_int_n(instruction(held)).value_or(static_cast<std::uint8_t>(error_code >> 3)));
    return deliver(held, GuestException{13, error_code, 0});
  }
  const auto bytes = instruction(held);
  auto memory_here = memory(held);
  const CodeWidth width = is_64bit_code(held, regs_.cs) ? CodeWidth::bits64 : CodeWidth::bits32;
  const Outcome outcome = processor_.emulating(held, memory_here, [&](PrivilegedState& state) {
    return emulate_privileged(regs_, state_.kernel_mode, bytes, state, width);
  });
  finish_emulation(held, outcome);
}

void GuestCpu::finish_emulation(pvmmu::Held held, const Outcome& outcome) {
  regs_.changed = true;
  if (const auto* done = std::get_if<Emulated>(&outcome)) {
    ++domain_.statistics().privileged;
    const std::uint64_t causes = done->breakpoints | (done->single_step ? dr6::single_step : 0);
    if (causes != 0) deliver_debug(held, causes);
  } else if (const auto* exception = std::get_if<Exception>(&outcome)) {
    deliver(held, GuestException{exception->vector, exception->error_code, 0});
  } else if (const auto* fault = std::get_if<PageFault>(&outcome)) {
    const auto leaf = domain_.mmu().walk(held, root(), fault->address);
    const std::uint64_t code =
        (leaf && leaf->entry.present() ? page_fault::present : 0) | (fault->write ? page_fault::write : 0) |
        (fault->fetch ? page_fault::fetch : 0) | (state_.kernel_mode ? 0 : page_fault::user);
    deliver(held, GuestException{14, code, fault->address.raw()});
  }
}

void GuestCpu::on_invalid_opcode(pvmmu::Held held) {
  const auto bytes = instruction(held);
  if (is_forced_cpuid(bytes)) {
    auto memory_here = memory(held);
    finish_emulation(held, processor_.emulating(held, memory_here, [&](PrivilegedState& state) {
      return emulate_forced_cpuid(regs_, state_.kernel_mode, state);
    }));
    return;
  }
  // A host that runs CPL3 code without VT-x or SVM answers INT n with #UD.
  if (const auto vector = decode_int_n(bytes)) return software_interrupt(held, *vector);
  deliver(held, GuestException{6, 0, 0});
}

std::span<const std::byte> GuestCpu::instruction(pvmmu::Held held) {
  auto memory_here = memory(held);
  return std::span(instruction_).first(memory_here.fetch_code(GuestVaddr(regs_.rip), instruction_));
}

}  // namespace pinfold::vmm
