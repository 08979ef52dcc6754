#include "cli/images/descriptors.hpp"

#include <utility>

#include "cli/descriptor_list.hpp"

namespace pinfold::cli {

std::string text_of(const DiskSockets& disks) {
  std::string text;
  if (numbers_of(disks).empty()) return text;
  for (const auto& [sockets, tie] : disks) {
    for (const vmm::Fd& socket : sockets) text += std::to_string(socket.get()) + ',';
    if (tie.open()) text += '/' + std::to_string(tie.get());
    text += ';';
  }
  return text;
}

std::vector<int> numbers_of(const DiskSockets& disks) {
  std::vector<int> numbers;
  for (const auto& [sockets, tie] : disks) {
    for (const vmm::Fd& socket : sockets) numbers.push_back(socket.get());
    if (tie.open()) numbers.push_back(tie.get());
  }
  return numbers;
}

tl::expected<DiskSockets, std::string> inherit_disk_sockets(std::string_view text) {
  DiskSockets disks;
  while (!text.empty()) {
    std::string_view tie = take_until(text, ';');
    std::string_view sockets = take_until(tie, '/');
    auto& of_disk = disks.emplace_back();
    while (!sockets.empty()) {
      vmm::Fd socket = inherited_descriptor(take_until(sockets, ','));
      if (!socket.open()) return tl::unexpected(std::string("no list of descriptors"));
      of_disk.sockets.push_back(std::move(socket));
    }
    if (tie.empty()) continue;
    of_disk.tie = inherited_descriptor(tie);
    if (!of_disk.tie.open()) return tl::unexpected(std::string("no list of descriptors"));
  }
  return disks;
}

}  // namespace pinfold::cli
