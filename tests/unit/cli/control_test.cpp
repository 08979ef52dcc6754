// The control socket: names, the directory, the lines, and what is not taken.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "cli/control/client.hpp"
#include "cli/control/runtime_dir.hpp"
#include "cli/control/server.hpp"
#include "cli/control/socket.hpp"

namespace pinfold::cli::test {
namespace {

namespace fs = std::filesystem;

/// A directory of the test's own, which is the user's runtime directory during the test.
class ControlSocket : public ::testing::Test {
 protected:
  ControlSocket() {
    std::string pattern = (fs::temp_directory_path() / "pinfold-test-XXXXXX").string();
    base_ = ::mkdtemp(pattern.data());
    ::setenv("XDG_RUNTIME_DIR", base_.c_str(), 1);
    directory_ = runtime_directory().value();
  }
  ~ControlSocket() override {
    ::unsetenv("XDG_RUNTIME_DIR");
    fs::remove_all(base_);
  }
  [[nodiscard]] tl::expected<ControlName, ControlName::Error> claim(const char* name) const {
    return ControlName::claim(directory_, name);
  }

  fs::path base_, directory_;
};

std::string echo(std::string_view line, const Descriptors&) {
  const auto request = decode_request(line);
  if (!request) return encode_answer(tl::unexpected(request.error()));
  return encode_answer(Json{{"heard", request->command}});
}

TEST_F(ControlSocket, directory_is_private) {
  struct stat found {};
  ASSERT_EQ(::stat(directory_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0700U);
}

TEST_F(ControlSocket, directory_that_others_may_enter_is_not_used) {
  fs::permissions(directory_, fs::perms::group_exec, fs::perm_options::add);
  EXPECT_FALSE(runtime_directory());
}

TEST_F(ControlSocket, symbolic_link_or_file_is_no_directory) {
  fs::create_directory_symlink(directory_, base_ / "link");
  EXPECT_FALSE(make_private_directory(base_ / "link"));
  std::ofstream(base_ / "file") << "x";
  EXPECT_FALSE(make_private_directory(base_ / "file"));
}

TEST_F(ControlSocket, name_of_a_live_guest_is_refused_and_free_afterwards) {
  {
    const auto first = claim("one");
    ASSERT_TRUE(first);
    const auto second = claim("one");
    ASSERT_FALSE(second);
    EXPECT_TRUE(second.error().taken);
    EXPECT_TRUE(claim("another"));
  }
  EXPECT_TRUE(fs::is_empty(directory_));
  EXPECT_TRUE(claim("one"));
}

TEST_F(ControlSocket, socket_of_a_dead_process_is_replaced) {
  std::ofstream(directory_ / "one.sock") << "left behind";
  std::ofstream(directory_ / "one.lock") << "";
  EXPECT_FALSE(connect_to_guest(directory_, "one"));
  const auto claimed = claim("one");
  ASSERT_TRUE(claimed);
  EXPECT_TRUE(connect_to_guest(directory_, "one"));
}

TEST_F(ControlSocket, what_dead_processes_left_goes_when_the_next_guest_starts_and_live_ones_stay) {
  const auto live = claim("live");
  for (const char* left : {"dead.sock", "dead.lock", "other.lock"}) std::ofstream(directory_ / left) << "";
  EXPECT_TRUE(claim("one"));
  EXPECT_EQ(names_in(directory_), std::vector<std::string>{"live"});
  EXPECT_FALSE(fs::exists(directory_ / "other.lock"));
  EXPECT_TRUE(connect_to_guest(directory_, "live"));
}

TEST_F(ControlSocket, overlong_path_is_refused) {
  const fs::path deep = directory_ / std::string(100, 'd');
  fs::create_directory(deep);
  EXPECT_FALSE(ControlName::claim(deep, "one"));
}

TEST_F(ControlSocket, requests_are_answered_for_several_clients) {
  const auto name = claim("one");
  const ControlServer server(name->listener(), echo);
  for (int i = 0; i < 20; ++i) {
    const auto answer = ask_guest("one", "status");
    ASSERT_TRUE(answer) << answer.error();
    EXPECT_EQ((*answer)["heard"], "status");
  }
  EXPECT_EQ(names_in(directory_), std::vector<std::string>{"one"});
}

TEST_F(ControlSocket, guest_that_does_not_run_is_named_in_the_error) {
  EXPECT_NE(ask_guest("nobody", "status").error().find("nobody"), std::string::npos);
  EXPECT_FALSE(ask_guest("../one", "status"));
}

/// Sends the bytes; whether the server hung up without a word.
bool hangs_up_at(const fs::path& directory, const std::string& bytes) {
  const auto socket = connect_to_guest(directory, "one");
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t n = ::send(socket->get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return true;
    sent += static_cast<std::size_t>(n);
  }
  char byte = 0;
  return ::recv(socket->get(), &byte, 1, 0) <= 0;
}

TEST_F(ControlSocket, client_with_an_endless_line_is_dropped_and_others_are_served) {
  const auto name = claim("one");
  const ControlServer server(name->listener(), echo);
  EXPECT_TRUE(hangs_up_at(directory_, std::string(100'000, 'x')));
  EXPECT_FALSE(hangs_up_at(directory_, "not JSON\n"));
  EXPECT_FALSE(hangs_up_at(directory_, std::string(ControlServer::longest_line, '[') + "\n"));
  EXPECT_TRUE(ask_guest("one", "status"));
}

TEST_F(ControlSocket, idle_clients_keep_nobody_from_ending_the_server) {
  const auto name = claim("one");
  std::vector<vmm::Fd> idle;
  {
    const ControlServer server(name->listener(), echo);
    for (std::size_t i = 0; i < ControlServer::most_clients; ++i)
      idle.push_back(std::move(*connect_to_guest(directory_, "one")));
  }
  SUCCEED();
}

/// Answers with how many descriptors came; keeps none.
std::string count(std::string_view, const Descriptors& descriptors) {
  return encode_answer(Json{{"descriptors", descriptors.size()}});
}

/// How many descriptors this process has.
std::size_t open_descriptors() {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
}

/// A pipe: the writing end says whether anybody still has the reading end.
struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    reading = vmm::Fd(ends[0]);
    writing = vmm::Fd(ends[1]);
  }
  [[nodiscard]] bool has_reader() const {
    pollfd fd{writing.get(), POLLOUT, 0};
    return ::poll(&fd, 1, 0) >= 0 && (fd.revents & POLLERR) == 0;
  }
  vmm::Fd reading, writing;
};

TEST_F(ControlSocket, a_descriptor_that_comes_with_a_request_is_the_same_open_file) {
  const auto name = claim("one");
  std::string read;
  const ControlServer server(name->listener(), [&read](std::string_view, const Descriptors& descriptors) {
    std::array<char, 8> bytes{};
    if (descriptors.size() == 1)
      read.assign(bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(
                                    0, ::read(descriptors[0].get(), bytes.data(), bytes.size()))));
    EXPECT_TRUE(descriptors.empty() || (::fcntl(descriptors[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
    return encode_answer(Json::object());
  });
  const Pipe pipe;
  ASSERT_EQ(::write(pipe.writing.get(), "hello", 5), 5);
  const std::array descriptors{pipe.reading.get()};
  EXPECT_TRUE(ask_guest("one", "take", Json::object(), 10, descriptors));
  EXPECT_EQ(read, "hello");
}

TEST_F(ControlSocket, descriptors_are_counted_and_closed_when_nobody_wants_them) {
  const auto name = claim("one");
  const ControlServer server(name->listener(), count);
  for (std::size_t n = 0; n <= most_descriptors; ++n) {
    Pipe pipe;
    const std::vector<int> descriptors(n, pipe.reading.get());
    const auto answer = ask_guest("one", "take", Json::object(), 10, descriptors);
    ASSERT_TRUE(answer) << answer.error();
    EXPECT_EQ((*answer)["descriptors"], n);
    pipe.reading = {};
    EXPECT_FALSE(pipe.has_reader()) << n;
  }
}

/// Sends one byte with so many copies of a descriptor, whatever the protocol says.
void send_many(const vmm::Fd& socket, int fd, std::size_t copies) {
  std::vector<std::byte> control(CMSG_SPACE(copies * sizeof(int)));
  char byte = '{';
  iovec place{&byte, 1};
  msghdr message{};
  message.msg_iov = &place;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* const part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(copies * sizeof(int));
  const std::vector<int> descriptors(copies, fd);
  std::memcpy(CMSG_DATA(part), descriptors.data(), copies * sizeof(int));
  ASSERT_EQ(::sendmsg(socket.get(), &message, MSG_NOSIGNAL), 1);
}

/// Waits until the other end hangs up.
bool hangs_up(const vmm::Fd& socket) {
  char byte = 0;
  return ::recv(socket.get(), &byte, 1, 0) <= 0;
}

TEST_F(ControlSocket, clients_with_too_many_descriptors_are_dropped_and_nothing_is_left) {
  const auto name = claim("one");
  const ControlServer server(name->listener(), count);
  const std::size_t before = open_descriptors();
  for (const std::size_t copies : {most_descriptors + 1, std::size_t{200}}) {
    Pipe pipe;
    {
      const auto client = connect_to_guest(directory_, "one");
      send_many(*client, pipe.reading.get(), copies);
      EXPECT_TRUE(hangs_up(*client)) << copies;
    }
    pipe.reading = {};
    EXPECT_FALSE(pipe.has_reader()) << copies;
  }
  {
    // A few at a time, and never the end of the line.
    const auto client = connect_to_guest(directory_, "one");
    const Pipe pipe;
    for (std::size_t i = 0; i <= most_descriptors; ++i) send_many(*client, pipe.reading.get(), 1);
    EXPECT_TRUE(hangs_up(*client));
  }
  EXPECT_TRUE(ask_guest("one", "status"));
  // The server closes its end of a connection some time after the client has closed the other.
  for (int i = 0; i < 1000 && open_descriptors() != before; ++i) ::usleep(10'000);
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(ControlSocket, descriptors_of_a_client_that_leaves_within_a_line_are_closed) {
  const auto name = claim("one");
  const ControlServer server(name->listener(), count);
  Pipe pipe;
  {
    const auto client = connect_to_guest(directory_, "one");
    send_many(*client, pipe.reading.get(), 1);
  }
  pipe.reading = {};
  for (int i = 0; i < 1000 && pipe.has_reader(); ++i) ::usleep(10'000);
  EXPECT_FALSE(pipe.has_reader());
}

TEST_F(ControlSocket, descriptors_belong_to_the_last_line_of_what_they_were_sent_with) {
  const auto name = claim("one");
  const ControlServer server(name->listener(), count);
  const auto client = connect_to_guest(directory_, "one");
  const Pipe pipe;
  const std::array descriptors{pipe.reading.get()};
  ASSERT_TRUE(send_all(*client, "first\n", -1));
  ASSERT_TRUE(send_with(*client, "second\n", descriptors));
  std::string answers;
  while (std::ranges::count(answers, '\n') < 2) {
    std::array<char, 256> bytes{};
    const ssize_t n = ::recv(client->get(), bytes.data(), bytes.size(), 0);
    ASSERT_GT(n, 0);
    answers.append(bytes.data(), static_cast<std::size_t>(n));
  }
  const std::size_t end = answers.find('\n');
  EXPECT_EQ(decode_answer(answers.substr(0, end)).value()["descriptors"], 0);
  EXPECT_EQ(decode_answer(answers.substr(end + 1)).value()["descriptors"], 1);
}

TEST(ControlProtocol, requests_of_another_version_or_shape_are_refused) {
  EXPECT_TRUE(decode_request(encode_request("status", Json::object())));
  for (const char* line : {"", "{}", "[]", "7", "{\"pinfold\":2,\"command\":\"status\"}",
                           "{\"pinfold\":\"1\",\"command\":\"status\"}", "{\"pinfold\":1}",
                           "{\"pinfold\":1,\"command\":7}", "{\"pinfold\":1,\"command\":\"status\""})
    EXPECT_FALSE(decode_request(line)) << line;
}

TEST(ControlProtocol, answers_come_back_as_they_were_given) {
  EXPECT_EQ(decode_answer(encode_answer(Json{{"a", 1}})).value()["a"], 1);
  EXPECT_EQ(decode_answer(encode_answer(tl::unexpected(std::string("no")))).error(), "no");
  EXPECT_TRUE(decode_answer(encode_answer(Json{{"text", "\xff bytes"}})));
  EXPECT_FALSE(decode_answer("{\"pinfold\":1,\"ok\":true}"));
}

TEST(ControlProtocol, numbers_are_whole_and_nothing_else) {
  EXPECT_EQ(parse_number("291").value(), 291U);
  EXPECT_EQ(parse_number("0xffffffffffffffff").value(), ~0ULL);
  for (const char* text : {"", "0x", "-1", "1x", " 1", "1.5", "0x10000000000000000"})
    EXPECT_FALSE(parse_number(text)) << text;
}

TEST(GuestName, is_a_file_name_of_plain_characters) {
  for (const char* name : {"a", "web-1", "A_b.c", "guest-123"}) EXPECT_TRUE(is_guest_name(name)) << name;
  for (const char* name : {"", ".hidden", "..", "a/b", "a b", "ä"}) EXPECT_FALSE(is_guest_name(name)) << name;
  EXPECT_TRUE(is_guest_name(std::string(64, 'n')));
  EXPECT_FALSE(is_guest_name(std::string(65, 'n')));
}

}  // namespace
}  // namespace pinfold::cli::test
