// docs/sandbox.md has the table of system calls. With PINFOLD_WRITE_DOCUMENTS set, this writes it.
#include "sandbox/call_rules.hpp"

#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <sys/syscall.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "sandbox/call_names.hpp"

namespace pinfold::sandbox {
namespace {

constexpr const char* path = PINFOLD_SOURCE_DIR "/docs/sandbox.md";
constexpr const char* header = "| call | only if | threads | why |\n|---|---|---|---|\n";

std::string conditions(const CallRule& rule) {
  std::string text;
  for (const Condition& condition : rule.only_if)
    if (condition.kind != Condition::Kind::none)
      text += (text.empty() ? "" : ", ") + std::string(condition.text);
  return text;
}

std::string threads(Kinds kinds) {
  std::string text;
  Kinds all = 0;
  for (const auto kind : {ThreadKind::vcpu, ThreadKind::io, ThreadKind::control, ThreadKind::log}) {
    all |= kind_bit(kind);
    if ((kinds & kind_bit(kind)) != 0) text += (text.empty() ? "" : ", ") + std::string(name_of(kind));
  }
  if ((kinds & all) == all) text = "all";
  for (const auto& [others, name] : {std::pair{preparing, "preparing"},
                                     {kind_bit(ThreadKind::machine), "machine"},
                                     {unpacking, "unpacking"},
                                     {reading, "reading"},
                                     {keeping, "keeping"}})
    if ((kinds & others) != 0) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

std::string table() {
  std::string rows = header;
  for (const CallRule& rule : call_rules())
    rows += "| " + std::string(call_name(rule.number)) + " | " + conditions(rule) + " | " +
            threads(rule.kinds) + " | " + rule.reason + " |\n";
  return rows;
}

std::string read_document() {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(CallRules, the_document_has_the_table_of_the_code) {
  const std::string document = read_document();
  const std::string before = document.substr(0, document.find(header));
  if (std::getenv("PINFOLD_WRITE_DOCUMENTS") != nullptr) std::ofstream(path) << before + table();
  EXPECT_EQ(read_document(), before + table())
      << "write it anew: PINFOLD_WRITE_DOCUMENTS=1 unit_sandbox --gtest_filter='CallRules.*'";
}

TEST(CallRules, each_has_a_name_a_reason_and_threads) {
  for (const CallRule& rule : call_rules()) {
    EXPECT_NE(call_name(rule.number), nullptr) << rule.number;
    EXPECT_GT(std::string(rule.reason).size(), 5U) << rule.number;
    EXPECT_NE(rule.kinds, 0) << rule.number;
    for (const Condition& condition : rule.only_if)
      EXPECT_EQ(condition.kind == Condition::Kind::none, std::string(condition.text).empty()) << rule.number;
  }
}

/// After the guest has started, none of these is allowed, whatever its arguments are.
TEST(CallRules, of_a_ring_only_its_file_can_be_changed) {
  for (const CallRule& rule : call_rules()) {
    if (rule.number != SYS_io_uring_register || rule.kinds == preparing) continue;
    const Condition& only = rule.only_if[0];
    EXPECT_EQ(only.kind, Condition::Kind::masked);
    EXPECT_EQ(only.argument, 1);
    EXPECT_EQ(only.mask, 0xffffffffu);
    EXPECT_EQ(only.value, std::uint64_t{IORING_REGISTER_FILES_UPDATE});
  }
}

TEST(CallRules, no_thread_may_do_what_a_guest_that_broke_out_would_want) {
  for (const int call : {SYS_open,
                         SYS_openat,
                         SYS_openat2,
                         SYS_creat,
                         SYS_execve,
                         SYS_execveat,
                         SYS_socket,
                         SYS_connect,
                         SYS_bind,
                         SYS_ptrace,
                         SYS_process_vm_readv,
                         SYS_process_vm_writev,
                         SYS_kill,
                         SYS_tkill,
                         SYS_rt_sigqueueinfo,
                         SYS_pidfd_open,
                         SYS_pidfd_getfd,
                         SYS_pidfd_send_signal,
                         SYS_fork,
                         SYS_vfork,
                         SYS_clone3,
                         SYS_unshare,
                         SYS_setns,
                         SYS_mount,
                         SYS_bpf,
                         SYS_perf_event_open,
                         SYS_io_uring_setup,
                         SYS_memfd_create,
                         SYS_pkey_mprotect,
                         SYS_shmat,
                         SYS_personality,
                         SYS_keyctl,
                         SYS_chdir})
    for (const CallRule& rule : call_rules())
      if (rule.number == call) {
        EXPECT_EQ(rule.kinds, preparing) << call_name(call);
      }
}

TEST(CallRules, threads_and_machines_are_made_by_no_thread_that_serves_a_guest) {
  for (const CallRule& rule : call_rules())
    if (rule.number == SYS_clone || rule.number == SYS_seccomp || rule.number == SYS_userfaultfd) {
      EXPECT_EQ(rule.kinds & serving, 0) << call_name(rule.number);
    }
}

}  // namespace
}  // namespace pinfold::sandbox
