#include "cli/images/descriptors.hpp"

#include <utility>

#include "cli/descriptor_list.hpp"

namespace pinfold::cli {

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
    std::string_view sockets = take_until(text, ';');
    auto& of_disk = disks.emplace_back();
    while (!sockets.empty()) {
      vmm::Fd socket = inherited_descriptor(take_until(sockets, ','));
      if (!socket.open()) return tl::unexpected(std::string("no list of descriptors"));
      of_disk.push_back(std::move(socket));
    }
  }
  return disks;
}

}  // namespace pinfold::cli
