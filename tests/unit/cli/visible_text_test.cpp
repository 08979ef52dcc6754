// What a guest wrote can't command the user's terminal.
#include "cli/visible_text.hpp"

#include <gtest/gtest.h>

#include "cli/control/protocol.hpp"

namespace pinfold::cli {
namespace {

TEST(VisibleText, what_people_write_stays) {
  for (const char* text : {"", "debian", "a b~", "Grüße", "日本語", "\xf0\x9f\x90\x91", "back\\slash"})
    EXPECT_EQ(visible(text), text);
}

TEST(VisibleText, what_commands_a_terminal_is_escaped) {
  EXPECT_EQ(visible("\x1b[2J\x1b]0;owned\x07"), "\\x1b[2J\\x1b]0;owned\\x07");
  EXPECT_EQ(visible("a\nb\tc\rd"), "a\\nb\\tc\\x0dd");
  EXPECT_EQ(visible("\xc2\x9b"
                    "31m\x7f"),
            "\\x9b31m\\x7f");  // CSI in one character, and DEL
  EXPECT_EQ(visible("\xe2\x80\xae"
                    "txt"),
            "\\u{202e}txt");  // the text that follows runs backwards
  EXPECT_EQ(visible(std::string_view("\0", 1)), "\\x00");
}

TEST(VisibleText, bytes_that_are_no_text_are_escaped) {
  EXPECT_EQ(visible("\x9b"
                    "31m"),
            "\\x9b31m");
  EXPECT_EQ(visible("\xc1\x9b"), "\\xc1\\x9b");  // ESC, written too long
  EXPECT_EQ(visible("\xe0\x80\x9b"), "\\xe0\\x80\\x9b");
  EXPECT_EQ(visible("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // half of a pair of UTF-16
  EXPECT_EQ(visible("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(visible("\xe6\x97"), "\\xe6\\x97");  // cut
  EXPECT_EQ(visible("\xc3("), "\\xc3(");
}

TEST(VisibleText, every_byte_gives_printable_text) {
  for (int first = 0; first < 256; ++first)
    for (int second = 0; second < 256; ++second) {
      const std::string text{static_cast<char>(first), static_cast<char>(second)};
      const std::string shown = visible(text);
      EXPECT_EQ(visible(shown), shown);
      for (const char c : shown) EXPECT_FALSE(static_cast<unsigned char>(c) < 0x20 || c == 0x7f);
    }
}

TEST(VisibleText, lines_stay_lines) {
  EXPECT_EQ(visible_lines("one\n\x1b[Htwo\n\nthree"), "one\n\\x1b[Htwo\n\nthree");
  EXPECT_EQ(visible_lines(""), "");
}

TEST(Answers, have_visible_texts_at_every_level) {
  const auto answer = decode_answer(R"({"pinfold":1,"ok":true,"answer":{"a":"\u001b[2J","b":[{"c":"\n"}]}})");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->dump(), R"({"a":"\\x1b[2J","b":[{"c":"\\n"}]})");
  EXPECT_EQ(decode_answer(R"({"pinfold":1,"ok":false,"error":"no\u001b[2J"})").error(), "no\\x1b[2J");
}

TEST(Answers, that_no_monitor_gives_are_refused) {
  const std::string deep(40, '['), back(40, ']');
  for (const std::string& answer : std::initializer_list<std::string>{
           R"({"\u001b":1})", R"([])", R"("text")", R"(null)", R"(1)", "{\"a\":" + deep + back + "}"})
    EXPECT_FALSE(decode_answer("{\"pinfold\":1,\"ok\":true,\"answer\":" + answer + "}")) << answer;
  EXPECT_TRUE(decode_answer(R"({"pinfold":1,"ok":true,"answer":{}})"));
}

}  // namespace
}  // namespace pinfold::cli
