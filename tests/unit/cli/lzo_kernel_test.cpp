// Kernels that are packed with LZO, which a confined lzop unpacks.
#include "cli/run/lzo_kernel.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "cli/run/unpack_child.hpp"
#include "cli/tools/tool.hpp"
#include "images.hpp"

namespace pinfold::cli {
namespace {

using loader::Loaded;
using loader::UnpackedKernel;
using loader::testing::Bytes;
using loader::testing::write_bzimage;
using loader::testing::write_elf;
using ::testing::HasSubstr;

std::string error_of(const Loaded<UnpackedKernel>& result) {
  return result ? "no error" : result.error().message;
}

class LzoKernel : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!tools::is_installed("lzop")) GTEST_SKIP() << "lzop is not installed: scripts/setup --tests";
    std::string name = (std::filesystem::temp_directory_path() / "pinfold-lzo-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// The stream that lzop makes of the bytes.
  Bytes packed(const Bytes& plain) {
    const auto from = folder_ / "plain", to = folder_ / "packed";
    std::ofstream(from, std::ios::binary)
        .write(reinterpret_cast<const char*>(plain.data()), static_cast<std::streamsize>(plain.size()));
    const std::string command = "lzop -9 -f -o " + to.string() + " " + from.string();
    EXPECT_EQ(std::system(command.c_str()), 0);
    Bytes stream(std::filesystem::file_size(to));
    std::ifstream(to, std::ios::binary)
        .read(reinterpret_cast<char*>(stream.data()), static_cast<std::streamsize>(stream.size()));
    return stream;
  }
  Loaded<UnpackedKernel> unpacked(const Bytes& file) { return unpack_in_child(file, {}); }

  std::filesystem::path folder_;
};

TEST_F(LzoKernel, is_unpacked_and_worth_a_place_in_the_cache) {
  const Bytes elf = write_elf({});
  const auto size = static_cast<std::uint32_t>(elf.size());
  const Bytes stream = packed(elf);
  for (const Bytes& file : {write_bzimage(stream, size), stream}) {
    const auto result = unpacked(file);
    ASSERT_TRUE(result) << error_of(result);
    EXPECT_TRUE(std::ranges::equal(result->bytes.bytes(), elf));
    EXPECT_TRUE(result->slow);
    EXPECT_FALSE(result->lzo);
  }
}

TEST_F(LzoKernel, that_is_damaged_is_an_error) {
  const Bytes elf = write_elf({});
  const auto size = static_cast<std::uint32_t>(elf.size());
  const Bytes stream = packed(elf);
  EXPECT_THAT(error_of(unpacked(write_bzimage(stream, size + 1))), HasSubstr("instead of"));
  Bytes flipped = stream;
  flipped[flipped.size() / 2] ^= std::byte{1};
  EXPECT_THAT(error_of(unpacked(write_bzimage(flipped, size))), HasSubstr("lzo payload: "));
  for (const std::size_t cut : {std::size_t{5}, std::size_t{9}, stream.size() / 2, stream.size() - 4}) {
    const Bytes shorter(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(cut));
    EXPECT_THAT(error_of(unpacked(write_bzimage(shorter, size))), HasSubstr("lzo payload: ")) << cut;
  }
}

TEST_F(LzoKernel, that_holds_nothing_is_an_error) {
  EXPECT_THAT(error_of(unpacked(write_bzimage(packed({}), 0))), HasSubstr("lzo payload: "));
}

TEST_F(LzoKernel, needs_lzop) {
  const Bytes elf = write_elf({});
  const Bytes file = write_bzimage(packed(elf), static_cast<std::uint32_t>(elf.size()));
  const std::string before = std::getenv("PATH");
  ::setenv("PATH", "/nowhere", 1);
  const std::string error = error_of(unpacked(file));
  ::setenv("PATH", before.c_str(), 1);
  EXPECT_THAT(error, HasSubstr("apt-get install lzop"));
}

/// Whoever took over the process that looks at the file says what it likes.
TEST_F(LzoKernel, has_its_payload_in_the_file) {
  const Bytes file(1000);
  for (const auto& [offset, size] : {std::pair<std::size_t, std::size_t>{1001, 0},
                                     {1, 1000},
                                     {~std::size_t{0}, 2},
                                     {0, ~std::size_t{0}}}) {
    const UnpackedKernel kernel{offset, size, {}, false, loader::LzoStream{}};
    EXPECT_THAT(error_of(unpack_with_lzop(file, kernel, {})), HasSubstr("outside")) << offset;
  }
}

}  // namespace
}  // namespace pinfold::cli
