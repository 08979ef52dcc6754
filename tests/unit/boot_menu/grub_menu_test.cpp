// grub.cfg, as distributions make it, and as nobody should.
#include "loader/boot_menu/grub_menu.hpp"

#include <gtest/gtest.h>

#include "fake_files.hpp"
#include "loader/boot_menu/find_menu.hpp"

namespace pinfold::boot_menu::test {
namespace {

class GrubMenu : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"/boot/vmlinuz-1", "/boot/vmlinuz-2", "/boot/vmlinuz-3", "/boot/initrd.img-1",
                             "/boot/initrd.img-2", "/boot/ucode.img"})
      files.add(name, "x");
  }

  tl::expected<Menu, std::string> read(const std::string& text) {
    files.add("/boot/grub/grub.cfg", text);
    return read_grub_menu(files, {"hd0", "/boot/grub/grub.cfg"}, "");
  }
  /// The kernel of the default entry, and its arguments; or the error.
  std::string boots(const std::string& text) {
    const auto menu = read(text);
    if (!menu) return menu.error();
    const auto boot = menu->load(menu->chosen);
    if (!boot) return boot.error();
    return boot->kernel.path + (boot->arguments.empty() ? "" : " " + boot->arguments);
  }
  /// Three entries and a submenu with two: kernels 1, (2, 3), 3.
  static std::string three(const std::string& start) {
    return start +
           "\nmenuentry 'One' --class gnu --id first { linux /boot/vmlinuz-1 }\n"
           "submenu 'More > of them' --id more {\n"
           "  menuentry 'Two' --id second { linux /boot/vmlinuz-2 }\n"
           "  menuentry 'Three' { linux /boot/vmlinuz-3 }\n}\n"
           "menuentry \"Four\" { linux /boot/vmlinuz-3 four }\n";
  }

  FakeFiles files;
};

TEST_F(GrubMenu, the_first_entry_is_the_default) { EXPECT_EQ(boots(three("")), "/boot/vmlinuz-1"); }

TEST_F(GrubMenu, a_default_is_a_number_an_id_or_a_title) {
  EXPECT_EQ(boots(three("set default=2")), "/boot/vmlinuz-3 four");
  EXPECT_EQ(boots(three("default='Four'")), "/boot/vmlinuz-3 four");
  EXPECT_EQ(boots(three("set default=first")), "/boot/vmlinuz-1");
}

TEST_F(GrubMenu, a_default_leads_into_submenus) {
  EXPECT_EQ(boots(three("set default='1>1'")), "/boot/vmlinuz-3");
  EXPECT_EQ(boots(three("set default='more>second'")), "/boot/vmlinuz-2");
  EXPECT_EQ(boots(three("set default='More >> of them>Three'")), "/boot/vmlinuz-3");
  EXPECT_EQ(boots(three("set default=1")), "/boot/vmlinuz-2") << "the first one of the submenu";
}

TEST_F(GrubMenu, a_default_that_is_not_there_is_the_first_entry) {
  EXPECT_EQ(boots(three("set default=9")), "/boot/vmlinuz-1");
  EXPECT_EQ(boots(three("set default='1>7'")), "/boot/vmlinuz-1");
  EXPECT_EQ(boots(three("set default='4>second'")), "/boot/vmlinuz-1");
}

TEST_F(GrubMenu, the_saved_entry_is_in_the_environment_block) {
  files.add("/boot/grub/grubenv", "# GRUB Environment Block\nsaved_entry=more>second\n####\n");
  EXPECT_EQ(boots(three("if [ -s $prefix/grubenv ]; then\n load_env\nfi\n"
                        "if [ \"${next_entry}\" ] ; then set default=\"${next_entry}\"\n"
                        "else set default=\"${saved_entry}\"\nfi")),
            "/boot/vmlinuz-2");
}

TEST_F(GrubMenu, words_and_variables_are_those_of_a_shell) {
  EXPECT_EQ(
      boots(
          "set a='x  y'\nmenuentry m { linux /boot/vmlinuz-1 $a \"$a\" '$a' \"a\\\"b\" c\\ d ${a}z # e\n }"),
      "/boot/vmlinuz-1 x y x  y $a a\"b c d x yz");
}

TEST_F(GrubMenu, conditions_choose) {
  const std::string entry = "\nmenuentry m { linux /boot/vmlinuz-1 $r }";
  EXPECT_EQ(boots("if [ x$grub_platform = xxen ]; then set r=xen; else set r=other; fi" + entry),
            "/boot/vmlinuz-1 xen");
  EXPECT_EQ(
      boots("if false; then set r=a; elif [ 2 -gt 1 -a ! -e /none ]; then set r=b; else set r=c; fi" + entry),
      "/boot/vmlinuz-1 b");
  EXPECT_EQ(boots("if [ -f /boot/vmlinuz-2 -a -d /boot ]; then set r=there; fi" + entry),
            "/boot/vmlinuz-1 there");
  EXPECT_EQ(boots("for i in a b c; do set r=\"$r$i\"; done" + entry), "/boot/vmlinuz-1 abc");
  EXPECT_EQ(boots("function f { set r=\"$1-$2\" ; return ; set r=late ; }\nf a b" + entry),
            "/boot/vmlinuz-1 a-b");
}

TEST_F(GrubMenu, several_initrds_are_kept_in_their_order) {
  const auto menu =
      read("menuentry m {\n linux /boot/vmlinuz-1\n initrd /boot/ucode.img /boot/initrd.img-1\n}");
  ASSERT_TRUE(menu);
  const auto boot = menu->load(0);
  ASSERT_TRUE(boot) << boot.error();
  ASSERT_EQ(boot->initrds.size(), 2U);
  EXPECT_EQ(boot->initrds[0].path, "/boot/ucode.img");
  EXPECT_EQ(boot->initrds[1].path, "/boot/initrd.img-1");
}

TEST_F(GrubMenu, search_finds_devices_by_what_they_have) {
  files.add_device("hd0,gpt2", "2222-BBBB", "boot");
  files.add("/vmlinuz-9", "x", "hd0,gpt2");
  const auto with = [this](const std::string& search) {
    return boots("menuentry m {\n" + search + "\nlinux /vmlinuz-9\n}");
  };
  EXPECT_EQ(with("search --no-floppy --fs-uuid --set=root --hint-bios=hd7,msdos1 2222-bbbb"), "/vmlinuz-9");
  EXPECT_EQ(with("search --no-floppy --set root --label boot"), "/vmlinuz-9");
  EXPECT_EQ(with("search --file --set=root /vmlinuz-9"), "/vmlinuz-9");
  EXPECT_EQ(with("set root=(hd0,2)"), "/vmlinuz-9");
  EXPECT_EQ(with("set root='hd0,msdos2'"), "/vmlinuz-9") << "a disk's table may have become another one";
  EXPECT_EQ(with("search --fs-uuid --set=root 3333"), "there is no file /vmlinuz-9");
}

TEST_F(GrubMenu, a_disk_of_other_times_means_the_one_with_the_menu) {
  EXPECT_EQ(boots("menuentry m {\nset root='hd3,msdos7'\nlinux (hd3,msdos7)/boot/vmlinuz-1\n}"),
            "/boot/vmlinuz-1");
}

TEST_F(GrubMenu, nothing_but_the_guests_devices_is_named) {
  for (const char* path : {"(host)/etc/passwd", "(proc)/self", "(hd0)(host)/etc/passwd", "/boot/(host)/x",
                           "vmlinuz", "(hd0", "(hd0)"})
    EXPECT_EQ(boots(std::string("menuentry m { linux '") + path + "' }"),
              std::string("there is no file ") + path);
  EXPECT_EQ(boots("menuentry m {\nset root=host\nlinux /etc/passwd\n}"), "there is no file /etc/passwd");
}

TEST(Paths, of_a_guest_have_no_device_in_them) {
  for (const char* path : {"/", "/boot/vmlinuz-6.1.0+deb", "/a b/c"})
    EXPECT_TRUE(is_plain_path(path)) << path;
  for (const char* path : {"", "boot", "(host)/etc/passwd", "/boot/(host)/x", "/a)", "/a\nb", "/\x7f"})
    EXPECT_FALSE(is_plain_path(path)) << path;
  EXPECT_FALSE(is_plain_path("/" + std::string(4095, 'a')));
}

TEST_F(GrubMenu, configurations_lead_to_others) {
  files.add("/boot/grub/custom.cfg", "menuentry c { linux /boot/vmlinuz-2 }");
  EXPECT_EQ(boots("source ${config_directory}/custom.cfg"), "/boot/vmlinuz-2");
  EXPECT_EQ(boots("menuentry a { linux /boot/vmlinuz-1 }\nconfigfile $prefix/custom.cfg"), "/boot/vmlinuz-2");
  EXPECT_EQ(boots("source $prefix/none.cfg\nmenuentry a { linux /boot/vmlinuz-1 }"), "/boot/vmlinuz-1");
}

TEST_F(GrubMenu, an_entry_for_a_hypervisor_has_its_kernel_in_a_module) {
  EXPECT_EQ(boots("menuentry x {\nmultiboot2 /boot/xen.gz placeholder\nmodule2 /boot/vmlinuz-1 root=a\n"
                  "module2 --nounzip /boot/initrd.img-1\n}"),
            "/boot/vmlinuz-1 root=a");
}

TEST_F(GrubMenu, an_entry_without_a_kernel_says_so) {
  EXPECT_EQ(boots("menuentry m { echo x }"), "it loads no Linux kernel");
  EXPECT_EQ(boots("menuentry m { chainloader +1 }"), "it starts another boot loader (chainloader)");
  EXPECT_EQ(boots("set default=0"), "it has no entries");
  EXPECT_EQ(boots("submenu s { }"), "it has no entries but submenus");
}

TEST_F(GrubMenu, a_script_without_a_menu_may_load_a_kernel_itself) {
  EXPECT_EQ(boots("linux /boot/vmlinuz-1 a\ninitrd /boot/initrd.img-1\nboot"), "/boot/vmlinuz-1 a");
}

TEST_F(GrubMenu, loops_end) {
  EXPECT_EQ(boots("while true; do true; done"), "the menu's script does not end");
  EXPECT_EQ(boots("function f { f; }\nf"), "the menu's script calls itself without end");
  EXPECT_EQ(boots("set a=xxxxxxxx\nwhile true; do set a=$a$a; done"),
            "the menu's script makes texts without end");
  files.reads = 0;
  EXPECT_EQ(boots("source /boot/grub/grub.cfg"), "the menu reads too many files");
  EXPECT_LE(files.reads, 65);
}

TEST_F(GrubMenu, an_endless_script_keeps_the_entries_before_it) {
  EXPECT_EQ(boots("menuentry a { linux /boot/vmlinuz-1 }\nwhile true; do true; done"), "/boot/vmlinuz-1");
}

TEST_F(GrubMenu, many_entries_are_bounded) {
  const auto menu = read(
      "for i in 0 1 2 3 4 5 6 7 8 9; do for j in 0 1 2 3 4 5 6 7 8 9; do\n"
      "for k in 0 1 2 3 4 5 6 7 8 9; do for l in 0 1 2 3 4 5 6 7 8 9; do\n"
      "menuentry a { linux /boot/vmlinuz-1 }\nmenuentry b { linux /boot/vmlinuz-1 }\n"
      "done; done; done; done");
  ASSERT_TRUE(menu) << menu.error();
  EXPECT_EQ(menu->entries.size(), most_entries);
  ASSERT_FALSE(menu->notices.empty());
}

TEST_F(GrubMenu, deep_nesting_is_refused) {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "if true; then\n";
  EXPECT_NE(boots(deep).find("blocks are nested too deeply"), std::string::npos);
  EXPECT_NE(boots(std::string(100'000, '{')).find("a brace that belongs to nothing"), std::string::npos);
  EXPECT_FALSE(boots("if [ " + std::string(100'000, '(') + " ]; then true; fi").empty());
}

TEST_F(GrubMenu, syntax_errors_have_their_line) {
  EXPECT_EQ(boots("true\nif true\n"), "line 3: the text ends within a block");
  EXPECT_EQ(boots("menuentry a {\n"), "line 2: the text ends within a block");
  EXPECT_EQ(boots("}"), "line 1: a brace that belongs to nothing");
}

TEST_F(GrubMenu, a_subvolume_stands_before_paths_that_are_not_found) {
  files.add("/@/boot/grub/grub.cfg", "menuentry m { linux /boot/vmlinuz-9 }");
  files.add("/@/boot/vmlinuz-9", "x");
  const auto menu = find_menu(files);
  ASSERT_TRUE(menu) << menu.error();
  EXPECT_EQ(menu->load(0)->kernel.path, "/@/boot/vmlinuz-9");
}

TEST_F(GrubMenu, fedora_has_loader_entries) {
  files.clear_devices();
  files.add_device("hd0,gpt1", "E1");
  files.add_device("hd0,gpt2", "B1");
  const char* device = "hd0,gpt2";
  files.add("/EFI/fedora/grub.cfg",
            "search --no-floppy --fs-uuid --set=dev B1\nset prefix=($dev)/grub2\nexport $prefix\n"
            "configfile $prefix/grub.cfg",
            "hd0,gpt1");
  files.add(
      "/grub2/grub.cfg",
      "set pager=1\nif [ -f ${config_directory}/grubenv ]; then\n load_env -f ${config_directory}/grubenv\n"
      "elif [ -s $prefix/grubenv ]; then load_env\nfi\nset default=\"${saved_entry}\"\n"
      "insmod part_gpt\nsearch --no-floppy --fs-uuid --set=root B1\ninsmod blscfg\nblscfg\n",
      device);
  files.add("/grub2/grubenv",
            "# GRUB Environment Block\nsaved_entry=ab-6.9.5\nkernelopts=root=/dev/xvda3 ro\n", device);
  for (const char* version : {"6.9.5", "6.10.3", "0-rescue"}) {
    files.add(std::string("/loader/entries/ab-") + version + ".conf",
              std::string("title Fedora ") + version + "\nversion " + version + "\nlinux /vmlinuz-" +
                  version + "\ninitrd /initrd-" + version + " $tuned_initrd\noptions $kernelopts rhgb\n",
              device);
    files.add(std::string("/vmlinuz-") + version, "x", device);
    files.add(std::string("/initrd-") + version, "x", device);
  }
  auto menu = find_menu(files);
  ASSERT_TRUE(menu) << menu.error();
  EXPECT_EQ(menu->entries.at(0).title, "Fedora 6.10.3") << "the newest one is the first";
  auto boot = menu->load(menu->chosen);
  ASSERT_TRUE(boot) << boot.error();
  EXPECT_EQ(boot->kernel, (FilePlace{device, "/vmlinuz-6.9.5"}));
  EXPECT_EQ(boot->arguments, "root=/dev/xvda3 ro rhgb");
  ASSERT_EQ(boot->initrds.size(), 1U);
}

}  // namespace
}  // namespace pinfold::boot_menu::test
