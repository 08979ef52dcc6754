// Filters in a child process: what they refuse ends it with exit code 7.
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>

#include "sandbox/allocator.hpp"
#include "sandbox/call_names.hpp"
#include "sandbox/privileges.hpp"
#include "sandbox/program.hpp"
#include "sandbox/refusal.hpp"

namespace pinfold::sandbox {
namespace {

constexpr Kinds all_kinds = 0x1f;
constexpr int fine = 42, not_installed = 43, refused = 7;

/// What became of a child that confines itself and then does something. `before` comes first.
int status_of(Kinds kinds, Mode mode, const std::function<void()>& work,
              const std::function<void()>& before = {}) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (before) before();
    const auto program = compile(kinds, mode);
    take_refusals(mode);
    if (!program || drop_privileges() != 0 || install(*program) != 0) ::_exit(not_installed);
    work();
    ::_exit(fine);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void open_something() { (void)::syscall(SYS_open, "/", 0); }

/// Frees so much in an arena of its own that glibc trims it.
/// Of more than any threshold that settle_allocator() sets.
void trim_in_a_thread() {
  std::thread([] {
    std::array<void*, 128> blocks{};
    for (void*& block : blocks) block = std::malloc(std::size_t{64} * 1024);
    for (void* const block : blocks) std::free(block);
  }).join();
}

class Filters : public testing::Test {
 protected:
  void SetUp() override {
#ifdef PINFOLD_CONFINES_NOTHING
    GTEST_SKIP() << "a sanitizer makes system calls of its own";
#endif
    if (status_of(all_kinds, Mode::on, [] {}) == not_installed) GTEST_SKIP() << "no seccomp here";
  }
};

TEST_F(Filters, end_the_process_at_a_call_that_is_not_in_the_table) {
  EXPECT_EQ(status_of(all_kinds, Mode::on, [] {}), fine);
  EXPECT_EQ(status_of(all_kinds, Mode::on, open_something), refused);
}

TEST_F(Filters, of_mode_log_let_the_call_be_made) {
  EXPECT_EQ(status_of(all_kinds, Mode::log,
                      [] {
                        const long fd = ::syscall(SYS_open, "/", 0);
                        if (fd < 0 || ::syscall(SYS_fchdir, fd) != 0) ::_exit(1);
                        if (::syscall(SYS_open, "/no/such/file", 0) != -1 || errno != ENOENT) ::_exit(2);
                      }),
            fine);
}

TEST_F(Filters, let_no_kind_of_thread_map_code_or_signal_others) {
  for (const auto kind : {ThreadKind::vcpu, ThreadKind::io, ThreadKind::control, ThreadKind::log}) {
    const auto of_kind = [&](const std::function<void()>& work) {
      return status_of(kind_bit(kind), Mode::on, work);
    };
    EXPECT_EQ(of_kind([] { ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }), fine);
    EXPECT_EQ(of_kind([] { ::mmap(nullptr, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }), refused);
    EXPECT_EQ(of_kind([] { ::syscall(SYS_tgkill, ::getpid(), 0, SIGUSR1); }), fine);
    EXPECT_EQ(of_kind([] { ::syscall(SYS_tgkill, 1, 1, SIGUSR1); }), refused);
    EXPECT_EQ(of_kind([] { ::syscall(SYS_tgkill, ::getpid(), ::gettid(), SIGKILL); }), refused);
  }
}

TEST_F(Filters, leave_malloc_and_free_to_settled_allocators) {
  EXPECT_EQ(status_of(all_kinds, Mode::on, trim_in_a_thread), refused)
      << "glibc reads no file when it trims: settle_allocator() has nothing to do any more";
  EXPECT_EQ(status_of(all_kinds, Mode::on, trim_in_a_thread, settle_allocator), fine);
}

TEST_F(Filters, leave_malloc_and_free_to_allocators_that_had_raised_their_thresholds) {
  const auto raise_and_settle = [] {
    void* volatile large = std::malloc(1 << 20);
    std::free(large);
    settle_allocator();
  };
  EXPECT_EQ(status_of(all_kinds, Mode::on, trim_in_a_thread, raise_and_settle), fine);
}

/// How many instructions of the program decide about a call, and what it decides.
struct Decision {
  unsigned instructions = 0;
  std::uint32_t action = 0;
};

/// Classic BPF, as far as libseccomp uses it (linux/filter.h).
Decision decide(const Program& program, const seccomp_data& call) {
  Decision decision;
  std::uint32_t a = 0;
  for (std::size_t at = 0; at < program.size(); ++at) {
    const sock_filter& step = program[at];
    ++decision.instructions;
    const auto jump = [&](bool taken) { at += taken ? step.jt : step.jf; };
    switch (step.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        std::memcpy(&a, std::bit_cast<const char*>(&call) + step.k, sizeof a);
        break;
      case BPF_ALU | BPF_AND | BPF_K: a &= step.k; break;
      case BPF_JMP | BPF_JEQ | BPF_K: jump(a == step.k); break;
      case BPF_JMP | BPF_JGE | BPF_K: jump(a >= step.k); break;
      case BPF_JMP | BPF_JGT | BPF_K: jump(a > step.k); break;
      case BPF_JMP | BPF_JSET | BPF_K: jump((a & step.k) != 0); break;
      case BPF_JMP | BPF_JA: at += step.k; break;
      case BPF_RET | BPF_K: decision.action = step.k; return decision;
      default: ADD_FAILURE() << "an instruction that is not known here: " << step.code; return decision;
    }
  }
  return decision;
}

/// Each exit of a guest pays for them, in both filters of its thread.
TEST(Programs, decide_soon_about_entries_into_the_guest) {
  seccomp_data enter{};
  enter.nr = SYS_ioctl;
  enter.arch = AUDIT_ARCH_X86_64;
  enter.args[1] = KVM_RUN;
  for (const Kinds kinds : {all_kinds, kind_bit(ThreadKind::vcpu)}) {
    const auto program = compile(kinds, Mode::on);
    ASSERT_TRUE(program) << program.error();
    const Decision decision = decide(*program, enter);
    EXPECT_EQ(decision.action, static_cast<std::uint32_t>(SECCOMP_RET_ALLOW));
    EXPECT_LE(decision.instructions, 7U);
  }
}

TEST(CallNames, are_those_of_the_header) {
  EXPECT_STREQ(call_name(SYS_openat), "openat");
  EXPECT_STREQ(call_name(SYS_read), "read");
  EXPECT_EQ(call_name(-1), nullptr);
  EXPECT_EQ(call_name(100'000), nullptr);
}

}  // namespace
}  // namespace pinfold::sandbox
