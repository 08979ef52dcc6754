#include "devices/maptrack.hpp"

#include <utility>

namespace pinfold::devices {

std::optional<std::uint32_t> Maptrack::open() {
  if (free_.empty()) {
    if (mappings_.size() >= most_) return std::nullopt;
    free_.push_back(static_cast<std::uint32_t>(mappings_.size()));
    mappings_.emplace_back();
  }
  const std::uint32_t handle = free_.back();
  free_.pop_back();
  return handle;
}

GrantMapping* Maptrack::find(std::uint32_t handle) {
  if (handle >= mappings_.size() || mappings_[handle].parts == 0) return nullptr;
  return &mappings_[handle];
}

GrantedPage Maptrack::close(std::uint32_t handle) {
  free_.push_back(handle);
  return std::exchange(mappings_[handle], {}).page;
}

std::vector<GrantedPage> Maptrack::clear(DomId self) {
  std::vector<GrantedPage> of_others;
  for (GrantMapping& mapping : mappings_)
    if (mapping.page.present() && mapping.owner != self) of_others.push_back(std::move(mapping.page));
  mappings_.clear();
  free_.clear();
  return of_others;
}

}  // namespace pinfold::devices
