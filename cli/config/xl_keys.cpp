#include "cli/config/xl_keys.hpp"

#include <algorithm>
#include <array>
#include <string>

namespace pinfold::cli {
namespace {

using enum KeyUse;

constexpr std::string_view hvm = "for HVM guests", hvm_or_pvh = "for HVM and PVH guests",
                           pvh = "for PVH guests", device_model = "for guests with a device model",
                           arm = "for guests on Arm",
                           sched = "it is for Xen's scheduler; nice and cgroups do this here",
                           label = "it is for Xen's security policy (FLASK)";

// clang-format off
constexpr auto rules = std::to_array<XlKeyRule>({
    {"name", obeyed, "the guest's name: 1 to 64 of A-Z a-z 0-9 . _ -, not a dot first; `--name`"},
    {"type", obeyed, "`pv` only; `pvh` and `hvm` are refused"},
    {"builder", obeyed, "the old form of `type`: `generic` or `linux` mean PV"},
    {"pool", ignored, "there are no pools of processors; the host's cpusets do this"},
    {"vcpus", obeyed, "virtual processors that are online at start, 1 if not given; `--vcpus`"},
    {"maxvcpus", obeyed, "virtual processors at most, as many as `vcpus` if not given; the others are offline; `--maxvcpus`"},
    {"cpus", obeyed, "[processors](#processors) of the host for the vCPUs; `--cpus`"},
    {"cpus_soft", ignored, "it is a wish for Xen's scheduler"},
    {"cpu_weight", ignored, sched},
    {"cap", ignored, sched},
    {"period", ignored, sched},
    {"slice", ignored, sched},
    {"latency", ignored, sched},
    {"extratime", ignored, sched},
    {"memory", obeyed, "MiB at start; if not given, as much as `maxmem`, else 512; `--memory`"},
    {"maxmem", obeyed, "MiB at most, as much as `memory` if not given; the guest's balloon holds the rest; `--maxmem`"},
    {"vnuma", ignored, "a PV guest has no virtual NUMA"},
    {"on_poweroff", obeyed, "`destroy` if not given; `--on-poweroff`"},
    {"on_reboot", obeyed, "`restart` if not given; `--on-reboot`"},
    {"on_watchdog", obeyed, "`destroy` if not given; `--on-watchdog`"},
    {"on_crash", obeyed, "`destroy` if not given; `--on-crash`"},
    {"on_soft_reset", ignored, "a PV guest has no soft reset"},
    {"kernel", obeyed, "a bzImage or ELF file with Xen's PV notes; `--kernel`"},
    {"ramdisk", obeyed, "the initial RAM disk; `--initrd`"},
    {"cmdline", obeyed, "the kernel's command line; with it, `root` and `extra` have no effect; `--append`"},
    {"root", obeyed, "`root=` and this text in the command line"},
    {"extra", obeyed, "more of the command line, behind `root`"},
    {"firmware", refused, "there is no firmware (pvgrub): give kernel= and ramdisk="},
    {"pvshim", foreign, pvh},
    {"pvshim_path", foreign, pvh},
    {"pvshim_cmdline", foreign, pvh},
    {"pvshim_extra", foreign, pvh},
    {"uuid", obeyed, "the guest's UUID; a random one at each start if not given; `--uuid`"},
    {"seclabel", ignored, label},
    {"init_seclabel", ignored, label},
    {"max_grant_frames", obeyed, "frames of the guest's grant table at most, 512 grants each; 64 if not given"},
    {"max_maptrack_frames", obeyed, "grants that the guest maps at most, in frames of 256; 1024 if not given"},
    {"max_grant_version", ignored, "the guest chooses the version"},
    {"nomigrate", ignored, "no guest is ever moved"},
    {"driver_domain", obeyed, "the guest [serves its own devices](driver-domains.md#a-driver-domains-own-disks) to other guests of its machine"},
    {"device_tree", foreign, arm},
    {"passthrough", ignored, "no device of the host is given to a guest"},
    {"xend_suspend_evtchn_compat", ignored, "for guests of xend that are suspended"},
    {"vmtrace_buf_kb", foreign, hvm},
    {"vpmu", ignored, "a guest has no performance counters"},
    {"xenstore_feature_mask", ignored, "the guest's store has the features of Xen 4.17"},
    {"xenstore_quota", ignored, "the quotas are those of xenstored's defaults"},
    {"disk", obeyed, "[disks](#disks); `--disk`"},
    {"vif", obeyed, "[network interfaces](#network-interfaces); `--vif`"},
    {"vif2", ignored, "xl ignores it, too"},
    {"vtpm", refused, "there is no virtual TPM"},
    {"p9", refused, "there is no 9pfs backend"},
    {"pvcalls", refused, "there is no PV calls backend"},
    {"vfb", refused, "there is no frame buffer: use the console"},
    {"channel", refused, "there are no channels beside the console"},
    {"rdm", foreign, hvm},
    {"usbctrl", refused, "there is no USB backend"},
    {"usbdev", refused, "there is no USB backend"},
    {"pci", refused, "no device of the host is given to a guest"},
    {"pci_permissive", ignored, "for `pci`"},
    {"pci_msitranslate", ignored, "for `pci`"},
    {"pci_seize", ignored, "for `pci`"},
    {"pci_power_mgmt", ignored, "for `pci`"},
    {"gfx_passthru", foreign, hvm},
    {"rdm_mem_boundary", foreign, hvm},
    {"dtdev", foreign, arm},
    {"ioports", refused, "no I/O port of the host is given to a guest"},
    {"iomem", refused, "no I/O memory of the host is given to a guest"},
    {"irqs", refused, "no interrupt of the host is given to a guest"},
    {"max_event_channels", ignored, "a guest has as many as its ABI allows"},
    {"vdispl", refused, "there is no display backend"},
    {"dm_restrict", foreign, device_model},
    {"device_model_user", foreign, device_model},
    {"vsnd", refused, "there is no sound backend"},
    {"vkb", refused, "there is no keyboard backend"},
    {"virtio", refused, "a PV guest has no virtio devices"},
    {"tee", foreign, arm},
    {"bootloader", obeyed, "`pygrub`, by name or by any path: [the kernel is on the guest's disk](#boot-loaders); `--bootloader`"},
    {"bootloader_args", obeyed, "options of [pygrub](#boot-loaders); `--bootloader-args`"},
    {"allow_images", obeyed, "pinfold's own: [files on which images may be based](#formats); `--allow-image`"},
    {"bootloader_restrict", ignored, "a boot loader is always confined"},
    {"bootloader_user", ignored, "a boot loader is always confined"},
    {"e820_host", ignored, "for devices of the host"},
    {"boot", foreign, hvm},
    {"hdtype", foreign, hvm},
    {"hap", foreign, hvm_or_pvh},
    {"oos", foreign, hvm_or_pvh},
    {"shadow_memory", foreign, hvm_or_pvh},
    {"bios", foreign, hvm},
    {"bios_path_override", foreign, hvm},
    {"firmware_override", foreign, hvm},
    {"pae", foreign, hvm},
    {"acpi", foreign, hvm},
    {"acpi_s3", foreign, hvm},
    {"acpi_s4", foreign, hvm},
    {"acpi_laptop_slate", foreign, hvm},
    {"apic", foreign, hvm},
    {"nx", foreign, hvm},
    {"hpet", foreign, hvm},
    {"altp2m", foreign, hvm},
    {"altp2mhvm", foreign, hvm},
    {"altp2m_count", foreign, hvm},
    {"nestedhvm", foreign, hvm_or_pvh},
    {"cpuid", ignored, "a guest sees the features of the host's processor that a PV guest can use"},
    {"acpi_firmware", foreign, hvm},
    {"smbios_firmware", foreign, hvm},
    {"smbios", foreign, hvm},
    {"ms_vm_genid", foreign, hvm},
    {"tsc_mode", ignored, "a guest's TSC is the host's, scaled if the host can do that"},
    {"localtime", obeyed, "the guest's clock starts with the host's local time; `--localtime`"},
    {"rtc_timeoffset", obeyed, "seconds that are added to the guest's clock; `--rtc-timeoffset`"},
    {"vpt_align", foreign, hvm},
    {"timer_mode", foreign, hvm_or_pvh},
    {"mmio_hole", foreign, hvm},
    {"xen_platform_pci", foreign, hvm},
    {"xen_platform_pci_bar_uc", foreign, hvm},
    {"viridian", foreign, hvm},
    {"hvm_pirq", foreign, hvm},
    {"videoram", foreign, hvm},
    {"stdvga", foreign, hvm},
    {"vga", foreign, hvm},
    {"vnc", foreign, hvm},
    {"vnclisten", foreign, hvm},
    {"vncdisplay", foreign, hvm},
    {"vncunused", foreign, hvm},
    {"vncpasswd", foreign, hvm},
    {"vncviewer", foreign, hvm},
    {"keymap", foreign, hvm},
    {"sdl", foreign, hvm},
    {"opengl", foreign, hvm},
    {"display", foreign, hvm},
    {"xauthority", foreign, hvm},
    {"nographic", foreign, hvm},
    {"spice", foreign, hvm},
    {"spicehost", foreign, hvm},
    {"spiceport", foreign, hvm},
    {"spicetls_port", foreign, hvm},
    {"spicedisable_ticketing", foreign, hvm},
    {"spicepasswd", foreign, hvm},
    {"spiceagent_mouse", foreign, hvm},
    {"spicevdagent", foreign, hvm},
    {"spice_clipboard_sharing", foreign, hvm},
    {"spiceusbredirection", foreign, hvm},
    {"spice_image_compression", foreign, hvm},
    {"spice_streaming_video", foreign, hvm},
    {"serial", foreign, hvm},
    {"soundhw", foreign, hvm},
    {"vkb_device", foreign, hvm},
    {"usb", foreign, hvm},
    {"usbversion", foreign, hvm},
    {"usbdevice", foreign, hvm},
    {"vendor_device", foreign, hvm},
    {"device_model", foreign, device_model},
    {"device_model_version", foreign, device_model},
    {"device_model_override", foreign, device_model},
    {"stubdomain_kernel", foreign, device_model},
    {"stubdomain_cmdline", foreign, device_model},
    {"stubdomain_ramdisk", foreign, device_model},
    {"stubdomain_memory", foreign, device_model},
    {"device_model_stubdomain_override", foreign, device_model},
    {"device_model_stubdomain_seclabel", foreign, device_model},
    {"device_model_args", foreign, device_model},
    {"device_model_args_pv", foreign, device_model},
    {"device_model_args_hvm", foreign, device_model},
    {"gic_version", foreign, arm},
    {"vuart", foreign, arm},
    {"sve", foreign, arm},
    {"nr_spis", foreign, arm},
    {"arm_sci", foreign, arm},
    {"trap_unmapped_accesses", foreign, arm},
    {"llc_colors", ignored, "the host's caches are not divided"},
    {"mca_caps", foreign, hvm},
    {"msr_relaxed", ignored, "an MSR that a PV guest can't read raises #GP, which Linux catches"},
});
// clang-format on

/// Whether one letter that is added, left out or replaced, or two neighbours that change places, make `a` of
/// `b`.
bool differ_little(std::string_view a, std::string_view b) {
  const auto [in_a, in_b] = std::mismatch(
      a.begin(), a.begin() + static_cast<std::ptrdiff_t>(std::min(a.size(), b.size())), b.begin());
  const auto at = static_cast<std::size_t>(in_a - a.begin());
  const std::string_view rest_a = a.substr(at), rest_b = b.substr(at);
  const auto behind = [](std::string_view text, std::size_t n) {
    return text.size() < n ? "\n" : text.substr(n);
  };
  if (behind(rest_a, 1) == rest_b || rest_a == behind(rest_b, 1)) return true;
  if (behind(rest_a, 1) == behind(rest_b, 1)) return true;
  return rest_a.size() >= 2 && rest_b.size() >= 2 && rest_a[0] == rest_b[1] && rest_a[1] == rest_b[0] &&
         rest_a.substr(2) == rest_b.substr(2);
}

}  // namespace

std::span<const XlKeyRule> xl_key_rules() { return rules; }

const XlKeyRule* find_xl_key(std::string_view name) {
  const auto* found =
      std::find_if(rules.begin(), rules.end(), [name](const XlKeyRule& rule) { return rule.name == name; });
  return found == rules.end() ? nullptr : found;
}

std::string_view similar_xl_key(std::string_view name) {
  // In a short word a letter changes everything.
  if (name.size() < 4) return {};
  for (const XlKeyRule& rule : rules)
    if (rule.use != KeyUse::foreign && differ_little(name, rule.name)) return rule.name;
  return {};
}

std::string_view name_of(KeyUse use) {
  switch (use) {
    case KeyUse::obeyed: return "obeyed";
    case KeyUse::later: return "shown, not yet obeyed";
    case KeyUse::ignored: return "ignored";
    case KeyUse::foreign: return "ignored: not for PV";
    case KeyUse::refused: return "refused";
  }
  return "";
}

}  // namespace pinfold::cli
