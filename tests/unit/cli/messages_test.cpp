// The form of messages: which line is what, JSON, and the journal's datagrams.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/messages/message.hpp"
#include "cli/options_of_each.hpp"

namespace pinfold::cli {
namespace {

using Json = nlohmann::json;
using Names = std::vector<std::string>;
constexpr std::chrono::system_clock::time_point moment(std::chrono::microseconds(1'772'366'400'000'007));

Json json(std::string_view line, const Names& guests = {"web"}) {
  return Json::parse(json_of(Message::of_line(line, guests), moment));
}

TEST(Messages, have_a_time_a_level_a_guest_and_a_text) {
  EXPECT_EQ(
      json_of(Message::of_line("pinfold: the guest crashed", {"web"}), moment),
      R"({"time":"2026-03-01T12:00:00.000007Z","level":"info","guest":"web","message":"the guest crashed"})");
}

TEST(Messages, of_the_logger_have_its_level) {
  const Json message = json("[2026-03-01 12:00:00.123] [pinfold] [warning] vif 0: cut off");
  EXPECT_EQ(message["level"], "warning");
  EXPECT_EQ(message["message"], "vif 0: cut off");
  for (const char* other :
       {"[x", "[x] [other] [error] a", "[x] [pinfold] [strange] a", "[x] [pinfold] [error]a"})
    EXPECT_EQ(json(other)["message"], other);
}

TEST(Messages, of_several_guests_name_the_one_that_they_are_about) {
  const Names both{"web", "web-2"};
  EXPECT_EQ(json("pinfold: web-2: paused", both)["guest"], "web-2");
  EXPECT_EQ(json("pinfold: web-2: paused", both)["message"], "paused");
  EXPECT_EQ(json("pinfold: all end", both)["guests"], Json(both));
  EXPECT_FALSE(json("pinfold: all end", both).contains("guest"));
  EXPECT_EQ(json("pinfold: web: is a text", {"web"})["message"], "web: is a text");
}

TEST(Messages, are_json_whatever_they_contain) {
  std::string everything;
  for (int c = 1; c < 256; ++c)
    if (c != '\n') everything += static_cast<char>(c);
  for (const std::string& text :
       {everything, std::string("\"}\\\t\r\xff\xc0\x80") + '\0' + '"', std::string(16384, '"')})
    EXPECT_TRUE(json("x" + text)["message"].is_string());
  EXPECT_EQ(json("x\"},{\"level\":\"error")["message"], "x\"},{\"level\":\"error");
}

/// The fields of a datagram whose values all have their length before them.
std::vector<std::pair<std::string, std::string>> fields(std::string_view datagram) {
  std::vector<std::pair<std::string, std::string>> all;
  while (!datagram.empty()) {
    const auto end = datagram.find('\n');
    std::uint64_t size = 0;
    if (end > datagram.size() || datagram.size() - end <= sizeof size) return {};
    std::memcpy(&size, datagram.data() + end + 1, sizeof size);
    if (size >= datagram.size() - end - 1 - sizeof size) return {};
    all.emplace_back(datagram.substr(0, end), datagram.substr(end + 1 + sizeof size, size));
    datagram.remove_prefix(end + 1 + sizeof size + size + 1);
  }
  return all;
}

TEST(Messages, for_the_journal_are_fields) {
  const auto message = Message::of_line("[t] [pinfold] [error] a", {"web", "db"});
  const decltype(fields("")) expected{{"MESSAGE", "a"},
                                      {"PRIORITY", "3"},
                                      {"SYSLOG_IDENTIFIER", "pinfold"},
                                      {"PINFOLD_GUEST", "web"},
                                      {"PINFOLD_GUEST", "db"}};
  EXPECT_EQ(fields(journal_datagram(message)), expected);
}

TEST(Messages, texts_of_a_guest_make_no_field) {
  Message message;
  message.guests = {"web"};
  message.text = "x\nPRIORITY=0\n_PID\n";
  const auto all = fields(journal_datagram(message));
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0].second, message.text);
}

TEST(Messages, of_guests_without_a_name_have_the_one_that_they_get) {
  MachineOptions machine(1);
  const std::string by_itself = "guest-" + std::to_string(::getpid());
  EXPECT_EQ(names_of(machine), Names{by_itself});
  machine.resize(2);
  machine[0].guest.name = "web";
  EXPECT_EQ(names_of(machine), (Names{"web", by_itself + "-2"}));
}

}  // namespace
}  // namespace pinfold::cli
