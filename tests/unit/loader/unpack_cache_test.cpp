#include "loader/unpack_cache.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "images.hpp"
#include "loader/kernel_file.hpp"

namespace pinfold::loader::testing {
namespace {

namespace fs = std::filesystem;

class Cache : public ::testing::Test {
 protected:
  Cache() {
    std::string path = (fs::temp_directory_path() / "pinfold-cache-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) std::abort();
    parent_ = path;
  }
  ~Cache() override { fs::remove_all(parent_); }

  [[nodiscard]] fs::path directory() const { return parent_ / "a" / "pinfold"; }
  [[nodiscard]] std::vector<fs::path> entries() const {
    std::vector<fs::path> all;
    for (const auto& entry : fs::directory_iterator(directory())) all.push_back(entry.path());
    return all;
  }
  [[nodiscard]] fs::path only_entry() const {
    const auto all = entries();
    EXPECT_EQ(all.size(), 1U);
    return all.empty() ? fs::path() : all[0];
  }
  static void flip_byte(const fs::path& file, std::size_t at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(stream.get() ^ 1);
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(byte);
  }
  [[nodiscard]] fs::path write_kernel(const Bytes& content) const {
    const fs::path path = parent_ / "vmlinuz";
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
    return path;
  }
  static bool gives(const UnpackCache& cache, const Bytes& packed, const Bytes& unpacked) {
    const auto found = cache.find(packed);
    return found && std::ranges::equal(found->bytes(), unpacked);
  }

  fs::path parent_;
  Bytes packed_ = pattern(5001), unpacked_ = pattern(70000);
};

TEST_F(Cache, gives_back_what_it_kept_also_to_another_process) {
  {
    const UnpackCache cache(directory());
    EXPECT_FALSE(cache.find(packed_));
    cache.keep(packed_, unpacked_);
    EXPECT_TRUE(gives(cache, packed_, unpacked_));
  }
  EXPECT_TRUE(gives(UnpackCache(directory()), packed_, unpacked_));
}

TEST_F(Cache, keeps_entries_and_directory_to_the_user) {
  const UnpackCache cache(directory());
  cache.keep(packed_, unpacked_);
  EXPECT_EQ(fs::status(directory()).permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(only_entry()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(Cache, entry_with_any_byte_changed_is_removed_and_not_used) {
  const UnpackCache cache(directory());
  const std::size_t size = unpacked_.size() + packed_.size() + 48;
  for (const std::size_t at :
       {std::size_t{0}, unpacked_.size() / 2, unpacked_.size() - 1, unpacked_.size(),
        unpacked_.size() + packed_.size() - 1, size - 48, size - 32, size - 24, size - 1}) {
    cache.keep(packed_, unpacked_);
    ASSERT_EQ(fs::file_size(only_entry()), size);
    flip_byte(only_entry(), at);
    EXPECT_FALSE(cache.find(packed_)) << "byte " << at;
    EXPECT_TRUE(entries().empty());
  }
}

TEST_F(Cache, entry_of_another_length_is_removed_and_not_used) {
  const UnpackCache cache(directory());
  const std::size_t size = unpacked_.size() + packed_.size() + 48;
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, packed_.size() + 48, size - 1, size + 1}) {
    cache.keep(packed_, unpacked_);
    fs::resize_file(only_entry(), length);
    EXPECT_FALSE(cache.find(packed_)) << length << " bytes";
    EXPECT_TRUE(entries().empty());
  }
}

TEST_F(Cache, name_alone_does_not_make_an_entry_serve_another_payload) {
  const UnpackCache cache(directory());
  cache.keep(packed_, unpacked_);
  const fs::path name = only_entry();
  fs::rename(name, parent_ / "kept");
  Bytes other = packed_;
  other[17] ^= std::byte{1};
  cache.keep(other, pattern(1000));
  fs::rename(parent_ / "kept", only_entry());
  EXPECT_FALSE(cache.find(other));
}

TEST_F(Cache, link_or_entry_that_others_may_write_is_not_used) {
  const UnpackCache cache(directory());
  cache.keep(packed_, unpacked_);
  const fs::path name = only_entry();
  ASSERT_EQ(::chmod(name.c_str(), 0620), 0);
  EXPECT_FALSE(cache.find(packed_));
  cache.keep(packed_, unpacked_);
  fs::rename(name, parent_ / "elsewhere");
  fs::create_symlink(parent_ / "elsewhere", name);
  EXPECT_FALSE(cache.find(packed_));
}

TEST_F(Cache, directory_that_others_may_write_is_no_cache) {
  fs::create_directories(directory());
  for (const mode_t mode : {0770U, 0707U, 0777U}) {
    ASSERT_EQ(::chmod(directory().c_str(), mode), 0);
    EXPECT_FALSE(UnpackCache(directory()).usable());
  }
  ASSERT_EQ(::chmod(directory().c_str(), 0755), 0);
  EXPECT_TRUE(UnpackCache(directory()).usable());
}

TEST_F(Cache, link_file_or_nothing_is_no_cache_and_no_error) {
  fs::create_directories(parent_ / "real");
  fs::create_directory_symlink(parent_ / "real", parent_ / "link");
  std::ofstream(parent_ / "file") << "x";
  for (const fs::path& path : {parent_ / "link", parent_ / "file", parent_ / "file" / "below", fs::path()}) {
    const UnpackCache cache(path);
    EXPECT_FALSE(cache.usable()) << path;
    cache.keep(packed_, unpacked_);
    EXPECT_FALSE(cache.find(packed_));
  }
}

TEST_F(Cache, directory_of_another_user_is_no_cache) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a directory away";
  fs::create_directories(directory());
  ASSERT_EQ(::chmod(directory().c_str(), 0700), 0);
  ASSERT_EQ(::chown(directory().c_str(), 12345, 12345), 0);
  EXPECT_FALSE(UnpackCache(directory()).usable());
}

TEST_F(Cache, keeps_no_more_entries_than_allowed_and_drops_the_one_used_longest_ago) {
  const UnpackCache cache(directory(), {3, 1 << 20});
  std::vector<Bytes> payloads;
  for (std::size_t i = 0; i < 4; ++i) payloads.push_back(pattern(100 + i));
  for (std::size_t i = 0; i < 3; ++i) {
    cache.keep(payloads[i], unpacked_);
    ::usleep(20'000);  // file times are as coarse as the kernel's tick
  }
  EXPECT_TRUE(gives(cache, payloads[0], unpacked_));  // used: now the second is the oldest
  ::usleep(20'000);
  cache.keep(payloads[3], unpacked_);
  EXPECT_EQ(entries().size(), 3U);
  EXPECT_FALSE(cache.find(payloads[1]));
  for (const std::size_t i : {0U, 2U, 3U}) EXPECT_TRUE(gives(cache, payloads[i], unpacked_)) << i;
}

TEST_F(Cache, keeps_no_more_bytes_than_allowed) {
  const UnpackCache cache(directory(), {100, 200'000});
  for (std::size_t i = 0; i < 5; ++i) cache.keep(pattern(100 + i), unpacked_);
  EXPECT_EQ(entries().size(), 2U);
  EXPECT_TRUE(gives(cache, pattern(104), unpacked_));
  cache.keep(pattern(99), pattern(200'000));
  EXPECT_FALSE(cache.find(pattern(99)));
  EXPECT_EQ(entries().size(), 2U);
}

TEST_F(Cache, what_a_crashed_writer_left_goes_after_a_while) {
  const UnpackCache cache(directory());
  for (const char* name : {".unfinished-1-kernel-0", ".unfinished-2-kernel-0"})
    std::ofstream(directory() / name) << "x";
  const timespec long_ago[2] = {{1'000'000, 0}, {1'000'000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (directory() / ".unfinished-1-kernel-0").c_str(), long_ago, 0), 0);
  cache.keep(packed_, unpacked_);
  EXPECT_FALSE(fs::exists(directory() / ".unfinished-1-kernel-0"));
  EXPECT_TRUE(fs::exists(directory() / ".unfinished-2-kernel-0"));
}

class CachedKernel : public Cache, public ::testing::WithParamInterface<Packing> {};

INSTANTIATE_TEST_SUITE_P(Packings, CachedKernel,
                         ::testing::Values(Packing::gzip, Packing::xz, Packing::lzma, Packing::zstd,
                                           Packing::bzip2),
                         [](const auto& p) { return name_of(p.param); });

TEST_P(CachedKernel, is_the_same_as_one_that_was_unpacked) {
  const UnpackCache cache(directory());
  const Bytes elf = write_elf({});
  const Bytes file = write_bzimage(GetParam(), elf);
  const fs::path path = write_kernel(file);
  const auto first = KernelFile::open(path, {}, cache);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_TRUE(std::ranges::equal(first->elf(), elf));
  const Unpacker never = [](auto, const auto&) -> Loaded<UnpackedKernel> { return refuse("unpacked again"); };
  const auto second = KernelFile::open(path, {}, cache, never);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_TRUE(std::ranges::equal(second->elf(), elf));

  flip_byte(only_entry(), 100);
  EXPECT_FALSE(KernelFile::open(path, {}, cache, never));
  const auto third = KernelFile::open(path, {}, cache);
  ASSERT_TRUE(third) << third.error().message;
  EXPECT_TRUE(std::ranges::equal(third->elf(), elf));
}

TEST_F(Cache, damaged_payload_is_refused_and_not_kept) {
  const UnpackCache cache(directory());
  Bytes packed = pack(Packing::xz, write_elf({}));
  packed[packed.size() / 2] ^= std::byte{0x55};
  EXPECT_FALSE(KernelFile::open(write_kernel(write_bzimage(packed, 0x3000)), {}, cache));
  EXPECT_TRUE(entries().empty());
}

/// A file decides what it unpacks to, and so what is in its entry. Whatever a hostile one makes of that, a
/// file that differs from it by one byte, outside of the payload, gets its own.
TEST_F(Cache, what_a_file_unpacks_to_concerns_no_other_file) {
  const UnpackCache cache(directory());
  const Bytes elf = write_elf({});
  Bytes file = write_bzimage(Packing::gzip, elf);
  const Unpacker lies = [](auto, const auto&) -> Loaded<UnpackedKernel> {
    auto bytes = Buffer::reserve(100);
    return UnpackedKernel{0, 0, std::move(*bytes), true};
  };
  ASSERT_TRUE(KernelFile::open(write_kernel(file), {}, cache, lies));
  file[0] ^= std::byte{1};
  const auto other = KernelFile::open(write_kernel(file), {}, cache);
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_TRUE(std::ranges::equal(other->elf(), elf));
}

TEST_F(Cache, an_unpacker_that_names_bytes_outside_of_the_file_is_refused) {
  const fs::path path = write_kernel(write_bzimage(Packing::gzip, write_elf({})));
  const std::size_t size = fs::file_size(path);
  const auto with = [&](std::size_t offset, std::size_t length) {
    return KernelFile::open(path, {}, {},
                            [=](auto, const auto&) -> Loaded<UnpackedKernel> {
                              return UnpackedKernel{offset, length, {}, false};
                            })
        .has_value();
  };
  EXPECT_TRUE(with(1, size - 1));
  for (const auto& [offset, length] :
       {std::pair{std::size_t{1}, size}, {size + 1, 0}, {2, ~std::size_t{0}}, {~std::size_t{0}, 2}})
    EXPECT_FALSE(with(offset, length)) << offset << " " << length;
}

TEST(CacheDirectory, follows_the_environment) {
  EXPECT_EQ(cache_directory("/x/y", "/c", "/h"), "/x/y");
  EXPECT_EQ(cache_directory("", "/c", "/h"), "");
  EXPECT_EQ(cache_directory("relative", "/c", "/h"), "");
  EXPECT_EQ(cache_directory(nullptr, "/c", "/h"), "/c/pinfold");
  EXPECT_EQ(cache_directory(nullptr, "relative", "/h"), "/h/.cache/pinfold");
  EXPECT_EQ(cache_directory(nullptr, "", "/h"), "/h/.cache/pinfold");
  EXPECT_EQ(cache_directory(nullptr, nullptr, "/h"), "/h/.cache/pinfold");
  EXPECT_EQ(cache_directory(nullptr, nullptr, nullptr), "");
}

}  // namespace
}  // namespace pinfold::loader::testing
