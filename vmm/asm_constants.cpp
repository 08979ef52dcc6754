// The numbers of C++ and of Xen's headers that assembly code uses.
//
// The build compiles this file to assembly text and makes vmm/asm_constants.h of its marks
// (asm_constants.cmake). So a field that moves here moves there; assembly files define no such number of
// their own, which scripts/check-sources checks.

#include <bit>
#include <cstddef>
#include <cstdint>

#include <xen/xen.h>  // behind <cstdint>, whose types it takes for granted

#include "pvmmu/mirror.hpp"
#include "pvmmu/pte.hpp"
#include "vmm/gate/frames.hpp"
#include "vmm/gate/layout.hpp"
#include "vmm/gate/state_page.hpp"
#include "vmm/host/probe_guest.hpp"
#include "vmm/kvm/exit_port.hpp"
#include "vmm/msr_numbers.hpp"
#include "vmm/registers.hpp"
#include "vmm/vectors.hpp"

using namespace pinfold;
using namespace pinfold::vmm;
using gate::FastFrame;
using gate::GuestHandler;
using gate::StatePage;

namespace {

/// Marks a constant in the output: `.ascii "constant NAME $VALUE"`.
#define CONSTANT(name, value) \
  asm volatile("\t.ascii \"constant " #name " %0\"" : : "i"(static_cast<std::int64_t>(value)))
#define STATE_FIELD(name, field) CONSTANT(name, offsetof(StatePage, field))
#define IRET_FIELD(name, field) CONSTANT(name, offsetof(StatePage, iret) + offsetof(iret_context, field))
#define CALL_FIELD(name, field) CONSTANT(name, offsetof(StatePage, call) + offsetof(multicall_entry, field))
#define FRAME_FIELD(name, field) CONSTANT(name, offsetof(FastFrame, field))

static_assert(sizeof(StatePage::iret) == sizeof(iret_context));
static_assert(sizeof(StatePage::call) == sizeof(multicall_entry));
static_assert(sizeof(GuestHandler) == 16, "the gate shifts a vector by 4");
static_assert(sizeof(gate::ResidentRequest) == sizeof(mmu_update) && offsetof(mmu_update, ptr) == 0,
              "the gate copies whole lists");
static_assert(sizeof(mmuext_op) == 24 && offsetof(mmuext_op, cmd) == 0 && offsetof(mmuext_op, arg1) == 8 &&
                  gate::resident_operations * sizeof(mmuext_op) <= sizeof(StatePage::requests),
              "the gate copies whole operations, and resident.cpp reads them");
static_assert(UVMF_NONE == 0 && (UVMF_TLB_FLUSH | UVMF_LOCAL) == 1 && (UVMF_INVLPG | UVMF_LOCAL) == 2,
              "the gate compares flags with the last of them");

/// Instructions of two bytes, as a 16-bit load sees them (Intel SDM vol. 2).
namespace opcode {
constexpr unsigned rdmsr = 0x320f, wrmsr = 0x300f;
constexpr unsigned cli = 0xfa;  // one byte; STI is 0xfb
}  // namespace opcode

static_assert(msr::gs_base == msr::fs_base + 1 && msr::kernel_gs_base == msr::fs_base + 2,
              "the gate compares a number with the first of them");

constexpr unsigned bit_number(std::uint64_t bit) { return static_cast<unsigned>(std::countr_zero(bit)); }

/// Vectors that are the guest kernel's without a look at the instruction.
constexpr std::uint32_t fast_vectors =
    vector::mask({vector::de, vector::db, vector::bp, vector::of, vector::br, vector::nm, vector::ts,
                  vector::np, vector::ss, vector::pf, vector::mf, vector::ac, vector::xf});

constexpr std::uint32_t vectors_on_own_stacks() {
  std::uint32_t vectors = 0;
  for (unsigned v = 0; v < gate::exceptions; ++v)
    if (gate::own_stack_of(v) != gate::OwnStack::none) vectors |= 1U << v;
  return vectors;
}
// The gate returns at once from those of them that have a number up to that of the NMI.
static_assert((vectors_on_own_stacks() & ((1U << (vector::nmi + 1)) - 1)) ==
              vector::mask({vector::db, vector::nmi}));

/// Flags that the gate gives back at an iret. One with any other is left to the monitor.
constexpr std::uint64_t flags_known = rflags::guests_own | rflags::fixed | rflags::if_ | rflags::iopl;

}  // namespace

void layout();
void layout() {
  CONSTANT(PORT, exit_port);
  CONSTANT(PAGE, page_size);
  CONSTANT(CODE64, gate::code64);
  CONSTANT(DATA3, gate::data3);
  CONSTANT(EXCEPTIONS, gate::exceptions);
  CONSTANT(EXCEPTION_STUB_SIZE, gate::exception_stub_size);
  CONSTANT(DEBUG_ENTRY_OFFSET, gate::debug_entry - gate::kernel_text);
  CONSTANT(COMPAT_ENTRY_OFFSET, gate::compat_entry - gate::syscall_text);
  CONSTANT(XEN_RANGE_FIRST_SLOT, xen_range_begin >> 39);
  CONSTANT(XEN_RANGE_SLOTS, pvmmu::xen_slots);
}

void state_page();
void state_page() {
  CONSTANT(STATE_BEGIN, 0);
  STATE_FIELD(STATE_KERNEL_MODE, kernel_mode);
  STATE_FIELD(STATE_KERNEL_SP, kernel_sp);
  STATE_FIELD(STATE_KERNEL_SS, kernel_ss);
  STATE_FIELD(STATE_TASK_SWITCHED, task_switched);
  STATE_FIELD(STATE_ATTENTION, attention);
  STATE_FIELD(STATE_KERNEL_CR3, kernel_cr3);
  STATE_FIELD(STATE_USER_CR3, user_cr3);
  STATE_FIELD(STATE_INFO, info);
  STATE_FIELD(STATE_IOPL, iopl);
  STATE_FIELD(STATE_IOPL_CHECK, iopl_check);
  STATE_FIELD(STATE_IRET_LEAVES, iret_leaves);
  STATE_FIELD(STATE_VERSION, version);
  STATE_FIELD(STATE_WATCHES, watches);
  STATE_FIELD(STATE_GS_MOVED, gs_moved);
  STATE_FIELD(STATE_EMULATED, emulated);
  STATE_FIELD(STATE_INTERRUPT_FLAGS, interrupt_flags);
  STATE_FIELD(STATE_IO_PRIVILEGED, io_privileged);
  STATE_FIELD(STATE_SINGLE_STEPPED, single_stepped);
  STATE_FIELD(STATE_GUEST_RSP, guest_rsp);
  STATE_FIELD(STATE_REFUSED_VECTOR, refused_vector);
  STATE_FIELD(STATE_REFUSED_ERROR, refused_error);
  STATE_FIELD(STATE_FAULT_ADDRESS, fault_address);
  STATE_FIELD(STATE_IRET, iret);
  IRET_FIELD(STATE_IRET_RAX, rax);
  IRET_FIELD(STATE_IRET_R11, r11);
  IRET_FIELD(STATE_IRET_RCX, rcx);
  IRET_FIELD(STATE_IRET_FLAGS, flags);
  IRET_FIELD(STATE_IRET_RIP, rip);
  IRET_FIELD(STATE_IRET_CS, cs);
  IRET_FIELD(STATE_IRET_RFLAGS, rflags);
  IRET_FIELD(STATE_IRET_RSP, rsp);
  IRET_FIELD(STATE_IRET_SS, ss);
  CONSTANT(IRET_WORDS, sizeof(iret_context) / 8);
  STATE_FIELD(STATE_ARENA, arena);
  STATE_FIELD(STATE_EXIT_CR3, exit_cr3);
  STATE_FIELD(STATE_NEXT_CR3, next_cr3);
  STATE_FIELD(STATE_SYSCALL, syscall);
  STATE_FIELD(STATE_EVENT, event);
  STATE_FIELD(STATE_TRAPS, traps);
  STATE_FIELD(STATE_BOUNCED, bounced);
  STATE_FIELD(STATE_HYPERCALLS, hypercalls);
  STATE_FIELD(STATE_RESIDENT, resident);
  STATE_FIELD(STATE_ROOTS_LEAVE, roots_leave);
  STATE_FIELD(STATE_CALL, call);
  CALL_FIELD(STATE_CALL_NUMBER, op);
  CALL_FIELD(STATE_CALL_POINTER, args[0]);
  CALL_FIELD(STATE_CALL_COUNT, args[1]);
  CALL_FIELD(STATE_CALL_DONE, args[2]);
  CALL_FIELD(STATE_CALL_DOMAIN, args[3]);
  STATE_FIELD(STATE_REQUESTS, requests);
  STATE_FIELD(STATE_CODE, code);
  CONSTANT(RESIDENT_REQUESTS, gate::resident_requests);
  CONSTANT(RESIDENT_UPDATE, gate::ResidentCall::update);
  CONSTANT(RESIDENT_OPERATIONS, gate::resident_operations);
  CONSTANT(RESIDENT_CALLS, gate::resident_calls);
  CONSTANT(RESIDENT_UPDATE_VA, gate::ResidentCall::update_va);
  CONSTANT(RESIDENT_LOAD_ROOTS, gate::ResidentCall::load_roots);
  CONSTANT(RESIDENT_STORE, gate::ResidentCall::store);
  CONSTANT(STORE_DONE, gate::StoreAnswer::done);
  CONSTANT(BOUNCED_SYSCALLS, gate::bounced_syscalls);
  CONSTANT(BOUNCED_EVENTS, gate::bounced_events);
  CONSTANT(HANDLER_ADDRESS, offsetof(GuestHandler, address));
  CONSTANT(HANDLER_FLAGS, offsetof(GuestHandler, flags));
  CONSTANT(HANDLER_MASKS_EVENTS, GuestHandler::masks_events);
  CONSTANT(HANDLER_CLEARS_DF, GuestHandler::clears_df);
}

void stack();
void stack() {
  FRAME_FIELD(F_RDI, rdi);
  FRAME_FIELD(F_RSI, rsi);
  FRAME_FIELD(F_RBX, rbx);
  FRAME_FIELD(F_RDX, rdx);
  FRAME_FIELD(F_RCX, rcx);
  FRAME_FIELD(F_RAX, rax);
  FRAME_FIELD(F_KIND, kind);
  FRAME_FIELD(F_ERROR, interrupted.error_code);
  FRAME_FIELD(F_RIP, interrupted.rip);
  FRAME_FIELD(F_CS, interrupted.cs);
  FRAME_FIELD(F_RFLAGS, interrupted.rflags);
  FRAME_FIELD(F_RSP, interrupted.rsp);
  FRAME_FIELD(F_SS, interrupted.ss);
  CONSTANT(F_SIZE, sizeof(FastFrame));
}

void processor();
void processor() {
  CONSTANT(FLAG_FIXED, rflags::fixed);
  CONSTANT(FLAG_TF, rflags::tf);
  CONSTANT(FLAG_IF, rflags::if_);
  CONSTANT(FLAG_IF_NUMBER, bit_number(rflags::if_));
  CONSTANT(FLAG_DF, rflags::df);
  CONSTANT(FLAG_IOPL, rflags::iopl);
  CONSTANT(FLAG_NT, rflags::nt);
  CONSTANT(FLAG_RF, rflags::rf);
  CONSTANT(FLAG_VM, rflags::vm);
  CONSTANT(FLAG_AC, rflags::ac);
  CONSTANT(FLAGS_KNOWN, flags_known);
  CONSTANT(CR0_TS, cr0::ts);
  CONSTANT(MSR_FS_BASE, msr::fs_base);
  CONSTANT(MSR_GS_BASE, msr::gs_base);
  CONSTANT(MSR_KERNEL_GS_BASE, msr::kernel_gs_base);
  CONSTANT(BASE_MSRS, msr::kernel_gs_base - msr::fs_base + 1);
  CONSTANT(CLI_OPCODE, opcode::cli);
  CONSTANT(RDMSR_OPCODE, opcode::rdmsr);
  CONSTANT(WRMSR_OPCODE, opcode::wrmsr);
  CONSTANT(VECTOR_DB, vector::db);
  CONSTANT(VECTOR_NMI, vector::nmi);
  CONSTANT(VECTOR_NM, vector::nm);
  CONSTANT(VECTOR_PF, vector::pf);
  CONSTANT(VECTOR_GP, vector::gp);
  CONSTANT(FAST_VECTORS, fast_vectors);
  CONSTANT(VECTORS_ON_OWN_STACKS, vectors_on_own_stacks());
  CONSTANT(VECTORS_WITH_ERROR, vector::with_error_code);
  CONSTANT(FAULT_PRESENT, page_fault::present);
  CONSTANT(FAULT_WRITE, page_fault::write);
  CONSTANT(FAULT_USER, page_fault::user);
  CONSTANT(FAULT_RESERVED, page_fault::reserved);
  CONSTANT(PTE_PRESENT, pvmmu::bit::present);
  CONSTANT(PTE_USER, pvmmu::bit::user);
  CONSTANT(PTE_WRITABLE, pvmmu::bit::writable);
  CONSTANT(PTE_WITHHELD_WRITE, pvmmu::withheld_write);
  CONSTANT(PTE_NO_EXECUTE_NUMBER, bit_number(pvmmu::bit::no_execute));
}

void xen();
void xen() {
  CONSTANT(INFO_PENDING, offsetof(vcpu_info, evtchn_upcall_pending));
  CONSTANT(INFO_MASK, offsetof(vcpu_info, evtchn_upcall_mask));
  CONSTANT(INFO_CR2, offsetof(vcpu_info, arch.cr2));
  CONSTANT(MMU_UPDATE, __HYPERVISOR_mmu_update);
  CONSTANT(MULTICALL, __HYPERVISOR_multicall);
  CONSTANT(CALL_SIZE, sizeof(multicall_entry));
  CONSTANT(CALL_WORDS, sizeof(multicall_entry) / 8);
  CONSTANT(CALL_RESULT, offsetof(multicall_entry, result));
  CONSTANT(CALL_POINTER, offsetof(multicall_entry, args[0]));
  CONSTANT(CALL_COUNT, offsetof(multicall_entry, args[1]));
  CONSTANT(REQUEST_SIZE, sizeof(mmu_update));
  CONSTANT(OPERATION_SIZE, sizeof(mmuext_op));
  CONSTANT(UPDATE_VA_MAPPING, __HYPERVISOR_update_va_mapping);
  CONSTANT(FLUSH_ALL_LOCAL, UVMF_TLB_FLUSH | UVMF_LOCAL);
  CONSTANT(FLUSH_ONE_LOCAL, UVMF_INVLPG | UVMF_LOCAL);
  CONSTANT(STACK_SWITCH, __HYPERVISOR_stack_switch);
  CONSTANT(FPU_TASKSWITCH, __HYPERVISOR_fpu_taskswitch);
  CONSTANT(XEN_VERSION, __HYPERVISOR_xen_version);
  CONSTANT(IRET, __HYPERVISOR_iret);
  CONSTANT(SET_SEGMENT_BASE, __HYPERVISOR_set_segment_base);
  CONSTANT(MMUEXT_OP, __HYPERVISOR_mmuext_op);
  CONSTANT(TLB_FLUSH_LOCAL, MMUEXT_TLB_FLUSH_LOCAL);
  CONSTANT(INVLPG_LOCAL, MMUEXT_INVLPG_LOCAL);
  CONSTANT(STATE_OPERATION_COMMAND, offsetof(gate::StatePage, requests) + offsetof(mmuext_op, cmd));
  CONSTANT(STATE_OPERATION_ADDRESS, offsetof(gate::StatePage, requests) + offsetof(mmuext_op, arg1));
  CONSTANT(SELF, DOMID_SELF);
  CONSTANT(IN_SYSCALL, VGCF_in_syscall);
  CONSTANT(FS_BASE, SEGBASE_FS);
  CONSTANT(GS_BASE_USER, SEGBASE_GS_USER);
  CONSTANT(GS_BASE_KERNEL, SEGBASE_GS_KERNEL);
  CONSTANT(GS_SELECTOR_USER, SEGBASE_GS_USER_SEL);
}

void probe();
void probe() {
  CONSTANT(PROBE_VECTORS, ProbeGuest::vectors);
  CONSTANT(PROBE_STUB_SIZE, ProbeGuest::stub_size);
  CONSTANT(PROBE_CLOSED_PORT, ProbeGuest::closed_port);
}
