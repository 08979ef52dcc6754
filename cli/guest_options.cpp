#include "cli/guest_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "cli/config/config_json.hpp"
#include "cli/exit_codes.hpp"
#include "cli/run/boot_source.hpp"
#include "cli/usage.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {
namespace {

void add_images(CLI::App& command, GuestFlags& flags) {
  command.add_option("--kernel", flags.kernel, "Kernel: a bzImage or ELF file with Xen PV notes")
      ->type_name("FILE");
  command.add_option("--initrd", flags.initrd, "Initial RAM disk")->type_name("FILE");
  command.add_option(
      "--append", flags.command_line,
      "Kernel command line, at most 1023 bytes; console=hvc0 if neither this nor CONFIG is given");
  command
      .add_option("--bootloader", flags.bootloader,
                  "pygrub: take kernel, RAM disk and command line from the guest's first disk")
      ->type_name("NAME");
  command
      .add_option("--bootloader-args", flags.bootloader_args,
                  "An option of pygrub, such as --entry=1; may be given several times")
      ->allow_extra_args(false)
      ->type_name("WORD");
}

void add_sizes(CLI::App& command, GuestFlags& flags) {
  command
      .add_option("--memory", flags.memory_bytes,
                  "Memory at start, such as 512M (the default) or 4G; MiB without a unit")
      ->transform(memory_size())
      ->type_name("SIZE");
  command.add_option("--maxmem", flags.max_memory_bytes, "Memory at most; as at start if not given")
      ->transform(memory_size())
      ->type_name("SIZE");
  command.add_option("--vcpus", flags.vcpus, "Virtual processors at start, 1 (the default) to 128")
      ->check(CLI::Range(1U, vmm::max_vcpus));
  command.add_option("--maxvcpus", flags.max_vcpus, "Virtual processors at most; as at start if not given")
      ->check(CLI::Range(1U, vmm::max_vcpus));
  command
      .add_option("--cpus", flags.cpus,
                  "The host's processors for the vCPUs, such as 0-3,^1; all of them if not given. Given "
                  "several times, one for each vCPU")
      ->allow_extra_args(false)
      ->type_name("LIST");
}

void add_actions(CLI::App& command, GuestFlags& flags) {
  const auto add = [&command](const char* flag, std::optional<EndAction>& to, const char* help) {
    add_choice<std::optional<EndAction>>(command, flag, to,
                                         {{"destroy", EndAction::destroy},
                                          {"restart", EndAction::restart},
                                          {"preserve", EndAction::preserve},
                                          {"rename-restart", EndAction::rename_restart}},
                                         help);
  };
  add("--on-poweroff", flags.on_poweroff, "When the guest powers off; destroy if not given");
  add("--on-reboot", flags.on_reboot, "When the guest reboots; restart if not given");
  add("--on-crash", flags.on_crash, "When the guest crashes; destroy if not given");
  add("--on-watchdog", flags.on_watchdog, "When the guest's watchdog fires; destroy if not given");
}

void add_devices(CLI::App& command, GuestFlags& flags) {
  // One text for each use of the option: what follows it may be CONFIG.
  command
      .add_option("--disk", flags.disks,
                  "A disk, as in xl.cfg: TARGET,FORMAT,VDEV,ACCESS; may be given several times. It replaces "
                  "the disk of CONFIG with the same VDEV")
      ->allow_extra_args(false)
      ->type_name("SPEC");
  command
      .add_option(
          "--allow-image", flags.allowed_images,
          "A file on which images of --disk may be based although it is in another folder, or a folder of "
          "them, with a slash at its end; may be given several times")
      ->allow_extra_args(false)
      ->type_name("FILE");
  command
      .add_option("--vif", flags.vifs,
                  "A network interface, as in xl.cfg: mac=…,bridge=…; may be given several times")
      ->allow_extra_args(false)
      ->type_name("SPEC");
}

/// The first ones: the second hundred helps nobody.
void print(const Remarks& remarks) {
  constexpr std::size_t most = 100;
  for (std::size_t i = 0; i < std::min(most, remarks.size()); ++i)
    fmt::print(stderr, "pinfold: {}\n", remarks[i].text());
  if (remarks.size() > most) fmt::print(stderr, "pinfold: and {} more\n", remarks.size() - most);
}

bool describes_a_guest(const GuestFlags& flags) {
  return flags.kernel || flags.initrd || flags.command_line || flags.bootloader ||
         !flags.bootloader_args.empty() || flags.memory_bytes || flags.max_memory_bytes || flags.vcpus ||
         flags.max_vcpus || !flags.cpus.empty() || flags.name || flags.uuid || flags.on_poweroff ||
         flags.on_reboot || flags.on_crash || flags.on_watchdog || flags.localtime ||
         flags.rtc_offset_seconds || !flags.disks.empty() || !flags.vifs.empty();
}

/// An error is the exit code of a command that has nothing more to do with this file.
tl::expected<GuestConfig, int> chosen_guest(const std::filesystem::path& file, const GuestOptions& options) {
  auto config = load_config(file, options.flags);
  if (!config) {
    print(config.error());
    return tl::unexpected<int>(exit_bad_image);
  }
  print(config->remarks);
  if (options.check_only) {
    BootAnswer boot;
    if (!config->guest.bootloader.empty()) boot = look_for_boot(config->guest);
    fmt::print("{}\n", config_json(*config, boot));
    return tl::unexpected<int>(exit_powered_off);
  }
  print(config->not_yet);
  if (!config->not_yet.empty()) return tl::unexpected<int>(exit_bad_image);
  return std::move(config->guest);
}

}  // namespace

void add_guest_options(CLI::App& command, GuestOptions& options, Guests most) {
  GuestFlags& flags = options.flags;
  const std::string file = "A guest's configuration, in the syntax of xl.cfg(5)";
  // Not the list itself for one file: it would take the words that follow, too.
  if (most == Guests::one)
    command
        .add_option_function<std::string>(
            "CONFIG", [&options](const std::string& word) { options.files = {word}; }, file)
        ->type_name("");
  else
    command.add_option("CONFIG", options.files, file + ". Several guests share one machine, and one process")
        ->type_name("");
  command.add_flag("-n,--dry-run", options.check_only,
                   "Check the configuration and print it as JSON; make no guest");
  command.add_flag("--strict", flags.strict, "A key of CONFIG that xl does not know is an error");
  add_images(command, flags);
  add_sizes(command, flags);
  command.add_option("--name", flags.name, "The guest's name, by which other commands find it");
  command.add_option("--uuid", flags.uuid, "The guest's UUID; a random one if not given");
  add_actions(command, flags);
  add_devices(command, flags);
  CLI::Option* localtime = command.add_flag_callback(
      "--localtime", [&flags] { flags.localtime = true; },
      "The guest's clock starts with the host's local time");
  command
      .add_flag_callback(
          "--utc", [&flags] { flags.localtime = false; },
          "The guest's clock starts with UTC; so it does if CONFIG does not say otherwise")
      ->excludes(localtime);
  command.add_option("--rtc-timeoffset", flags.rtc_offset_seconds, "Seconds to add to the guest's clock");
  command.add_flag("--early-console", flags.early_console,
                   "Print what the guest writes to the hypervisor's console");
  command.add_flag("--no-quirks", flags.no_quirks,
                   "Leave the command line alone, also where the kernel would not boot on this host");
}

tl::expected<std::vector<GuestConfig>, int> chosen_guests(const CLI::App& command,
                                                          const GuestOptions& options) {
  if (options.files.empty() && !options.flags.kernel && !options.flags.bootloader)
    return tl::unexpected(usage_error(command, "a configuration file, --kernel or --bootloader is required"));
  if (options.files.size() > 1 && describes_a_guest(options.flags))
    return tl::unexpected(
        usage_error(command, "with several configurations, what describes a guest belongs into its own"));
  std::vector<GuestConfig> guests;
  int code = exit_powered_off;
  for (const auto& file : options.files.empty() ? std::vector<std::filesystem::path>{{}} : options.files) {
    auto guest = chosen_guest(file, options);
    if (guest)
      guests.push_back(std::move(*guest));
    else
      code = std::max(code, guest.error());
  }
  if (options.check_only || code != exit_powered_off) return tl::unexpected(code);
  return guests;
}

}  // namespace pinfold::cli
