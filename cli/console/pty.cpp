#include "cli/console/pty.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace pinfold::cli {

tl::expected<Pty, std::string> open_pty() {
  const auto failed = [] {
    return tl::unexpected(std::string("a pseudo-terminal: ") + std::strerror(errno));
  };
  Pty pty;
  pty.master = vmm::Fd(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!pty.master.open() || ::grantpt(pty.master.get()) != 0 || ::unlockpt(pty.master.get()) != 0)
    return failed();
  std::array<char, 64> path{};
  if (::ptsname_r(pty.master.get(), path.data(), path.size()) != 0) return failed();
  pty.path = path.data();
  pty.slave = vmm::Fd(::open(path.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  termios modes{};
  if (!pty.slave.open() || ::tcgetattr(pty.slave.get(), &modes) != 0) return failed();
  ::cfmakeraw(&modes);
  if (::tcsetattr(pty.slave.get(), TCSANOW, &modes) != 0) return failed();
  return pty;
}

}  // namespace pinfold::cli
