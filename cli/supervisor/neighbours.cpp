#include "cli/supervisor/neighbours.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "cli/images/remote_image.hpp"
#include "cli/supervisor/life_end.hpp"

namespace pinfold::cli {
namespace {

bool renames(const GuestConfig& guest) {
  const auto ends = {GuestEnd::poweroff, GuestEnd::reboot, GuestEnd::crash, GuestEnd::watchdog};
  return std::any_of(ends.begin(), ends.end(),
                     [&](GuestEnd end) { return action_for(guest, end) == EndAction::rename_restart; });
}

/// Something that only one guest can have, and by what each that was seen has it.
class Taken {
 public:
  explicit Taken(const char* what) : what_(what) {}
  /// An objection if another guest has it.
  std::optional<std::string> take(const std::string& value, const std::string& guest) {
    const auto [found, fresh] = owners_.emplace(value, guest);
    if (fresh) return std::nullopt;
    return fmt::format("{} and {} have the same {}: {}", found->second, guest, what_, value);
  }

 private:
  const char* what_;
  std::map<std::string, std::string> owners_;
};

/// Two names of one file are one image. What can't be looked at is refused when it is opened. Servers have no
/// locks: of them only the URI is compared.
std::string file_behind(const DiskConfig& disk) {
  if (!disk.backend.empty()) return {};
  if (images::remote_image(disk.target.string())) return disk.target.string();
  struct stat of {};
  if (disk.target.empty() || ::stat(disk.target.c_str(), &of) != 0) return {};
  return S_ISBLK(of.st_mode) ? fmt::format("device {}", of.st_rdev)
                             : fmt::format("{}/{}", of.st_dev, of.st_ino);
}

/// Disks that one guest writes and another one has, too. Several guests may read one image.
std::optional<std::string> objection_to_disks(const MachineOptions& guests) {
  struct User {
    std::string guest;
    bool writes;
  };
  std::map<std::string, std::vector<User>> users;
  for (const RunOptions& options : guests)
    for (const DiskConfig& disk : options.guest.disks) {
      const std::string file = file_behind(disk);
      if (file.empty()) continue;
      std::vector<User>& of = users[file];
      for (const User& other : of)
        if (other.guest != options.guest.name && (other.writes || !disk.read_only))
          return fmt::format("{} and {} have the same disk, which one of them writes: {}", other.guest,
                             options.guest.name, disk.target.string());
      of.push_back({options.guest.name, !disk.read_only});
    }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> objection_to_names(const std::vector<const GuestConfig*>& guests) {
  if (guests.size() > most_guests_of_a_machine)
    return fmt::format("a machine has at most {} guests", most_guests_of_a_machine);
  Taken names("name"), uuids("UUID"), macs("MAC address");
  for (const GuestConfig* const of : guests) {
    const GuestConfig& guest = *of;
    if (renames(guest))
      return guest.name + ": rename-restart is for a guest that is alone in its machine; use preserve";
    if (names.take(guest.name, guest.name)) return fmt::format("two guests have the name {}", guest.name);
    if (auto taken = uuids.take(guest.uuid.value_or(""), guest.name)) return taken;
    for (const VifConfig& vif : guest.vifs)
      if (auto taken = macs.take(vif.mac, guest.name)) return taken;
  }
  return std::nullopt;
}

std::string no_such_backend(const std::string& backend) {
  return fmt::format(
      "backend={}: no guest of this name is in this machine before this one; `pinfold run {}.cfg ...` starts "
      "both in one machine, and `pinfold create --with {}` adds one to a machine that runs",
      backend, backend, backend);
}

/// A driver domain is made before the guests that it serves.
std::optional<std::string> objection_to_backends(const MachineOptions& guests) {
  std::set<std::string> before;
  for (const RunOptions& options : guests) {
    const GuestConfig& guest = options.guest;
    const std::string whose = guests.size() == 1 ? "" : guest.name + ": ";
    for (const DiskConfig& disk : guest.disks)
      if (!disk.backend.empty() && !before.contains(disk.backend))
        return fmt::format("{}disk {}: {}", whose, disk.vdev, no_such_backend(disk.backend));
    for (std::size_t n = 0; n < guest.vifs.size(); ++n)
      if (const std::string& backend = guest.vifs[n].backend; !backend.empty() && !before.contains(backend))
        return fmt::format("{}vif {}: {}", whose, n, no_such_backend(backend));
    before.insert(guest.name);
  }
  return std::nullopt;
}

std::optional<std::string> objection_to_neighbours(const MachineOptions& guests) {
  if (auto objection = objection_to_backends(guests)) return objection;
  if (guests.size() == 1) return std::nullopt;
  std::vector<const GuestConfig*> configs;
  for (const RunOptions& options : guests) configs.push_back(&options.guest);
  if (auto objection = objection_to_names(configs)) return objection;
  return objection_to_disks(guests);
}

}  // namespace pinfold::cli
