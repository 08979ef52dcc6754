// The code that pinfold puts into a guest's address space. It holds no policy and no secret: it leaves the VM. On the
// way back a vCPU may run an entry stub first (vmm/gate/entry_stub.hpp).
//
// With two-dimensional paging SYSCALL arrives at CPL0; on a shadow-paging host it stays at CPL3, and CPL0 code is
// emulated one instruction at a time.

#include <cet.h>  // marks the object, where CET is on: nothing of the host jumps here

#include "vmm/asm_constants.h"

        .section .rodata
        .balign 16

        // -- executable at CPL3 if SYSCALL stays at CPL3 and KVM does not leave the VM there by itself --
        .global pinfold_gate_user_begin, pinfold_gate_user_end
pinfold_gate_user_begin:
        // LSTAR. RCX and R11 hold the caller's RIP and RFLAGS, all other registers are the caller's. The monitor
        // resumes the vCPU elsewhere.
        out %al, $PORT
        ud2
        .org pinfold_gate_user_begin + COMPAT_ENTRY_OFFSET
        // CSTAR: SYSCALL of 32-bit code.
        out %al, $PORT
        ud2
pinfold_gate_user_end:

        // -- executable at CPL0 --
        .balign 16
        .global pinfold_gate_kernel_begin, pinfold_gate_kernel_end
pinfold_gate_kernel_begin:
        // One entry per exception vector, all of one size: the monitor knows the vector from RIP.
        .rept EXCEPTIONS
        out %al, $PORT
        ud2
        .balign EXCEPTION_STUB_SIZE
        .endr
        // #DB where the guest's breakpoints act: one that came behind a SYSCALL, from the MOV SS before it, is no
        // business of the guest's.
        .org pinfold_gate_kernel_begin + DEBUG_ENTRY_OFFSET
        testb $3, F_CS - F_RIP(%rsp)
        jnz pinfold_gate_kernel_begin + VECTOR_DB * EXCEPTION_STUB_SIZE
        iretq
pinfold_gate_kernel_end:

        .section .note.GNU-stack, "", @progbits
