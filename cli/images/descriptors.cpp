#include "cli/images/descriptors.hpp"

#include <fcntl.h>

#include <algorithm>
#include <charconv>

namespace pinfold::cli {
namespace {

std::string_view take(std::string_view& rest, char separator) {
  const auto end = std::min(rest.find(separator), rest.size());
  const auto taken = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return taken;
}

}  // namespace

std::string text_of(const DiskSockets& disks) {
  std::string text;
  if (numbers_of(disks).empty()) return text;
  for (const auto& sockets : disks) {
    for (const vmm::Fd& socket : sockets) text += std::to_string(socket.get()) + ',';
    text += ';';
  }
  return text;
}

std::vector<int> numbers_of(const DiskSockets& disks) {
  std::vector<int> numbers;
  for (const auto& sockets : disks)
    for (const vmm::Fd& socket : sockets) numbers.push_back(socket.get());
  return numbers;
}

tl::expected<DiskSockets, std::string> inherit_disk_sockets(std::string_view text) {
  DiskSockets disks;
  while (!text.empty()) {
    std::string_view sockets = take(text, ';');
    auto& of_disk = disks.emplace_back();
    while (!sockets.empty()) {
      const std::string_view number = take(sockets, ',');
      int fd = -1;
      const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), fd);
      if (error != std::errc() || end != number.data() + number.size() || fd <= 2 ||
          ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return tl::unexpected(std::string("no list of descriptors"));
      of_disk.emplace_back(fd);
    }
  }
  return disks;
}

}  // namespace pinfold::cli
