// Fields of a vCPU's state page, which the gate's code and the monitor share: the number of each, 8 bytes
// wide. For the assembler, too.
#pragma once

// -- written by the monitor before each entry, by the gate while it runs
#define GATE_KERNEL_MODE 0  // 1: the guest's kernel runs, else its user mode
#define GATE_KERNEL_SP 1    // where the kernel's stack begins when user mode is interrupted
#define GATE_KERNEL_SS 2
#define GATE_TASK_SWITCHED 3  // virtual CR0.TS; the processor's own is the same

// -- written by the monitor, read by the gate
#define GATE_ATTENTION 4   // leave for the monitor instead of returning to the guest
#define GATE_KERNEL_CR3 5  // the mirrors of the two roots; 0: none
#define GATE_USER_CR3 6
#define GATE_INFO 7        // address of the vcpu_info, in a page of the vCPU's area
#define GATE_IOPL 8        // virtual IOPL, as flags of a frame show it
#define GATE_IOPL_CHECK 9  // flags in which an iret must agree with it, or is the monitor's
#define GATE_VERSION 10    // what XENVER_version answers
#define GATE_ARENA 26      // from a mirror's physical address to where the gate finds it: what to add
#define GATE_NEXT_CR3 28   // what `reload` loads

// -- written by the gate, read by the monitor
#define GATE_GS_MOVED 11  // the inactive GS base may not be the one that the monitor set
#define GATE_SINGLE_STEPPED 12
#define GATE_GUEST_RSP 13       // at a SYSCALL that is the monitor's
#define GATE_REFUSED_VECTOR 14  // of the fault that an IRETQ to the guest met
#define GATE_REFUSED_ERROR 15
#define GATE_CR3 27  // at an exit that is the monitor's to answer; 0: not told

// -- the gate's own
#define GATE_FAULT_ADDRESS 16  // CR2 of the page fault that is being bounced; at its exit, for the monitor
#define GATE_IRET 17           // nine words of struct iret_context

// -- handlers: two fields each, address (0: none) and flags
#define GATE_SYSCALL 32
#define GATE_EVENT 34
#define GATE_TRAPS 64  // 32 of them
#define GATE_MASKS_EVENTS 1
#define GATE_CLEARS_DF 2

// -- counters of what was finished in the VM
#define GATE_BOUNCED 128  // 34: the exceptions by vector, system calls, events
#define GATE_BOUNCED_SYSCALLS 32
#define GATE_BOUNCED_EVENTS 33
#define GATE_HYPERCALLS 192  // 64, by number
