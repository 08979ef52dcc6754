#include "cli/control/store_server.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "cli/control/wake_up.hpp"
#include "pvmmu/service_thread.hpp"

namespace pinfold::cli {
namespace {

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
      thread_(service_thread(ThreadKind::control, [this] { loop(); })) {}

StoreServer::~StoreServer() {
  closing_ = true;
  wake_->signal();
  thread_.join();
}

void StoreServer::loop() {
  while (!closing_) {
    std::vector<pollfd> fds{{wake_->fd(), POLLIN, 0},
                            {clients_.size() < most_clients ? listener_.get() : -1, POLLIN, 0}};
    for (const StoreClient& client : clients_) fds.push_back({client.fd(), client.wanted(), 0});
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[0].revents != 0) {
      wake_->clear();
      for (StoreClient& client : clients_) client.advance();
    }
    std::vector<StoreClient> staying;
    for (std::size_t i = 0; i < clients_.size(); ++i)
      if (clients_[i].serve(fds[i + 2].revents)) staying.push_back(std::move(clients_[i]));
    clients_ = std::move(staying);
    if (fds[1].revents != 0) accept_client();
    // For those that watch what the clients changed.
    store_->deliver();
  }
}

void StoreServer::accept_client() {
  vmm::Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket.open())
    clients_.emplace_back(std::move(socket), store_, wake_);
  else if (errno == EMFILE || errno == ENFILE)
    (void)::poll(nullptr, 0, out_of_descriptors_ms);
}

}  // namespace pinfold::cli
