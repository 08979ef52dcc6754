#include "sandbox/program.hpp"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>

#include "sandbox/refusal.hpp"

namespace pinfold::sandbox {
namespace {

struct ContextEnd {
  void operator()(void* context) const { seccomp_release(context); }
};
using Context = std::unique_ptr<void, ContextEnd>;

tl::unexpected<std::string> failure(const char* what, int error) {
  return tl::unexpected(std::string("the sandbox's filter can't be made: ") + what + ": " +
                        std::strerror(error));
}

scmp_arg_cmp comparison(const Condition& condition) {
  if (condition.kind == Condition::Kind::own_process)
    return {condition.argument, SCMP_CMP_MASKED_EQ, 0xffffffff, static_cast<scmp_datum_t>(::getpid())};
  return {condition.argument, SCMP_CMP_MASKED_EQ, condition.mask, condition.value};
}

int add(const Context& context, const CallRule& rule) {
  std::vector<scmp_arg_cmp> comparisons;
  for (const Condition& condition : rule.only_if)
    if (condition.kind != Condition::Kind::none) comparisons.push_back(comparison(condition));
  return seccomp_rule_add_array(context.get(), SCMP_ACT_ALLOW, rule.number,
                                static_cast<unsigned>(comparisons.size()), comparisons.data());
}

int add_rules(const Context& context, Kinds kinds) {
  for (const CallRule& rule : call_rules())
    if ((rule.kinds & kinds) != 0)
      if (const int error = add(context, rule); error != 0) return error;
  // Its arguments are in memory, where a filter can't see them. The C library then uses clone.
  if ((kinds & (preparing | kind_bit(ThreadKind::machine))) != 0)
    if (const int error = seccomp_rule_add(context.get(), SCMP_ACT_ERRNO(ENOSYS), SYS_clone3, 0); error != 0)
      return error;
  return 0;
}

/// The program as bytes: libseccomp writes it into a file.
tl::expected<Program, std::string> exported(const Context& context) {
  const int file = ::memfd_create("pinfold-filter", MFD_CLOEXEC);
  if (file < 0) return failure("memfd_create", errno);
  Program program;
  int error = -seccomp_export_bpf(context.get(), file);
  if (error == 0) {
    program.resize(static_cast<std::size_t>(::lseek(file, 0, SEEK_END)) / sizeof(sock_filter));
    const auto bytes = static_cast<ssize_t>(program.size() * sizeof(sock_filter));
    if (::pread(file, program.data(), static_cast<std::size_t>(bytes), 0) != bytes) error = EIO;
  }
  ::close(file);
  if (error != 0) return failure("seccomp_export_bpf", error);
  return program;
}

sock_filter load(std::size_t offset) {
  return {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<std::uint32_t>(offset)};
}
sock_filter go_on_if(std::uint64_t value, std::uint8_t else_skip) {
  return {BPF_JMP | BPF_JEQ | BPF_K, 0, else_skip, static_cast<std::uint32_t>(value)};
}
constexpr sock_filter allow{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};

// What stands in front of libseccomp's program. Jumps of classic BPF are relative, so that it does not
// notice.

/// Calls from one instruction of this program are allowed.
Program allow_from(std::uint64_t instruction) {
  constexpr std::size_t at = offsetof(seccomp_data, instruction_pointer);
  return {load(at), go_on_if(instruction, 3), load(at + 4), go_on_if(instruction >> 32, 1), allow};
}

/// The call of this rule is decided about in seven instructions. libseccomp has an order of calls
/// (priorities), but not one of the values of their arguments, and a monitor makes many kinds of ioctl.
Program allow_soon(const CallRule& rule) {
  const Condition& condition = rule.only_if[0];
  return {load(offsetof(seccomp_data, arch)),
          go_on_if(AUDIT_ARCH_X86_64, 5),
          load(offsetof(seccomp_data, nr)),
          go_on_if(static_cast<std::uint64_t>(rule.number), 3),
          load(offsetof(seccomp_data, args) + 8UL * condition.argument),
          go_on_if(condition.value, 1),
          allow};
}

}  // namespace

tl::expected<Program, std::string> compile(Kinds kinds, Mode mode) {
  const Context context(seccomp_init(SCMP_ACT_TRAP));
  if (!context) return failure("seccomp_init", ENOMEM);
  int error = seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  if (error == 0) error = add_rules(context, kinds);
  if (error != 0) return failure("libseccomp", -error);
  auto program = exported(context);
  if (!program) return program;
  const auto put_first = [&](const Program& more) {
    program->insert(program->begin(), more.begin(), more.end());
  };
  if (mode == Mode::log) put_first(allow_from(address_of_logged_calls()));
  if (const CallRule& first = call_rules().front(); (first.kinds & kinds) != 0) put_first(allow_soon(first));
  return program;
}

int install(const Program& program, bool all_threads) {
  const sock_fprog filter{static_cast<unsigned short>(program.size()),
                          const_cast<sock_filter*>(program.data())};
  unsigned flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  if (all_threads) flags |= SECCOMP_FILTER_FLAG_TSYNC;
  const long result = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
  if (result > 0) return EBUSY;  // that thread has filters of its own
  return result == 0 ? 0 : errno;
}

}  // namespace pinfold::sandbox
