#include "loader/boot_menu/grub_context.hpp"

namespace pinfold::boot_menu {

std::string GrubContext::value(std::string_view variable) const {
  const auto found = variables.find(variable);
  return found == variables.end() ? std::string() : found->second;
}

void GrubContext::notice(const std::string& text) {
  constexpr std::size_t most = 5;
  if (notices.size() < most) notices.push_back(text);
}

void GrubContext::fail(const std::string& text) {
  if (error.empty()) error = text;
}

std::optional<FilePlace> GrubContext::find(std::string_view path) const {
  auto place = find_place(files, path, root(), home);
  if (!place) return std::nullopt;
  if (exists(files, *place)) return place;
  if (prefix.empty() || place->device != home) return std::nullopt;
  place->path = prefix + place->path;
  if (exists(files, *place)) return place;
  return std::nullopt;
}

std::optional<std::string> GrubContext::read(const FilePlace& place) {
  if (budget.files == 0) {
    fail("the menu reads too many files");
    leaving = true;
    return std::nullopt;
  }
  --budget.files;
  return files.read(place.device, place.path);
}

}  // namespace pinfold::boot_menu
