#include "cli/toolstack/device_verbs.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>

#include "cli/config/device_texts.hpp"
#include "cli/config/vdev.hpp"
#include "cli/control/client.hpp"
#include "cli/control/guests.hpp"
#include "cli/exit_codes.hpp"
#include "cli/hotplug/client.hpp"
#include "cli/hotplug/devices_text.hpp"
#include "cli/usage.hpp"
#include "sandbox/helper.hpp"

namespace pinfold::cli {
namespace {

/// What the commands take; each uses some of it.
struct Options {
  std::string guest, device;  ///< The guest's name or ID; "xvdb", "1", "00:16:3e:…".
  std::vector<std::string> guests, words, allowed_images;
  std::string format = "raw";
  std::optional<std::uint64_t> bytes;
  bool json = false, force = false;
};
using Shared = std::shared_ptr<Options>;

int complain(const std::string& what) {
  fmt::print(stderr, "pinfold: {}\n", what);
  return exit_bad_image;
}

int complain(const Remarks& remarks) {
  for (const Remark& remark : remarks) fmt::print(stderr, "pinfold: {}\n", remark.text());
  return exit_bad_image;
}

tl::expected<RunningGuest, std::string> find(const std::string& word) { return find_guest(word); }

/// Says what a command did to the guest, or why not.
int report(const Options& options, const RunningGuest& guest, const ClientAnswer& answer,
           const std::string& done) {
  if (!answer) return complain(fmt::format("{}: {}", guest.name, answer.error()));
  if (options.json) {
    Json all{{"name", guest.name}, {"id", guest.note.id}};
    all.update(*answer);
    fmt::print("{}\n", all.dump(2));
  } else {
    fmt::print("{}: {}\n", guest.name, done);
  }
  return exit_powered_off;
}

/// As xl: several words are one specification.
std::string joined(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, ",")); }

int block_attach(const Options& options) {
  const auto disk = read_disk(joined(options.words));
  if (!disk) return complain(disk.error());
  complain(disk->remarks);
  const auto guest = find(options.guest);
  if (!guest) return complain(guest.error());
  return report(options, *guest, attach_disk(*guest, disk->config, options.allowed_images),
                disk->config.vdev + " attached");
}

int network_attach(const Options& options) {
  const std::string text = joined(options.words);
  const auto vif = read_vif(text);
  if (!vif) return complain(vif.error());
  complain(vif->remarks);
  const auto guest = find(options.guest);
  if (!guest) return complain(guest.error());
  const auto answer = attach_interface(*guest, text, vif->config);
  const std::string done =
      answer ? fmt::format("interface {} attached, {}", answer->at("number").dump(), text_in(*answer, "mac"))
             : "";
  return report(options, *guest, answer, done);
}

/// As libxl, 10 s.
constexpr std::chrono::seconds patience{10};

int detach(const Options& options, const RunningGuest& guest, const DeviceOfGuest& device) {
  return report(options, guest, detach_device(guest, device, options.force, patience),
                options.device + " detached");
}

int block_detach(const Options& options) {
  const auto number = vdev_number(options.device);
  if (!number) return complain(fmt::format("{} is not the name of a disk, such as xvda", options.device));
  const auto guest = find(options.guest);
  if (!guest) return complain(guest.error());
  return detach(options, *guest, {"vbd", *number});
}

int block_resize(const Options& options) {
  const auto number = vdev_number(options.device);
  if (!number) return complain(fmt::format("{} is not the name of a disk, such as xvda", options.device));
  const auto guest = find(options.guest);
  if (!guest) return complain(guest.error());
  Json arguments{{"number", *number}};
  if (options.bytes) arguments["bytes"] = *options.bytes;
  const auto answer = ask_guest_named(*guest, "block-resize", arguments);
  if (!answer) return complain(fmt::format("{}: {}: {}", guest->name, options.device, answer.error()));
  return report(options, *guest, answer,
                fmt::format("{} has {} bytes", options.device, answer->at("bytes").dump()));
}

int network_detach(const Options& options) {
  const auto guest = find(options.guest);
  if (!guest) return complain(guest.error());
  const auto device = find_interface(*guest, options.device);
  if (!device) return complain(fmt::format("{}: {}", guest->name, device.error()));
  return detach(options, *guest, *device);
}

/// A PV guest's drive takes no other medium: as a guest sees it, the drive goes, and one with the medium
/// comes.
int take_drive(const Options& options, const RunningGuest& guest, bool has_to_be_there) {
  const auto number = vdev_number(options.device);
  if (!number) return complain(fmt::format("{} is not the name of a disk, such as xvdc", options.device));
  const auto now = ask_guest_named(guest, "device", {{"kind", "vbd"}, {"number", *number}});
  if (!now) return complain(fmt::format("{}: {}", guest.name, now.error()));
  if (!flag_in(*now, "present"))
    return has_to_be_there ? complain(fmt::format("{}: there is no medium in {}", guest.name, options.device))
                           : int{exit_powered_off};
  if (text_in(*now, "device_type") != "cdrom")
    return complain(fmt::format("{}: {} is no CD-ROM drive", guest.name, options.device));
  if (has_to_be_there && text_in(*now, "sectors") == "0")
    return complain(fmt::format("{}: there is no medium in {}", guest.name, options.device));
  const auto gone = detach_device(guest, {"vbd", *number}, options.force, patience);
  return gone ? int{exit_powered_off} : complain(fmt::format("{}: {}", guest.name, gone.error()));
}

/// A drive that stays empty.
ClientAnswer leave_drive(const Options& options, const RunningGuest& guest) {
  DiskConfig drive;
  drive.vdev = options.device;
  drive.read_only = drive.cdrom = true;
  return attach_disk(guest, drive, {});
}

int cd_insert(const Options& options) {
  // As xl has it.
  const auto disk = read_disk(fmt::format("format={},vdev={},access=r,devtype=cdrom,target={}",
                                          options.format, options.device, joined(options.words)));
  if (!disk) return complain(disk.error());
  complain(disk->remarks);
  const auto guest = find(options.guest);
  if (!guest) return complain(guest.error());
  if (const int code = take_drive(options, *guest, false); code != exit_powered_off) return code;
  const auto answer = attach_disk(*guest, disk->config, options.allowed_images);
  if (!answer)
    if (const auto empty = leave_drive(options, *guest); !empty) complain(empty.error());
  return report(options, *guest, answer,
                fmt::format("{} in {}", disk->config.target.string(), disk->config.vdev));
}

int cd_eject(const Options& options) {
  const auto guest = find(options.guest);
  if (!guest) return complain(guest.error());
  if (const int code = take_drive(options, *guest, true); code != exit_powered_off) return code;
  return report(options, *guest, leave_drive(options, *guest), options.device + " is empty");
}

struct Answered {
  RunningGuest guest;
  std::string answer;
};

int list(const Options& options, const char* kind, std::string (*text)(const Json&)) {
  std::vector<Answered> asked;
  for (const std::string& word : options.guests) {
    const auto guest = find(word);
    if (!guest) return complain(guest.error());
    auto answer = fetch_answer(*guest, "devices");
    if (!answer) return complain(fmt::format("{}: {}", guest->name, answer.error()));
    asked.push_back({*guest, std::move(*answer)});
  }
  // Nothing has looked at the answers yet. A guest can have taken over its monitor.
  sandbox::confine_reader();
  Json all = Json::array();
  for (const Answered& one : asked) {
    const auto answer = decode_answer(one.answer);
    if (!answer) return complain(fmt::format("{}: {}", one.guest.name, answer.error()));
    for (const Json& device : answer->at("devices")) {
      if (text_in(device, "kind") != kind) continue;
      Json with_name{{"name", one.guest.name}, {"domain", one.guest.note.id}};
      with_name.update(device);
      all.push_back(std::move(with_name));
    }
  }
  fmt::print("{}", options.json ? all.dump(2) + "\n" : text(all));
  return exit_powered_off;
}

/// Adds a command. `act` is called with the options when it was given.
template <class Act>
CLI::App* add(CLI::App& app, Action& action, const Shared& o, const char* name, const char* help, Act act) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_flag("--json", o->json, "Print JSON");
  command->callback([&action, o, act] { action = [o, act] { return act(*o); }; });
  return command;
}

CLI::App* add_attach(CLI::App& app, Action& action, const Shared& o, const char* name, const char* help,
                     const char* word, const char* about, int (*act)(const Options&)) {
  CLI::App* command = add(app, action, o, name, help, act);
  command->add_option("GUEST", o->guest, "The guest's name or ID")->required();
  command->add_option(word, o->words, about);
  return command;
}

void add_allowed_images(CLI::App& command, const Shared& o) {
  command
      .add_option("--allow-image", o->allowed_images,
                  "A file on which the image may be based, or a folder with a slash at its end")
      ->allow_extra_args(false);
}

void add_detach(CLI::App& app, Action& action, const Shared& o, const char* name, const char* help,
                const char* word, const char* about, int (*act)(const Options&)) {
  CLI::App* command = add(app, action, o, name, help, act);
  command->add_option("GUEST", o->guest, "The guest's name or ID")->required();
  command->add_option(word, o->device, about)->required();
  command->add_flag("--force", o->force, "Take it away without asking the guest");
}

void add_list(CLI::App& app, Action& action, const Shared& o, const char* name, const char* help,
              const char* kind, std::string (*text)(const Json&)) {
  add(app, action, o, name, help, [kind, text](const Options& options) { return list(options, kind, text); })
      ->add_option("GUEST", o->guests, "Guests' names or IDs")
      ->required();
}

}  // namespace

void add_device_verbs(CLI::App& app, Action& action) {
  const auto o = std::make_shared<Options>();
  add_allowed_images(
      *add_attach(app, action, o, "block-attach", "Give a running guest another disk", "DISK",
                  "As in disk=[…]: IMAGE,raw,xvdb,rw; several words are joined by commas", block_attach),
      o);
  add_detach(app, action, o, "block-detach", "Take a disk from a running guest", "VDEV",
             "The disk's name in the guest, such as xvdb", block_detach);
  CLI::App* resize = add(app, action, o, "block-resize", "Make a running guest's disk larger", block_resize);
  resize->add_option("GUEST", o->guest, "The guest's name or ID")->required();
  resize->add_option("VDEV", o->device, "The disk's name in the guest, such as xvdb")->required();
  resize->add_option("SIZE", o->bytes, "Such as 20G; without it, tell the guest how large the image is now")
      ->transform(size_in_bytes());
  add_list(app, action, o, "block-list", "List guests' disks", "vbd", disks_text);
  CLI::App* insert = add(app, action, o, "cd-insert", "Put a medium into a guest's CD-ROM drive", cd_insert);
  insert->add_option("GUEST", o->guest, "The guest's name or ID")->required();
  insert->add_option("VDEV", o->device, "The drive's name in the guest, such as xvdc")->required();
  insert->add_option("FILE", o->words, "The image")->required()->expected(1);
  insert->add_option("--format", o->format, "The image's format, such as qcow2; raw if not given");
  add_allowed_images(*insert, o);
  add_detach(app, action, o, "cd-eject", "Take the medium out of a guest's CD-ROM drive", "VDEV",
             "The drive's name in the guest, such as xvdc", cd_eject);
  add_attach(app, action, o, "network-attach", "Give a running guest another network interface", "VIF",
             "As in vif=[…]: net=passt; several words are joined by commas", network_attach);
  add_detach(app, action, o, "network-detach", "Take a network interface from a running guest", "INTERFACE",
             "Its number or its MAC address", network_detach);
  add_list(app, action, o, "network-list", "List guests' network interfaces", "vif", interfaces_text);
}

}  // namespace pinfold::cli
