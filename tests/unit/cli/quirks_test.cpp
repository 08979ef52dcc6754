#include "cli/run/quirks.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "images.hpp"
#include "loader/domain_builder.hpp"
#include "loader/linux_version.hpp"

namespace pinfold::cli {
namespace {

using loader::testing::bytes_of;
using loader::testing::ElfSpec;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

loader::KernelImage kernel_with(const std::string& text, const char* system = "linux") {
  ElfSpec spec = with({}, loader::testing::string_note(XEN_ELFNOTE_GUEST_OS, system));
  spec = with(spec, loader::testing::string_note(XEN_ELFNOTE_LOADER, "generic"));
  auto content = bytes_of("some text, Linux version %s, " + text);
  content.resize(0x1000);
  spec.segments[0].content = content;
  static std::vector<loader::testing::Bytes> files;  // what the images point into
  files.push_back(loader::testing::write_elf(spec));
  auto image = loader::parse_kernel(files.back());
  EXPECT_TRUE(image) << image.error().message;
  return std::move(*image);
}

vmm::CpuidSource processor(std::string_view maker, std::uint32_t signature) {
  std::uint32_t ebx = 0;
  std::copy_n(maker.begin(), sizeof ebx, reinterpret_cast<char*>(&ebx));
  return [=](std::uint32_t leaf, std::uint32_t) {
    return leaf == 0 ? vmm::CpuidResult{1, ebx, 0, 0} : vmm::CpuidResult{signature, 0, 0, 0};
  };
}

const vmm::CpuidSource zen = processor("AuthenticAMD", 0x00800f82),
                       excavator = processor("AuthenticAMD", 0x00660f51),
                       hygon = processor("HygonGenuine", 0x00900f02),
                       intel = processor("GenuineIntel", 0x00a0f0f1);

std::vector<std::string> words(const std::string& banner, const vmm::CpuidSource& on,
                               const char* system = "linux") {
  std::vector<std::string> found;
  for (const Quirk& quirk : quirks_of(kernel_with(banner, system), on)) found.emplace_back(quirk.word);
  return found;
}

constexpr auto s5 = "initcall_blacklist=print_s5_reset_status_mmio";

TEST(LinuxVersion, is_that_of_the_first_banner_with_numbers) {
  const auto of = [](const char* text) { return loader::linux_version_of(kernel_with(text)); };
  EXPECT_EQ(of("Linux version 6.12.48+deb13 (x)"), (loader::LinuxVersion{6, 12}));
  EXPECT_EQ(of("Linux version 10.2-rc1 Linux version 5.1"), (loader::LinuxVersion{10, 2}));
  for (const char* none : {"", "Linux version", "Linux version 6", "Linux version 6.", "Linux version -1.2",
                           "Linux version 99999999999.1"})
    EXPECT_EQ(of(none), std::nullopt) << none;
  EXPECT_EQ(loader::linux_version_of(kernel_with("Linux version 6.12", "NetBSD")), std::nullopt);
}

TEST(Quirks, linux_from_6_16_on_does_not_read_the_chipset_of_a_zen_processor) {
  for (const char* version : {"Linux version 6.16.0", "Linux version 7.2.1"}) {
    EXPECT_THAT(words(version, zen), ElementsAre(s5));
    EXPECT_THAT(words(version, hygon), ElementsAre(s5));
    EXPECT_THAT(words(version, excavator), IsEmpty());
    EXPECT_THAT(words(version, intel), IsEmpty());
    EXPECT_THAT(words(version, zen, "NetBSD"), IsEmpty());
  }
  EXPECT_THAT(words("Linux version 6.15.9", zen), IsEmpty());
}

TEST(Quirks, words_come_behind_the_users_own_and_are_told) {
  const Quirk quirk{"a=b", "it would die"};
  const auto made = with_quirks("console=hvc0", {quirk});
  EXPECT_EQ(made.text, "console=hvc0 a=b");
  EXPECT_THAT(made.notices, ElementsAre(HasSubstr("a=b added: it would die")));
  EXPECT_EQ(with_quirks("", {quirk}).text, "a=b");
}

TEST(Quirks, a_word_that_is_there_is_not_added) {
  const auto made = with_quirks("x a=b y", {{"a=b", ""}});
  EXPECT_EQ(made.text, "x a=b y");
  EXPECT_THAT(made.notices, IsEmpty());
  EXPECT_EQ(with_quirks("xa=b a=bc", {{"a=b", ""}}).text, "xa=b a=bc a=b");
}

TEST(Quirks, a_word_without_room_is_left_out_and_told) {
  const std::string full(loader::max_command_line - 3, 'x');
  const auto made = with_quirks(full, {{"a=b", "it would die"}});
  EXPECT_EQ(made.text, full);
  EXPECT_THAT(made.notices, ElementsAre(HasSubstr("no room")));
  EXPECT_EQ(with_quirks(full.substr(1), {{"a=b", ""}}).text.size(), loader::max_command_line);
}

}  // namespace
}  // namespace pinfold::cli
