#include "cli/run/preserve.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "cli/run/ending_signals.hpp"
#include "cli/supervisor/link.hpp"

namespace pinfold::cli {

bool is_preserved(const GuestConfig& config, GuestEnd end) {
  const EndAction action = action_for(config, end);
  return action == EndAction::preserve || action == EndAction::rename_restart;
}

void preserve(const PreservationLinks& links) {
  const int from_supervisor = links.supervisor == nullptr ? -1 : links.supervisor->get();
  if (from_supervisor >= 0) {
    const sigset_t ends = ending_signals();
    ::pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  }
  for (;;) {
    std::array<pollfd, 2> fds{{{from_supervisor, POLLIN, 0}, {links.destroyed.fd(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[1].revents != 0) return;
    if (fds[0].revents == 0) continue;
    char byte = link::leave;
    const ssize_t n = ::recv(from_supervisor, &byte, 1, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n != 1 || byte != link::renamed) return;
    links.disconnect_readers();
  }
}

}  // namespace pinfold::cli
