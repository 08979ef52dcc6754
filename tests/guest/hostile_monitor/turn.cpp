// TEST ONLY. A monitor that turns hostile when a thread of it gets SIGUSR2, as if its guest had taken over
// that thread. It is linked into pinfold_hostile_monitor, with ld's --wrap, and not into pinfold.
//
// PINFOLD_HOSTILE says what it does then: "all" tries every system call of attempts() and goes on after each
// refusal; "layers" tries attempts_at_other_layers(); "early" makes the first of attempts(), without a
// signal, as soon as the monitor is confined; a name makes that one attempt, and what follows is what would
// follow in pinfold. PINFOLD_HOSTILE_WITHOUT lists layers that are left out: filters, landlock, privileges,
// limits.
#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdlib>
#include <string_view>

#include "attempts.hpp"
#include "devices/block/restricted_ring.hpp"
#include "sandbox/call_rules.hpp"
#include "sandbox/limits.hpp"
#include "sandbox/program.hpp"

using pinfold::ThreadKind;
using pinfold::devices::block::RestrictedRing;

namespace {

std::string_view variable(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

bool is_left_out(std::string_view layer) {
  return variable("PINFOLD_HOSTILE_WITHOUT").find(layer) != std::string_view::npos;
}

constexpr int no_kind = -1;
thread_local int kind = no_kind;
thread_local sigjmp_buf before_attempt;
thread_local bool goes_on = false;
std::array<std::atomic<bool>, pinfold::sandbox::all_thread_kinds> announced{};
std::atomic<io_uring*> ring = nullptr;

void say(const char* attempt, std::string_view result) {
  const auto line = fmt::format("hostile {}: {}: {}\n",
                                pinfold::sandbox::name_of(static_cast<ThreadKind>(kind)), attempt, result);
  (void)!::write(STDERR_FILENO, line.data(), line.size());
}

void attempt(const hostile::Attempt& one) {
  goes_on = true;
  if (sigsetjmp(before_attempt, 1) == 0)
    say(one.name, fmt::format("{}", one.make()));
  else
    say(one.name, "refused");
  goes_on = false;
}

/// Asks the ring of a disk to open a file: no filter sees that.
long open_by_ring() {
  io_uring* const of_disk = ring;
  io_uring_sqe* const request = io_uring_get_sqe(of_disk);
  io_uring_prep_openat(request, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
  io_uring_submit(of_disk);
  io_uring_cqe* answer = nullptr;
  if (const int error = io_uring_wait_cqe(of_disk, &answer); error != 0) return error;
  const long result = answer->res;
  io_uring_cqe_seen(of_disk, answer);
  return result;
}

void turn(int) {
  const std::string_view what = variable("PINFOLD_HOSTILE");
  if (what == "all" || what == "layers") {
    for (const auto& one : what == "all" ? hostile::attempts() : hostile::attempts_at_other_layers())
      attempt(one);
    if (kind == static_cast<int>(ThreadKind::io) && ring != nullptr)
      attempt({"open by a ring", open_by_ring});
    say("all", "done");
    return;
  }
  for (const auto& one : hostile::attempts())
    if (what == one.name) say(one.name, fmt::format("{}", one.make()));
}

/// Before main: everything that a later attempt acts on.
[[maybe_unused]] const bool prepared = [] {
  struct sigaction action {};
  action.sa_handler = turn;
  sigfillset(&action.sa_mask);
  sigdelset(&action.sa_mask, SIGSYS);
  ::sigaction(SIGUSR2, &action, nullptr);
  hostile::Targets& to = hostile::targets;
  to.page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  to.socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  to.tcp = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  to.file = ::open("/etc/passwd", O_RDONLY | O_CLOEXEC);
  to.other = ::getppid();
  to.other_by_descriptor = static_cast<int>(::syscall(SYS_pidfd_open, to.other, 0));
  to.address = variable("PINFOLD_HOSTILE_ADDRESS").data();
  return true;
}();

void announce() {
  if (kind == no_kind || announced.at(static_cast<std::size_t>(kind)).exchange(true)) return;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  say("thread", fmt::format("{}", ::gettid()));
}

}  // namespace

namespace pinfold::sandbox {

void real_note_kind(ThreadKind) asm("__real__ZN7pinfold7sandbox9note_kindENS_10ThreadKindE");
void wrap_note_kind(ThreadKind) asm("__wrap__ZN7pinfold7sandbox9note_kindENS_10ThreadKindE");
void wrap_note_kind(ThreadKind of_thread) {
  kind = static_cast<int>(of_thread);
  real_note_kind(of_thread);
}

int real_install(const Program&,
                 bool) asm("__real__ZN7pinfold7sandbox7installERKSt6vectorI11sock_filterSaIS2_EEb");
int wrap_install(const Program&,
                 bool) asm("__wrap__ZN7pinfold7sandbox7installERKSt6vectorI11sock_filterSaIS2_EEb");
int wrap_install(const Program& program, bool all_threads) {
  const int error = is_left_out("filters") ? 0 : real_install(program, all_threads);
  announce();
  if (kind == no_kind && variable("PINFOLD_HOSTILE") == "early") (void)hostile::attempts().front().make();
  return error;
}

int real_forbid_paths(int) asm("__real__ZN7pinfold7sandbox12forbid_pathsEi");
int wrap_forbid_paths(int) asm("__wrap__ZN7pinfold7sandbox12forbid_pathsEi");
int wrap_forbid_paths(int version) { return is_left_out("landlock") ? 0 : real_forbid_paths(version); }

int real_drop_privileges() asm("__real__ZN7pinfold7sandbox15drop_privilegesEv");
int wrap_drop_privileges() asm("__wrap__ZN7pinfold7sandbox15drop_privilegesEv");
int wrap_drop_privileges() { return is_left_out("privileges") ? 0 : real_drop_privileges(); }

tl::expected<void, std::string> real_set_limits(std::uint64_t, std::uint64_t) asm(
    "__real__ZN7pinfold7sandbox10set_limitsB5cxx11Emm");
tl::expected<void, std::string> wrap_set_limits(std::uint64_t, std::uint64_t) asm(
    "__wrap__ZN7pinfold7sandbox10set_limitsB5cxx11Emm");
tl::expected<void, std::string> wrap_set_limits(std::uint64_t more, std::uint64_t welcome) {
  if (is_left_out("limits")) return {};
  return real_set_limits(more, welcome);
}

}  // namespace pinfold::sandbox

namespace pinfold::devices::block {

using Made = tl::expected<std::unique_ptr<RestrictedRing>, int>;
Made real_make(unsigned, int, int) asm("__real__ZN7pinfold7devices5block14RestrictedRing4makeEjii");
Made wrap_make(unsigned, int, int) asm("__wrap__ZN7pinfold7devices5block14RestrictedRing4makeEjii");
Made wrap_make(unsigned depth, int file, int wake) {
  auto made = real_make(depth, file, wake);
  if (made) ring = (*made)->get();
  return made;
}

}  // namespace pinfold::devices::block

// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names
extern "C" {
[[noreturn]] void __real__exit(int status);
[[noreturn]] void __wrap__exit(int status);
void __wrap__exit(int status) {
  if (goes_on) siglongjmp(before_attempt, 1);
  __real__exit(status);
}
}
// NOLINTEND(bugprone-reserved-identifier)
