#include "cli/descriptor_list.hpp"

#include <fcntl.h>

#include <algorithm>
#include <charconv>

namespace pinfold::cli {

std::string_view take_until(std::string_view& rest, char separator) {
  const auto end = std::min(rest.find(separator), rest.size());
  const auto taken = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return taken;
}

vmm::Fd inherited_descriptor(std::string_view number) {
  int fd = -1;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), fd);
  if (error != std::errc() || end != number.data() + number.size() || fd <= 2 ||
      ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
    return {};
  return vmm::Fd(fd);
}

}  // namespace pinfold::cli
