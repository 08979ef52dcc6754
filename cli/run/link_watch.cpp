#include "cli/run/link_watch.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "pvmmu/service_thread.hpp"

namespace pinfold::cli {

LinkWatch::LinkWatch(const vmm::Fd& link, std::function<void()> on_leave)
    : link_(link), on_leave_(std::move(on_leave)) {
  thread_ = service_thread(ThreadKind::control, [this] { loop(); });
}

LinkWatch::~LinkWatch() {
  stop_.signal();
  thread_.join();
}

void LinkWatch::loop() const {
  for (;;) {
    std::array<pollfd, 2> fds{{{link_.get(), POLLIN, 0}, {stop_.fd(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[1].revents != 0) return;
    if (fds[0].revents == 0) continue;
    char byte = 0;
    const ssize_t n = ::recv(link_.get(), &byte, 1, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    return on_leave_();
  }
}

}  // namespace pinfold::cli
