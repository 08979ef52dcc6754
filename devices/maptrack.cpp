#include "devices/maptrack.hpp"

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

void Maptrack::close(std::uint32_t handle) {
  mappings_[handle] = GrantMapping{};
  free_.push_back(handle);
}

void Maptrack::clear() {
  mappings_.clear();
  free_.clear();
}

}  // namespace pinfold::devices
