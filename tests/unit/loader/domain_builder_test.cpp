#include "loader/domain_builder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xen/xen.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

#include "images.hpp"

namespace pinfold::loader::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t present = 1, writable = 2, user = 4, accessed = 0x20, dirty = 0x40;
constexpr std::uint64_t mib = 256;  // pages

/// A machine of frames, of which a domain gets the upper half in a scrambled order.
class Builder : public ::testing::Test {
 protected:
  static constexpr std::uint64_t domain_pages = 64 * mib;

  Builder() : memory_(2 * domain_pages * page_size) {
    for (std::uint64_t i = 0; i < domain_pages; ++i)
      frames_.emplace_back(domain_pages + (i * 4099) % domain_pages);
  }

  /// The spec's file must live as long as the image.
  void use(const ElfSpec& spec) {
    file_ = write_elf(spec);
    auto parsed = parse_kernel(file_);
    ASSERT_TRUE(parsed) << parsed.error().message;
    kernel_ = std::move(*parsed);
  }
  DomainPlan plan() {
    return {
        kernel_, initrd_, command_line_, frames_, MachineMemory(memory_.data(), memory_.size() / page_size),
        Mfn(7),  Port(1), Port(2),       flags_};
  }
  BuiltDomain build() { return build_domain(plan()).value(); }

  template <class T>
  T read(Mfn mfn, std::size_t offset) const {
    return get<T>(memory_, mfn.raw() * page_size + offset);
  }
  start_info_t info(const BuiltDomain& built) const { return read<start_info_t>(built.start_info_frame, 0); }

  /// The leaf entry for an address, by a walk as the processor's; 0 if there is none.
  std::uint64_t walk(const BuiltDomain& built, std::uint64_t va) const {
    std::uint64_t entry = built.l4.raw() << page_shift;
    for (unsigned level = 4; level >= 1; --level) {
      if (level < 4) {
        EXPECT_EQ(entry & 0xfff, present | writable | user | accessed | dirty);
      }
      entry = read<std::uint64_t>(Mfn(entry >> page_shift), ((va >> (3 + 9 * level)) & 0x1ff) * 8);
      if (entry == 0) return 0;
    }
    return entry;
  }
  /// Bytes at a guest-virtual address.
  Bytes at(const BuiltDomain& built, std::uint64_t va, std::size_t size) const {
    Bytes out;
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t entry = walk(built, va + i);
      out.push_back(memory_[(entry & ~0xfffULL) + ((va + i) & 0xfff)]);
    }
    return out;
  }

  Bytes memory_;
  std::vector<Mfn> frames_;
  Bytes file_;
  KernelImage kernel_;
  Bytes initrd_ = pattern(10000);
  std::string command_line_ = "console=hvc0 quiet";
  std::uint32_t flags_ = 0;
};

ElfSpec linux_like() {
  ElfSpec spec;
  spec.segments = {{0x1000000, pattern(0x2345), 0x4000}, {0x1004000, pattern(0x1000), 0x3000}};
  spec = with(spec, number_note(XEN_ELFNOTE_INIT_P2M, 0x8000000000));
  return with(spec, number_note(XEN_ELFNOTE_MOD_START_PFN, 1));
}

TEST_F(Builder, segments_are_found_at_their_virtual_addresses_with_zeroes_after) {
  use(linux_like());
  const auto built = build();
  auto expected = pattern(0x2345);
  expected.resize(0x4000);
  const auto second = pattern(0x1000);
  expected.insert(expected.end(), second.begin(), second.end());
  expected.resize(0x7000);
  EXPECT_EQ(at(built, 0xffffffff81000000, 0x7000), expected);
  EXPECT_EQ(built.entry, GuestVaddr(0xffffffff81000000));
}

TEST_F(Builder, every_mapped_page_is_the_domains_and_only_tables_are_read_only) {
  use(linux_like());
  const auto built = build();
  std::set<std::uint64_t> tables;
  for (const auto& table : built.page_tables) tables.insert(table.mfn.raw());
  for (std::uint64_t pfn = 0; pfn < built.layout.main.pages.count; ++pfn) {
    const auto entry = walk(built, built.layout.va(Pfn(pfn)).raw());
    ASSERT_EQ(entry >> page_shift, frames_[pfn].raw()) << pfn;
    const bool table = tables.contains(frames_[pfn].raw());
    ASSERT_EQ(entry & 0xfff, table ? present | accessed : present | writable | accessed | dirty) << pfn;
  }
  EXPECT_EQ(walk(built, built.layout.main.last_byte() + 1), 0U);
}

TEST_F(Builder, tables_hold_no_other_entries_than_those_of_the_mappings) {
  for (const auto& spec : {linux_like(), ElfSpec{}}) {
    std::ranges::fill(memory_, std::byte{0});
    use(spec);
    const auto built = build();
    std::map<int, std::size_t> entries;
    for (const auto& table : built.page_tables) {
      for (std::size_t slot = 0; slot < 512; ++slot) {
        entries[table.level] += read<std::uint64_t>(table.mfn, slot * 8) != 0 ? 1 : 0;
      }
    }
    std::map<int, std::size_t> tables;
    for (const auto& table : built.page_tables) ++tables[table.level];
    const auto& l = built.layout;
    EXPECT_EQ(entries[1], l.main.pages.count + (l.p2m_mapping ? l.p2m_mapping->pages.count : 0));
    for (int level = 2; level <= 4; ++level) EXPECT_EQ(entries[level], tables[level - 1]);
    EXPECT_EQ(tables[4], 1U);
    EXPECT_EQ(built.page_tables.front().mfn, built.l4);
  }
}

TEST_F(Builder, p2m_list_names_every_frame_wherever_it_is_mapped) {
  for (const auto& spec : {linux_like(), ElfSpec{}}) {
    std::ranges::fill(memory_, std::byte{0});
    use(spec);
    const auto built = build();
    const auto list = info(built).mfn_list;
    EXPECT_EQ(list, built.layout.p2m_va().raw());
    for (std::uint64_t page = 0; page < domain_pages / 512; ++page) {
      const Mfn frame(walk(built, list + page * page_size) >> page_shift);
      for (std::uint64_t i = 0; i < 512; ++i) {
        ASSERT_EQ(read<std::uint64_t>(frame, i * 8), frames_[page * 512 + i].raw());
      }
    }
  }
}

TEST_F(Builder, start_info_says_what_was_built) {
  use(linux_like());
  flags_ = SIF_VIRT_P2M_4TOOLS;
  const auto built = build();
  const auto start = info(built);
  const auto& l = built.layout;
  EXPECT_EQ(walk(built, built.start_info.raw()) >> page_shift, built.start_info_frame.raw());
  EXPECT_STREQ(start.magic, "xen-3.0-x86_64");
  EXPECT_EQ(start.nr_pages, domain_pages);
  EXPECT_EQ(start.shared_info, 7 * page_size);
  EXPECT_EQ(start.flags, static_cast<std::uint32_t>(SIF_VIRT_P2M_4TOOLS | SIF_MOD_START_PFN));
  EXPECT_EQ(start.store_mfn, built.xenstore_ring.raw());
  EXPECT_EQ(start.store_evtchn, 1U);
  EXPECT_EQ(start.console.domU.mfn, built.console_ring.raw());
  EXPECT_EQ(start.console.domU.evtchn, 2U);
  EXPECT_EQ(walk(built, start.pt_base) >> page_shift, built.l4.raw());
  EXPECT_EQ(start.nr_pt_frames, l.page_tables.count);
  EXPECT_EQ(start.mod_start, l.initrd.first.raw());
  EXPECT_EQ(start.mod_len, initrd_.size());
  EXPECT_EQ(reinterpret_cast<const char*>(start.cmd_line), command_line_);
  EXPECT_EQ(start.first_p2m_pfn, l.p2m.first.raw());
  EXPECT_EQ(start.nr_p2m_frames, l.p2m.count + l.p2m_page_tables.count);
  EXPECT_EQ(built.stack_top, l.va(l.boot_stack.plus(1)));
}

TEST_F(Builder, initrd_is_mapped_without_the_note_that_permits_otherwise) {
  use(ElfSpec{});
  const auto built = build();
  const auto start = info(built);
  EXPECT_EQ(start.flags & SIF_MOD_START_PFN, 0U);
  EXPECT_EQ(at(built, start.mod_start, initrd_.size()), initrd_);
  EXPECT_EQ(start.first_p2m_pfn, 0U);
  EXPECT_EQ(start.nr_p2m_frames, 0U);
}

TEST_F(Builder, unmapped_initrd_lies_in_its_frames) {
  use(linux_like());
  const auto built = build();
  for (std::size_t i = 0; i < initrd_.size(); ++i) {
    const Mfn frame = frames_[built.layout.initrd.first.raw() + i / page_size];
    ASSERT_EQ(read<std::byte>(frame, i % page_size), initrd_[i]) << i;
  }
}

TEST_F(Builder, no_initrd_is_told_as_none) {
  use(linux_like());
  initrd_.clear();
  const auto start = info(build());
  EXPECT_EQ(start.mod_start, 0U);
  EXPECT_EQ(start.mod_len, 0U);
  EXPECT_EQ(start.flags, 0U);
}

TEST_F(Builder, rings_stack_and_foreign_frames_stay_zero) {
  use(linux_like());
  const auto built = build();
  const Bytes zero(page_size);
  for (const Mfn mfn : {built.console_ring, built.xenstore_ring, frames_[built.layout.boot_stack.raw()]}) {
    EXPECT_EQ(std::memcmp(memory_.data() + mfn.raw() * page_size, zero.data(), page_size), 0);
  }
  EXPECT_TRUE(std::all_of(memory_.begin(), memory_.begin() + domain_pages * page_size,
                          [](std::byte b) { return b == std::byte{0}; }));
}

TEST_F(Builder, hypercall_page_is_filled_where_the_note_says) {
  use(with(linux_like(), number_note(XEN_ELFNOTE_HYPERCALL_PAGE, 0xffffffff81002000)));
  const auto page = at(build(), 0xffffffff81002000, page_size);
  for (std::uint8_t number = 0; number < 128; ++number) {
    const auto* stub = reinterpret_cast<const std::uint8_t*>(page.data()) + number * std::size_t{32};
    const bool iret = number == 23;
    const std::size_t mov = iret ? 4 : 3;
    EXPECT_EQ(stub[mov], 0xb8);
    EXPECT_EQ(stub[mov + 1], number);
    EXPECT_EQ(stub[mov + 5], 0x0f);
    EXPECT_EQ(stub[mov + 6], 0x05);
    EXPECT_EQ(stub[mov + 10] == 0xc3, !iret);  // ret after pop %r11, pop %rcx
  }
  EXPECT_EQ(at(build(), 0xffffffff81001000, 0x1000), [] {
    auto expected = pattern(0x2345);
    return Bytes(expected.begin() + 0x1000, expected.begin() + 0x2000);
  }());
}

TEST_F(Builder, command_line_of_1023_characters_fits_and_one_more_does_not) {
  use(linux_like());
  command_line_ = std::string(1023, 'x');
  EXPECT_EQ(reinterpret_cast<const char*>(info(build()).cmd_line), command_line_);
  command_line_ += 'x';
  EXPECT_THAT(build_domain(plan()).error().message, HasSubstr("1024 characters"));
  command_line_ = std::string("a\0b", 3);
  EXPECT_THAT(build_domain(plan()).error().message, HasSubstr("NUL"));
}

TEST_F(Builder, refusal_leaves_memory_untouched) {
  use(linux_like());
  const auto before = memory_;
  frames_.back() = Mfn(2 * domain_pages);
  EXPECT_THAT(build_domain(plan()).error().message, HasSubstr("outside the machine"));
  frames_.resize(4 * mib);
  EXPECT_THAT(build_domain(plan()).error().message, HasSubstr("too small"));
  EXPECT_EQ(memory_, before);
}

TEST_F(Builder, real_kernel_finds_its_code_at_its_entry) {
  const char* path = std::getenv("PINFOLD_TEST_KERNEL");
  if (path == nullptr) GTEST_SKIP() << "PINFOLD_TEST_KERNEL names no kernel";
  auto loaded = loaded_kernel(path);
  ASSERT_TRUE(loaded) << loaded.error().message;
  kernel_ = std::move(*loaded);
  frames_.clear();
  memory_.assign(192 * mib * page_size, std::byte{0});
  for (std::uint64_t pfn = 0; pfn < 192 * mib; ++pfn) frames_.emplace_back(192 * mib - 1 - pfn);
  const auto built = build();
  for (const Segment& segment : kernel_.segments) {
    const auto size = std::min<std::size_t>(segment.file.size(), 10000);
    const auto start = built.layout.main.va.raw() + segment.paddr - kernel_.paddr_offset;
    EXPECT_TRUE(std::ranges::equal(at(built, start, size), segment.file.first(size)));
  }
  EXPECT_NE(at(built, built.entry.raw(), 16), Bytes(16));
}

TEST(Initrd, absent_file_is_named_in_the_error) {
  EXPECT_THAT(load_initrd("/nonexistent/initrd").error().message,
              HasSubstr("/nonexistent/initrd: No such file"));
}

/// Machine memory that is a mapping of a file, if that is asked for, and zero.
class GuestCopy : public ::testing::TestWithParam<bool> {
 protected:
  static constexpr std::uint64_t pages = 32;
  GuestCopy() {
    const std::size_t size = pages * page_size;
    if (GetParam()) {
      file_ = ::memfd_create("test", 0);
      EXPECT_EQ(::ftruncate(file_, static_cast<off_t>(size)), 0);
    }
    const int flags = GetParam() ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    memory_ = static_cast<std::byte*>(::mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, file_, 0));
  }
  ~GuestCopy() override {
    ::munmap(memory_, pages * page_size);
    if (file_ >= 0) ::close(file_);
  }
  std::byte* memory_ = nullptr;
  int file_ = -1;
};

INSTANTIATE_TEST_SUITE_P(Memory, GuestCopy, ::testing::Bool(),
                         [](const auto& p) { return p.param ? "of_a_file" : "anonymous"; });

TEST_P(GuestCopy, arrives_in_scattered_frames_with_zero_pages_and_odd_ends_and_nothing_else_changes) {
  std::vector<Mfn> frames{Mfn(3), Mfn(1), Mfn(9), Mfn(10), Mfn(11), Mfn(4), Mfn(5)};
  const PseudoPhysical domain(MachineMemory(memory_, pages, file_), frames);
  for (const std::size_t zeroes : {std::size_t{0}, std::size_t{1}, std::size_t{3}}) {
    for (const std::size_t address : {std::size_t{0}, std::size_t{100}, std::size_t{page_size}}) {
      std::memset(memory_, 0, pages * page_size);
      auto content = pattern(5 * page_size + 33);
      const auto hole = content.begin() + page_size - 5;
      std::fill(hole, hole + static_cast<std::ptrdiff_t>(zeroes * page_size), std::byte{0});
      domain.write(address, content);
      Bytes expected(pages * page_size);
      for (std::size_t i = 0; i < content.size(); ++i) {
        const std::size_t at = address + i;
        expected[frames[at / page_size].raw() * page_size + at % page_size] = content[i];
      }
      EXPECT_EQ(std::memcmp(memory_, expected.data(), expected.size()), 0)
          << zeroes << " zero pages at " << address;
    }
  }
}

}  // namespace
}  // namespace pinfold::loader::testing
