// Several guests on one terminal: whose line is it, and what waits for what.
#include "cli/run/line_merger.hpp"

#include <gtest/gtest.h>

#include <random>
#include <sstream>

namespace pinfold::cli::test {
namespace {

using namespace std::chrono_literals;

struct Merged {
  explicit Merged(std::vector<std::string> names = {"a", "b"}) : merger(std::move(names)) {}
  void say(std::size_t guest, std::string_view text) {
    merger.add(guest, std::as_bytes(std::span(text)), now);
  }
  std::string next() { return merger.next(now); }
  LineMerger merger;
  LineMerger::Clock::time_point now{};
};

TEST(LineMerger, the_bytes_of_a_guest_without_a_name_pass_unchanged) {
  Merged m({""});
  m.say(0, "login: ");
  EXPECT_EQ(m.next(), "login: ");
  m.say(0, "\r\r\nx");
  EXPECT_EQ(m.next(), "\r\r\nx");
  m.say(0, std::string(10'000, 'x'));
  EXPECT_EQ(m.next().size(), LineMerger::piece);
}

TEST(LineMerger, each_line_has_its_guests_name_and_lines_do_not_mix) {
  Merged m;
  m.say(0, "one");
  m.say(1, "two");
  EXPECT_EQ(m.next(), "");
  m.say(0, " and a half\r\n");
  m.say(1, "\n\nthree\n");
  EXPECT_EQ(m.next(), "a: one and a half\r\nb: two\nb: \nb: three\n");
  EXPECT_TRUE(m.merger.empty());
}

TEST(LineMerger, a_prompt_is_seen_after_a_while_and_what_follows_it_at_once) {
  Merged m;
  m.say(0, "login: ");
  EXPECT_EQ(m.next(), "");
  ASSERT_EQ(m.merger.due(), m.now + LineMerger::patience);
  m.now += LineMerger::patience;
  EXPECT_EQ(m.next(), "a: login: ");
  m.say(0, "root");
  EXPECT_EQ(m.next(), "root");
}

TEST(LineMerger, a_line_that_another_guest_interrupts_goes_on_under_its_name) {
  Merged m;
  m.say(0, "login: ");
  m.now += 1s;
  EXPECT_EQ(m.next(), "a: login: ");
  m.say(1, "hello\n");
  EXPECT_EQ(m.next(), "\nb: hello\n");
  m.say(0, "root\n");
  EXPECT_EQ(m.next(), "a: root\n");
}

TEST(LineMerger, no_guest_prints_over_its_name_or_as_another) {
  Merged m;
  m.say(0, "10%\r20%\r\nb: I am b\n");
  EXPECT_EQ(m.next(), "a: 10%\ra: 20%\r\na: b: I am b\n");
}

TEST(LineMerger, a_line_without_end_passes_in_parts) {
  Merged m;
  m.say(0, std::string(3 * LineMerger::longest_part, 'x'));
  std::string got;
  for (std::string more; !(more = m.next()).empty();) got += more;
  EXPECT_EQ(got, "a: " + std::string(3 * LineMerger::longest_part, 'x'));
}

TEST(LineMerger, a_guest_that_floods_does_not_keep_the_others_lines_back) {
  Merged m;
  for (int i = 0; i < 10'000; ++i) m.say(0, "flood\n");
  m.say(1, "hello\n");
  EXPECT_NE(m.next().find("b: hello\n"), std::string::npos);
}

TEST(LineMerger, the_last_words_of_a_guest_wait_for_nothing) {
  Merged m;
  m.say(1, "bye");
  m.merger.end(1);
  EXPECT_EQ(m.next(), "b: bye");
}

TEST(LineMerger, loses_and_reorders_nothing_of_what_any_guest_prints) {
  Merged m({"a", "b", "c"});
  std::mt19937 random(1);
  std::array<std::string, 3> said;
  std::string got;
  for (int i = 0; i < 5000; ++i) {
    const std::size_t guest = random() % 3;
    std::string text(random() % 40, static_cast<char>('d' + guest));
    for (char& c : text)
      if (random() % 15 == 0) c = '\n';
    said[guest] += text;
    m.say(guest, text);
    m.now += std::chrono::milliseconds(random() % 30);
    got += m.next();
  }
  for (std::size_t guest = 0; guest < 3; ++guest) m.merger.end(guest);
  for (std::string more; !(more = m.next()).empty();) got += more;
  std::array<std::string, 3> heard;
  std::istringstream lines(got);
  for (std::string line; std::getline(lines, line);) {
    ASSERT_EQ(line.substr(1, 2), ": ") << line;
    const auto guest = static_cast<std::size_t>(line[0] - 'a');
    ASSERT_LT(guest, 3U) << line;
    heard[guest] += line.substr(3);
  }
  for (std::size_t guest = 0; guest < 3; ++guest) {
    std::erase(said[guest], '\n');
    EXPECT_EQ(heard[guest], said[guest]);
  }
}

}  // namespace
}  // namespace pinfold::cli::test
