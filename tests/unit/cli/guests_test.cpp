// Which guests run, and which one a name or an ID means.
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "cli/control/guests.hpp"
#include "cli/control/socket.hpp"
#include "cli/toolstack/guest_end.hpp"
#include "cli/toolstack/verbs_text.hpp"

namespace pinfold::cli {
namespace {

namespace fs = std::filesystem;

class Guests : public ::testing::Test {
 protected:
  Guests() {
    std::string pattern = (fs::temp_directory_path() / "pinfold-test-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~Guests() override { fs::remove_all(directory_); }
  [[nodiscard]] ControlName guest(const char* name, std::uint32_t id) const {
    auto claimed = ControlName::claim(directory_, name);
    claimed->note(GuestNote{id, 100, 101}.text());
    return std::move(*claimed);
  }
  [[nodiscard]] std::string found(const char* word) const {
    const auto guest = find_guest(directory_, word);
    return guest ? guest->name : "error: " + guest.error();
  }

  fs::path directory_;
};

TEST_F(Guests, are_found_by_name_and_id) {
  const auto one = guest("one", 7), two = guest("two", 3);
  EXPECT_EQ(found("one"), "one");
  EXPECT_EQ(found("3"), "two");
  EXPECT_EQ(found("none"), "error: no guest has the name or ID none; these are running: two (3), one (7)");
  for (const char* word : {"", "03", "+3", "0x3", "3 ", "../one", "one.lock", "0"})
    EXPECT_EQ(found(word).substr(0, 5), "error") << word;
}

TEST_F(Guests, a_name_that_is_anothers_id_is_an_error) {
  const auto one = guest("one", 7), seven = guest("7", 8);
  EXPECT_EQ(found("7").substr(0, 5), "error");
  EXPECT_EQ(found("8"), "7");
}

TEST_F(Guests, a_name_that_is_its_own_id_is_none) {
  const auto seven = guest("7", 7);
  EXPECT_EQ(found("7"), "7");
}

TEST_F(Guests, a_killed_guests_files_are_removed) {
  std::ofstream(directory_ / "gone.lock") << "5 1 2\n";
  std::ofstream(directory_ / "gone.sock");
  EXPECT_EQ(found("5"), "error: no guest has the name or ID 5; no guest is running");
  EXPECT_FALSE(fs::exists(directory_ / "gone.lock"));
}

TEST_F(Guests, sockets_move_to_another_name_and_both_stay_held) {
  auto one = guest("one", 7);
  const auto taken = guest("one-1", 8);
  EXPECT_TRUE(one.move_sockets_to("one-1").error().taken);
  const int before = one.listener().get();
  auto aside = one.move_sockets_to("one-2");
  ASSERT_TRUE(aside) << aside.error().message;
  aside->note(GuestNote{.id = 7, .supervisor = 100, .monitor = 101, .preserved = true}.text());
  EXPECT_EQ(aside->listener().get(), before);
  EXPECT_NE(one.listener().get(), before);
  one.note(GuestNote{9, 100, 102}.text());
  EXPECT_EQ(found("7"), "one-2");
  for (const char* name : {"one", "one-2"}) EXPECT_TRUE(ControlName::claim(directory_, name).error().taken);
  for (const char* name : {"one", "one-2"})
    for (const auto which : {GuestSocket::control, GuestSocket::store, GuestSocket::console})
      EXPECT_TRUE(connect_to_guest(directory_, name, which)) << name;
}

/// A process that does nothing, as a supervisor.
class Sleeper {
 public:
  Sleeper() : pid_(::fork()) {
    while (pid_ == 0) ::pause();
  }
  ~Sleeper() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool lives() const { return ::waitpid(pid_, nullptr, WNOHANG) == 0; }

 private:
  pid_t pid_;
};

TEST_F(Guests, the_supervisor_of_a_preserved_one_is_not_asked_to_end) {
  const Sleeper supervisor;
  std::optional<ControlName> name = guest("one", 7);
  const GuestNote note{.id = 7, .supervisor = supervisor.pid(), .preserved = true};
  name->note(note.text());
  std::thread slow([&] {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    name.reset();
  });
  EXPECT_TRUE(end_supervisor({"one", note, directory_}));
  slow.join();
  EXPECT_TRUE(supervisor.lives());
}

TEST_F(Guests, ids_count_up_and_leave_out_those_in_use) {
  EXPECT_EQ(take_guest_id(directory_), 1u);
  const auto two = guest("two", 2);
  EXPECT_EQ(take_guest_id(directory_), 3u);
  std::ofstream(directory_ / "last-id") << 0x7ff0;
  EXPECT_EQ(take_guest_id(directory_), 1u);
  std::ofstream(directory_ / "last-id") << "nonsense";
  EXPECT_EQ(take_guest_id(directory_), 1u);
  std::ofstream(directory_ / "last-id") << "4294967295";
  EXPECT_LE(take_guest_id(directory_), 0x7ff0u);
}

TEST_F(Guests, an_id_is_not_given_through_a_link) {
  fs::create_symlink("/dev/null", directory_ / "last-id");
  EXPECT_EQ(take_guest_id(directory_), 0u);
}

TEST(GuestNote, is_read_as_it_was_written) {
  for (const GuestNote& note :
       {GuestNote{7, 1234, 0}, GuestNote{7, 1234, 1235, 3, true, false},
        GuestNote{7, 1234, 1235, 0, false, true}, GuestNote{7, 1234, 1235, 0, true, true}})
    EXPECT_EQ(GuestNote::parse(note.text()), note);
  for (const char* text : {"", "7", "7 1", "7 1 2", "7 1 2\n", "-7 1 2 0\n", "7 0 2 0\n", "7 1 -2 0\n",
                           "x 1 2 0\n", "4294967296 1 2 0\n"})
    EXPECT_EQ(GuestNote::parse(text), GuestNote{}) << text;
}

TEST(DurationText, is_as_people_write_it) {
  EXPECT_EQ(duration_text(0), "0:00:00");
  EXPECT_EQ(duration_text(3723.9), "1:02:03");
  EXPECT_EQ(duration_text(86400), "1 day, 0:00:00");
  EXPECT_EQ(duration_text(-1), "0:00:00");
}

}  // namespace
}  // namespace pinfold::cli
