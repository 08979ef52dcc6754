#include "cli/bootloader/confine_reader.hpp"

#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <memory>

#include "sandbox/privileges.hpp"

namespace pinfold::cli::bootloader {
namespace {

#ifndef PINFOLD_CONFINES_NOTHING
struct Release {
  void operator()(void* context) const { seccomp_release(context); }
};

bool filter(int to) {
  const std::unique_ptr<void, Release> context(seccomp_init(SCMP_ACT_KILL_PROCESS));
  if (!context) return false;
  bool added = true;
  const auto allow = [&](int call, const scmp_arg_cmp* condition) {
    added = added && seccomp_rule_add_array(context.get(), SCMP_ACT_ALLOW, call, condition != nullptr ? 1 : 0,
                                            condition) == 0;
  };
  for (const int call :
       {SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(madvise), SCMP_SYS(futex), SCMP_SYS(exit_group)})
    allow(call, nullptr);
  const scmp_arg_cmp to_parent{0, SCMP_CMP_EQ, static_cast<std::uint64_t>(to), 0};
  allow(SCMP_SYS(write), &to_parent);
  // No memory that can be executed.
  const scmp_arg_cmp data_only{2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0};
  allow(SCMP_SYS(mmap), &data_only);
  allow(SCMP_SYS(mprotect), &data_only);
  // Large blocks grow by it; what is in them stays what it was.
  allow(SCMP_SYS(mremap), nullptr);
  return added && seccomp_load(context.get()) == 0;
}
#endif

}  // namespace

bool confine_reader([[maybe_unused]] int to) {
#ifdef PINFOLD_CONFINES_NOTHING
  return true;
#else
  return sandbox::close_all_but(to) && filter(to);
#endif
}

}  // namespace pinfold::cli::bootloader
