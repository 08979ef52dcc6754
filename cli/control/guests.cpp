#include "cli/control/guests.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "cli/control/runtime_dir.hpp"
#include "cli/control/socket.hpp"

namespace pinfold::cli {
namespace {

/// As Xen's domain IDs (DOMID_FIRST_RESERVED of xen.h): after the last one they begin again.
constexpr std::uint32_t ids = 0x7ff0;
constexpr std::size_t longest_note = 64;

/// The beginning of a small file.
std::string content_of(const std::filesystem::path& path) {
  const vmm::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  std::array<char, longest_note> text{};
  const ssize_t n = ::read(file.get(), text.data(), text.size());
  return n > 0 ? std::string(text.data(), static_cast<std::size_t>(n)) : std::string();
}

std::string those_that_run(const std::vector<RunningGuest>& guests) {
  if (guests.empty()) return "no guest is running";
  std::string list;
  for (const RunningGuest& guest : guests)
    list += fmt::format("{}{} ({})", list.empty() ? "" : ", ", guest.name, guest.note.id);
  return "these are running: " + list;
}

}  // namespace

std::vector<RunningGuest> running_guests(const std::filesystem::path& directory) {
  std::vector<RunningGuest> guests;
  for (std::string& name : names_in(directory)) {
    const GuestNote note = GuestNote::parse(content_of(lock_path(directory, name)));
    guests.push_back({std::move(name), note, directory});
  }
  std::ranges::stable_sort(guests, {}, [](const RunningGuest& guest) { return guest.note.id; });
  return guests;
}

namespace {

tl::expected<RunningGuest, std::string> find_among(const std::vector<RunningGuest>& guests,
                                                   std::string_view name_or_id) {
  const auto find = [&](auto&& is_it) {
    const auto found = std::ranges::find_if(guests, is_it);
    return found == guests.end() ? nullptr : &*found;
  };
  const RunningGuest* named = find([&](const RunningGuest& guest) { return guest.name == name_or_id; });
  const RunningGuest* numbered = find([&](const RunningGuest& guest) {
    return guest.note.id != 0 && std::to_string(guest.note.id) == name_or_id;
  });
  if (named != nullptr && numbered != nullptr && named != numbered)
    return tl::unexpected(fmt::format(
        "{} is the ID of {}, and the name of the guest with the ID {}: give the ID {} or the name {}",
        name_or_id, numbered->name, named->note.id, named->note.id, numbered->name));
  if (named != nullptr) return *named;
  if (numbered != nullptr) return *numbered;
  return tl::unexpected(
      fmt::format("no guest has the name or ID {}; {}", name_or_id, those_that_run(guests)));
}

}  // namespace

tl::expected<RunningGuest, std::string> find_guest(const std::filesystem::path& directory,
                                                   std::string_view name_or_id) {
  return find_among(running_guests(directory), name_or_id);
}

tl::expected<std::vector<RunningGuest>, std::string> reachable_guests() {
  const auto directories = guest_directories();
  if (!directories) return tl::unexpected(directories.error());
  std::vector<RunningGuest> all;
  for (const auto& directory : *directories)
    std::ranges::move(running_guests(directory), std::back_inserter(all));
  return all;
}

tl::expected<RunningGuest, std::string> find_guest(std::string_view name_or_id) {
  const auto directories = guest_directories();
  if (!directories) return tl::unexpected(directories.error());
  for (const auto& directory : *directories) {
    const auto guests = running_guests(directory);
    const bool here = std::ranges::any_of(guests, [&](const RunningGuest& guest) {
      return guest.name == name_or_id || (guest.note.id != 0 && std::to_string(guest.note.id) == name_or_id);
    });
    if (here) return find_among(guests, name_or_id);
  }
  return find_among(*reachable_guests(), name_or_id);
}

std::uint32_t take_guest_id(const std::filesystem::path& directory) {
  const vmm::Fd file(
      ::open((directory / "last-id").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.open() || ::flock(file.get(), LOCK_EX) != 0) return 0;
  std::array<char, longest_note> text{};
  const ssize_t n = ::pread(file.get(), text.data(), text.size(), 0);
  std::uint32_t id = 0;
  if (n > 0) (void)std::from_chars(text.data(), text.data() + n, id);
  const auto guests = running_guests(directory);
  do {
    id = id % ids + 1;
  } while (std::ranges::any_of(guests, [&](const RunningGuest& guest) { return guest.note.id == id; }));
  const std::string now = std::to_string(id) + "\n";
  if (::ftruncate(file.get(), 0) != 0 || ::pwrite(file.get(), now.data(), now.size(), 0) < 0) return 0;
  return id;
}

}  // namespace pinfold::cli
