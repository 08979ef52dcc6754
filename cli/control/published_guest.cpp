#include "cli/control/published_guest.hpp"

#include "cli/control/runtime_dir.hpp"

namespace pinfold::cli {

tl::expected<PublishedGuest, std::string> PublishedGuest::claim(const std::string& name) {
  const auto directory = runtime_directory();
  if (!directory) return tl::unexpected(directory.error());
  auto claimed = ControlName::claim(*directory, name);
  if (!claimed) return tl::unexpected(claimed.error().message);
  PublishedGuest guest;
  guest.name_ = name;
  guest.claimed_ = std::make_unique<ControlName>(std::move(*claimed));
  return guest;
}

void PublishedGuest::serve(vmm::Domain& domain) {
  answers_ = std::make_unique<GuestControl>(name_, domain);
  server_ = std::make_unique<ControlServer>(
      *claimed_, [answers = answers_.get()](std::string_view line, const Descriptors& descriptors) {
        return answers->answer(line, descriptors);
      });
}

}  // namespace pinfold::cli
