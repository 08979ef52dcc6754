#include "loader/kernel_image.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "images.hpp"

namespace pinfold::loader::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string error_of(const Loaded<KernelImage>& image) { return image ? "no error" : image.error().message; }
std::string error_of(const Bytes& file) { return error_of(parse_kernel(file)); }
std::string error_of(const ElfSpec& spec) { return error_of(write_elf(spec)); }

/// A directory of one test's own.
class Files : public ::testing::Test {
 protected:
  Files() {
    std::string name = ::testing::TempDir() + "pinfold-loader-XXXXXX";
    dir_ = ::mkdtemp(name.data());
  }
  ~Files() override { std::filesystem::remove_all(dir_); }
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;

  std::filesystem::path write(const Bytes& content) {
    auto path = dir_ / "file";
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
    return path;
  }
  std::filesystem::path dir_;
};

class EveryPacking : public ::testing::TestWithParam<Packing> {};

INSTANTIATE_TEST_SUITE_P(Packings, EveryPacking,
                         ::testing::Values(Packing::none, Packing::gzip, Packing::xz, Packing::lzma,
                                           Packing::lz4_legacy, Packing::zstd, Packing::bzip2),
                         [](const auto& p) { return name_of(p.param); });

TEST_P(EveryPacking, bzimage_yields_the_segments_of_its_elf) {
  ElfSpec spec;
  spec.segments = {{0x1000000, pattern(0x3000), 0}, {0x1004000, pattern(0x1234), 0x5000}};
  const auto file = write_bzimage(GetParam(), write_elf(spec));
  const auto image = parse_kernel(file);
  ASSERT_TRUE(image) << error_of(image);
  ASSERT_EQ(image->segments.size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(image->segments[i].paddr, spec.segments[i].paddr);
    EXPECT_TRUE(std::ranges::equal(image->segments[i].file, spec.segments[i].content));
  }
  EXPECT_EQ(image->segments[1].memsz, 0x5000U);
  EXPECT_EQ(image->addresses.start.raw(), 0xffffffff81000000U);
  EXPECT_EQ(image->addresses.end.raw(), 0xffffffff81009000U);
}

TEST_P(EveryPacking, packed_elf_without_bzimage_loads) {
  EXPECT_EQ(error_of(pack(GetParam(), write_elf({}))), "no error");
}

TEST_P(EveryPacking, bzimage_truncated_at_every_boundary_is_refused) {
  const auto file = write_bzimage(GetParam(), write_elf({}));
  ASSERT_EQ(error_of(file), "no error");
  std::size_t last = 0;
  for (const std::size_t end : bzimage_boundaries(file)) {
    for (const std::size_t size : {end - 1, end, (last + end) / 2}) {
      // The last paragraph may be missing: see bzimage_payload.
      if (size + 32 > file.size()) continue;
      EXPECT_NE(error_of(Bytes(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size))), "no error")
          << size;
    }
    last = end;
  }
}

TEST_P(EveryPacking, truncated_packed_data_is_refused) {
  if (GetParam() == Packing::none) return;  // the size word would stand for the missing bytes
  const auto elf = write_elf({});
  const auto packed = pack(GetParam(), elf);
  for (std::size_t cut = 1; cut < packed.size(); cut += 37) {
    const Bytes shorter(packed.begin(), packed.end() - static_cast<std::ptrdiff_t>(cut));
    EXPECT_NE(error_of(write_bzimage(shorter, static_cast<std::uint32_t>(elf.size()))), "no error") << cut;
  }
}

TEST_P(EveryPacking, damaged_packed_data_never_crashes) {
  const auto file = write_bzimage(GetParam(), write_elf({}));
  for (std::size_t at = 0; at < file.size(); at += 7) {
    Bytes damaged = file;
    damaged[at] ^= std::byte{0x55};
    (void)parse_kernel(damaged);
  }
}

TEST(Bzimage, size_word_that_disagrees_is_refused) {
  const auto elf = write_elf({});
  EXPECT_THAT(error_of(write_bzimage(pack(Packing::lz4_legacy, elf), 17)), HasSubstr("instead of 17"));
}

TEST(Bzimage, old_boot_protocol_is_refused) {
  auto file = write_bzimage(Packing::gzip, write_elf({}));
  put(file, 0x206, std::uint16_t{0x0207});
  EXPECT_THAT(error_of(file), HasSubstr("older than 2.08"));
}

TEST(Bzimage, payload_of_no_length_is_refused) {
  auto file = write_bzimage(Packing::gzip, write_elf({}));
  put(file, 0x24c, std::uint32_t{0});
  EXPECT_THAT(error_of(file), HasSubstr("no payload"));
}

TEST(Bzimage, payload_position_past_the_end_is_refused) {
  auto file = write_bzimage(Packing::gzip, write_elf({}));
  put(file, 0x248, std::uint32_t{0xffffffff});
  EXPECT_THAT(error_of(file), HasSubstr("truncated"));
  put(file, 0x24c, std::uint32_t{0xffffffff});
  EXPECT_THAT(error_of(file), HasSubstr("truncated"));
}

TEST(Bzimage, unsupported_compression_is_named) {
  EXPECT_THAT(error_of(write_bzimage(bytes_of("\x89LZO\r\n..."), 100)), HasSubstr("lzo"));
  EXPECT_THAT(error_of(write_bzimage(bytes_of("no magic at all"), 100)), HasSubstr("not recognised"));
}

TEST(Elf, lone_elf_is_borrowed_not_copied) {
  const auto file = write_elf({});
  const auto image = parse_kernel(file);
  ASSERT_TRUE(image);
  EXPECT_TRUE(image->bytes.bytes().empty());
  EXPECT_GE(image->segments[0].file.data(), file.data());
  EXPECT_LT(image->segments[0].file.data(), file.data() + file.size());
}

TEST(Elf, neither_kernel_nor_elf_is_refused) {
  EXPECT_THAT(error_of(Bytes{}), HasSubstr("empty"));
  EXPECT_THAT(error_of(bytes_of("#!/bin/sh\n")), HasSubstr("not a kernel"));
  EXPECT_THAT(error_of(Bytes(5000)), HasSubstr("not a kernel"));
}

TEST(Elf, kernels_of_other_machines_are_refused) {
  auto file = write_elf({});
  file[4] = std::byte{1};
  EXPECT_THAT(error_of(file), HasSubstr("32-bit kernel"));
  file = write_elf({});
  file[5] = std::byte{2};
  EXPECT_THAT(error_of(file), HasSubstr("not little-endian"));
  file = write_elf({});
  put(file, 18, std::uint16_t{183});
  EXPECT_THAT(error_of(file), HasSubstr("machine 183"));
  file = write_elf({});
  put(file, 16, std::uint16_t{1});
  EXPECT_THAT(error_of(file), HasSubstr("not an executable"));
}

TEST(Elf, header_offsets_past_the_end_are_refused) {
  for (const std::uint64_t offset : {std::uint64_t{1} << 20, ~std::uint64_t{0}, ~std::uint64_t{0} - 100}) {
    auto file = write_elf({});
    put(file, 32, offset);
    EXPECT_THAT(error_of(file), HasSubstr("program headers lie past the end"));
    file = write_elf({});
    put(file, 40, offset);
    EXPECT_THAT(error_of(file), HasSubstr("section headers lie past the end"));
    file = write_elf({});
    put(file, 64 + 8, offset);
    EXPECT_THAT(error_of(file), HasSubstr("segment lies past the end"));
  }
}

TEST(Elf, every_truncation_is_refused) {
  const auto file = write_elf({});
  for (std::size_t size = 0; size < file.size(); ++size) {
    EXPECT_NE(error_of(Bytes(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size))), "no error")
        << size;
  }
}

TEST(Elf, damage_never_crashes) {
  ElfSpec spec;
  spec.notes_in = NotesIn::section;
  spec.segments = {{0x1000000, pattern(64), 0}};
  for (const auto& file :
       {write_elf(spec), write_elf(with({}, number_note(XEN_ELFNOTE_INIT_P2M, 1U << 30)))}) {
    for (std::size_t at = 0; at < file.size(); ++at) {
      for (const auto flip : {0x01, 0x80, 0xff}) {
        Bytes damaged = file;
        damaged[at] ^= static_cast<std::byte>(flip);
        (void)parse_kernel(damaged);
      }
    }
  }
}

TEST(Elf, file_without_load_segments_is_refused) {
  ElfSpec spec;
  spec.segments.clear();
  EXPECT_THAT(error_of(spec), HasSubstr("no PT_LOAD"));
}

TEST(Elf, segment_smaller_in_memory_than_in_the_file_is_refused) {
  ElfSpec spec;
  spec.segments = {{0x1000000, pattern(0x1000), 0xfff}};
  EXPECT_THAT(error_of(spec), HasSubstr("smaller in memory"));
}

TEST(Elf, segments_that_overlap_by_one_byte_are_refused_and_touching_ones_not) {
  ElfSpec spec;
  spec.segments = {{0x1002000, pattern(0x1000), 0}, {0x1000000, pattern(0x1000), 0x2001}};
  EXPECT_THAT(error_of(spec), HasSubstr("overlap"));
  spec.segments[1].memsz = 0x2000;
  EXPECT_EQ(error_of(spec), "no error");
}

TEST(Elf, segment_that_wraps_is_refused) {
  ElfSpec spec;
  spec.segments.push_back({~std::uint64_t{0} - 0x100, pattern(16), 0x1000});
  EXPECT_THAT(error_of(spec), HasSubstr("largest physical address"));
  spec.segments.back() = {0x2000000, pattern(16), ~std::uint64_t{0}};
  EXPECT_THAT(error_of(spec), HasSubstr("largest physical address"));
}

TEST(Elf, segment_of_bss_alone_needs_no_place_in_the_file) {
  ElfSpec spec;
  spec.segments.push_back({0x2000000, {}, 0x1000});
  auto file = write_elf(spec);
  put(file, 64 + 56 + 8, std::uint64_t{1} << 40);
  EXPECT_EQ(error_of(file), "no error");
}

TEST(Elf, section_count_outside_its_field_is_refused) {
  auto file = write_elf({});
  put(file, 60, std::uint16_t{0});
  EXPECT_THAT(error_of(file), HasSubstr("too many section headers"));
}

TEST(Elf, file_without_section_headers_loads) {
  auto file = write_elf({});
  put(file, 40, std::uint64_t{0});
  put(file, 60, std::uint16_t{0});
  EXPECT_EQ(error_of(file), "no error");
}

TEST(Notes, named_over_and_over_are_refused_at_a_bound) {
  ElfSpec spec;
  spec.notes.push_back({0x1234, Bytes(1 << 20)});
  spec.segments.resize(5, {0x2000000, {}, 0x1000});
  auto file = write_elf(spec);
  for (std::size_t i = 1; i < 5; ++i) {  // four of the segments become copies of the note segment's header
    std::copy_n(file.begin() + 64 + 5 * 56, 56, file.begin() + 64 + static_cast<std::ptrdiff_t>(i) * 56);
  }
  EXPECT_THAT(error_of(file), HasSubstr("4 MiB of notes"));
}

TEST(Placement, entry_outside_the_image_is_refused) {
  for (const std::uint64_t entry : {0xffffffff80fffffful, 0xffffffff81002000ul, 0ul, 0x1000000ul}) {
    EXPECT_THAT(error_of(with({}, number_note(XEN_ELFNOTE_ENTRY, entry))), HasSubstr("entry point")) << entry;
  }
  EXPECT_EQ(error_of(with({}, number_note(XEN_ELFNOTE_ENTRY, 0xffffffff81001fff))), "no error");
}

TEST(Placement, e_entry_serves_without_an_entry_note) {
  const auto file = write_elf(without({}, XEN_ELFNOTE_ENTRY));
  const auto image = parse_kernel(file);
  ASSERT_TRUE(image) << error_of(image);
  EXPECT_EQ(image->addresses.entry.raw(), 0xffffffff81000000U);
}

TEST(Placement, paddr_offset_is_taken_off_physical_addresses) {
  ElfSpec spec;
  spec.segments = {{spec.virt_base + 0x1000000, pattern(0x1000), 0}};
  const auto file = write_elf(with(spec, number_note(XEN_ELFNOTE_PADDR_OFFSET, spec.virt_base)));
  // Physical addresses of the whole 64-bit range are more than a processor has.
  EXPECT_THAT(error_of(file), HasSubstr("largest physical address"));
  spec.segments = {{0x5000000, pattern(0x1000), 0}};
  const auto image_file = write_elf(with(spec, number_note(XEN_ELFNOTE_PADDR_OFFSET, 0x4000000)));
  const auto image = parse_kernel(image_file);
  ASSERT_TRUE(image) << error_of(image);
  EXPECT_EQ(image->addresses.start.raw(), 0xffffffff81000000U);
  EXPECT_THAT(error_of(with(spec, number_note(XEN_ELFNOTE_PADDR_OFFSET, 0x5000001))),
              HasSubstr("PADDR_OFFSET"));
}

TEST(Placement, addresses_of_the_hypervisor_are_refused) {
  ElfSpec spec;
  spec.virt_base = 0xffff800000000000;
  spec = with(with(spec, number_note(XEN_ELFNOTE_VIRT_BASE, spec.virt_base)),
              number_note(XEN_ELFNOTE_ENTRY, spec.virt_base + 0x1000000));
  EXPECT_THAT(error_of(spec), HasSubstr("not a guest's"));
  spec = with(with(spec, number_note(XEN_ELFNOTE_VIRT_BASE, 0x800000000000)),
              number_note(XEN_ELFNOTE_ENTRY, 0x800001000000));
  EXPECT_THAT(error_of(spec), HasSubstr("not a guest's"));
}

TEST(Placement, image_past_the_top_of_the_address_space_is_refused) {
  ElfSpec spec = with({}, number_note(XEN_ELFNOTE_VIRT_BASE, 0xfffffffffffff000));
  EXPECT_THAT(error_of(with(spec, number_note(XEN_ELFNOTE_ENTRY, 0))), HasSubstr("top of memory"));
}

TEST(Placement, hypercall_page_must_be_a_page_of_the_image) {
  EXPECT_EQ(error_of(with({}, number_note(XEN_ELFNOTE_HYPERCALL_PAGE, 0xffffffff81001000))), "no error");
  EXPECT_THAT(error_of(with({}, number_note(XEN_ELFNOTE_HYPERCALL_PAGE, 0xffffffff81000800))),
              HasSubstr("aligned"));
  EXPECT_THAT(error_of(with({}, number_note(XEN_ELFNOTE_HYPERCALL_PAGE, 0xffffffff81002000))),
              HasSubstr("outside"));
}

TEST(Placement, init_p2m_is_ignored_unless_aligned_and_below_virt_base) {
  const auto init_p2m = [](std::uint64_t va) {
    const auto file = write_elf(with({}, number_note(XEN_ELFNOTE_INIT_P2M, va)));
    return parse_kernel(file).value().addresses.init_p2m;
  };
  EXPECT_EQ(init_p2m(0x8000000000), GuestVaddr(0x8000000000));
  EXPECT_EQ(init_p2m(0x8000000001), std::nullopt);
  EXPECT_EQ(init_p2m(0xffffffffc0000000), std::nullopt);
}

TEST(Notes, are_found_in_sections_if_there_is_no_segment) {
  ElfSpec spec;
  spec.notes_in = NotesIn::section;
  EXPECT_EQ(error_of(spec), "no error");
}

TEST(Notes, of_other_owners_do_not_count) {
  ElfSpec spec;
  for (auto& note : spec.notes) note.owner = "GNU";
  EXPECT_THAT(error_of(spec), HasSubstr("no Xen notes"));
}

TEST(Notes, legacy_string_serves_instead) {
  ElfSpec spec;
  spec.notes.clear();
  spec.virt_base = 0;
  spec.entry = 0x400000;
  spec.segments = {{0x400000, pattern(0x3000), 0}};
  spec.xen_guest =
      "XEN_VER=xen-3.0,VIRT_BASE=0x0,ELF_PADDR_OFFSET=0x0,HYPERCALL_PAGE=0x402,PAE=yes,LOADER=generic";
  const auto file = write_elf(spec);
  const auto image = parse_kernel(file);
  ASSERT_TRUE(image) << error_of(image);
  EXPECT_TRUE(image->notes.legacy);
  EXPECT_EQ(image->addresses.hypercall_page, GuestVaddr(0x402000));
  EXPECT_EQ(image->addresses.entry, GuestVaddr(0x400000));
}

TEST(Notes, legacy_paddr_offset_defaults_to_virt_base) {
  ElfSpec spec;
  spec.notes.clear();
  spec.segments = {{0x500000, pattern(0x1000), 0}};
  spec.entry = 0x500000;
  spec.xen_guest = "XEN_VER=xen-3.0,LOADER=generic,VIRT_BASE=0x100000";
  const auto file = write_elf(spec);
  const auto image = parse_kernel(file);
  ASSERT_TRUE(image) << error_of(image);
  EXPECT_EQ(image->addresses.start.raw(), 0x500000U);
  EXPECT_EQ(image->paddr_offset, 0x100000U);
}

TEST(Notes, legacy_number_that_is_none_is_refused) {
  ElfSpec spec;
  spec.notes.clear();
  spec.xen_guest = "XEN_VER=xen-3.0,LOADER=generic,VIRT_BASE=here";
  EXPECT_THAT(error_of(spec), HasSubstr("VIRT_BASE is not a number: here"));
}

TEST(Notes, missing_ones_are_named) {
  ElfSpec spec;
  spec.notes.clear();
  EXPECT_THAT(error_of(spec), HasSubstr("no Xen notes (ENTRY, XEN_VERSION, GUEST_OS or LOADER)"));
  EXPECT_THAT(error_of(without({}, XEN_ELFNOTE_XEN_VERSION)), HasSubstr("missing notes XEN_VERSION"));
  EXPECT_THAT(error_of(without({}, XEN_ELFNOTE_GUEST_OS)), HasSubstr("missing notes GUEST_OS or LOADER"));
}

TEST(Notes, pvh_only_kernel_is_refused) {
  ElfSpec spec;
  spec.notes = {number_note(XEN_ELFNOTE_PHYS32_ENTRY, 0x1000000)};
  EXPECT_THAT(error_of(spec), HasSubstr("PVH"));
  // As a Linux with PVH but without PV support has them.
  spec.notes.push_back(string_note(XEN_ELFNOTE_XEN_VERSION, "xen-3.0"));
  spec.notes.push_back(string_note(XEN_ELFNOTE_GUEST_OS, "linux"));
  EXPECT_THAT(error_of(spec), HasSubstr("PVH"));
}

TEST(Notes, other_interface_version_is_refused_and_printed_safely) {
  const auto message = error_of(with({}, string_note(XEN_ELFNOTE_XEN_VERSION, "xen-2\n\x1b[31m.0")));
  EXPECT_THAT(message, HasSubstr("xen-2??[31m.0"));
  EXPECT_EQ(error_of(with({}, string_note(XEN_ELFNOTE_XEN_VERSION, "xen-3.0-x86_64"))), "no error");
}

TEST(Notes, loader_or_guest_os_must_be_known) {
  const auto odd = with({}, string_note(XEN_ELFNOTE_GUEST_OS, "NetBSD"));
  EXPECT_THAT(error_of(odd), HasSubstr("loader of its own"));
  EXPECT_EQ(error_of(with(odd, string_note(XEN_ELFNOTE_LOADER, "generic"))), "no error");
}

TEST(Notes, whatever_text_is_told_is_fit_for_a_terminal) {
  const std::string bad = "\x1b]0;x\x07\n\x9b\x7f";
  const auto legacy = [&](const std::string& text) {
    ElfSpec spec;
    spec.notes.clear();
    spec.xen_guest = text;
    return error_of(spec);
  };
  for (const std::string& message :
       {error_of(with({}, string_note(XEN_ELFNOTE_XEN_VERSION, bad))),
        error_of(with({}, string_note(XEN_ELFNOTE_GUEST_OS, bad))),
        error_of(
            with(with({}, string_note(XEN_ELFNOTE_GUEST_OS, "other")), string_note(XEN_ELFNOTE_LOADER, bad))),
        error_of(with({}, string_note(XEN_ELFNOTE_FEATURES, "!" + bad))),
        legacy("XEN_VER=xen-3.0,LOADER=generic,VIRT_BASE=" + bad),
        legacy("XEN_VER=" + bad + ",LOADER=generic"), legacy("XEN_VER=xen-3.0,GUEST_OS=" + bad),
        legacy("XEN_VER=xen-3.0,LOADER=generic,FEATURES=!" + bad)}) {
    EXPECT_THAT(message, HasSubstr("?]0;x?")) << message;
    for (const char c : message) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << message;
  }
}

TEST(Notes, features_are_refused_only_if_required) {
  const auto features = [](std::string_view list) {
    return error_of(with({}, string_note(XEN_ELFNOTE_FEATURES, list)));
  };
  EXPECT_EQ(features("!writable_page_tables|pae_pgdir_above_4gb"), "no error");
  EXPECT_EQ(features("auto_translated_physmap|antigravity|"), "no error");
  EXPECT_THAT(features("pae_pgdir_above_4gb|!antigravity"), HasSubstr("unknown feature: antigravity"));
  EXPECT_THAT(features("!auto_translated_physmap"), HasSubstr("not provided"));
}

TEST(Notes, numbers_of_odd_length_are_refused) {
  EXPECT_THAT(error_of(with({}, {XEN_ELFNOTE_VIRT_BASE, Bytes(3)})), HasSubstr("number of 3 bytes"));
}

TEST(Notes, numbers_may_have_four_bytes) {
  EXPECT_EQ(error_of(with({}, {XEN_ELFNOTE_MOD_START_PFN, Bytes(4)})), "no error");
}

TEST_F(Files, kernel_file_loads) {
  for (const auto& content : {write_elf({}), write_bzimage(Packing::gzip, write_elf({}))}) {
    const auto image = loaded_kernel(write(content));
    ASSERT_TRUE(image) << error_of(image);
    EXPECT_TRUE(std::ranges::equal(image->segments[0].file, ElfSpec{}.segments[0].content));
  }
}

TEST_F(Files, what_is_no_kernel_file_is_refused_at_once) {
  EXPECT_THAT(error_of(loaded_kernel(dir_ / "absent")), HasSubstr("No such file"));
  EXPECT_THAT(error_of(loaded_kernel(dir_)), HasSubstr("directory"));
  EXPECT_THAT(error_of(loaded_kernel(write({}))), HasSubstr("empty"));
  EXPECT_THAT(error_of(loaded_kernel("/dev/zero")), HasSubstr("not a regular file"));
  const auto fifo = dir_ / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(error_of(loaded_kernel(fifo)), HasSubstr("not a regular file"));
}

TEST_F(Files, file_larger_than_one_gib_is_refused) {
  const auto path = write(write_elf({}));
  std::filesystem::resize_file(path, (std::uintmax_t{1} << 30) + 1);  // sparse
  EXPECT_THAT(error_of(loaded_kernel(path)), HasSubstr("larger than 1024 MiB"));
}

TEST_F(Files, errors_name_the_file_and_are_one_line) {
  const auto path = dir_ / "odd\nname";
  const auto message = error_of(loaded_kernel(path));
  EXPECT_THAT(message, HasSubstr("odd?name: "));
  EXPECT_THAT(message, Not(HasSubstr("\n")));
}

TEST(Progress, is_told_from_zero_to_one) {
  const auto file = write_bzimage(Packing::xz, write_elf({}));
  std::vector<double> seen;
  ASSERT_TRUE(parse_kernel(file, [&](std::string_view what, double fraction) {
    EXPECT_THAT(std::string(what), HasSubstr("xz"));
    seen.push_back(fraction);
  }));
  ASSERT_GE(seen.size(), 2U);
  EXPECT_EQ(seen.front(), 0.0);
  EXPECT_EQ(seen.back(), 1.0);
  EXPECT_TRUE(std::ranges::is_sorted(seen));
}

TEST(RealKernel, loads) {
  const char* path = std::getenv("PINFOLD_TEST_KERNEL");
  if (path == nullptr) GTEST_SKIP() << "PINFOLD_TEST_KERNEL names no kernel";
  const auto image = loaded_kernel(path);
  ASSERT_TRUE(image) << error_of(image);
  EXPECT_EQ(image->notes.guest_os, "linux");
  EXPECT_EQ(image->addresses.virt_base.raw(), 0xffffffff80000000U);
}

}  // namespace
}  // namespace pinfold::loader::testing
