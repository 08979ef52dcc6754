#include "devices/xenbus/nodes.hpp"

#include <charconv>

#include "devices/xen_abi.hpp"

namespace pinfold::devices::xenbus {
namespace {

using xenstore::Path;

}  // namespace

Path DeviceName::frontend_folder() const {
  return Path::of_domain(frontend).child("device").child(kind).child(std::to_string(number));
}

Path DeviceName::backend_folder() const {
  return Path::of_domain(backend)
      .child("backend")
      .child(kind)
      .child(std::to_string(frontend.raw()))
      .child(std::to_string(number));
}

Path DeviceName::error_node() const {
  return Path::of_domain(backend)
      .child("error")
      .child("backend")
      .child(kind)
      .child(std::to_string(frontend.raw()))
      .child(std::to_string(number))
      .child("error");
}

xenstore::Permissions owned_and_read(DomId owner, DomId reader) {
  return xenstore::Permissions(std::vector<xenstore::Permission>{{owner}, {reader, true, false}});
}

void add_folder(std::vector<xenstore::NodeWrite>& writes, const Path& folder, DeviceNodes nodes,
                const xenstore::Permissions& permissions) {
  writes.push_back({folder, "", permissions});
  for (auto& [name, value] : nodes) writes.push_back({folder.child(name), std::move(value), permissions});
}

std::optional<std::string> FrontendNodes::text(std::string_view name) const {
  auto value = store_.read(folder_.child(name));
  if (!value) return std::nullopt;
  return std::move(*value);
}

tl::expected<std::optional<std::uint32_t>, std::string> FrontendNodes::number(std::string_view name) const {
  const auto value = text(name);
  if (!value) return std::nullopt;
  std::uint32_t number = 0;
  const char* const last = value->data() + value->size();
  const auto [end, error] = std::from_chars(value->data(), last, number);
  if (error != std::errc() || end != last)
    return tl::unexpected("the frontend's " + std::string(name) + " is no number");
  return number;
}

tl::expected<std::uint32_t, std::string> FrontendNodes::required_number(std::string_view name) const {
  const auto value = number(name);
  if (!value) return tl::unexpected(value.error());
  if (!*value) return tl::unexpected("the frontend has no " + std::string(name));
  return **value;
}

}  // namespace pinfold::devices::xenbus
