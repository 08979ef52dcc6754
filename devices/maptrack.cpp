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

bool Maptrack::list(std::uint32_t& next, Mfn frame, std::vector<MappedGrant>& found,
                    std::uint32_t most) const {
  for (const auto size = static_cast<std::uint32_t>(mappings_.size()); most != 0 && next < size;
       --most, ++next) {
    const GrantMapping& mapping = mappings_[next];
    if (mapping.parts == 0 || (frame != no_mfn && mapping.page.frame() != frame)) continue;
    found.push_back({next, mapping.owner, mapping.page.ref(), mapping.page.frame(),
                     mapping.page.use() == GrantUse::write, (mapping.parts & GNTMAP_host_map) != 0,
                     (mapping.parts & GNTMAP_device_map) != 0});
  }
  return next < mappings_.size();
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
