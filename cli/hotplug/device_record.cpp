#include "cli/hotplug/device_record.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

#include "cli/control/protocol.hpp"
#include "cli/control/socket.hpp"
#include "cli/json_number.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {
namespace {

/// More than any guest's changes need.
constexpr off_t longest_record = 4 << 20;

/// proc(5), /proc/PID/stat: the 22nd field, behind a name that may have blanks and brackets. 0: no process.
std::uint64_t beginning_of(pid_t process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bracket = text.rfind(')');
  if (bracket == std::string::npos) return 0;
  std::istringstream fields(text.substr(bracket + 1));
  constexpr int fields_between = 19;
  std::string skipped;
  for (int n = 0; n < fields_between; ++n) fields >> skipped;
  std::uint64_t begun = 0;
  fields >> begun;
  return begun;
}

Json encode(const DeviceChange& change) {
  Json json{{"allowed", change.allowed_images},
            {"keeper", change.keeper.process},
            {"keeper_begun", change.keeper.begun}};
  if (change.text) json["text"] = *change.text;
  return json;
}

DeviceChange decode(const Json& json) {
  DeviceChange change;
  if (json.contains("text")) change.text = text_in(json, "text");
  if (const auto allowed = json.find("allowed"); allowed != json.end() && allowed->is_array())
    for (const Json& one : *allowed)
      if (one.is_string()) change.allowed_images.push_back(one.get<std::string>());
  change.keeper.process = static_cast<pid_t>(number_in(json, "keeper").value_or(0));
  change.keeper.begun = number_in(json, "keeper_begun").value_or(0);
  return change;
}

/// Open and locked, for as long as it is open.
vmm::Fd open_record(const std::filesystem::path& path, bool writes) {
  vmm::Fd file(::open(path.c_str(), (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW));
  if (file.open() && ::flock(file.get(), writes ? LOCK_EX : LOCK_SH) == 0) return file;
  return {};
}

DeviceChanges read_record(const vmm::Fd& file) {
  DeviceChanges changes;
  struct stat is {};
  if (!file.open() || ::fstat(file.get(), &is) != 0 || is.st_size > longest_record) return changes;
  std::string text(static_cast<std::size_t>(is.st_size), '\0');
  if (::pread(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) return changes;
  const Json all = Json::parse(text, nullptr, false);
  if (!all.is_array()) return changes;
  for (const Json& one : all) {
    const auto number = one.is_object() ? number_in(one, "number") : tl::unexpected(std::string());
    if (number) changes[{text_in(one, "kind"), static_cast<std::uint32_t>(*number)}] = decode(one);
  }
  return changes;
}

}  // namespace

KeeperNote KeeperNote::of(pid_t process) { return {process, beginning_of(process)}; }

bool KeeperNote::wait(int milliseconds) const {
  if (process <= 0) return true;
  const vmm::Fd running(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  // Asked for when the number can't become another process's unnoticed any more.
  if (!running.open() || beginning_of(process) != begun) return true;
  pollfd ended{running.get(), POLLIN, 0};
  return ::poll(&ended, 1, milliseconds) > 0;
}

tl::expected<void, std::string> note_device(const std::filesystem::path& record, const std::string& kind,
                                            std::uint32_t number, const DeviceChange& change) {
  const auto failed = [&] {
    return tl::unexpected(fmt::format("{}: {}; a reboot of the guest will not know of this change",
                                      record.string(), std::strerror(errno)));
  };
  const vmm::Fd file = open_record(record, true);
  if (!file.open()) return failed();
  DeviceChanges changes = read_record(file);
  changes[{kind, number}] = change;
  Json all = Json::array();
  for (const auto& [device, its] : changes) {
    Json one = encode(its);
    one["kind"] = device.first;
    one["number"] = device.second;
    all.push_back(std::move(one));
  }
  const std::string text = all.dump(1, ' ', false, Json::error_handler_t::replace);
  if (::ftruncate(file.get(), 0) != 0 ||
      ::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return failed();
  return {};
}

DeviceChanges noted_devices(const std::filesystem::path& directory, std::string_view name) {
  return read_record(open_record(devices_path(directory, name), false));
}

std::string text_of(const DiskConfig& disk) {
  const bool is_empty = disk.target.empty();
  std::string text = fmt::format("format={},vdev={},access={}", is_empty ? "empty" : name_of(disk.format),
                                 disk.vdev, disk.read_only ? "ro" : "rw");
  if (disk.cdrom) text += ",devtype=cdrom";
  if (!disk.read_only) text += disk.discard ? ",discard" : ",no-discard";
  if (disk.direct_io) text += ",direct-io-safe";
  if (!disk.backend.empty()) text += ",backend=" + disk.backend;
  if (!disk.script.empty()) text += ",script=" + disk.script;
  if (is_empty) return text;
  if (!disk.backend.empty()) return text + ",target=" + disk.target.string();
  // A URI has two slashes, which an absolute path of it would lose.
  const bool is_uri = disk.target.string().find("://") != std::string::npos;
  return text + ",target=" + (is_uri ? disk.target : std::filesystem::absolute(disk.target)).string();
}

}  // namespace pinfold::cli
