#include "cli/tools/tool_filter.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::tools {
namespace {

/// For descriptors that the program has, for its memory, and for its end.
constexpr int harmless[] = {
    SCMP_SYS(lseek),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(fstat),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(arch_prctl),
    SCMP_SYS(futex),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(rseq),
    SCMP_SYS(getrandom),
    SCMP_SYS(exit),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(exit_group),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(clock_gettime),
};

/// For descriptors, too, but for those of files that the parent reads.
constexpr int of_readers[] = {SCMP_SYS(read), SCMP_SYS(pread64), SCMP_SYS(close)};

/// For images that are written, threads, and a socket that listens. openat(2) is a question here, too.
constexpr int serving[] = {
    SCMP_SYS(pwrite64),
    SCMP_SYS(preadv),
    SCMP_SYS(pwritev),
    SCMP_SYS(fdatasync),
    SCMP_SYS(fsync),
    SCMP_SYS(fallocate),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fstatfs),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(eventfd2),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(signalfd4),
    SCMP_SYS(accept4),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(nanosleep),
    SCMP_SYS(sched_yield),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(getuid),
    SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(getrusage),
    SCMP_SYS(geteuid),
    SCMP_SYS(sched_getaffinity),
};
constexpr std::uint64_t thread_flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
constexpr std::uint64_t other_clone_flags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                            CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE |
                                            CLONE_VFORK;
/// Of the descriptor, of its file, and of locks; none that makes the kernel send signals to somebody.
constexpr int descriptor_commands[] = {F_GETFD,     F_SETFD,     F_GETFL,         F_SETFL,
                                       F_OFD_GETLK, F_OFD_SETLK, F_DUPFD_CLOEXEC, F_GET_SEALS};
/// Of block devices.
constexpr unsigned long device_requests[] = {BLKSSZGET, BLKPBSZGET, BLKDISCARD, BLKZEROOUT, BLKROGET};

/// Answers that need no look at the host. It has no such file, and no path is a symbolic link: so the
/// program's realpath(3) leaves the names of images as they are.
struct Answer {
  int call;
  std::uint16_t error;
};
constexpr Answer answers[] = {
    {SCMP_SYS(access), ENOENT}, {SCMP_SYS(faccessat), ENOENT}, {SCMP_SYS(faccessat2), ENOENT},
    {SCMP_SYS(stat), ENOENT},   {SCMP_SYS(lstat), ENOENT},     {SCMP_SYS(statfs), ENOENT},
    {SCMP_SYS(statx), ENOENT},  {SCMP_SYS(readlink), EINVAL},  {SCMP_SYS(readlinkat), EINVAL},
    {SCMP_SYS(getdents64), 0},  // a folder is empty
    {SCMP_SYS(chdir), 0},       // all paths that count are absolute
};

/// A condition on an argument: the bits of `mask` are those of `value`.
constexpr scmp_arg_cmp argument(unsigned index, std::uint64_t value, std::uint64_t mask = ~0ULL) {
  return {index, SCMP_CMP_MASKED_EQ, mask, value};
}

/// Keeps the first error.
class Rules {
 public:
  explicit Rules(scmp_filter_ctx context) : context_(context) {}

  void add(std::uint32_t action, int call, const std::vector<scmp_arg_cmp>& conditions = {}) {
    const int result = seccomp_rule_add_array(context_, action, call,
                                              static_cast<unsigned>(conditions.size()), conditions.data());
    if (error_ == 0) error_ = result;
  }
  [[nodiscard]] int error() const { return error_; }

 private:
  scmp_filter_ctx context_;
  int error_ = 0;
};

void add_serving(Rules& rules) {
  for (const int call : of_readers) rules.add(SCMP_ACT_ALLOW, call);
  for (const int call : serving) rules.add(SCMP_ACT_ALLOW, call);
  rules.add(SCMP_ACT_ALLOW, SCMP_SYS(clone), {argument(0, thread_flags, thread_flags | other_clone_flags)});
  for (const int command : descriptor_commands)
    rules.add(SCMP_ACT_ALLOW, SCMP_SYS(fcntl),
              {argument(1, static_cast<std::uint64_t>(command), 0xffffffff)});
  for (const unsigned long request : device_requests)
    rules.add(SCMP_ACT_ALLOW, SCMP_SYS(ioctl), {argument(1, request, 0xffffffff)});
  rules.add(SCMP_ACT_ALLOW, SCMP_SYS(prctl), {argument(0, PR_SET_NAME, 0xffffffff)});
  rules.add(SCMP_ACT_ALLOW, SCMP_SYS(prctl), {argument(0, PR_SET_TIMERSLACK, 0xffffffff)});
}

void add_reading(Rules& rules, int parent) {
  const auto compare = [](scmp_compare how) {
    return scmp_arg_cmp{0, how, static_cast<std::uint64_t>(first_served_descriptor), 0};
  };
  for (const int call : of_readers) rules.add(SCMP_ACT_ALLOW, call, {compare(SCMP_CMP_LT)});
  for (const int call : {SCMP_SYS(read), SCMP_SYS(close)})
    rules.add(SCMP_ACT_NOTIFY, call, {compare(SCMP_CMP_GE)});
  rules.add(SCMP_ACT_ALLOW, SCMP_SYS(sendmsg), {argument(0, static_cast<std::uint64_t>(parent))});
}

int add_rules(scmp_filter_ctx context, ToolCalls calls, const FilterDescriptors& descriptors) {
  Rules rules(context);
  for (const int call : harmless) rules.add(SCMP_ACT_ALLOW, call);
  for (const Answer& answer : answers) rules.add(SCMP_ACT_ERRNO(answer.error), answer.call);
  rules.add(SCMP_ACT_NOTIFY, SCMP_SYS(openat));
  // fstat(2) as some libraries make it; else a look at a path.
  constexpr std::uint64_t empty_path = AT_EMPTY_PATH;
  rules.add(SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), {argument(3, empty_path, empty_path)});
  rules.add(SCMP_ACT_ERRNO(ENOENT), SCMP_SYS(newfstatat), {argument(3, 0, empty_path)});
  rules.add(SCMP_ACT_ALLOW, SCMP_SYS(ioctl), {argument(1, BLKGETSIZE64, 0xffffffff)});
  rules.add(SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), {argument(2, 0)});
  rules.add(SCMP_ACT_ALLOW, SCMP_SYS(execveat),
            {argument(0, static_cast<std::uint64_t>(descriptors.program)), argument(4, empty_path)});
  if (calls == ToolCalls::serves)
    add_serving(rules);
  else
    add_reading(rules, descriptors.parent);
  return rules.error();
}

struct Release {
  void operator()(void* context) const { seccomp_release(context); }
};

tl::unexpected<std::string> failed(const char* what, int error) {
  return tl::unexpected(std::string(what) + ": " + std::strerror(error));
}

}  // namespace

tl::expected<ToolFilter, std::string> ToolFilter::make(ToolCalls calls,
                                                       const FilterDescriptors& descriptors) {
  const std::unique_ptr<void, Release> context(seccomp_init(SCMP_ACT_ERRNO(ENOSYS)));
  if (!context) return failed("seccomp_init", ENOMEM);
  if (const int error = add_rules(context.get(), calls, descriptors); error != 0)
    return failed("seccomp_rule_add", -error);
  const vmm::Fd file(::memfd_create("pinfold-filter", MFD_CLOEXEC));
  if (!file.open()) return failed("memfd_create", errno);
  if (const int error = seccomp_export_bpf(context.get(), file.get()); error != 0)
    return failed("seccomp_export_bpf", -error);
  struct stat facts {};
  if (::fstat(file.get(), &facts) != 0) return failed("fstat", errno);
  std::vector<sock_filter> program(static_cast<std::size_t>(facts.st_size) / sizeof(sock_filter));
  if (::pread(file.get(), program.data(), program.size() * sizeof(sock_filter), 0) != facts.st_size)
    return failed("pread", EIO);
  return ToolFilter(std::move(program));
}

int ToolFilter::load() const {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  // The kernel does not write to it.
  const sock_fprog filter{static_cast<unsigned short>(program_.size()),
                          const_cast<sock_filter*>(program_.data())};
  return static_cast<int>(
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter));
}

}  // namespace pinfold::cli::tools
