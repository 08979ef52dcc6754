// Metrics: Prometheus's text format, what is taken from a monitor's answer, and who is asked.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "cli/control/server.hpp"
#include "cli/control/socket.hpp"
#include "cli/metrics/address.hpp"
#include "cli/metrics/ask_all.hpp"
#include "cli/metrics/families.hpp"
#include "cli/metrics/guest_page.hpp"
#include "cli/metrics/page.hpp"

namespace pinfold::cli::metrics {
namespace {

namespace fs = std::filesystem;

const RunningGuest web{"web", {7, 100, 101}};

/// The lines of a page that are samples of the family.
std::string samples(const Page& page, std::string_view family) {
  std::string found;
  std::istringstream lines(page.text());
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(std::string(family) + "{")) found += line + "\n";
  return found;
}

std::string samples(const Json& answer, std::string_view family) {
  const auto page = page_of(web, answer);
  return page ? samples(*page, family) : "error: " + page.error();
}

/// Is it an answer of which nothing counts?
bool is_nonsense(const Json& answer) { return !page_of(web, answer).has_value(); }

TEST(MetricsPage, escapes_what_ends_a_labels_value) {
  EXPECT_EQ(escaped_label("a\"b\\c\nd{}#"), "a\\\"b\\\\c\\nd{}#");
  Page page;
  page.add(0, {{"guest", "\"} 1\nforged 2\n"}}, "1");
  EXPECT_NE(page.text().find("pinfold_up{guest=\"\\\"} 1\\nforged 2\\n\"} 1\n"), std::string::npos);
}

TEST(MetricsPage, keeps_the_samples_of_a_family_together) {
  Page one, two;
  for (Page* page : {&one, &two})
    for (const std::size_t family : {0U, 3U}) page->add(family, {{"guest", page == &one ? "1" : "2"}}, "5");
  one.append(two);
  EXPECT_NE(one.text().find("pinfold_up{guest=\"1\"} 5\npinfold_up{guest=\"2\"} 5\n"), std::string::npos);
}

TEST(MetricsFamilies, are_named_as_prometheus_wants_it) {
  std::set<std::string_view> names;
  for (const Family& family : families()) {
    const std::string_view name = family.name, help = family.help;
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_TRUE(name.starts_with("pinfold_")) << name;
    EXPECT_EQ(name.ends_with("_total"), family.type == Type::counter) << name;
    EXPECT_TRUE(help.ends_with('.') && help.find_first_of("\\\n") == std::string_view::npos) << name;
  }
}

TEST(GuestPage, has_base_units) {
  EXPECT_EQ(samples({{"frames", 3}}, "pinfold_guest_memory_bytes"),
            "pinfold_guest_memory_bytes{guest=\"web\"} 12288\n");
  EXPECT_EQ(samples({{"monitor_ms", 1500.0}}, "pinfold_monitor_seconds_total"),
            "pinfold_monitor_seconds_total{guest=\"web\"} 1.5\n");
  EXPECT_EQ(samples({{"exits", {{"page fault", 18446744073709551615U}}}}, "pinfold_exits_total"),
            "pinfold_exits_total{guest=\"web\",reason=\"page fault\"} 18446744073709551615\n");
}

TEST(GuestPage, says_of_each_state_whether_it_holds) {
  const std::string states = samples({{"state", "paused"}}, "pinfold_guest_state");
  EXPECT_NE(states.find("state=\"paused\"} 1\n"), std::string::npos);
  EXPECT_NE(states.find("state=\"running\"} 0\n"), std::string::npos);
}

TEST(GuestPage, has_devices_of_each_kind) {
  const Json answer{{"devices",
                     {{"disk xvda", {{"bytes_read", 512}, {"unknown", 1}}},
                      {"vif 0", {{"rx_bytes", 60}, {"bytes_read", 1}}}}}};
  EXPECT_EQ(samples(answer, "pinfold_disk_read_bytes_total"),
            "pinfold_disk_read_bytes_total{guest=\"web\",disk=\"xvda\"} 512\n");
  EXPECT_EQ(samples(answer, "pinfold_interface_received_bytes_total"),
            "pinfold_interface_received_bytes_total{guest=\"web\",interface=\"0\"} 60\n");
}

TEST(GuestPage, leaves_out_what_an_answer_lacks_or_another_version_has) {
  const auto page = page_of(web, {{"new", {{"deep", "text"}}}, {"hypercalls", {{"new_op", 1}, {"iret", 2}}}});
  ASSERT_TRUE(page);
  EXPECT_EQ(samples(*page, "pinfold_up"), "pinfold_up{guest=\"web\"} 1\n");
  EXPECT_EQ(samples(*page, "pinfold_hypercalls_total"),
            "pinfold_hypercalls_total{guest=\"web\",hypercall=\"iret\"} 2\n");
}

TEST(GuestPage, takes_nothing_of_an_answer_with_a_member_of_another_kind) {
  EXPECT_FALSE(is_nonsense(Json::object()));
  for (const char* key : {"frames", "seconds", "exits", "mmu", "devices", "state", "vcpus", "domain"})
    for (const Json& value : {Json("text"), Json(-1), Json(nullptr), Json::array({1}), Json(true)})
      EXPECT_TRUE(is_nonsense({{key, value}})) << key << " " << value;
  EXPECT_TRUE(is_nonsense({{"seconds", 1e300}}));
  EXPECT_TRUE(is_nonsense({{"frames", 1.5}}));
  EXPECT_TRUE(is_nonsense({{"frames", 18446744073709551615U}}));
  EXPECT_TRUE(is_nonsense({{"domain", 0x7ff0}}));
  EXPECT_TRUE(is_nonsense({{"state", "a new state"}}));
  EXPECT_TRUE(is_nonsense({{"mmu", {{"entries_checked", "1"}}}}));
  EXPECT_TRUE(is_nonsense({{"exits", {{"page fault", Json::object()}}}}));
}

TEST(GuestPage, takes_no_devices_that_are_none) {
  const Json counts{{"requests", 1}, {"rx_bytes", 1}};
  for (const char* name : {"disk ", "disk xvda\"} 1", "disk ../a", "vif x", "disk aaaaaaaaaaaaaaaaa", "xvda",
                           "vif 0 ", "disk A"})
    EXPECT_TRUE(is_nonsense({{"devices", {{name, counts}}}})) << name;
  Json many = Json::object();
  for (int i = 0; i < 1281; ++i) many["vif " + std::to_string(i)] = counts;
  EXPECT_TRUE(is_nonsense({{"devices", many}}));
}

TEST(GuestPage, shows_a_guest_without_an_answer_as_down) {
  const std::vector<Asked> asked{
      {web, encode_answer(Json{{"frames", 1}})},
      {{"db", {}}, tl::unexpected(std::string("no answer"))},
      {{"mail", {}}, encode_answer(Json{{"frames", "1"}})},
      {{"old", {}}, encode_answer(tl::unexpected(std::string("unknown command")))}};
  const Page page = page_of(asked);
  EXPECT_EQ(samples(page, "pinfold_up"),
            "pinfold_up{guest=\"web\"} 1\npinfold_up{guest=\"db\"} 0\npinfold_up{guest=\"mail\"} 0\n"
            "pinfold_up{guest=\"old\"} 0\n");
  EXPECT_EQ(samples(page, "pinfold_guest_memory_bytes"), "pinfold_guest_memory_bytes{guest=\"web\"} 4096\n");
}

TEST(GuestPage, of_a_guest_with_more_than_its_share_is_not_shown_if_the_page_is_too_long) {
  Json devices = Json::object();
  for (int i = 0; i < 100; ++i) devices["vif " + std::to_string(i)] = {{"rx_bytes", i}};
  const std::vector<Asked> asked{{{"greedy", {}}, encode_answer(Json{{"devices", devices}})},
                                 {web, encode_answer(Json{{"frames", 1}})}};
  EXPECT_EQ(samples(page_of(asked), "pinfold_up"),
            "pinfold_up{guest=\"greedy\"} 1\npinfold_up{guest=\"web\"} 1\n");
  const Page page = page_of(asked, 4096);
  EXPECT_EQ(samples(page, "pinfold_up"), "pinfold_up{guest=\"greedy\"} 0\npinfold_up{guest=\"web\"} 1\n");
  EXPECT_LT(page.bytes(), 4096U);
}

TEST(MetricsAddress, is_numeric_and_has_a_port) {
  for (const char* good : {"127.0.0.1:9777", "0.0.0.0:0", "[::1]:9777", "[::]:65535"})
    EXPECT_TRUE(is_address(good)) << good;
  for (const char* bad : {"", ":9777", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
                          "::1:9777", "localhost:9777", "127.0.0.1:http", "[127.0.0.1:1", "127.0.0.1:1 "})
    EXPECT_FALSE(is_address(bad)) << bad;
}

TEST(MetricsAddress, that_is_taken_is_an_error_and_port_0_is_a_free_one) {
  const auto first = listen_at("127.0.0.1:0");
  ASSERT_TRUE(first) << first.error();
  EXPECT_FALSE(first->text.ends_with(":0"));
  const auto second = listen_at(first->text);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), "--listen " + first->text + ": Address already in use");
}

/// Guests that this process is.
class AskAll : public ::testing::Test {
 protected:
  AskAll() {
    std::string pattern = (fs::temp_directory_path() / "pinfold-test-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~AskAll() override { fs::remove_all(directory_); }
  [[nodiscard]] ControlName claim(const char* name) const {
    return std::move(*ControlName::claim(directory_, name));
  }

  fs::path directory_;
};

std::string echo(std::string_view, const Descriptors&) { return "here"; }

TEST_F(AskAll, a_guest_that_is_silent_holds_up_no_other) {
  const ControlName silent = claim("a"), lively = claim("b");
  const ControlServer server(lively.listener(), echo);
  AskLimits limits;
  limits.patience = std::chrono::milliseconds(200);
  const auto asked =
      ask_all({{"a", {}, directory_}, {"b", {}, directory_}, {"nobody", {}, directory_}}, "metrics", limits);
  ASSERT_EQ(asked.size(), 3U);
  EXPECT_EQ(asked[0].answer.error(), "the guest's monitor does not answer");
  EXPECT_EQ(asked[1].answer.value(), "here");
  EXPECT_EQ(asked[2].answer.error(), "no guest named nobody is running");
}

TEST_F(AskAll, more_guests_than_connections_are_all_asked) {
  const ControlName lively = claim("b");
  const ControlServer server(lively.listener(), echo);
  AskLimits limits;
  limits.at_once = 1;
  limits.patience = limits.in_all = std::chrono::seconds(60);
  const auto asked =
      ask_all({{"b", {}, directory_}, {"b", {}, directory_}, {"b", {}, directory_}}, "metrics", limits);
  for (const Asked& one : asked) EXPECT_EQ(one.answer.value_or("none"), "here");
}

TEST_F(AskAll, an_answer_without_end_is_none) {
  const ControlName endless = claim("a");
  const ControlServer server(endless.listener(),
                             [](std::string_view, const Descriptors&) { return std::string(5000, 'x'); });
  AskLimits limits;
  limits.patience = limits.in_all = std::chrono::seconds(60);
  limits.longest_answer = 4096;
  EXPECT_EQ(ask_all({{"a", {}, directory_}}, "metrics", limits)[0].answer.error(), "the answer is too long");
}

TEST_F(AskAll, a_monitor_that_accepts_nobody_is_not_waited_for) {
  const ControlName stopped = claim("a");
  // Connections that wait for a monitor: as many as the kernel keeps, and more.
  std::vector<RunningGuest> often(100, RunningGuest{"a", {}, directory_});
  AskLimits limits;
  limits.patience = limits.in_all = std::chrono::milliseconds(200);
  for (const Asked& one : ask_all(often, "metrics", limits)) EXPECT_FALSE(one.answer);
}

}  // namespace
}  // namespace pinfold::cli::metrics
