// The process that runs libxlutil: its answers, and its ends.
#include "cli/config/xl_child.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace pinfold::cli::test {
namespace {

XlAnswer example() {
  XlAnswer answer;
  answer.values["name"] = std::string("b\xc3\xbc\xff\x01");
  answer.values["disk"] = XlList{"a", std::nullopt, ""};
  XlDisk disk;
  disk.target = "/x\x80";
  disk.vdev = "xvda";
  disk.format = "raw";
  disk.cdrom = true;
  disk.discard = false;
  answer.disks = {disk, tl::unexpected(std::string("bad"))};
  answer.rate_errors = {std::nullopt, "worse"};
  return answer;
}

TEST(XlAnswer, comes_back_byte_by_byte) {
  const auto answer = decode_xl_answer(encode_xl_answer(example()));
  ASSERT_TRUE(answer) << answer.error();
  EXPECT_EQ(answer->values, example().values);
  EXPECT_EQ(answer->disks[0]->target, "/x\x80");
  EXPECT_EQ(answer->disks[0]->discard, false);
  EXPECT_TRUE(answer->disks[0]->cdrom);
  EXPECT_EQ(answer->disks[1].error(), "bad");
  EXPECT_EQ(answer->rate_errors, example().rate_errors);
  XlAnswer wrong;
  wrong.syntax_errors = {{7, "here"}};
  EXPECT_EQ(decode_xl_answer(encode_xl_answer(wrong))->syntax_errors[0].line, 7U);
}

TEST(XlAnswer, anything_else_is_none) {
  const std::string right = encode_xl_answer(example());
  for (std::size_t size = 0; size < right.size(); ++size)
    EXPECT_FALSE(decode_xl_answer(right.substr(0, size)));
  for (const char* wrong :
       {"null", "[]", "{}", "1",
        R"({"syntax_errors":[{"line":-1,"message":""}],"values":{},"disks":[],"rate_errors":[]})",
        R"({"syntax_errors":[{"line":4294967296,"message":""}],"values":{},"disks":[],"rate_errors":[]})",
        R"({"syntax_errors":[],"values":{"a":1},"disks":[],"rate_errors":[]})",
        R"({"syntax_errors":[],"values":{"a":["\u0100"]},"disks":[],"rate_errors":[]})",
        R"({"syntax_errors":[],"values":{},"disks":[{}],"rate_errors":[]})",
        R"({"syntax_errors":[],"values":{},"disks":{},"rate_errors":[]})"})
    EXPECT_FALSE(decode_xl_answer(wrong)) << wrong;
  EXPECT_FALSE(decode_xl_answer(std::string(longest_answer + 1, ' ')));
}

TEST(XlChild, gives_what_it_computed) {
  EXPECT_EQ(run_in_child([] { return std::string("done"); }), "done");
  const std::string large(3 << 20, 'x');
  EXPECT_EQ(run_in_child([&] { return large; }), large) << "more than a pipe holds";
}

TEST(XlChild, its_end_is_told) {
  EXPECT_EQ(run_in_child([]() -> std::string { ::_exit(2); }).error(), "it ended with exit code 2");
  EXPECT_EQ(run_in_child([]() -> std::string { std::exit(3); }).error(), "it ended with exit code 3");
  // Not abort(): a sanitizer would report it.
  EXPECT_EQ(run_in_child([]() -> std::string {
              std::signal(SIGTERM, SIG_DFL);
              ::raise(SIGTERM);
              return "";
            }).error(),
            "it was ended by signal 15");
  EXPECT_EQ(run_in_child([] { return std::string(longest_answer + 1, 'x'); }).error(), "too long an answer");
}

TEST(XlChild, writes_nothing_of_its_own) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  std::printf("once");
  EXPECT_TRUE(run_in_child([] {
    std::printf("twice");
    std::fprintf(stderr, "noise");
    std::fflush(nullptr);
    return std::string();
  }));
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "once");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

/// The library reads a text itself, and calls exit() or abort() for some of them: here it gets one
/// unprepared.
TEST(XlChild, the_librarys_end_is_no_end_of_the_program) {
  XlRequest request;
  request.text = std::string("a='\0'\n", 7);
  request.keys = {"a"};
  request.specs = [](const XlValues&) { return XlSpecs{}; };
  const auto answer = ask_xl_child(request);
  if (!answer) {
    EXPECT_TRUE(answer.error().starts_with("libxlutil did not parse this: it ")) << answer.error();
  }
}

}  // namespace
}  // namespace pinfold::cli::test
