// A kernel from a guest's own disk: what is asked of grub-fstest, what is believed of its answers, and what
// the process that reads menus may say.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "cli/bootloader/confine_reader.hpp"
#include "cli/bootloader/fstest.hpp"
#include "cli/bootloader/guest_files.hpp"
#include "cli/bootloader/image_reader.hpp"
#include "cli/bootloader/menu_child.hpp"
#include "cli/bootloader/menu_prompt.hpp"
#include "cli/bootloader/pygrub_arguments.hpp"
#include "cli/config/xl_child.hpp"
#include "cli/tools/open_requests.hpp"

namespace pinfold::cli::bootloader::test {
namespace {

using boot_menu::Menu;

vmm::Fd file_of(const std::string& bytes) {
  vmm::Fd file(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return file;
}

TEST(FstestDevices, are_in_a_boot_loaders_order) {
  const auto devices = parse_devices(
      "Device proc: Filesystem type procfs - Sector size 512B - Total size 0KiB\n"
      "Device lvm/vg-root: Filesystem type xfs, UUID 5-6 - Sector size 512B - Total size 9KiB\n"
      "Device loop0: No known filesystem detected - Sector size 512B - Total size 133120KiB\n"
      "\tPartition loop0,gpt12: Filesystem type ext* - Label `the root' - Last modification time 2026-11-28 "
      "18:05:23 "
      "Saturday, UUID 704fa474-90a0 - Partition start at 20480KiB - Total size 102400KiB\n"
      "\tPartition loop0,gpt2: Filesystem type fat, UUID AB-CD - Partition start at 31.5KiB - Total size "
      "1KiB\n"
      "Device loop1: Filesystem type iso9660 - Sector size 512B - Total size 1KiB\n"
      "Device host: Filesystem type hostfs - Sector size 512B - Total size 0KiB\n\n");
  ASSERT_EQ(devices.size(), 5U);
  EXPECT_EQ(devices[0].name, "hd0");
  EXPECT_FALSE(devices[0].has_files);
  EXPECT_EQ(devices[1].name, "hd0,gpt2");
  EXPECT_EQ(devices[1].start_bytes, 63U * 512);
  EXPECT_EQ(devices[2].name, "hd0,gpt12");
  EXPECT_EQ(devices[2].label, "the root");
  EXPECT_EQ(devices[2].uuid, "704fa474-90a0");
  EXPECT_EQ(devices[3].name, "hd1");
  EXPECT_EQ(devices[4].name, "lvm/vg-root");
  EXPECT_EQ(devices[4].uuid, "5-6");
}

TEST(FstestDevices, with_names_that_are_no_guests_are_left_out) {
  for (const char* name : {"host", "proc", "memdisk", "lvm/a(host)b", "loop0)/x", "hd0", "loop0 x",
                           "lvm/\x01", "../host", "LOOP0", ""})
    EXPECT_TRUE(parse_devices(std::string("Device ") + name + ": Filesystem type x - \n").empty()) << name;
  EXPECT_LE(parse_devices([] {
              std::string many;
              for (int i = 0; i < 100'000; ++i)
                many += "Device lvm/a" + std::to_string(i) + ": Filesystem type x\n";
              return many;
            }())
                .size(),
            256U);
}

TEST(FstestFolder, has_names_with_blanks) {
  const std::vector<std::string> names{"lost+found/", "a b  c", "x"};
  EXPECT_EQ(parse_folder("DIR          20261128180523 lost+found/\n31457280     20261128180523 a b  c\n"
                         "1 2 x\n\n3 4\n"),
            names);
}

TEST(OpenRequests, give_libraries_and_nothing_else) {
  EXPECT_TRUE(tools::open_library("/lib/x86_64-linux-gnu/libc.so.6").open());
  EXPECT_TRUE(tools::open_library("/etc/ld.so.cache").open());
  for (const char* path :
       {"/etc/passwd", "/lib/../etc/passwd", "/usr/lib/../../etc/ld.so.conf", "/lib/os-release", "/usr/lib",
        "/usr/lib/os-release", "lib/x.so", "", "/", "/proc/self/maps.so", "/lib/x86_64-linux-gnu"})
    EXPECT_FALSE(tools::open_library(path).open()) << path;
}

TEST(Pygrub, is_known_by_any_path) {
  for (const char* name : {"pygrub", "/usr/bin/pygrub", "/usr/lib/xen-4.17/bin/pygrub"})
    EXPECT_TRUE(is_pygrub(name));
  for (const char* name : {"", "grub", "/usr/bin/pygrub2", "pygrub/", "xenpvnetboot", "notpygrub"})
    EXPECT_FALSE(is_pygrub(name)) << name;
}

TEST(Pygrub, has_its_arguments) {
  const auto all =
      parse_pygrub_arguments({"-q", "--entry=2>1", "--kernel", "/k", "--ramdisk=/r", "--args=a b=c",
                              "--offset=1048576", "--output-format=simple0", "--new"});
  EXPECT_EQ(all.entry, "2>1");
  EXPECT_EQ(all.kernel, "/k");
  EXPECT_EQ(all.ramdisk, "/r");
  EXPECT_EQ(all.arguments, "a b=c");
  EXPECT_EQ(all.offset_bytes, 1048576U);
  EXPECT_EQ(all.notices.size(), 2U);
  EXPECT_TRUE(all.errors.empty());
  EXPECT_TRUE(parse_pygrub_arguments({"-i"}).interactive);
  EXPECT_FALSE(parse_pygrub_arguments({"-i", "--entry=0"}).interactive);
  EXPECT_EQ(parse_pygrub_arguments({"--offset=1k", "--entry"}).errors.size(), 2U);
}

// -- The process that reads menus.

TEST(MenuChild, asks_for_files_until_it_has_an_answer) {
  FetchedFiles fetched;
  fetched.devices.push_back({"hd0", "", "", 0, true});
  std::vector<std::string> asked;
  for (int n = 0; n < 20; ++n) {
    const auto words = decode_child_words(answer_of_child(fetched, {}));
    ASSERT_TRUE(words) << words.error();
    if (words->answer) {
      ASSERT_TRUE(*words->answer) << words->answer->error();
      EXPECT_EQ((*words->answer)->boot->kernel.path, "/k");
      EXPECT_EQ(asked, (std::vector<std::string>{"/", "/boot/", "/boot/grub/", "/boot/grub/menu.lst"}));
      return;
    }
    const auto& key = words->missing->key;
    asked.push_back(key.second);
    const std::map<std::string, std::vector<std::string>> folders{
        {"/", {"boot/", "k"}}, {"/boot/", {"grub/"}}, {"/boot/grub/", {"menu.lst"}}};
    if (words->missing->is_folder)
      fetched.folders[key] = folders.at(key.second);
    else
      fetched.texts[key] = "title a\nkernel /k\n";
  }
  FAIL() << "no answer";
}

TEST(MenuChild, can_say_nothing_else_than_an_answer) {
  using Json = nlohmann::json;
  const Json source = Json::array({"hd0", "/m"}), entry = Json::array({"t", "", "", 0, false}),
             boot = Json::array({Json::array({"hd0", "/k"}), Json::array(), "args"});
  const auto menu = [&](const Json& entries, const Json& chosen) {
    return Json::array({source, entries, chosen, -1, Json::array()});
  };
  const auto is_refused = [](const Json& json) {
    std::string bytes;
    Json::to_msgpack(json, bytes);
    return !decode_child_words(bytes).has_value();
  };
  const Json good{{"menu", menu(Json::array({entry}), 0)}, {"entry", 0}, {"boot", boot}};
  EXPECT_FALSE(is_refused(good));
  EXPECT_TRUE(is_refused({{"menu", menu(Json::array(), 0)}, {"entry", 0}, {"boot", boot}}));
  EXPECT_TRUE(is_refused({{"menu", menu(Json::array({entry}), 1)}, {"entry", 0}, {"boot", boot}}));
  EXPECT_TRUE(is_refused({{"menu", menu(Json::array({entry}), 0)}, {"entry", 1}, {"boot", boot}}));
  EXPECT_TRUE(is_refused({{"menu", menu(Json::array({entry}), 0)}, {"entry", 0}}));
  EXPECT_TRUE(is_refused({{"menu", menu("x", 0)}, {"entry", 0}, {"boot", boot}}));
  EXPECT_TRUE(is_refused(
      {{"menu", menu(Json(boot_menu::most_entries + 1, entry), 0)}, {"entry", 0}, {"boot", boot}}));
  EXPECT_TRUE(is_refused({{"menu", menu(Json::array({entry}), 0)},
                          {"entry", 0},
                          {"boot", Json::array({source, Json(boot_menu::most_initrds + 1, source), ""})}}));
  EXPECT_TRUE(is_refused({{"missing", 1}}));
  EXPECT_TRUE(is_refused(Json::array()));
  EXPECT_FALSE(decode_child_words("").has_value());
  EXPECT_FALSE(decode_child_words("\xff\xff").has_value());
  // An array in an array, and so on: each byte is a level.
  EXPECT_FALSE(decode_child_words(std::string(std::size_t{8} << 20, '\x91')).has_value());
}

#ifndef PINFOLD_CONFINES_NOTHING
TEST(MenuChild, can_only_compute_and_answer) {
  const auto with = [](const std::function<void()>& attempt) {
    return run_in_child(
        [&] {
          attempt();
          return std::string("alive");
        },
        confine_reader);
  };
  EXPECT_EQ(with([] {}).value_or(""), "alive");
  EXPECT_EQ(with([] { std::vector<std::string> much(10'000, std::string(1000, 'x')); }).value_or(""),
            "alive");
  const std::function<void()> attempts[] = {
      [] { (void)::open("/etc/passwd", O_RDONLY); },
      [] { (void)::socket(AF_UNIX, SOCK_STREAM, 0); },
      [] { (void)::fork(); },
      [] { (void)::kill(::getppid(), 0); },
      [] {
        char c = 0;
        (void)!::read(0, &c, 1);
      },
      [] { (void)!::write(STDERR_FILENO, "x", 1); },
      [] { (void)::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); },
  };
  for (const auto& attempt : attempts) EXPECT_FALSE(with(attempt).has_value());
}
#endif

// -- grub-fstest itself, confined. Skipped where it is not installed.

class ConfinedFstest : public ::testing::Test {
 protected:
  /// The answer to a command about a disk of zeroes, or the error.
  static std::string answer(const std::vector<std::string>& words, std::uint64_t most_bytes = 1 << 20) {
    std::vector<FstestDisk> disks;
    disks.emplace_back(file_of(std::string(1 << 20, '\0')));
    return answer_about(std::move(disks), words, most_bytes);
  }
  static std::string answer_about(std::vector<FstestDisk> disks, const std::vector<std::string>& words,
                                  std::uint64_t most_bytes = 1 << 20) {
    const auto fstest = Fstest::find(std::move(disks));
    if (!fstest) return fstest.error().message;
    const auto output = fstest->run(words, {most_bytes, 10});
    return output ? text_of(output->file, most_bytes) : output.error().message;
  }
  void SetUp() override {
    if (answer({"ls"}).find("not installed") != std::string::npos)
      GTEST_SKIP() << "grub-fstest is not installed";
  }
};

TEST_F(ConfinedFstest, sees_its_disk) { EXPECT_EQ(answer({"ls"}), "(proc) (loop0) (host) \n"); }

TEST_F(ConfinedFstest, sees_no_file_of_the_host) {
  EXPECT_EQ(answer({"cat", "(host)/etc/passwd"}),
            "cannot open `(host)/etc/passwd': can't open `/etc/passwd': No such file or directory");
  EXPECT_EQ(answer({"ls", "(host)/"}), "\n") << "an empty folder";
  EXPECT_EQ(answer({"ls", "(host)/etc/"}), "");
  EXPECT_NE(answer({"cp", "(loop0)0+1", "/tmp/pinfold-must-not-be"}).find("Permission denied"),
            std::string::npos);
}

TEST_F(ConfinedFstest, says_what_is_absent_and_what_cant_be_read) {
  std::vector<FstestDisk> disks;
  disks.emplace_back(file_of(std::string(1 << 20, '\0')));
  const auto fstest = Fstest::find(std::move(disks));
  ASSERT_TRUE(fstest);
  const auto kind = [&](const std::vector<std::string>& words) {
    const auto output = fstest->run(words, {1 << 20, 10});
    EXPECT_FALSE(output);
    return output ? FstestTrouble::host : output.error().kind;
  };
  EXPECT_EQ(kind({"cat", "(proc)/x"}), FstestTrouble::absent);
  EXPECT_EQ(kind({"hex", "(proc)/x"}), FstestTrouble::disks);
  EXPECT_EQ(kind({"cat", "(loop0)/x"}), FstestTrouble::disks) << "unknown filesystem";
  EXPECT_EQ(kind({"cat", "(loop0)/x' not found"}), FstestTrouble::disks);
  EXPECT_EQ(kind({"cat", "(loop7)/x"}), FstestTrouble::disks) << "disk `loop7' not found";
  EXPECT_EQ(kind({"no-command"}), FstestTrouble::disks);
}

TEST_F(ConfinedFstest, has_bounds) {
  EXPECT_EQ(answer({"hex", "(loop0)0+2048"}, 4096), "it has more than 4096 bytes");
}

/// Each sector begins with its number. Sectors from `broken` on can't be read.
class NumberedSectors final : public tools::ServedFile {
 public:
  explicit NumberedSectors(std::uint64_t sectors, std::uint64_t broken = ~0ULL)
      : sectors_(sectors), broken_(broken) {}
  [[nodiscard]] std::uint64_t bytes() const override { return sectors_ * 512; }
  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> to) override {
    if (offset + to.size() > bytes()) return EINVAL;
    if ((offset + to.size() + 511) / 512 > broken_) return EIO;
    for (std::size_t n = 0; n < to.size(); ++n) {
      const std::uint64_t sector = (offset + n) / 512, byte = (offset + n) % 512;
      to[n] = static_cast<std::byte>(byte < 8 ? sector >> (8 * byte) : 0);
    }
    return 0;
  }

 private:
  std::uint64_t sectors_, broken_;
};

std::vector<FstestDisk> numbered_disk(std::uint64_t sectors, std::uint64_t broken = ~0ULL) {
  std::vector<FstestDisk> disks;
  disks.emplace_back(std::make_unique<NumberedSectors>(sectors, broken));
  return disks;
}

/// grub-fstest's `cat` of blocks: the numbers in the sectors.
std::vector<std::uint64_t> numbers_in(const std::string& bytes) {
  std::vector<std::uint64_t> numbers;
  for (std::size_t at = 0; at + 512 <= bytes.size(); at += 512) {
    std::uint64_t number = 0;
    std::memcpy(&number, bytes.data() + at, sizeof number);
    numbers.push_back(number);
  }
  return numbers;
}

TEST_F(ConfinedFstest, reads_a_disk_that_is_served) {
  EXPECT_EQ(answer_about(numbered_disk(2048), {"ls"}), "(proc) (loop0) (host) \n");
  // As much as several reads, from the disk's end, and from behind 2 TiB.
  for (const std::uint64_t first :
       {std::uint64_t{1}, std::uint64_t{5} << 31, (std::uint64_t{6} << 31) - 1000}) {
    std::vector<std::uint64_t> wanted;
    for (std::uint64_t n = 0; n < 1000; ++n) wanted.push_back(first + n);
    EXPECT_EQ(numbers_in(answer_about(numbered_disk(std::uint64_t{6} << 31),
                                      {"cat", "(loop0)" + std::to_string(first) + "+1000"})),
              wanted);
  }
}

TEST_F(ConfinedFstest, is_told_that_a_served_disk_cant_be_read) {
  EXPECT_EQ(numbers_in(answer_about(numbered_disk(2048, 600), {"cat", "(loop0)0+512"})).size(), 512U);
  EXPECT_NE(answer_about(numbered_disk(2048, 600), {"cat", "(loop0)512+512"}).find("Input/output error"),
            std::string::npos);
}

TEST(ServedFiles, have_places_of_their_own) {
  NumberedSectors content(4);
  tools::ServedFiles files;
  const auto one = files.open(content), other = files.open(content);
  ASSERT_TRUE(one && other);
  EXPECT_NE(one->number, other->number);
  EXPECT_GE(one->number, tools::first_served_descriptor);
  ASSERT_EQ(files.read(one->number, 512)->size(), 512U);
  files.advance(one->number, 512);
  EXPECT_EQ(static_cast<int>((*files.read(one->number, 512))[0]), 1);
  EXPECT_EQ(static_cast<int>((*files.read(other->number, 512))[0]), 0);
  // The program's lseek(2) is one of the descriptor that it was given.
  ASSERT_EQ(::lseek(one->descriptor, -100, SEEK_END), 4 * 512 - 100);
  EXPECT_EQ(files.read(one->number, 512)->size(), 100U);
  ASSERT_EQ(::lseek(one->descriptor, 100'000, SEEK_SET), 100'000);
  EXPECT_TRUE(files.read(one->number, 512)->empty());
  char byte = 0;
  EXPECT_EQ(::pwrite(one->descriptor, &byte, 1, 0), -1);
}

TEST(ServedFiles, are_a_bounded_number) {
  NumberedSectors content(4);
  tools::ServedFiles files;
  std::vector<int> numbers;
  for (int n = 0; n < tools::most_served_descriptors; ++n) numbers.push_back(files.open(content)->number);
  EXPECT_EQ(files.open(content).error(), EMFILE);
  files.close(numbers[7]);
  EXPECT_EQ(files.read(numbers[7], 1).error(), EBADF);
  EXPECT_EQ(files.open(content)->number, numbers[7]);
  for (const int number : {-1, 0, 99, 100 + tools::most_served_descriptors})
    EXPECT_EQ(files.read(number, 1).error(), EBADF);
}

// -- A disk behind a server.

/// An image of numbered sectors that is read in blocks of 4096 bytes, or never answers.
class SlowImage final : public devices::block::Image {
 public:
  explicit SlowImage(bool answers) : answers_(answers) {}
  [[nodiscard]] devices::block::Geometry geometry() const override { return {64, 4096, 4096}; }
  [[nodiscard]] tl::expected<std::unique_ptr<devices::block::TransferQueue>, std::string> make_queue(
      std::size_t) override {
    return std::make_unique<Queue>(answers_, transfers);
  }
  int transfers = 0;

 private:
  class Queue final : public devices::block::TransferQueue {
   public:
    Queue(bool answers, int& transfers) : answers_(answers), transfers_(transfers) {}
    [[nodiscard]] bool submit(const devices::block::Transfer& transfer) override {
      ++transfers_;
      EXPECT_EQ(transfer.offset % 4096, 0U);
      EXPECT_EQ(transfer.bytes % 4096, 0U);
      auto* const to = static_cast<std::byte*>(transfer.memory[0].iov_base);
      error_ = NumberedSectors(64).read(transfer.offset, {to, transfer.memory[0].iov_len});
      on_the_way_ = true;
      return true;
    }
    void start() override {}
    void collect(const std::function<void(const devices::block::Completion&)>& take) override {
      if (!answers_ || !on_the_way_) return;
      on_the_way_ = false;
      take({0, error_});
    }
    [[nodiscard]] int descriptor() const override { return -1; }
    [[nodiscard]] std::size_t on_the_way() const override { return on_the_way_ ? 1 : 0; }

   private:
    bool answers_, on_the_way_ = false;
    int& transfers_;
    int error_ = 0;
  };
  bool answers_;
};

TEST(ImageReader, reads_whole_blocks) {
  auto reader = *ImageReader::make(std::make_shared<SlowImage>(true));
  EXPECT_EQ(reader->bytes(), 64U * 512);
  std::array<std::byte, 1024> bytes{};
  ASSERT_EQ(reader->read(7 * 512, bytes), 0);
  EXPECT_EQ(static_cast<int>(bytes[0]), 7);
  EXPECT_EQ(static_cast<int>(bytes[512]), 8);
  EXPECT_EQ(reader->trouble(), "");
}

TEST(ImageReader, does_not_wait_twice_for_a_server_that_is_silent) {
  const auto image = std::make_shared<SlowImage>(false);
  auto reader = *ImageReader::make(image, std::chrono::milliseconds(1000));
  std::array<std::byte, 512> bytes{};
  for (int n = 0; n < 3; ++n) EXPECT_EQ(reader->read(0, bytes), EIO);
  EXPECT_EQ(image->transfers, 1);
  EXPECT_EQ(reader->trouble(), "a read took longer than 1 seconds");
}

TEST(FstestProgram, is_named_when_it_is_not_there) {
  const char* path = std::getenv("PATH");
  const std::string before = path != nullptr ? path : "";
  ::setenv("PATH", "/nowhere", 1);
  const auto found = Fstest::find({});
  ::setenv("PATH", before.c_str(), 1);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, FstestTrouble::host);
  EXPECT_NE(found.error().message.find("grub-common"), std::string::npos);
}

/// A program that is not grub-fstest has its name: /bin/true or /bin/false with other bytes.
class BrokenFstest : public ::testing::Test {
 protected:
  BrokenFstest() : folder_(::testing::TempDir() + "pinfold-" + std::to_string(::getpid())) {
    std::filesystem::create_directory(folder_);
    const char* path = std::getenv("PATH");
    before_ = path != nullptr ? path : "";
    ::setenv("PATH", folder_.c_str(), 1);
  }
  ~BrokenFstest() override {
    ::setenv("PATH", before_.c_str(), 1);
    std::filesystem::remove_all(folder_);
  }
  static std::string bytes_of(const std::string& program) {
    std::ifstream file(program, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// What its use says.
  FstestError trouble_of(const std::string& program) {
    const std::filesystem::path place = folder_ / "grub-fstest";
    std::ofstream(place, std::ios::binary) << program;
    std::filesystem::permissions(place, std::filesystem::perms{0755});
    std::vector<FstestDisk> disks;
    disks.emplace_back(file_of(std::string(4096, '\0')));
    GuestFiles files(*Fstest::find(std::move(disks)));
    EXPECT_TRUE(files.devices().empty());
    EXPECT_TRUE(files.trouble());
    return files.trouble().value_or(FstestError{FstestTrouble::absent, "no trouble"});
  }

 private:
  std::filesystem::path folder_;
  std::string before_;
};

TEST_F(BrokenFstest, that_cant_be_executed_is_a_trouble_of_the_host) {
  const auto trouble = trouble_of("no program");
  EXPECT_EQ(trouble.kind, FstestTrouble::host);
  EXPECT_EQ(trouble.message.find("grub-fstest can't be executed on this host (Exec format error), so"), 0U)
      << trouble.message;
}

TEST_F(BrokenFstest, that_cant_be_loaded_is_a_trouble_of_the_host) {
  std::string program = bytes_of("/bin/true");
  const auto library = program.find("libc.so.6");
  ASSERT_NE(library, std::string::npos);
  program.replace(library, 9, "libX.so.6");
  const auto trouble = trouble_of(program);
  EXPECT_EQ(trouble.kind, FstestTrouble::host);
  EXPECT_EQ(trouble.message.find("grub-fstest can't be executed on this host (error while loading shared "
                                 "libraries: libX.so.6: "),
            0U)
      << trouble.message;
}

TEST_F(BrokenFstest, that_fails_is_a_trouble) {
  const auto silent = trouble_of(bytes_of("/bin/false"));
  EXPECT_EQ(silent.kind, FstestTrouble::disks);
  EXPECT_EQ(silent.message, "the list of its partitions can't be read: grub-fstest ended with status 1");
  std::string program = bytes_of("/bin/true");
  program.replace(24, 8, 8, '\0');  // its first instruction is said to be where its header is (elf(5))
  EXPECT_EQ(trouble_of(program).message,
            "the list of its partitions can't be read: grub-fstest was ended by signal 11");
}

// -- The menu on the console.

class MenuPrompt : public ::testing::Test {
 protected:
  std::size_t choose(const std::string& typed, bool close) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe(ends.data()), 0);
    const vmm::Fd input(ends[0]);
    vmm::Fd keyboard(ends[1]);
    EXPECT_EQ(::write(keyboard.get(), typed.data(), typed.size()), static_cast<ssize_t>(typed.size()));
    if (close) keyboard = vmm::Fd();
    const vmm::Fd output = file_of("");
    const std::size_t chosen = prompt_for_entry(menu, input.get(), output.get());
    shown = text_of(output, 10'000);
    return chosen;
  }
  MenuPrompt() {
    menu.entries = {{"One", "", "", 0, false}, {"More", "", "", 1, true}, {"T\x1b[2Jwo", "", "1>", 0, false}};
    menu.chosen = 0;
    menu.timeout_seconds = 0;
  }

  Menu menu;
  std::string shown;
};

TEST_F(MenuPrompt, takes_a_number) {
  menu.timeout_seconds = 30;
  EXPECT_EQ(choose("3\n", false), 2U);
  EXPECT_EQ(choose(" 1 \n", false), 0U);
  EXPECT_EQ(choose("2\nx\n99\n-1\n3\n", false), 2U) << "a submenu and nonsense are asked about again";
}

TEST_F(MenuPrompt, has_a_default_and_an_end) {
  EXPECT_EQ(choose("", false), 0U) << "after its time";
  menu.timeout_seconds = 30;
  EXPECT_EQ(choose("\n", false), 0U);
  EXPECT_EQ(choose("", true), 0U);
}

TEST_F(MenuPrompt, shows_no_control_characters) {
  EXPECT_EQ(choose("", true), 0U);
  EXPECT_EQ(shown.find('\x1b'), std::string::npos);
  EXPECT_NE(shown.find("T?[2Jwo"), std::string::npos);
}

}  // namespace
}  // namespace pinfold::cli::bootloader::test
