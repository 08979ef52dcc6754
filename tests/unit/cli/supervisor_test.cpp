// What a supervisor makes of the end of a monitor, and what it hands to the next one.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>
#include <set>

#include "cli/supervisor/handover.hpp"
#include "cli/supervisor/life_end.hpp"
#include "cli/supervisor/link.hpp"
#include "cli/supervisor/restart_rule.hpp"

namespace pinfold::cli {
namespace {

constexpr auto all_ends = {GuestEnd::poweroff, GuestEnd::reboot, GuestEnd::crash, GuestEnd::watchdog};

/// As waitpid(2) has it.
int exited(int status) { return W_EXITCODE(status, 0); }
int killed(int signal) { return W_EXITCODE(0, signal); }

TEST(LifeEnd, what_the_guest_did_comes_through_the_exit_status) {
  std::set<int> statuses;
  for (const auto end : all_ends) {
    const LifeEnd told = life_end(exited(status_of(end)));
    EXPECT_EQ(told.guest, end);
    EXPECT_EQ(told.complaint, "");
    EXPECT_TRUE(statuses.insert(status_of(end)).second);
  }
  EXPECT_EQ(life_end(exited(status_of(GuestEnd::poweroff))).code, exit_powered_off);
  EXPECT_EQ(life_end(exited(status_of(GuestEnd::watchdog))).code, exit_crashed);
}

TEST(LifeEnd, exit_codes_are_final_and_passed_on) {
  for (int code = exit_powered_off; code <= exit_monitor_failed; ++code) {
    if (code == exit_differs) continue;  // of replay
    const LifeEnd told = life_end(exited(code));
    EXPECT_FALSE(told.guest);
    EXPECT_EQ(told.code, code);
    EXPECT_EQ(told.complaint, "");
  }
}

TEST(LifeEnd, a_monitor_that_was_killed_is_a_failure_and_the_guest_did_nothing) {
  for (const int signal : {SIGKILL, SIGSEGV, SIGABRT}) {
    const LifeEnd told = life_end(killed(signal));
    EXPECT_FALSE(told.guest);
    EXPECT_EQ(told.code, exit_monitor_failed);
    EXPECT_EQ(told.signal, signal);
    EXPECT_NE(told.complaint.find(strsignal(signal)), std::string::npos);
  }
}

/// It may have kept itself from saying so.
TEST(LifeEnd, a_monitor_that_sigsys_killed_was_ended_by_its_sandbox) {
  EXPECT_NE(life_end(killed(SIGSYS)).complaint.find("its sandbox refused a system call"), std::string::npos);
}

TEST(LifeEnd, any_other_status_is_a_failure) {
  std::size_t known = 0;
  for (int status = 0; status < 256; ++status) {
    const LifeEnd told = life_end(exited(status));
    if (told.complaint.empty())
      ++known;
    else
      EXPECT_TRUE(told.code == exit_monitor_failed && !told.guest) << status;
  }
  EXPECT_EQ(known, 11u);
}

TEST(LifeEnd, each_end_has_its_own_action) {
  GuestConfig config;
  config.on_poweroff = EndAction::preserve;
  config.on_reboot = EndAction::destroy;
  config.on_crash = EndAction::rename_restart;
  config.on_watchdog = EndAction::restart;
  EXPECT_EQ(action_for(config, GuestEnd::poweroff), EndAction::preserve);
  EXPECT_EQ(action_for(config, GuestEnd::reboot), EndAction::destroy);
  EXPECT_EQ(action_for(config, GuestEnd::crash), EndAction::rename_restart);
  EXPECT_EQ(action_for(config, GuestEnd::watchdog), EndAction::restart);
}

TEST(Link, a_word_has_one_meaning_or_none) {
  int preserved = 0, ended = 0;
  for (int word = 0; word < 256; ++word) {
    const auto byte = static_cast<std::uint8_t>(word);
    if (const auto end = link::preserved_end(byte)) {
      ++preserved;
      EXPECT_EQ(link::preserved_after(*end), byte);
      EXPECT_FALSE(link::end_code(byte));
    }
    if (const auto code = link::end_code(byte)) {
      ++ended;
      EXPECT_EQ(link::ended_with(*code), byte);
    }
  }
  EXPECT_EQ(preserved, 4);
  EXPECT_EQ(ended, 7);
  for (const auto word : {link::runs, link::started_again})
    EXPECT_FALSE(link::preserved_end(word) || link::end_code(word));
}

TEST(RestartRule, a_guest_that_crashes_soon_after_its_start_stays_ended) {
  const RestartRule rule;
  const auto now = RestartRule::Clock::now();
  for (const auto end : {GuestEnd::crash, GuestEnd::watchdog}) {
    EXPECT_TRUE(rule.objection_to_restart(end, now));
    EXPECT_FALSE(rule.objection_to_restart(end, now + RestartRule::soon));
  }
  for (const auto end : {GuestEnd::poweroff, GuestEnd::reboot})
    EXPECT_FALSE(rule.objection_to_restart(end, now));
}

/// No field has its default.
RunOptions unusual() {
  RunOptions o;
  o.guest.kernel = "/k \xff";
  o.guest.initrd = "/i";
  o.guest.command_line = "console=hvc0 \"x\"";
  o.guest.memory_bytes = 1ULL << 35;
  o.guest.vcpus = 3;
  o.guest.cpus = {"0-3,^1", {"0", "1"}};
  o.guest.disks.emplace_back().target = "/d";
  o.guest.disks.emplace_back().read_only = true;
  o.guest.vifs.emplace_back().addresses = {"10.0.0.1", "fe80::1"};
  o.guest.rtc_offset_seconds = -7200;
  o.guest.name = "one";
  o.guest.uuid = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
  o.guest.on_watchdog = EndAction::rename_restart;
  o.watch.stats = StatsFormat::json;
  o.watch.trace.to = "";
  o.watch.trace.filters = {"op=pin"};
  o.watch.gdb = "unix:/g";
  o.host.kvm_device = "/dev/null";
  o.host.write_protection = vmm::WriteProtection::userfaultfd;
  o.sandbox.mode = sandbox::Mode::log;
  o.sandbox.user = sandbox::User{1000, 100};
  return o;
}

TEST(Handover, options_arrive_as_they_were) {
  const std::string bytes = encode_options(unusual());
  const auto arrived = decode_options(bytes);
  ASSERT_TRUE(arrived) << arrived.error();
  EXPECT_EQ(encode_options(*arrived), bytes);
  EXPECT_EQ(arrived->guest.kernel, "/k \xff");
  EXPECT_EQ(arrived->guest.memory_bytes, 1ULL << 35);
  EXPECT_EQ(arrived->guest.vifs.at(0).addresses.at(1), "fe80::1");
  EXPECT_EQ(arrived->guest.cpus.of_all, "0-3,^1");
  EXPECT_EQ(arrived->guest.cpus.of_each.at(1), "1");
  EXPECT_EQ(arrived->guest.rtc_offset_seconds, -7200);
  EXPECT_EQ(arrived->guest.on_watchdog, EndAction::rename_restart);
  EXPECT_EQ(arrived->watch.trace.to, "");
  EXPECT_EQ(arrived->host.write_protection, vmm::WriteProtection::userfaultfd);
  EXPECT_EQ(arrived->sandbox.mode, sandbox::Mode::log);
  ASSERT_TRUE(arrived->sandbox.user);
  EXPECT_EQ(arrived->sandbox.user->group, 100U);
}

TEST(Handover, optional_fields_that_are_empty_stay_empty) {
  const auto arrived = decode_options(encode_options(RunOptions{}));
  ASSERT_TRUE(arrived);
  EXPECT_FALSE(arrived->guest.uuid || arrived->watch.trace.to || arrived->host.write_protection);
}

TEST(Handover, what_is_cut_or_longer_is_an_error) {
  const std::string bytes = encode_options(unusual());
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_options(bytes.substr(0, size)));
  EXPECT_FALSE(decode_options(bytes + '\0'));
}

TEST(Handover, a_file_has_all_bytes_and_no_name) {
  const std::string bytes(100'000, 'x');
  EXPECT_EQ(bytes_of(file_with(bytes)), bytes);
  EXPECT_EQ(bytes_of(file_with("")), "");
}

}  // namespace
}  // namespace pinfold::cli
