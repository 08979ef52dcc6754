// The fast paths: what the gate does at CPL0 without leaving the VM, where the host has two-dimensional paging. They
// bounce system calls, exceptions and events: push a frame onto the guest kernel's stack and return to its handler. The
// hypercalls that they answer are in fast_hypercalls.inc. The frames are those of vmm/cpu/trap_delivery.cpp. Anything
// else is left to the monitor: an OUT leaves the VM, with the guest's registers as they were.
//
// Each vCPU has this page between its stack and its state page. So the code reaches both relative to RIP, and need
// not save or trust a register of the guest's first. It never enables interrupts.
//
// Rules that keep it safe:
//  - It accesses guest memory in nine places, through the guest's own tables. Before that it refuses addresses in the
//    hypervisor's slots, which alone have supervisor pages. A fault there, or in a load of a guest's selector, goes to
//    a fixup; until then nothing was changed that the monitor would look at. Each word is read once.
//  - It reads the mirrors in one place, with the same fixup, and no guest chooses the address. Only the resident path
//    writes them, and other memory of the monitor's (resident.cpp); it is called with copies of what the guest wrote.
//  - RSP always points to the gate's own stack, so a fault inside the gate has a stack. The two instructions at
//    LSTAR that run before RSP is set can't fault: their page and the state page are always present. What can come
//    there in spite of that has a stack of its own (OwnStack in vmm/gate/layout.hpp): a #DB that MOV SS held back
//    over the SYSCALL, an NMI, a machine check.
//  - The gate's accesses to the guest's memory may hit the guest's data breakpoints. Such a #DB is no business of the
//    guest's, as on Xen: the gate returns from it. The debug registers name no address of the gate's.
//  - Only IRETQ returns to the guest. The processor checks the selectors there; if it refuses them, the monitor
//    gives the guest that fault.

#include <cet.h>  // marks the object, where CET is on: nothing of the host jumps here

#include "vmm/asm_constants.h"

// The state page (vmm/gate/state_page.hpp) follows this one. The stack (FastFrame in
// vmm/gate/frames.hpp, F_) precedes it.
#define STATE(field) begin + PAGE + STATE_##field(%rip)
#define STACK(offset) begin - PAGE - (offset)(%rip)

        .section .rodata
        .balign 16
        .global pinfold_fast_begin, pinfold_fast_end
        .global pinfold_fast_syscall, pinfold_fast_exceptions
        .global pinfold_fast_syscall_out, pinfold_fast_exception_out, pinfold_fast_return, pinfold_fast_return_out
        .global pinfold_fast_refused_out, pinfold_fast_broken_out, pinfold_fast_reload

        .macro push_registers
        push %rax
        push %rcx
        push %rdx
        push %rbx
        push %rsi
        push %rdi
        .endm

        // Calls resident.cpp with what RDI and RSI say. It changes RAX, RCX, RDX, RSI, RDI and R8 to R11.
        .macro call_resident
        lea STATE(BEGIN), %rdx
        call *STATE(RESIDENT)
        .endm

        .macro pop_registers
        pop %rdi
        pop %rsi
        pop %rbx
        pop %rdx
        pop %rcx
        pop %rax
        .endm

        // Jumps to `slow` if the address lies in the hypervisor's range, L4 slots 256 to 271 of the upper half.
        .macro refuse_hypervisors address, scratch
        mov \address, \scratch
        shr $39, \scratch
        sub $XEN_RANGE_FIRST_SLOT, \scratch
        cmp $XEN_RANGE_SLOTS, \scratch
        jb slow
        .endm

        // Jumps to `next` if the fault's RIP, in RAX, is between two labels.
        .macro fixup first, behind, next
        lea \first(%rip), %rcx
        cmp %rcx, %rax
        jb 1f
        lea \behind(%rip), %rcx
        cmp %rcx, %rax
        jb \next
1:
        .endm

pinfold_fast_begin:
begin:
        // -- exceptions, entries of one size
pinfold_fast_exceptions:
        .set vector, 0
        .rept EXCEPTIONS
        .if ((VECTORS_WITH_ERROR >> vector) & 1) == 0
        pushq $0
        .endif
        pushq $vector
        .if (VECTORS_ON_OWN_STACKS >> vector) & 1
        jmp on_own_stack
        .else
        jmp exception
        .endif
        .balign EXCEPTION_STUB_SIZE
        .set vector, vector + 1
        .endr

        // -- LSTAR. RCX and R11 hold the caller's RIP and RFLAGS.
pinfold_fast_syscall:
        mov %rsp, STATE(GUEST_RSP)
        lea STACK(0), %rsp
        pushq $DATA3
        pushq STATE(GUEST_RSP)
        push %r11
        pushq $CODE64
        push %rcx
        pushq $0
        pushq $BOUNCED_SYSCALLS
        push_registers
        cmpq $0, STATE(KERNEL_MODE)
        jne hypercall
        lea STATE(SYSCALL), %rbx
        jmp bounce

        // -- an exception whose stack is its own. If the guest raised it, the gate's stack is empty, and the frame
        // moves there, so that this stack is free again before guest memory is accessed.
on_own_stack:
        testb $3, F_CS - F_KIND(%rsp)
        jz in_gate_on_own_stack
        push %rax
        .set word, 1
        .rept (F_SIZE - F_KIND) / 8
        mov 8 * word(%rsp), %rax
        mov %rax, STACK(F_SIZE - F_KIND - 8 * (word - 1))
        .set word, word + 1
        .endr
        pop %rax
        lea STACK(F_SIZE - F_KIND), %rsp
        jmp exception

        // A breakpoint that an access of the gate's hit, or an NMI, which is never the guest's: on with the gate. Any
        // other vector here means that the gate is broken.
in_gate_on_own_stack:
        cmpb $VECTOR_NMI, (%rsp)
        ja pinfold_fast_broken_out
        add $(F_RIP - F_KIND), %rsp
        iretq

exception:
        testb $3, F_CS - F_KIND(%rsp)
        jz nested
        push_registers
        mov F_KIND(%rsp), %rax
        cmp $VECTOR_GP, %eax
        je protection_fault
        mov $FAST_VECTORS, %ecx
        bt %eax, %ecx
        jnc slow
        cmp $VECTOR_PF, %eax
        je page_fault
        cmp $VECTOR_NM, %eax
        je device_not_available
        cmp $VECTOR_DB, %eax
        jne bounce_exception
        // The gate knows a single step. Only the monitor knows what else may be the cause.
        cmpq $0, STATE(WATCHES)
        jne slow
        testl $FLAG_TF, F_RFLAGS(%rsp)
        jz slow
        movq $1, STATE(SINGLE_STEPPED)
bounce_exception:
        shl $4, %eax
        lea STATE(TRAPS), %rbx
        add %rax, %rbx
        jmp bounce

device_not_available:
        clts
        movq $0, STATE(TASK_SWITCHED)
        jmp bounce_exception

        // Instructions of the guest's kernel that need no judgement are emulated here: CLI and STI, which do nothing if the
        // kernel may use them, and RDMSR and WRMSR of a segment base. (Linux boots with thousands of the first. With
        // FSGSBASE, it reads the inactive GS base at each context switch.) Anything else that raises #GP is left to the
        // monitor, and so is a base that is not canonical, or an instruction with a prefix.
protection_fault:
        cmpq $0, F_ERROR(%rsp)
        jne slow
        cmpq $0, STATE(KERNEL_MODE)
        je slow
        cmpq $CODE64, F_CS(%rsp)
        jne slow
        testl $FLAG_TF, F_RFLAGS(%rsp)
        jnz slow
        mov F_RIP(%rsp), %rsi
        refuse_hypervisors %rsi, %rax
instruction_loads:
        movzwl (%rsi), %ebx
instruction_loads_behind:
        lea -CLI_OPCODE(%rbx), %eax
        cmp $1, %al  // STI's opcode is the next one
        ja 1f
        cmpq $0, STATE(IO_PRIVILEGED)
        je slow
        incq STATE(INTERRUPT_FLAGS)
        mov $1, %eax
        jmp 3f
1:      mov F_RCX(%rsp), %ecx
        mov %ecx, %eax
        sub $MSR_FS_BASE, %eax
        cmp $BASE_MSRS, %eax
        jae slow
        cmp $RDMSR_OPCODE, %ebx
        jne 1f
        rdmsr
        mov %rax, F_RAX(%rsp)
        mov %rdx, F_RDX(%rsp)
        jmp 2f
1:      cmp $WRMSR_OPCODE, %ebx
        jne slow
        mov F_RAX(%rsp), %eax
        mov F_RDX(%rsp), %edx
        movswl %dx, %esi  // bit 47 of the base has to be the same as all above it
        cmp %esi, %edx
        jne slow
        wrmsr
        movq $1, STATE(GS_MOVED)
2:      incq STATE(EMULATED)
        mov $2, %eax
3:      add %rax, F_RIP(%rsp)
        andq $~FLAG_RF, F_RFLAGS(%rsp)
        jmp leave

        // A page that is not present is a fault for the guest. So is a program's write to a page that its tables make
        // read-only. A kernel's write to such a page is left to the monitor: it may be meant for a page table.
page_fault:
        mov %cr2, %rcx
        mov %rcx, STATE(FAULT_ADDRESS)
        refuse_hypervisors %rcx, %rdx
        cmpq $(FAULT_PRESENT | FAULT_WRITE | FAULT_USER), F_ERROR(%rsp)
        je forbidden_write
        testb $(FAULT_PRESENT | FAULT_RESERVED), F_ERROR(%rsp)  // QEMU sets only the latter for a reserved bit
        jnz slow
        // Both guest modes run at CPL3. The handler expects the U bit of the guest's own mode.
        andq $~FAULT_USER, F_ERROR(%rsp)
        cmpq $0, STATE(KERNEL_MODE)
        jne bounce_exception
        orq $FAULT_USER, F_ERROR(%rsp)
        jmp bounce_exception

        // Walks the mirrors: do the guest's own tables forbid the write? A mirror also lacks W while the page
        // is clean, and another vCPU may have set W since the fault. RCX: the address. RDX: the table. EBX: W
        // in all levels above L1.
forbidden_write:
        cmpq $0, STATE(KERNEL_MODE)
        jne kernel_store
        mov %rcx, %rdi
        mov STATE(USER_CR3), %rdx
        mov STATE(ARENA), %rsi
        mov $PTE_WRITABLE, %ebx
        mov $39, %ecx
1:      mov %rdi, %rax
        shr %cl, %rax
        and $511, %eax
        lea (%rdx, %rax, 8), %rax
walk_loads:
        mov (%rsi, %rax), %rax
walk_loads_behind:
        test $PTE_PRESENT, %al
        jz slow
        test $PTE_USER, %al  // not set where a window is still to come (pvmmu/linear_windows.hpp)
        jz slow
        cmp $12, %ecx
        je 2f
        and %eax, %ebx
        mov %rax, %rdx
        btr $PTE_NO_EXECUTE_NUMBER, %rdx
        and $-PAGE, %rdx
        sub $9, %ecx
        jmp 1b
2:      test %ebx, %ebx
        jz 3f
        test $(PTE_WRITABLE | PTE_WITHHELD_WRITE), %eax
        jnz slow
3:      mov $VECTOR_PF, %eax
        jmp bounce_exception

        // A kernel's write to a read-only page, in 64-bit code: the resident path may emulate it if it is one of two
        // instructions and hits an entry of an L1, or find that it is the guest's own fault (resident.cpp).
kernel_store:
        cmpq $0, STATE(RESIDENT)
        je slow
        cmpq $CODE64, F_CS(%rsp)
        jne slow
        testl $FLAG_TF, F_RFLAGS(%rsp)
        jnz slow
        mov F_RIP(%rsp), %rsi
        refuse_hypervisors %rsi, %rax
code_loads:
        mov (%rsi), %rax
        mov 8(%rsi), %rcx
code_loads_behind:
        mov %rax, STATE(CODE)
        mov %rcx, STATE(CODE + 8)
        cld
        push %r15
        push %r14
        push %r13
        push %r12
        push %r11
        push %r10
        push %r9
        push %r8
        push %rbp
        mov $RESIDENT_STORE, %edi
        mov %rsp, %rsi
        call_resident
        pop %rbp
        pop %r8
        pop %r9
        pop %r10
        pop %r11
        pop %r12
        pop %r13
        pop %r14
        pop %r15
        cmp $STORE_DONE, %rax
        jb slow
        je leave
        andq $~FAULT_USER, F_ERROR(%rsp)
        mov $VECTOR_PF, %eax
        jmp bounce_exception

        // -- Pushes a frame of what is interrupted (the F_ fields, R11) for the guest's kernel and returns to the handler
        // that RBX points to.
bounce:
        cmpq $0, HANDLER_ADDRESS(%rbx)
        je slow
        mov F_RSP(%rsp), %rsi
        cmpq $0, STATE(KERNEL_MODE)
        jne 1f
        mov STATE(KERNEL_SP), %rsi
1:      and $-16, %rsi
        sub $64, %rsi
        refuse_hypervisors %rsi, %rax

        // RFLAGS and CS as the guest sees them: IF is clear while events are masked, and the upper
        // half of CS holds the mask.
        mov STATE(INFO), %rcx
        xor %edx, %edx
        cmpb $0, INFO_MASK(%rcx)
        setne %dl
        mov %edx, %ecx
        xor $1, %ecx
        shl $FLAG_IF_NUMBER, %ecx
        mov F_RFLAGS(%rsp), %rax
        and $~(FLAG_IF | FLAG_IOPL), %rax
        or STATE(IOPL), %rax
        or %rcx, %rax
        shl $32, %rdx
        movzwl F_CS(%rsp), %ecx
        cmpq $0, STATE(KERNEL_MODE)
        je 2f
        and $~3, %ecx
        jmp 3f
2:      mov STATE(KERNEL_CR3), %rdi
        mov %rdi, %cr3
3:      or %rcx, %rdx

stores:
        mov %rax, 40(%rsi)
        mov %rdx, 32(%rsi)
        movzwl F_SS(%rsp), %eax
        mov %rax, 56(%rsi)
        mov F_RSP(%rsp), %rax
        mov %rax, 48(%rsi)
        mov F_RIP(%rsp), %rax
        mov %rax, 24(%rsi)
        mov F_RCX(%rsp), %rcx
        mov F_KIND(%rsp), %edx
        mov $VECTORS_WITH_ERROR, %eax
        bt %edx, %eax  // takes the kind modulo 32: a system call is like vector 0, an event like vector 1
        jnc 4f
        mov F_ERROR(%rsp), %rax
        mov %rax, 16(%rsi)
        mov %r11, 8(%rsi)
        mov %rcx, (%rsi)
        jmp stores_behind
4:      mov %r11, 16(%rsi)
        mov %rcx, 8(%rsi)
stores_behind:

        // Nothing fails from here on. RSI: where the frame ends; 8 bytes higher without an error code. EDX: the kind.
        lea 8(%rsi), %rax
        mov $VECTORS_WITH_ERROR, %ecx
        bt %edx, %ecx
        cmovnc %rax, %rsi
        mov STATE(INFO), %rcx
        cmp $VECTOR_PF, %edx
        jne 5f
        mov STATE(FAULT_ADDRESS), %rax
        mov %rax, INFO_CR2(%rcx)
5:      testb $HANDLER_MASKS_EVENTS, HANDLER_FLAGS(%rbx)
        jz 6f
        movb $1, INFO_MASK(%rcx)
6:      cmpq $0, STATE(KERNEL_MODE)
        jne 7f
        swapgs
        movq $1, STATE(KERNEL_MODE)
        movq $1, STATE(GS_MOVED)
7:      lea STATE(BOUNCED), %rcx
        incq (%rcx, %rdx, 8)

        mov F_RFLAGS(%rsp), %rax
        and $~(FLAG_TF | FLAG_VM | FLAG_RF | FLAG_NT | FLAG_AC), %rax
        mov %rax, %r11
        testb $HANDLER_CLEARS_DF, HANDLER_FLAGS(%rbx)
        jz 8f
        and $~FLAG_DF, %rax
8:      or $(FLAG_IF | FLAG_FIXED), %rax
        mov %rax, F_RFLAGS(%rsp)
        mov HANDLER_ADDRESS(%rbx), %rax
        mov %rax, F_RIP(%rsp)
        mov %rax, F_RCX(%rsp)
        mov %rsi, F_RSP(%rsp)
        movq $CODE64, F_CS(%rsp)
        movq $DATA3, F_SS(%rsp)

        // -- Returns to the guest, whose registers are the F_ fields.
leave:
        pop_registers
        add $(F_RIP - F_KIND), %rsp
        // The monitor may ask for the vCPU while it is in the gate. A vCPU that is interrupted between here and the
        // IRETQ counts as out of the gate: all its registers but RIP, RSP and what IRETQ loads are the guest's.
pinfold_fast_return:
        cmpq $0, STATE(ATTENTION)
        jne pinfold_fast_return_out
return_iretq:
        iretq
pinfold_fast_return_out:
        out %al, $PORT
        ud2

        // -- Entered by the monitor, to resume after an exit of the gate: IRETQ's frame is on the stack, the other
        // registers are the guest's. If the processor may keep its translations, the monitor enters
        // at pinfold_fast_return instead.
pinfold_fast_reload:
        push %rax
        mov STATE(NEXT_CR3), %rax
        mov %rax, %cr3
        pop %rax
        jmp pinfold_fast_return

        // Events may have been unmasked: if one is pending, it goes first.
return_or_event:
        mov STATE(INFO), %rcx
        cmpb $0, INFO_PENDING(%rcx)
        je leave
        cmpb $0, INFO_MASK(%rcx)
        jne leave
        movq $BOUNCED_EVENTS, F_KIND(%rsp)
        lea STATE(EVENT), %rbx
        jmp bounce

#include "vmm/gate/fast_hypercalls.inc"

        // -- Leaves to the monitor, with all registers as at the entry of the gate.
slow:
        mov %cr3, %rax
        mov %rax, STATE(EXIT_CR3)
        mov F_KIND(%rsp), %eax
        cmp $BOUNCED_SYSCALLS, %eax
        je 1f
        ja 2f
        pop_registers
pinfold_fast_exception_out:
        out %al, $PORT
        ud2
1:      pop_registers
pinfold_fast_syscall_out:
        out %al, $PORT
        ud2
        // The frame of an event can't be pushed. What it would interrupt is in IRETQ's frame.
2:      pop_registers
        add $(F_RIP - F_KIND), %rsp
        jmp pinfold_fast_return_out

        // -- A fault inside the gate. Its frame lies below what the gate had pushed.
nested:
        push %rax
        push %rcx
        mov 16 + F_RIP - F_KIND(%rsp), %rax
        fixup stores, stores_behind, fixed
        fixup loads, loads_behind, fixed
        fixup walk_loads, walk_loads_behind, fixed
        fixup instruction_loads, instruction_loads_behind, fixed
        fixup operation_loads, operation_loads_behind, fixed
        fixup request_loads, request_loads_behind, fixed
        fixup call_loads, call_loads_behind, fixed
        fixup list_loads, list_loads_behind, fixed
        fixup rest_stores, rest_stores_behind, fixed
        fixup code_loads, code_loads_behind, fixed
        fixup load_gs, load_gs_behind, fixed_swapped
        lea return_iretq(%rip), %rcx
        cmp %rcx, %rax
        je 2f
        // The IRETQ of an entry stub was refused (vmm/gate/entry_stub.hpp), or the gate is broken.
        pop %rcx
        pop %rax
pinfold_fast_broken_out:
        out %al, $PORT
        ud2
2:      mov 16(%rsp), %rax
        mov %rax, STATE(REFUSED_VECTOR)
        mov 24(%rsp), %rax
        mov %rax, STATE(REFUSED_ERROR)
        pop %rcx
        pop %rax
        lea STACK(F_SIZE - F_RIP), %rsp
pinfold_fast_refused_out:
        out %al, $PORT
        ud2

        // The guest's stack can't be read or written, or its selector can't be loaded. The monitor finds out why; CR2
        // gets the value that it had.
fixed_swapped:
        swapgs
fixed:
        lea STACK(F_SIZE), %rsp
        cmpq $VECTOR_PF, F_KIND(%rsp)
        jne slow
        mov STATE(FAULT_ADDRESS), %rax
        mov %rax, %cr2
        jmp slow
pinfold_fast_end:
        .org begin + PAGE  // an error if it is longer than that

        .section .note.GNU-stack, "", @progbits
