#include "sandbox/call_rules.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <csignal>

#include "vmm/kvm/abi.hpp"

namespace pinfold::sandbox {
namespace {

constexpr Kinds vcpu = kind_bit(ThreadKind::vcpu), io = kind_bit(ThreadKind::io),
                control = kind_bit(ThreadKind::control), log = kind_bit(ThreadKind::log), all = serving,
                helpers = unpacking | reading | keeping, making = preparing | kind_bit(ThreadKind::machine);

constexpr Condition is(unsigned argument, std::uint64_t value, const char* text) {
  // The kernel looks at the lower half of these arguments alone.
  return {Condition::Kind::masked, static_cast<std::uint8_t>(argument), 0xffffffff, value, text};
}
constexpr Condition without(unsigned argument, std::uint64_t bits, const char* text) {
  return {Condition::Kind::masked, static_cast<std::uint8_t>(argument), bits, 0, text};
}
constexpr Condition with(unsigned argument, std::uint64_t mask, std::uint64_t bits, const char* text) {
  return {Condition::Kind::masked, static_cast<std::uint8_t>(argument), mask, bits, text};
}
constexpr Condition null(unsigned argument, const char* text) {
  return {Condition::Kind::masked, static_cast<std::uint8_t>(argument), ~std::uint64_t{0}, 0, text};
}
constexpr Condition own_process{Condition::Kind::own_process, 0, 0, 0, "this process"};
constexpr Condition not_executable = without(2, PROT_EXEC, "without `PROT_EXEC`");

constexpr std::uint64_t thread_flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
constexpr std::uint64_t other_clone_flags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                            CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE |
                                            CLONE_VFORK;

#define REQUEST(name) \
  { is(1, name, "`" #name "`") }

// clang-format off
constexpr auto rules = std::to_array<CallRule>({
    {SYS_ioctl, vcpu, REQUEST(KVM_RUN), "enters the guest"},

    // The language's library: memory, locks, waiting, the ends of threads.
    {SYS_futex, all | reading, {}, "locks, condition variables, waiting for a thread's end"},
    {SYS_read, all | reading | keeping, {}, "descriptors that are open, such as a wake-up's"},
    {SYS_write, all | helpers, {}, "descriptors that are open: messages on stderr, wake-ups"},
    {SYS_writev, all | reading, {}, "frames to a tap device; the last words of the C library when it aborts"},
    {SYS_close, all | reading, {}, "only gives up a descriptor"},
    {SYS_poll, all | reading, {}, "waits for descriptors"},
    {SYS_ppoll, all, {}, "waits for descriptors"},
    {SYS_restart_syscall, all, {}, "the kernel's own: goes on with a wait that a stop interrupted"},
    {SYS_brk, all | helpers, {}, "the allocator"},
    {SYS_mmap, all | helpers, {not_executable}, "the allocator, and views of the machine"},
    {SYS_mprotect, all | helpers, {not_executable}, "the allocator, and pages of a view"},
    {SYS_munmap, all | helpers, {}, "the allocator, and stacks of threads that ended"},
    {SYS_mremap, all | helpers, {}, "realloc of large blocks; it keeps the protection"},
    {SYS_madvise, all | helpers, {}, "gives memory back to the host"},
    {SYS_clock_gettime, all | keeping, {}, "on hosts whose clock is not readable without a call"},
    {SYS_gettimeofday, all, {}, "on hosts whose clock is not readable without a call"},
    {SYS_time, all, {}, "on hosts whose clock is not readable without a call"},
    {SYS_clock_nanosleep, all | reading, {}, "short sleeps"},
    {SYS_sched_yield, all, {}, "waits for another thread's short work"},
    {SYS_sched_getaffinity, all, {}, "the allocator asks for the number of processors, once"},
    {SYS_getpid, all | helpers, {}, "part of sending a signal to a thread"},
    {SYS_gettid, all | helpers, {}, "part of sending a signal to a thread; messages name their thread"},
    {SYS_tgkill, all, {own_process, is(2, SIGUSR1, "`SIGUSR1`")}, "interrupts a vCPU, or a write of the output"},
    {SYS_tgkill, all | helpers, {own_process, is(2, SIGABRT, "`SIGABRT`")}, "ends this process when an invariant is broken"},
    {SYS_rt_sigprocmask, all | helpers, {}, "part of sending signals, and of starting and ending threads"},
    {SYS_rt_sigreturn, all | helpers, {}, "the end of a signal's handler"},
    {SYS_exit, all, {}, "the end of a thread"},
    {SYS_exit_group, all | helpers, {}, "the end of the process"},

    // vCPUs.
    {SYS_ioctl, vcpu | control, REQUEST(KVM_GET_REGS), "registers, also for GDB and a crash report"},
    {SYS_ioctl, vcpu | control, REQUEST(KVM_GET_SREGS), "registers, also for GDB and a crash report"},
    {SYS_ioctl, vcpu | control, {is(1, vmm::abi::get_msrs, "`KVM_GET_MSRS`")}, "segment bases, also for GDB and a crash report"},
    {SYS_ioctl, vcpu | control, REQUEST(KVM_GET_FPU), "floating-point state, also for GDB"},
    {SYS_ioctl, vcpu | control, REQUEST(KVM_SET_FPU), "floating-point state, also for GDB"},
    {SYS_ioctl, vcpu, {is(1, vmm::abi::set_cpuid2, "`KVM_SET_CPUID2`")}, "a vCPU that the guest brings up"},
    {SYS_ioctl, vcpu | control, {is(1, vmm::abi::set_msrs, "`KVM_SET_MSRS`")}, "segment bases, also when GDB sets them"},
    {SYS_ioctl, vcpu, REQUEST(KVM_SET_XCRS), "XSETBV, and a vCPU that the guest brings up"},
    {SYS_ioctl, vcpu, REQUEST(KVM_GET_VCPU_EVENTS), "exceptions that wait to be delivered"},
    {SYS_ioctl, vcpu, REQUEST(KVM_SET_VCPU_EVENTS), "exceptions that wait to be delivered"},
    {SYS_ioctl, vcpu, REQUEST(KVM_GET_DEBUGREGS), "the cause of a debug exception"},
    {SYS_ioctl, vcpu, REQUEST(KVM_SET_DEBUGREGS), "breakpoints of the guest's"},
    {SYS_ioctl, vcpu, REQUEST(KVM_GET_DEVICE_ATTR), "the TSC's offset after the host slept"},
    {SYS_ioctl, vcpu, REQUEST(KVM_SET_DEVICE_ATTR), "the TSC's offset after the host slept"},
    {SYS_ioctl, vcpu | control, REQUEST(KVM_SET_USER_MEMORY_REGION), "memory of the machine that grows, or goes"},
    {SYS_ioctl, vcpu | io | control, REQUEST(UFFDIO_WRITEPROTECT), "write protection of frames in a view"},
    {SYS_timer_create, vcpu, {}, "the vCPU's timer"},
    {SYS_timer_settime, vcpu, {}, "the vCPU's timer"},
    {SYS_timer_delete, vcpu, {}, "the vCPU's timer"},

    // Devices.
    {SYS_io_uring_enter, io | control, {}, "transfers of disks, in rings that are restricted to them"},
    {SYS_io_uring_register, control | io, {is(1, IORING_REGISTER_FILES_UPDATE, "`IORING_REGISTER_FILES_UPDATE`")}, "a ring gets the image of a disk that is attached, or gives it back; rings that have their image refuse it"},
    {SYS_fcntl, control, {is(1, F_OFD_GETLK, "`F_OFD_GETLK`")}, "does another program use a disk image that is attached?"},
    {SYS_fcntl, control, {is(1, F_GETFL, "`F_GETFL`")}, "what may be done with a descriptor that a client passed"},
    {SYS_fcntl, control, {is(1, F_SETFL, "`F_SETFL`"), with(2, O_NONBLOCK, O_NONBLOCK, "`O_NONBLOCK`")}, "nobody waits for the server of a disk that is attached"},
    {SYS_fcntl, control, {is(1, F_DUPFD_CLOEXEC, "`F_DUPFD_CLOEXEC`")}, "the NBD library gets a copy of the connection to that server"},
    {SYS_fcntl, control, {is(1, F_GETFD, "`F_GETFD`")}, "the same library makes its copy close-on-exec"},
    {SYS_fcntl, control, {is(1, F_SETFD, "`F_SETFD`"), is(2, FD_CLOEXEC, "`FD_CLOEXEC`")}, "the same library makes its copy close-on-exec"},
    {SYS_fstat, control, {}, "what a descriptor is that a client passed; the call takes no path"},
    {SYS_ioctl, control, REQUEST(BLKGETSIZE64), "the size of a block device that a client passed"},
    {SYS_preadv, io, {}, "transfers of disks, without io_uring"},
    {SYS_pwritev, io, {}, "transfers of disks, without io_uring"},
    {SYS_fdatasync, io, {}, "flushes of disks, without io_uring"},
    {SYS_fallocate, io, {}, "discards of disks, without io_uring"},
    {SYS_readv, io, {}, "frames from a tap device"},
    {SYS_sendmsg, io, {}, "frames to a stream socket"},
    {SYS_prctl, io, {is(0, PR_SET_TIMERSLACK, "`PR_SET_TIMERSLACK`")}, "short sleeps between requests"},

    // Clients, the terminal, the end.
    {SYS_getppid, control, {}, "tells clients who the supervisor is"},
    {SYS_accept4, control | io, {}, "clients of the sockets that listen, and peers of a network interface's"},
    {SYS_recvfrom, control | io | reading, {}, "clients, and the supervisor's wish to end; a monitor's answer; a disk's server"},
    {SYS_shutdown, control | io, {}, "the end of a connection to a disk's server"},
    {SYS_recvmsg, control | io, {}, "requests that come with descriptors; frames from a stream socket"},
    {SYS_sendto, control | io, {}, "answers to clients, requests to a disk's server"},
    {SYS_setsockopt, control, {is(1, IPPROTO_TCP, "`IPPROTO_TCP`"), is(2, TCP_NODELAY, "`TCP_NODELAY`")}, "GDB's connection"},
    {SYS_ioctl, control, REQUEST(TCGETS), "the terminal's modes"},
    {SYS_ioctl, control, REQUEST(TCSETS), "the terminal's modes, set again at the end"},
    {SYS_prctl, control, {is(0, PR_SET_PDEATHSIG, "`PR_SET_PDEATHSIG`")}, "the supervisor's death is this process's, once the terminal is restored"},
    {SYS_rt_sigaction, control, {null(1, "to ask only")}, "which signals the user ignores"},
    {SYS_fcntl, control | io, {is(1, F_OFD_SETLK, "`F_OFD_SETLK`")}, "the lock of a disk image that comes or goes"},

    // Logs.
    {SYS_pread64, log | reading | keeping, {}, "a log of a console or of messages, when it becomes an old one; a file with names"},
    {SYS_pwrite64, log | keeping, {}, "a log of a console or of messages"},
    {SYS_ftruncate, log | control | keeping, {}, "the console log starts anew; a log on a full disk ends with a whole block; a disk becomes larger"},

    // Before the guest's first instruction.
    {SYS_clone, making, {with(0, thread_flags | other_clone_flags, thread_flags, "a thread")}, "all threads start before their guest"},
    {SYS_sched_setaffinity, making, {is(0, 0, "the calling thread")}, "processors of the host for a vCPU's thread"},
    {SYS_set_robust_list, making, {}, "a thread's start"},
    {SYS_rseq, making, {}, "a thread's start"},
    {SYS_seccomp, making, {is(0, SECCOMP_SET_MODE_FILTER, "`SECCOMP_SET_MODE_FILTER`")}, "a thread becomes one of its kind"},
    {SYS_rt_sigaction, making, {is(0, SIGUSR1, "`SIGUSR1`")}, "the signal that interrupts"},
    {SYS_fcntl, kind_bit(ThreadKind::machine), {is(1, F_GET_SEALS, "`F_GET_SEALS`")}, "is a file that a guest is made from, and that a client passed, one that nobody can change?"},
    {SYS_eventfd2, making, {}, "wake-ups between threads"},
    {SYS_pipe2, making, {}, "wake-ups between threads"},
    {SYS_signalfd4, preparing, {}, "signals that ask for the end"},
    {SYS_memfd_create, preparing, {}, "the machine's memory"},
    {SYS_ftruncate, making, {}, "the machine's memory"},
    {SYS_userfaultfd, making, {}, "write protection of frames in a view"},
    {SYS_io_uring_setup, preparing, {}, "rings of disks"},
    {SYS_io_uring_register, preparing, {}, "rings of disks, and their restriction"},
    {SYS_fcntl, preparing, {is(1, F_GETFD, "`F_GETFD`")}, "the library for ELF files, given the open file of `--vmlinux`"},
    {SYS_newfstatat, preparing, {with(3, AT_EMPTY_PATH, AT_EMPTY_PATH, "`AT_EMPTY_PATH`")}, "the same library: the file's size"},
    {SYS_getrandom, preparing, {}, "a guest's UUID"},
    {SYS_ioctl, making, REQUEST(UFFDIO_API), "write protection of frames in a view"},
    {SYS_ioctl, making, REQUEST(UFFDIO_REGISTER), "write protection of frames in a view"},
    {SYS_ioctl, making, REQUEST(KVM_CHECK_EXTENSION), "the guest's virtual machine"},
    {SYS_ioctl, making, {is(1, vmm::abi::get_supported_cpuid, "`KVM_GET_SUPPORTED_CPUID`")}, "the guest's virtual machine"},
    {SYS_ioctl, making, REQUEST(KVM_CREATE_VM), "the guest's virtual machine"},
    {SYS_ioctl, making, REQUEST(KVM_SET_IDENTITY_MAP_ADDR), "the guest's virtual machine"},
    {SYS_ioctl, making, REQUEST(KVM_SET_TSS_ADDR), "the guest's virtual machine"},
    {SYS_ioctl, making, REQUEST(KVM_CREATE_VCPU), "the guest's virtual machine"},
    {SYS_ioctl, making, REQUEST(KVM_GET_TSC_KHZ), "the guest's clock"},

    // Processes beside the monitor.
    {SYS_vmsplice, unpacking, {}, "passes on the unpacked kernel without a copy"},
    {SYS_lseek, reading, {}, "a log's beginning, once its first bytes are known"},
});
// clang-format on
#undef REQUEST

}  // namespace

std::span<const CallRule> call_rules() { return rules; }

const char* name_of(ThreadKind kind) {
  switch (kind) {
    case ThreadKind::vcpu: return "vcpu";
    case ThreadKind::io: return "io";
    case ThreadKind::control: return "control";
    case ThreadKind::machine: return "machine";
    case ThreadKind::log: break;
  }
  return "log";
}

}  // namespace pinfold::sandbox
