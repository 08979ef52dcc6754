#include "cli/control/store_server.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "cli/control/wake_up.hpp"
#include "pvmmu/service_thread.hpp"

namespace pinfold::cli {
namespace {

using devices::xenstore::Session;

/// How long the server waits after the process could not open another descriptor.
constexpr int out_of_descriptors_ms = 50;

}  // namespace

/// The store calls it, perhaps with a domain's lock held.
struct StoreServer::Wake final : devices::xenstore::EventListener, WakeUp {
  void events_ready() override { signal(); }
};

StoreServer::StoreServer(std::shared_ptr<devices::xenstore::Store> store, const vmm::Fd& listener)
    : store_(std::move(store)),
      listener_(listener),
      wake_(std::make_shared<Wake>()),
      thread_(service_thread([this] { loop(); })) {}

StoreServer::~StoreServer() {
  closing_ = true;
  wake_->signal();
  thread_.join();
}

void StoreServer::loop() {
  while (!closing_) {
    std::vector<pollfd> fds{{wake_->fd(), POLLIN, 0},
                            {clients_.size() < most_clients ? listener_.get() : -1, POLLIN, 0}};
    for (const Client& client : clients_) {
      const short input = client.session->wants_input() ? POLLIN : 0;
      const short output = client.session->output().empty() ? 0 : POLLOUT;
      fds.push_back({client.socket.get(), static_cast<short>(input | output), 0});
    }
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[0].revents != 0) {
      wake_->clear();
      for (Client& client : clients_) client.session->advance();
    }
    std::vector<Client> staying;
    for (std::size_t i = 0; i < clients_.size(); ++i)
      if (serve(clients_[i], fds[i + 2].revents)) staying.push_back(std::move(clients_[i]));
    clients_ = std::move(staying);
    if (fds[1].revents != 0) accept_client();
    // For those that watch what the clients changed.
    store_->deliver();
  }
}

void StoreServer::accept_client() {
  vmm::Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket.open())
    clients_.push_back({std::move(socket), std::make_unique<Session>(store_, DomId(0), wake_)});
  else if (errno == EMFILE || errno == ENFILE)
    (void)::poll(nullptr, 0, out_of_descriptors_ms);
}

/// Takes what the client sent and sends what it can take; false: the client goes.
bool StoreServer::serve(Client& client, short ready) {
  Session& session = *client.session;
  if ((ready & POLLIN) != 0) {
    std::array<std::byte, Session::most_input> bytes;
    const ssize_t n = ::recv(client.socket.get(), bytes.data(), bytes.size(), 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return false;
    if (n > 0) session.received(std::span(bytes).first(static_cast<std::size_t>(n)));
  } else if ((ready & (POLLHUP | POLLERR)) != 0) {
    return false;
  }
  if (!session.objection().empty()) {
    spdlog::warn("xenstore: a client on the host is disconnected: {}", session.objection());
    return false;
  }
  const auto output = session.output();
  if (output.empty()) return true;
  const ssize_t n = ::send(client.socket.get(), output.data(), output.size(), MSG_NOSIGNAL);
  if (n > 0) session.sent(static_cast<std::size_t>(n));
  return n >= 0 || errno == EAGAIN || errno == EINTR;
}

}  // namespace pinfold::cli
