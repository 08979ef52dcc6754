// How a vCPU gets into the guest: its first registers, and the two ways back in from the monitor.

#include <cstring>

#include "vmm/gate/gate.hpp"
#include "vmm/gate/text.hpp"
#include "vmm/msr_numbers.hpp"
#include "vmm/registers.hpp"

namespace pinfold::vmm {

using namespace gate;

namespace {

constexpr std::uint64_t syscall_clears = rflags::ac | rflags::nt | rflags::iopl | rflags::df | rflags::tf;
constexpr std::uint64_t efer_sce = 1, efer_lme = 1 << 8, efer_lma = 1 << 10, efer_nx = 1 << 11;

constexpr std::uint64_t cr0_value = cr0::pg | cr0::am | cr0::wp | cr0::ne | cr0::et | cr0::mp | cr0::pe;
constexpr std::uint64_t cr4_base = 1U << 5 /* PAE */ | 1U << 9 /* OSFXSR */ | 1U << 10 /* OSXMMEXCPT */;
constexpr std::uint64_t cr4_osxsave = 1U << 18;

/// Offset in the stack page of an entry stub's IRETQ frame: far below where exceptions push.
constexpr std::size_t entry_stub_frame_offset = 512;

kvm_segment segment(std::uint16_t selector, std::uint64_t base, std::uint32_t limit, std::uint8_t type,
                    bool system) {
  kvm_segment s{};
  s.selector = selector;
  s.base = base;
  s.limit = limit;
  s.type = type;
  s.s = system ? 0 : 1;
  s.present = 1;
  return s;
}

}  // namespace

KvmResult<void> Gate::set_up(Vcpu& vcpu, std::uint32_t cpu) const {
  if (auto fresh = vcpu.refresh(); !fresh) return fresh;
  kvm_sregs& s = vcpu.sregs();
  s.gdt.base = page_address(cpu, gdt_page);
  s.gdt.limit = (guests_gdt_pages + 1) * page_size - 1;
  s.idt.base = host_.fast_paths ? page_address(cpu, fast_idt_page) : idt;
  s.idt.limit = exceptions * 16 - 1;
  s.tr = segment(tss_selector, page_address(cpu, tss_page), tss_limit(), 11, true);
  s.ldt = segment(ldt_selector, page_address(cpu, ldt_page), 0xffff, 2, true);
  s.cr0 = cr0_value;
  s.cr4 = cr4_base | cr4_osxsave;
  s.efer = efer_sce | efer_lme | efer_lma | efer_nx;
  vcpu.mark_sregs_dirty();
  // Where SYSCALL stays at CPL3, interrupts stay on: KVM leaves there at once only if IF is set, because it
  // reports a window for interrupts.
  const std::uint64_t mask = host_.syscall_stays_at_cpl3 ? syscall_clears : syscall_clears | rflags::if_;
  const std::uint64_t lstar =
      host_.fast_paths ? page_address(cpu, fast_text_page) + fast_offset(pinfold_fast_syscall) : syscall_text;
  const std::array<Msr, 4> msrs{{{msr::star, std::uint64_t{code0} << 32 | std::uint64_t{code32} << 48},
                                 {msr::lstar, lstar},
                                 {msr::cstar, compat_entry},
                                 {msr::fmask, mask}}};
  return vcpu.set_msrs(msrs);
}

void Gate::resume(Vcpu& vcpu, std::uint32_t cpu, std::uint16_t cs, std::uint16_t ss,
                  std::optional<std::uint64_t> cr3) const {
  kvm_regs& r = vcpu.regs();
  const std::array<std::uint64_t, 5> frame{r.rip, cs, r.rflags, r.rsp, ss};
  std::memcpy(areas_.bytes(cpu, stack_page) + page_size - sizeof frame, frame.data(), sizeof frame);
  if (cr3) set_state(cpu, &StatePage::next_cr3, *cr3);
  r.rip = page_address(cpu, fast_text_page) + fast_offset(cr3 ? pinfold_fast_reload : pinfold_fast_return);
  r.rsp = stack_top(cpu) - sizeof frame;
  r.rflags = rflags::fixed;
  vcpu.mark_regs_dirty();
}

void Gate::prepare_entry_stub(Vcpu& vcpu, std::uint32_t cpu, const EntryStub& code, bool leaves) const {
  kvm_regs& r = vcpu.regs();
  kvm_sregs& s = vcpu.sregs();
  EntryStub finished = code;
  const auto bytes = leaves ? finished.finish_with_out(exit_port) : finished.finish(r.rax);
  std::memcpy(areas_.bytes(cpu, entry_stub_page), bytes.data(), bytes.size());
  const std::array<std::uint64_t, 5> frame{r.rip, s.cs.selector, r.rflags, r.rsp, s.ss.selector};
  std::memcpy(areas_.bytes(cpu, stack_page) + entry_stub_frame_offset, frame.data(), sizeof frame);

  r.rip = page_address(cpu, entry_stub_page);
  r.rsp = page_address(cpu, stack_page) + entry_stub_frame_offset;
  r.rflags = rflags::fixed;
  s.cs = segment(code0, 0, 0xffffffff, 11, false);
  s.cs.l = 1;
  s.cs.g = 1;
  s.ss = segment(data0, 0, 0xffffffff, 3, false);
  s.ss.db = 1;
  s.ss.g = 1;
  vcpu.mark_regs_dirty();
  vcpu.mark_sregs_dirty();
}

}  // namespace pinfold::vmm
