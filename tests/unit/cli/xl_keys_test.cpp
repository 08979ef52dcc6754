// Every key of xl.cfg(5) has a rule, and docs/xl-cfg.md has it. With PINFOLD_WRITE_DOCUMENTS set, this writes
// the document's table.
#include "cli/config/xl_keys.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

namespace pinfold::cli::test {
namespace {

constexpr const char* path = PINFOLD_SOURCE_DIR "/docs/xl-cfg.md";
constexpr const char* header = "| key | | |\n|---|---|---|\n";

std::string table() {
  std::string rows = header;
  for (const XlKeyRule& rule : xl_key_rules()) {
    rows += "| `" + std::string(rule.name) + "` | " + std::string(name_of(rule.use)) + " | " +
            std::string(rule.note) + " |\n";
  }
  return rows;
}

std::string read_document() {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(XlKeys, the_document_says_what_the_code_does) {
  const std::string document = read_document();
  const std::string before = document.substr(0, document.find(header));
  if (std::getenv("PINFOLD_WRITE_DOCUMENTS") != nullptr) std::ofstream(path) << before + table();
  EXPECT_EQ(read_document(), before + table())
      << "write it anew: PINFOLD_WRITE_DOCUMENTS=1 unit_cli --gtest_filter='XlKeys.*'";
}

TEST(XlKeys, each_has_one_rule_with_a_reason) {
  std::set<std::string_view> seen;
  for (const XlKeyRule& rule : xl_key_rules()) {
    EXPECT_TRUE(seen.insert(rule.name).second) << rule.name;
    EXPECT_FALSE(rule.note.empty()) << rule.name;
    EXPECT_EQ(find_xl_key(rule.name), &rule);
  }
  EXPECT_EQ(find_xl_key("maxcpus"), nullptr);
  EXPECT_EQ(find_xl_key(""), nullptr);
}

/// The keys in xl.cfg(5) of Xen 4.17, by its headings.
TEST(XlKeys, all_of_xl_cfg_of_4_17_are_there) {
  for (const char* key : {"acpi",
                          "acpi_firmware",
                          "acpi_laptop_slate",
                          "acpi_s3",
                          "acpi_s4",
                          "altp2m",
                          "altp2mhvm",
                          "apic",
                          "bios",
                          "bios_path_override",
                          "boot",
                          "bootloader",
                          "bootloader_args",
                          "builder",
                          "cap",
                          "channel",
                          "cmdline",
                          "cpu_weight",
                          "cpuid",
                          "cpus",
                          "cpus_soft",
                          "device_model_args",
                          "device_model_args_hvm",
                          "device_model_args_pv",
                          "device_model_override",
                          "device_model_stubdomain_override",
                          "device_model_stubdomain_seclabel",
                          "device_model_user",
                          "device_model_version",
                          "device_tree",
                          "disk",
                          "dm_restrict",
                          "driver_domain",
                          "dtdev",
                          "e820_host",
                          "extra",
                          "firmware",
                          "gfx_passthru",
                          "gic_version",
                          "hap",
                          "hdtype",
                          "hpet",
                          "init_seclabel",
                          "iomem",
                          "ioports",
                          "irqs",
                          "kernel",
                          "keymap",
                          "localtime",
                          "max_event_channels",
                          "max_grant_frames",
                          "max_grant_version",
                          "max_maptrack_frames",
                          "maxmem",
                          "maxvcpus",
                          "mca_caps",
                          "memory",
                          "mmio_hole",
                          "ms_vm_genid",
                          "msr_relaxed",
                          "name",
                          "nestedhvm",
                          "nographic",
                          "nomigrate",
                          "nx",
                          "on_crash",
                          "on_poweroff",
                          "on_reboot",
                          "on_soft_reset",
                          "on_watchdog",
                          "oos",
                          "opengl",
                          "p9",
                          "pae",
                          "passthrough",
                          "pci",
                          "pci_msitranslate",
                          "pci_permissive",
                          "pci_power_mgmt",
                          "pci_seize",
                          "pool",
                          "pvcalls",
                          "pvshim",
                          "pvshim_cmdline",
                          "pvshim_extra",
                          "pvshim_path",
                          "ramdisk",
                          "rdm",
                          "rdm_mem_boundary",
                          "root",
                          "rtc_timeoffset",
                          "sdl",
                          "seclabel",
                          "serial",
                          "shadow_memory",
                          "smbios_firmware",
                          "soundhw",
                          "spice",
                          "spice_clipboard_sharing",
                          "spice_image_compression",
                          "spice_streaming_video",
                          "spiceagent_mouse",
                          "spicedisable_ticketing",
                          "spicehost",
                          "spicepasswd",
                          "spiceport",
                          "spicetls_port",
                          "spiceusbredirection",
                          "spicevdagent",
                          "stdvga",
                          "stubdomain_cmdline",
                          "stubdomain_kernel",
                          "stubdomain_memory",
                          "stubdomain_ramdisk",
                          "tee",
                          "timer_mode",
                          "tsc_mode",
                          "type",
                          "usb",
                          "usbctrl",
                          "usbdev",
                          "usbdevice",
                          "usbversion",
                          "uuid",
                          "vcpus",
                          "vdispl",
                          "vendor_device",
                          "vfb",
                          "vga",
                          "videoram",
                          "vif",
                          "viridian",
                          "vkb",
                          "vkb_device",
                          "vmtrace_buf_kb",
                          "vnc",
                          "vncdisplay",
                          "vnclisten",
                          "vncpasswd",
                          "vncunused",
                          "vnuma",
                          "vpmu",
                          "vpt_align",
                          "vsnd",
                          "vtpm",
                          "vuart",
                          "xen_platform_pci",
                          "xend_suspend_evtchn_compat"})
    EXPECT_NE(find_xl_key(key), nullptr) << key;
}

TEST(XlKeys, a_mistyped_key_has_a_neighbour) {
  EXPECT_EQ(similar_xl_key("maxcpus"), "maxvcpus");
  EXPECT_EQ(similar_xl_key("memroy"), "memory");
  EXPECT_EQ(similar_xl_key("kernal"), "kernel");
  EXPECT_EQ(similar_xl_key("ramdis"), "ramdisk");
  EXPECT_EQ(similar_xl_key("disks"), "disk");
  EXPECT_EQ(similar_xl_key("console"), "");
  EXPECT_EQ(similar_xl_key("nam"), "") << "too short to tell";
}

}  // namespace
}  // namespace pinfold::cli::test
