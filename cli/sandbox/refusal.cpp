#include "sandbox/refusal.hpp"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ucontext.h>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include "sandbox/call_names.hpp"
#include "sandbox/call_rules.hpp"

// pinfold_logged_call(number, six arguments) makes a system call; the filters of Mode::log know it by the
// address behind its SYSCALL instruction.
asm(R"(
.text
.type pinfold_logged_call, @function
.globl pinfold_logged_call
pinfold_logged_call:
  mov %rdi, %rax
  mov %rsi, %rdi
  mov %rdx, %rsi
  mov %rcx, %rdx
  mov %r8, %r10
  mov %r9, %r8
  mov 8(%rsp), %r9
  syscall
.globl pinfold_logged_call_made
pinfold_logged_call_made:
  ret
.size pinfold_logged_call, . - pinfold_logged_call
)");
extern "C" long pinfold_logged_call(long number, long, long, long, long, long, long);
extern "C" const char pinfold_logged_call_made[];

namespace pinfold::sandbox {
namespace {

constexpr int exit_monitor_failed = 7;  // cli/exit_codes.hpp
constexpr int preparing_thread = all_thread_kinds;
constexpr std::size_t places = 1021;

constinit thread_local int own_kind = preparing_thread;
const char* process = nullptr;  ///< Null: a monitor.

/// A line that is made without memory of the heap and without locks: the signal comes anywhere.
class Line {
 public:
  void add(std::string_view text) {
    const std::size_t taken = std::min(text.size(), bytes_.size() - size_);
    std::memcpy(bytes_.data() + size_, text.data(), taken);
    size_ += taken;
  }
  void add(std::uint64_t number, unsigned base) {
    std::array<char, 20> digits{};
    std::size_t at = digits.size();
    do digits[--at] = "0123456789abcdef"[number % base];
    while ((number /= base) != 0);
    add(std::string_view(digits.data() + at, digits.size() - at));
  }
  void write() const { (void)!::write(STDERR_FILENO, bytes_.data(), size_); }

 private:
  std::array<char, 200> bytes_{};
  std::size_t size_ = 0;
};

greg_t* registers_of(void* context) { return static_cast<ucontext_t*>(context)->uc_mcontext.gregs; }

void say(std::string_view what, long call, void* context, std::string_view consequence) {
  Line line;
  line.add("pinfold: the sandbox ");
  line.add(what);
  line.add(" ");
  const char* name = call_name(call);
  line.add(name != nullptr ? name : "an unknown call");
  line.add(" (system call ");
  line.add(static_cast<std::uint64_t>(call), 10);
  if (call == SYS_ioctl) {
    line.add(", request 0x");
    line.add(static_cast<std::uint32_t>(registers_of(context)[REG_RSI]), 16);
  }
  line.add(")");
  if (process != nullptr) {
    line.add(" to ");
    line.add(process);
  } else if (own_kind == preparing_thread) {
    line.add(" before the guest's start");
  } else {
    line.add(" to a thread of kind ");
    line.add(name_of(static_cast<ThreadKind>(own_kind)));
  }
  line.add(consequence);
  line.add("\n");
  line.write();
}

void end_the_monitor(int, siginfo_t* info, void* context) {
  say("refused", info->si_syscall, context, process != nullptr ? ": it ends" : ": the monitor ends");
  ::_exit(exit_monitor_failed);
}

/// True at the first time for each call, and each request of ioctl. (Two that share a place are told as one.)
bool is_news(long call, greg_t request) {
  static std::array<std::array<std::atomic<bool>, places>, all_thread_kinds + 1> said{};
  const auto number =
      static_cast<std::uint64_t>(call) + (call == SYS_ioctl ? static_cast<std::uint32_t>(request) : 0);
  return !said[static_cast<std::size_t>(own_kind)][number % places].exchange(true);
}

/// A child that shares this memory can't come out of a signal's handler on a stack of its own.
bool can_be_made_here(long call, long flags) {
  if (call == SYS_vfork || call == SYS_clone3) return false;
  return call != SYS_clone || (flags & CLONE_VM) == 0;
}

void log_and_make(int, siginfo_t* info, void* context) {
  const int error = errno;
  const long call = info->si_syscall;
  greg_t* const registers = registers_of(context);
  if (is_news(call, registers[REG_RSI])) say("would refuse", call, context, "");
  registers[REG_RAX] =
      can_be_made_here(call, registers[REG_RDI])
          ? pinfold_logged_call(call, registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                                registers[REG_R10], registers[REG_R8], registers[REG_R9])
          : -ENOSYS;
  errno = error;
}

}  // namespace

void take_refusals(Mode mode) {
  struct sigaction action {};
  action.sa_sigaction = mode == Mode::log ? log_and_make : end_the_monitor;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGSYS, &action, nullptr);
  sigset_t sigsys;
  sigemptyset(&sigsys);
  sigaddset(&sigsys, SIGSYS);
  ::pthread_sigmask(SIG_UNBLOCK, &sigsys, nullptr);
}

void note_process(const char* name) { process = name; }

void note_kind(ThreadKind kind) { own_kind = static_cast<int>(kind); }

std::uint64_t address_of_logged_calls() { return std::bit_cast<std::uint64_t>(&pinfold_logged_call_made); }

}  // namespace pinfold::sandbox
