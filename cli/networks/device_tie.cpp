#include "cli/networks/device_tie.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <utility>

namespace pinfold::cli {

DeviceTie::Ends DeviceTie::make() {
  std::array<int, 2> pipe{-1, -1};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return {};
  return {std::shared_ptr<const DeviceTie>(new DeviceTie(vmm::Fd(pipe[0]))), vmm::Fd(pipe[1])};
}

bool DeviceTie::is_held() const {
  pollfd end{fd_.get(), 0, 0};
  return ::poll(&end, 1, 0) == 0;
}

}  // namespace pinfold::cli
