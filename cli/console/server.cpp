#include "cli/console/server.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "pvmmu/service_thread.hpp"

namespace pinfold::cli {
namespace {

/// How soon input that the guest did not accept is offered again.
constexpr int input_again_ms = 20;
/// How long the server waits after the process could not open another descriptor.
constexpr int out_of_descriptors_ms = 50;
/// At the end: how long readers have to take what is left.
constexpr std::chrono::milliseconds patience{500};

/// False: its other end is gone.
bool serve(Attachment& attachment, short ready, const Attachment::Input& input) {
  attachment.offer_input(input);
  if ((ready & POLLIN) != 0 && !attachment.receive(input)) return false;
  if ((ready & POLLOUT) != 0) return attachment.send();
  return (ready & (POLLERR | POLLNVAL)) == 0 && ((ready & POLLHUP) == 0 || (ready & POLLIN) != 0);
}

}  // namespace

ConsoleServer::ConsoleServer(ConsoleHub& hub, const vmm::Fd& listener, vmm::Fd pty)
    : hub_(hub), listener_(listener) {
  if (pty.open()) pty_.emplace(std::move(pty), hub, ConsoleHub::Place{});
}

void ConsoleServer::start(Attachment::Input input) {
  input_ = std::move(input);
  hub_.join(*this);
  thread_ = service_thread(ThreadKind::control, [this] { loop(); });
}

void ConsoleServer::close() {
  if (!thread_.joinable()) return;
  closing_ = true;
  wake_.signal();
  thread_.join();
  hub_.leave(*this);
  clients_.clear();
}

void ConsoleServer::disconnect_clients() {
  disconnecting_ = true;
  wake_.signal();
}

void ConsoleServer::loop() {
  while (!closing_) {
    bool input_waits = pty_ && pty_->input_waits();
    std::vector<pollfd> fds{
        {wake_.fd(), POLLIN, 0},
        {listener_.open() && clients_.size() < most_clients ? listener_.get() : -1, POLLIN, 0},
        {pty_ ? pty_->fd() : -1, pty_ ? pty_->wanted() : short{0}, 0}};
    for (Attachment& client : clients_) {
      input_waits = input_waits || client.input_waits();
      fds.push_back({client.fd(), client.wanted(), 0});
    }
    if (::poll(fds.data(), fds.size(), input_waits ? input_again_ms : -1) < 0 && errno != EINTR) return;
    if (fds[0].revents != 0) wake_.clear();
    if (disconnecting_.exchange(false)) {
      clients_.clear();
      continue;
    }
    // The terminal stays: its slave's side is open here, too.
    if (pty_ && !serve(*pty_, fds[2].revents, input_)) pty_.reset();
    std::vector<Attachment> staying;
    for (std::size_t i = 0; i < clients_.size(); ++i)
      if (serve(clients_[i], fds[i + 3].revents, input_)) staying.push_back(std::move(clients_[i]));
    clients_ = std::move(staying);
    if (fds[1].revents != 0) (void)accept_client();
  }
  finish();
}

/// False: nobody waits to be accepted, or nobody can be.
bool ConsoleServer::accept_client() {
  vmm::Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket.open()) {
    if (errno == EMFILE || errno == ENFILE) (void)::poll(nullptr, 0, out_of_descriptors_ms);
    return false;
  }
  clients_.emplace_back(std::move(socket), hub_, hub_.place_with_history());
  return true;
}

void ConsoleServer::finish() {
  // Those who came in time see the guest's last words.
  while (listener_.open() && clients_.size() < most_clients && accept_client()) {
  }
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (std::chrono::steady_clock::now() < deadline) {
    std::erase_if(clients_, [](Attachment& client) { return client.is_up_to_date() || !client.send(); });
    if (clients_.empty()) return;
    std::vector<pollfd> fds;
    for (Attachment& client : clients_) fds.push_back({client.fd(), POLLOUT, 0});
    (void)::poll(fds.data(), fds.size(), input_again_ms);
  }
}

}  // namespace pinfold::cli
