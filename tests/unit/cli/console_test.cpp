// The console's hub and its readers, without a guest.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "cli/console/attachment.hpp"
#include "cli/console/hub.hpp"
#include "cli/console/log.hpp"

namespace pinfold::cli {
namespace {

std::span<const std::byte> bytes_of_text(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string numbered(std::size_t size, std::size_t from = 0) {
  std::string text;
  for (std::size_t i = from; text.size() < size; ++i) text += std::to_string(i) + ",";
  return text.substr(0, size);
}

struct Seen {
  std::string text;
  std::uint64_t lost = 0;
};

Seen read_all(ConsoleHub& hub, ConsoleHub::Place& place, std::size_t piece = 1000) {
  Seen seen;
  std::vector<std::byte> bytes(piece);
  for (;;) {
    const auto read = hub.read(place, bytes);
    seen.lost += read.lost;
    if (read.bytes == 0) return seen;
    for (const std::byte b : std::span(bytes).first(read.bytes)) seen.text.push_back(static_cast<char>(b));
  }
}

TEST(ConsoleHub, readers_read_the_same_each_at_its_own_place) {
  ConsoleHub hub;
  auto first = hub.place_at_end();
  EXPECT_EQ(hub.offer(bytes_of_text("hello ")), 6u);
  auto second = hub.place_at_end();
  EXPECT_EQ(hub.offer(bytes_of_text("world")), 5u);
  EXPECT_EQ(read_all(hub, first, 4).text, "hello world");
  EXPECT_EQ(read_all(hub, second).text, "world");
  EXPECT_EQ(read_all(hub, second).text, "");
}

TEST(ConsoleHub, a_new_reader_sees_the_end_of_the_history) {
  ConsoleHub hub;
  const std::string text = numbered(ConsoleHub::history + 100);
  (void)hub.offer(bytes_of_text(text));
  auto place = hub.place_with_history();
  const Seen seen = read_all(hub, place);
  EXPECT_EQ(seen.text, text.substr(100));
  EXPECT_EQ(seen.lost, 0u);
}

TEST(ConsoleHub, a_reader_that_falls_behind_goes_on_with_the_oldest_that_is_left) {
  ConsoleHub hub;
  auto place = hub.place_at_end();
  const std::string text = numbered(ConsoleHub::capacity + 12345);
  for (std::size_t i = 0; i < text.size(); i += 1999) (void)hub.offer(bytes_of_text(text.substr(i, 1999)));
  const Seen seen = read_all(hub, place);
  EXPECT_EQ(seen.lost, 12345u);
  EXPECT_EQ(seen.text, text.substr(12345));
}

TEST(ConsoleHub, more_than_it_can_keep_at_once_leaves_the_end) {
  ConsoleHub hub;
  (void)hub.offer(bytes_of_text("before"));
  auto place = hub.place_at_end();
  const std::string text = numbered(ConsoleHub::capacity + 77);
  EXPECT_EQ(hub.offer(bytes_of_text(text)), text.size());
  const Seen seen = read_all(hub, place);
  EXPECT_EQ(seen.lost, 77u);
  EXPECT_EQ(seen.text, text.substr(77));
}

TEST(ConsoleHub, readers_see_only_what_the_lossless_output_took) {
  ConsoleHub hub([](std::span<const std::byte> bytes) { return bytes.size() / 2; });
  auto place = hub.place_at_end();
  EXPECT_EQ(hub.offer(bytes_of_text("abcdef")), 3u);
  EXPECT_EQ(read_all(hub, place).text, "abc");
}

class AttachmentTest : public testing::Test {
 protected:
  AttachmentTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
    attachment = std::make_unique<Attachment>(vmm::Fd(ends[0]), hub, hub.place_with_history());
    peer = vmm::Fd(ends[1]);
  }
  std::string take() {
    std::string text(65536, '\0');
    const ssize_t n = ::read(peer.get(), text.data(), text.size());
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }
  ConsoleHub hub;
  std::unique_ptr<Attachment> attachment;
  vmm::Fd peer;
};

TEST_F(AttachmentTest, a_stalled_reader_gets_a_note_in_place_of_what_it_missed) {
  (void)hub.offer(bytes_of_text("start"));
  ASSERT_TRUE(attachment->send());
  EXPECT_EQ(take(), "start");
  const std::string text = numbered(ConsoleHub::capacity + 10);
  (void)hub.offer(bytes_of_text(text));
  std::string seen;
  while (!attachment->is_up_to_date()) {
    ASSERT_TRUE(attachment->send());
    seen += take();
  }
  EXPECT_EQ(seen, note_of_loss(10) + text.substr(10));
}

TEST_F(AttachmentTest, input_that_is_not_accepted_waits_and_no_more_is_read) {
  std::string typed;
  std::size_t room = 3;
  const Attachment::Input input = [&](std::span<const std::byte> bytes) {
    const std::size_t taken = std::min(room, bytes.size());
    for (const std::byte b : bytes.first(taken)) typed.push_back(static_cast<char>(b));
    return taken;
  };
  ASSERT_EQ(::write(peer.get(), "abcde", 5), 5);
  ASSERT_TRUE(attachment->receive(input));
  EXPECT_EQ(typed, "abc");
  EXPECT_TRUE(attachment->input_waits());
  EXPECT_EQ(attachment->wanted(), 0);
  attachment->offer_input(input);
  EXPECT_EQ(typed, "abcde");
  EXPECT_FALSE(attachment->input_waits());
}

class ConsoleLogTest : public testing::Test {
 protected:
  ConsoleLogTest() {
    char name[] = "/tmp/console-log-XXXXXX";
    folder = ::mkdtemp(name);
    options.log = folder / "log";
    options.log_bytes = 10;
    options.old_logs = 2;
  }
  ~ConsoleLogTest() override { std::filesystem::remove_all(folder); }
  std::string content(const char* name) const {
    std::ifstream file(folder / name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::filesystem::path folder;
  ConsoleOptions options;
};

TEST_F(ConsoleLogTest, files_are_rotated_from_the_log_to_the_oldest) {
  auto files = LogFiles::open(options);
  ASSERT_TRUE(files);
  EXPECT_EQ(files->append("0123456789abcdefghijABCDEFGHIJ+-"), 32u);
  EXPECT_EQ(content("log"), "+-");
  EXPECT_EQ(content("log.1"), "ABCDEFGHIJ");
  EXPECT_EQ(content("log.2"), "abcdefghij");
}

TEST_F(ConsoleLogTest, a_log_that_exists_is_continued) {
  std::ofstream(options.log) << "old";
  auto files = LogFiles::open(options);
  ASSERT_TRUE(files);
  EXPECT_EQ(files->append("new"), 3u);
  EXPECT_EQ(content("log"), "oldnew");
}

TEST_F(ConsoleLogTest, what_is_no_file_is_refused) {
  std::filesystem::create_directory(options.log);
  EXPECT_FALSE(LogFiles::open(options));
  options.log = "/dev/null";
  EXPECT_FALSE(LogFiles::open(options));
}

TEST(LogFiles, that_were_passed_are_regular_files_that_can_be_written) {
  const auto take = [](vmm::Fd file) {
    std::vector<vmm::Fd> files;
    files.push_back(std::move(file));
    return LogFiles::of(std::move(files), 4096).has_value();
  };
  EXPECT_TRUE(take(vmm::Fd(::memfd_create("log", MFD_CLOEXEC))));
  EXPECT_FALSE(take(vmm::Fd()));
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  EXPECT_FALSE(take(vmm::Fd(ends[0]))) << "a write could wait";
  EXPECT_FALSE(take(vmm::Fd(ends[1])));
  EXPECT_FALSE(take(vmm::Fd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC))));
}

TEST_F(ConsoleLogTest, all_output_is_in_the_log_at_its_end) {
  options.log_bytes = 1 << 20;
  ConsoleHub hub;
  const std::string text = numbered(100'000);
  {
    ConsoleLog log(hub, std::move(*LogFiles::open(options)));
    for (std::size_t i = 0; i < text.size(); i += 1000) (void)hub.offer(bytes_of_text(text.substr(i, 1000)));
  }
  EXPECT_EQ(content("log"), text);
}

}  // namespace
}  // namespace pinfold::cli
