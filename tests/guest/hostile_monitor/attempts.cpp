#include "attempts.hpp"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>

namespace hostile {

Targets targets;

namespace {

template <class... Arguments>
long call(long number, Arguments... arguments) {
  const long result = ::syscall(number, arguments...);
  return result < 0 ? -errno : result;
}

/// A child that was made does nothing.
template <class... Arguments>
long call_for_child(long number, Arguments... arguments) {
  const long result = call(number, arguments...);
  if (result == 0) ::syscall(SYS_exit_group, 0);
  return result;
}

constexpr const char* file = "/etc/passwd";
constexpr const char* program = "/bin/true";
constexpr std::size_t page = 4096;
constexpr int nobody = 65534;

sockaddr_un other_guest() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, targets.address, sizeof address.sun_path - 1);
  return address;
}

sockaddr_in this_machine() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

long execute() {
  std::array<const char*, 2> words{program, nullptr};
  return call(SYS_execve, program, words.data(), nullptr);
}

/// The child's status, or -errno.
long execute_in_child() {
  const long child = call(SYS_fork);
  if (child == 0) {
    const long error = execute();
    ::syscall(SYS_exit_group, -error);
  }
  int status = 0;
  ::syscall(SYS_wait4, child, &status, 0, nullptr);
  return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

/// The number of the last one, or why there is no other.
long many_descriptors() {
  constexpr long many = 20'000;
  std::array<std::uint64_t, many / 64 + 1> made{};
  long last = 0;
  for (long i = 0; last >= 0 && i < many; ++i) {
    last = call(SYS_fcntl, 2, F_DUPFD_CLOEXEC, 0);
    if (last >= 0 && last < many) made.at(static_cast<std::size_t>(last) / 64) |= 1ULL << (last % 64);
  }
  for (long i = 0; i < many; ++i)
    if ((made.at(static_cast<std::size_t>(i) / 64) >> (i % 64) & 1) != 0) ::syscall(SYS_close, i);
  return last;
}

long new_process_by_clone3() {
  std::array<std::uint64_t, 8> arguments{};
  arguments[4] = SIGCHLD;
  return call_for_child(SYS_clone3, arguments.data(), sizeof arguments);
}

long connect_unix() {
  const sockaddr_un address = other_guest();
  return call(SYS_connect, targets.socket, &address, sizeof address);
}

long connect_tcp() {
  sockaddr_in address = this_machine();
  address.sin_port = htons(9);
  return call(SYS_connect, targets.tcp, &address, sizeof address);
}

long bind_tcp() {
  const sockaddr_in address = this_machine();
  return call(SYS_bind, targets.tcp, &address, sizeof address);
}

long load_bpf() {
  bpf_attr attribute{};
  attribute.map_type = BPF_MAP_TYPE_ARRAY;
  attribute.key_size = attribute.value_size = 4;
  attribute.max_entries = 1;
  return call(SYS_bpf, BPF_MAP_CREATE, &attribute, sizeof attribute);
}

long new_ring() {
  io_uring_params parameters{};
  return call(SYS_io_uring_setup, 1, &parameters);
}

long forget_the_handler() {
  std::array<std::uint64_t, 4> by_default{};  // struct sigaction, as the kernel has it
  return call(SYS_rt_sigaction, SIGSYS, by_default.data(), nullptr, 8);
}

long more_descriptors() {
  const rlimit many{4096, 4096};
  return call(SYS_prlimit64, 0, RLIMIT_NOFILE, &many, nullptr);
}

long type_into_terminal() {
  char key = 'x';
  return call(SYS_ioctl, 0, TIOCSTI, &key);
}

// clang-format off
constexpr auto all = std::to_array<Attempt>({
    // Other files.
    {"open", [] { return call(SYS_open, file, O_RDONLY); }},
    {"openat", [] { return call(SYS_openat, AT_FDCWD, file, O_RDONLY); }},
    {"openat2", [] { std::array<std::uint64_t, 3> how{}; return call(SYS_openat2, AT_FDCWD, file, how.data(), sizeof how); }},
    {"creat", [] { return call(SYS_creat, "/tmp/pinfold-hostile", 0600); }},
    {"open_by_handle_at", [] { return call(SYS_open_by_handle_at, AT_FDCWD, nullptr, O_RDONLY); }},
    {"unlink", [] { return call(SYS_unlink, "/tmp/pinfold-hostile"); }},
    {"unlinkat", [] { return call(SYS_unlinkat, AT_FDCWD, "/tmp/pinfold-hostile", 0); }},
    {"rename", [] { return call(SYS_rename, "/tmp/pinfold-hostile", "/tmp/pinfold-hostile-2"); }},
    {"mkdir", [] { return call(SYS_mkdir, "/tmp/pinfold-hostile", 0700); }},
    {"stat", [] { return call(SYS_stat, file, targets.page); }},
    {"newfstatat", [] { return call(SYS_newfstatat, AT_FDCWD, file, targets.page, 0); }},
    {"readlink", [] { return call(SYS_readlink, "/proc/self/exe", targets.page, page); }},
    {"getdents64", [] { return call(SYS_getdents64, targets.file, targets.page, page); }},
    {"chdir", [] { return call(SYS_chdir, "/tmp"); }},
    {"chroot", [] { return call(SYS_chroot, "/tmp"); }},
    {"mount", [] { return call(SYS_mount, "none", "/tmp", "tmpfs", 0, nullptr); }},
    {"memfd_create", [] { return call(SYS_memfd_create, "hostile", 0); }},
    // Sockets, and another guest's.
    {"socket", [] { return call(SYS_socket, AF_UNIX, SOCK_STREAM, 0); }},
    {"socketpair", [] { return call(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, targets.page); }},
    {"connect", [] { return connect_unix(); }},
    {"bind", [] { return bind_tcp(); }},
    {"listen", [] { return call(SYS_listen, targets.tcp, 1); }},
    // Other programs and processes.
    {"execve", [] { return execute(); }},
    {"execveat", [] { return call(SYS_execveat, targets.file, "", nullptr, nullptr, AT_EMPTY_PATH); }},
    {"fork", [] { return call_for_child(SYS_fork); }},
    {"vfork", [] { return call_for_child(SYS_vfork); }},
    {"clone", [] { return call_for_child(SYS_clone, SIGCHLD, 0, 0, 0, 0); }},
    {"clone3", [] { return new_process_by_clone3(); }},
    {"ptrace", [] { return call(SYS_ptrace, PTRACE_ATTACH, targets.other, 0, 0); }},
    {"process_vm_readv", [] { return call(SYS_process_vm_readv, targets.other, nullptr, 0, nullptr, 0, 0); }},
    {"kill", [] { return call(SYS_kill, targets.other, 0); }},
    {"tkill", [] { return call(SYS_tkill, targets.other, 0); }},
    {"tgkill", [] { return call(SYS_tgkill, targets.other, targets.other, SIGUSR1); }},
    {"rt_sigqueueinfo", [] { return call(SYS_rt_sigqueueinfo, targets.other, SIGUSR1, targets.page); }},
    {"pidfd_open", [] { return call(SYS_pidfd_open, targets.other, 0); }},
    {"pidfd_getfd", [] { return call(SYS_pidfd_getfd, targets.other_by_descriptor, 0, 0); }},
    {"pidfd_send_signal", [] { return call(SYS_pidfd_send_signal, targets.other_by_descriptor, 0, nullptr, 0); }},
    {"wait4", [] { return call(SYS_wait4, -1, nullptr, 1, nullptr); }},
    // Code.
    {"mmap", [] { return call(SYS_mmap, nullptr, page, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }},
    {"mmap of a file", [] { return call(SYS_mmap, nullptr, page, PROT_READ | PROT_EXEC, MAP_PRIVATE, targets.file, 0); }},
    {"mprotect", [] { return call(SYS_mprotect, targets.page, page, PROT_READ | PROT_EXEC); }},
    {"mprotect with a high bit", [] { return call(SYS_mprotect, targets.page, page, 0x100000000L | PROT_READ | PROT_EXEC); }},
    {"pkey_mprotect", [] { return call(SYS_pkey_mprotect, targets.page, page, PROT_READ | PROT_EXEC, -1); }},
    {"shmat", [] { return call(SYS_shmat, 0, nullptr, SHM_EXEC); }},
    {"remap_file_pages", [] { return call(SYS_remap_file_pages, targets.page, page, PROT_EXEC, 0, 0); }},
    {"personality", [] { return call(SYS_personality, 0x0400000L); }},
    // Around the sandbox.
    {"io_uring_setup", [] { return new_ring(); }},
    {"io_uring_register", [] { return call(SYS_io_uring_register, targets.file, 0, nullptr, 0); }},
    {"seccomp", [] { return call(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, targets.page); }},
    {"prctl", [] { return call(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); }},
    {"arch_prctl", [] { return call(SYS_arch_prctl, 0x1012, 1); }},
    {"rt_sigaction", [] { return forget_the_handler(); }},
    {"bpf", [] { return load_bpf(); }},
    {"perf_event_open", [] { return call(SYS_perf_event_open, nullptr, 0, -1, -1, 0); }},
    {"userfaultfd", [] { return call(SYS_userfaultfd, 0); }},
    {"unshare", [] { return call(SYS_unshare, CLONE_NEWUSER); }},
    {"setns", [] { return call(SYS_setns, targets.file, 0); }},
    {"keyctl", [] { return call(SYS_keyctl, 0, -3, 0, 0, 0); }},
    {"prlimit64", [] { return more_descriptors(); }},
    {"setuid", [] { return call(SYS_setuid, nobody); }},
    {"capset", [] { return call(SYS_capset, targets.page, nullptr); }},
    {"ioctl of a terminal", [] { return type_into_terminal(); }},
    {"fcntl", [] { return call(SYS_fcntl, 2, F_SETOWN, targets.other); }},
    {"setsockopt", [] { return call(SYS_setsockopt, targets.tcp, SOL_SOCKET, SO_REUSEADDR, targets.page, 4); }},
    {"a number that no call has", [] { return call(999); }},
});

constexpr auto at_other_layers = std::to_array<Attempt>({
    // Landlock.
    {"openat", [] { return call(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC); }},
    {"creat", [] { return call(SYS_creat, "/tmp/pinfold-hostile", 0600); }},
    {"unlink", [] { return call(SYS_unlink, "/tmp/pinfold-hostile"); }},
    {"execve", [] { return execute_in_child(); }},
    {"connect by TCP", [] { return connect_tcp(); }},
    {"bind by TCP", [] { return bind_tcp(); }},
    {"kill", [] { return call(SYS_kill, targets.other, 0); }},
    {"ptrace", [] { return call(SYS_ptrace, PTRACE_SEIZE, targets.other, 0, 0); }},
    // Privileges.
    {"no_new_privs", [] { return call(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); }},
    {"sethostname", [] { return call(SYS_sethostname, nullptr, -1L); }},
    {"setuid", [] { return call(SYS_setresuid, -1, nobody, -1); }},
    {"capability that an executed program could get", [] { return call(SYS_prctl, PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0); }},
    // Limits.
    {"descriptors", [] { return many_descriptors(); }},
    {"raise a limit", [] { return more_descriptors(); }},
    // Another user.
    {"open for root", [] { return call(SYS_openat, AT_FDCWD, "/etc/shadow", O_RDONLY | O_CLOEXEC); }},
    {"setuid to root", [] { return call(SYS_setresuid, -1, 0, -1); }},
});
// clang-format on

}  // namespace

std::span<const Attempt> attempts() { return all; }

std::span<const Attempt> attempts_at_other_layers() { return at_other_layers; }

}  // namespace hostile
