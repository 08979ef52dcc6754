#include "cli/gdb/server.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "cli/control/socket.hpp"
#include "pvmmu/service_thread.hpp"

namespace pinfold::cli::gdb {
namespace {

constexpr int patience_ms = 5000;

}  // namespace

Server::Server(const vmm::Fd& listener, vmm::Domain& domain)
    : listener_(listener),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      target_(domain, [this] { wake(); }) {
  thread_ = service_thread(ThreadKind::control, [this] { loop(); });
}

Server::~Server() {
  over_ = true;
  wake();
  thread_.join();
}

void Server::wake() const {
  const std::uint64_t one = 1;
  while (::write(wake_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void Server::loop() {
  while (true) {
    std::array<pollfd, 3> fds{
        {{wake_.get(), POLLIN, 0}, {session_ ? -1 : listener_.get(), POLLIN, 0}, {client_.get(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    std::uint64_t woken = 0;
    if (fds[0].revents != 0) (void)!::read(wake_.get(), &woken, sizeof woken);
    if (over_) break;
    if (fds[0].revents != 0)
      if (const auto stop = target_.take_stop(); stop && session_) send(session_->stopped(*stop));
    if (client_.open() && fds[2].revents != 0) serve_client();
    if (fds[1].revents != 0 && !session_) accept_client();
  }
  if (session_ && session_->is_running()) send(framed("W00"));
}

void Server::accept_client() {
  client_ = vmm::Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!client_.open()) return;
  const int on = 1;
  (void)::setsockopt(client_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/// False: what begins so is no debugger.
bool Server::begin_session(char first) {
  if (!PacketReader::begins(first)) return false;
  const Stop stop = target_.interrupt();
  session_.emplace(target_, stop);
  return true;
}

void Server::serve_client() {
  std::array<char, 4096> chunk{};
  const ssize_t n = ::recv(client_.get(), chunk.data(), chunk.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0 || (!session_ && !begin_session(chunk[0]))) return hang_up();
  send(session_->take(std::string_view(chunk.data(), static_cast<std::size_t>(n))));
  if (session_ && session_->is_over()) hang_up();
}

void Server::hang_up() {
  if (session_) target_.let_go();
  session_.reset();
  client_ = vmm::Fd();
}

void Server::send(std::string_view bytes) {
  // A client that is gone is noticed when it is read from.
  (void)send_all(client_, bytes, patience_ms);
}

}  // namespace pinfold::cli::gdb
