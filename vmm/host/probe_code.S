// The code of the probe guest (probe_guest.hpp): two pages, copied into its memory. Position-independent. User pieces
// end with INT3. Every stub ends with an OUT to the exit port (vmm/kvm/exit_port.hpp): KVM leaves with RIP behind the
// instruction. (Not an OUT at CPL3: some emulations refuse the TSS's I/O map in a virtual machine.)

#include <cet.h>  // marks the object, where CET is on: nothing of the host jumps here

#include "vmm/asm_constants.h"

#define PIECE(name) .globl pinfold_probe_##name; pinfold_probe_##name

        .section .rodata
        .balign 16

// Mapped for CPL3. The first instruction is where LSTAR points.
PIECE(user_begin):
        out %al, $PORT
        hlt
        .balign 16
PIECE(syscall):
        syscall
        hlt
PIECE(load):
        movq (%rdi), %rax
        int3
PIECE(store):
        movq %rax, (%rdi)
        int3
PIECE(int_80):
        int $PROBE_CLOSED_PORT
        hlt
PIECE(cpuid):
        cpuid
        int3
PIECE(rdtsc):
        rdtsc
        shlq $32, %rdx
        orq %rdx, %rax
        int3
PIECE(fsgsbase):
        wrfsbase %rdi
        rdfsbase %rax
        int3
PIECE(sse):
        movaps %xmm0, %xmm1
        int3
// Accesses to a port that the I/O map closes to CPL3.
PIECE(closed_out):
        out %al, $PROBE_CLOSED_PORT
        int3
PIECE(closed_in):
        in $PROBE_CLOSED_PORT, %al
        int3
PIECE(closed_ins):
        mov $PROBE_CLOSED_PORT, %edx
        insb
        int3
PIECE(closed_outs):
        mov $PROBE_CLOSED_PORT, %edx
        mov %rdi, %rsi
        rep outsb
        int3
PIECE(user_end):

// Mapped for CPL0 only: a stub for each vector, which the IDT points to, then CPL0's own pieces.
        .balign 16
PIECE(supervisor_begin):
        .rept PROBE_VECTORS
        .balign PROBE_STUB_SIZE
        out %al, $PORT
        hlt
        .endr
        .balign 8
PIECE(invlpg):
        invlpg (%rdi)
        out %al, $PORT
        hlt
        .balign 8
PIECE(in_7e):
        in $PORT, %al
        out %al, $PORT
        hlt
        .balign 8
PIECE(supervisor_load):
        movq (%rdi), %rax
        out %al, $PORT
        hlt
        .balign 8
PIECE(supervisor_store):
        movq %rax, (%rdi)
        out %al, $PORT
        hlt
PIECE(supervisor_end):

        .section .note.GNU-stack, "", @progbits
