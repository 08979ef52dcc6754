#include "cli/bootloader/fstest_filter.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <seccomp.h>

#include <cerrno>
#include <cstring>

namespace pinfold::cli::bootloader {
namespace {

/// For descriptors that the program has, for its memory, and for its end.
constexpr int harmless[] = {
    SCMP_SYS(read),       SCMP_SYS(pread64),      SCMP_SYS(lseek),          SCMP_SYS(write),
    SCMP_SYS(writev),     SCMP_SYS(close),        SCMP_SYS(fstat),          SCMP_SYS(mmap),
    SCMP_SYS(munmap),     SCMP_SYS(mprotect),     SCMP_SYS(mremap),         SCMP_SYS(madvise),
    SCMP_SYS(brk),        SCMP_SYS(arch_prctl),   SCMP_SYS(futex),          SCMP_SYS(set_tid_address),
    SCMP_SYS(rseq),       SCMP_SYS(getrandom),    SCMP_SYS(exit),           SCMP_SYS(set_robust_list),
    SCMP_SYS(exit_group), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(clock_gettime),
};

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
};

int add_rules(scmp_filter_ctx context, const FilterDescriptors& descriptors) {
  int failed = 0;
  const auto keep = [&failed](int result) {
    if (failed == 0) failed = result;
  };
  for (const int call : harmless) keep(seccomp_rule_add(context, SCMP_ACT_ALLOW, call, 0));
  for (const Answer& answer : answers)
    keep(seccomp_rule_add(context, SCMP_ACT_ERRNO(answer.error), answer.call, 0));
  keep(seccomp_rule_add(context, SCMP_ACT_NOTIFY, SCMP_SYS(openat), 0));
  // fstat(2) as some libraries make it; else a look at a path.
  constexpr auto empty_path = static_cast<std::uint64_t>(AT_EMPTY_PATH);
  keep(seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
                        SCMP_A3(SCMP_CMP_MASKED_EQ, empty_path, empty_path)));
  keep(seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOENT), SCMP_SYS(newfstatat), 1,
                        SCMP_A3(SCMP_CMP_MASKED_EQ, empty_path, 0)));
  keep(seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_EQ, BLKGETSIZE64)));
  keep(seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0)));
  const auto program = static_cast<std::uint64_t>(descriptors.program),
             parent = static_cast<std::uint64_t>(descriptors.parent);
  keep(seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(execveat), 2, SCMP_A0(SCMP_CMP_EQ, program),
                        SCMP_A4(SCMP_CMP_EQ, empty_path)));
  keep(seccomp_rule_add(context, SCMP_ACT_ALLOW, SCMP_SYS(sendmsg), 1, SCMP_A0(SCMP_CMP_EQ, parent)));
  return failed;
}

}  // namespace

void FstestFilter::Release::operator()(void* context) const { seccomp_release(context); }

tl::expected<FstestFilter, std::string> FstestFilter::make(const FilterDescriptors& descriptors) {
  FstestFilter filter(seccomp_init(SCMP_ACT_ERRNO(ENOSYS)));
  if (filter.context_ == nullptr) return tl::unexpected(std::string("libseccomp can't be used"));
  if (const int failed = add_rules(filter.context_.get(), descriptors); failed != 0)
    return tl::unexpected(std::string("seccomp: ") + std::strerror(-failed));
  return filter;
}

int FstestFilter::load() const {
  if (const int failed = seccomp_load(context_.get()); failed != 0) {
    errno = -failed;
    return -1;
  }
  return seccomp_notify_fd(context_.get());
}

}  // namespace pinfold::cli::bootloader
