// Entry, ELF notes and trap entries of a test guest. With HYPERCALL_PAGE it asks for a hypercall page and calls that.
// Otherwise each hypercall is a SYSCALL in place.

#include <xen/elfnote.h>

#define VIRT_BASE 0xffffffff80000000
#define IRET 23

        .macro note type, directive, value:vararg
        .section .note.Xen, "a", @note
        .balign 4
        .long 4, 2f - 1f, \type
        .asciz "Xen"
1:      \directive \value
2:      .balign 4
        .endm

        note XEN_ELFNOTE_ENTRY, .quad, start
        note XEN_ELFNOTE_VIRT_BASE, .quad, VIRT_BASE
        note XEN_ELFNOTE_PADDR_OFFSET, .quad, 0
        note XEN_ELFNOTE_XEN_VERSION, .asciz, "xen-3.0"
        note XEN_ELFNOTE_GUEST_OS, .asciz, "pinfold-test-guest"
        note XEN_ELFNOTE_LOADER, .asciz, "generic"
        note XEN_ELFNOTE_L1_MFN_VALID, .quad, 1, 1
#ifdef HYPERCALL_PAGE
        note XEN_ELFNOTE_HYPERCALL_PAGE, .quad, kit_hypercall_page
#endif

        .text
        .global start, kit_stack_top
start:
        cld
        lea kit_stack_top(%rip), %rsp
        xor %ebp, %ebp
        mov %rsi, %rdi
        call kit_main
        ud2

        // long kit_hypercall(number, 5 arguments): from C's registers to those of the ABI (xen/arch-x86/xen-x86_64.h).
        .global kit_hypercall
kit_hypercall:
        mov %rdi, %rax
        mov %rsi, %rdi
        mov %rdx, %rsi
        mov %rcx, %rdx
        mov %r8, %r10
        mov %r9, %r8
#ifdef HYPERCALL_PAGE
        shl $5, %eax
        lea kit_hypercall_page(%rip), %r9
        add %r9, %rax
        jmp *%rax
#else
        syscall
        ret
#endif

        // On the stack of a trap entry: RCX, R11, [error code], RIP, CS, RFLAGS, RSP, SS. It
        // makes a kit::Frame of them.
        .macro entry number, has_error
        .balign 32
        pop %rcx
        pop %r11
        .if \has_error == 0
        push $0
        .endif
        push $\number
        jmp common
        .endm

        .balign 32
        .global kit_trap_entries
kit_trap_entries:
        .set vector, 0
        .rept 32
        .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21
        entry vector, 1
        .else
        entry vector, 0
        .endif
        .set vector, vector + 1
        .endr
        .global kit_event_entry, kit_syscall_entry
        .balign 32
kit_event_entry:
        entry 0x100, 0
        .balign 32
kit_syscall_entry:
        entry 0x101, 0

common:
        push %rax
        push %rbx
        push %rcx
        push %rdx
        push %rsi
        push %rdi
        push %rbp
        push %r8
        push %r9
        push %r10
        push %r11
        push %r12
        push %r13
        push %r14
        push %r15
        cld
        mov %rsp, %rdi
        call kit_on_trap
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %r11
        pop %r10
        pop %r9
        pop %r8
        pop %rbp
        pop %rdi
        pop %rsi
        pop %rdx
        pop %rcx
        pop %rbx
        pop %rax
        add $16, %rsp
        // struct iret_context, downwards: flags, RCX, R11, RAX.
        push $0
        push %rcx
        push %r11
        push %rax
        mov $IRET, %eax
        syscall
        ud2

#ifdef HYPERCALL_PAGE
        .section .data
        .balign 4096
kit_hypercall_page:
        .skip 4096, 0xcc
#endif

        .section .bss
        .balign 4096
        .skip 32768
kit_stack_top:

        .section .note.GNU-stack, "", @progbits
