// The code of the probe guest (probe_guest.hpp): two pages, copied into its memory. Position-independent.
// User pieces end with INT3. Every stub ends with an OUT to port 0x7e, for which KVM leaves with RIP behind the
// instruction. (Not an OUT at CPL3: some emulations refuse the TSS's I/O map in a virtual machine.)

#define PIECE(name) .globl pinfold_probe_##name; pinfold_probe_##name

        .section .rodata
        .balign 16

// Mapped for CPL3. The first instruction is where LSTAR points.
PIECE(user_begin):
        out %al, $0x7e
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
        int $0x80
        hlt
PIECE(cpuid):
        cpuid
        int3
PIECE(rdtsc):
        rdtsc
        shlq $32, %rdx
        orq %rdx, %rax
        int3
PIECE(sse):
        movaps %xmm0, %xmm1
        int3
// Accesses to a port that the I/O map keeps from CPL3.
PIECE(closed_out):
        out %al, $0x80
        int3
PIECE(closed_in):
        in $0x80, %al
        int3
PIECE(closed_ins):
        mov $0x80, %edx
        insb
        int3
PIECE(closed_outs):
        mov $0x80, %edx
        mov %rdi, %rsi
        rep outsb
        int3
PIECE(user_end):

// Mapped for CPL0 only: a stub of 8 bytes per vector, which the IDT points to, then CPL0's own pieces.
        .balign 16
PIECE(supervisor_begin):
        .rept 256
        .balign 8
        out %al, $0x7e
        hlt
        .endr
        .balign 8
PIECE(invlpg):
        invlpg (%rdi)
        out %al, $0x7e
        hlt
        .balign 8
PIECE(in_7e):
        in $0x7e, %al
        out %al, $0x7e
        hlt
PIECE(supervisor_end):

        .section .note.GNU-stack, "", @progbits
