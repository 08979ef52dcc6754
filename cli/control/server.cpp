#include "cli/control/server.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>

#include "pvmmu/service_thread.hpp"

namespace pinfold::cli {
namespace {

constexpr int patience_ms = 2000;

}  // namespace

ControlServer::ControlServer(const vmm::Fd& listener, Answer answer)
    : listener_(listener), answer_(std::move(answer)), wake_(::eventfd(0, EFD_CLOEXEC)) {
  if (wake_.open()) thread_ = service_thread(ThreadKind::control, [this] { loop(); });
}

ControlServer::~ControlServer() {
  if (!thread_.joinable()) return;
  const std::uint64_t stop = 1;
  while (::write(wake_.get(), &stop, sizeof stop) < 0 && errno == EINTR) {
  }
  thread_.join();
}

void ControlServer::loop() {
  while (true) {
    std::vector<pollfd> fds{{wake_.get(), POLLIN, 0},
                            {clients_.size() < most_clients ? listener_.get() : -1, POLLIN, 0}};
    for (const Client& client : clients_) fds.push_back({client.socket.get(), POLLIN, 0});
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[0].revents != 0) return;
    std::vector<Client> staying;
    for (std::size_t i = 0; i < clients_.size(); ++i)
      if (fds[i + 2].revents == 0 || serve(clients_[i])) staying.push_back(std::move(clients_[i]));
    clients_ = std::move(staying);
    if (fds[1].revents != 0) accept_client();
  }
}

void ControlServer::accept_client() {
  vmm::Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket.open()) clients_.push_back({std::move(socket), {}, {}});
}

/// Takes what came and answers the lines in it; false: the client goes.
bool ControlServer::serve(Client& client) {
  std::array<char, longest_line> chunk{};
  const std::ptrdiff_t n = receive(client.socket, chunk, client.descriptors);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (n == 0 || client.descriptors.size() > most_descriptors) return false;
  client.received.append(chunk.data(), static_cast<std::size_t>(n));
  return answer_lines(client) && client.received.size() <= longest_line;
}

bool ControlServer::answer_lines(Client& client) {
  std::size_t end = 0;
  while ((end = client.received.find('\n')) != std::string::npos) {
    if (end > longest_line) return false;
    // One receive() ends behind the message that has descriptors, so they are the last line's (unix(7)).
    Descriptors descriptors;
    if (end + 1 == client.received.size()) descriptors.swap(client.descriptors);
    const std::string answer = answer_(client.received.substr(0, end), std::move(descriptors)) + "\n";
    if (!send_all(client.socket, answer, patience_ms, &wake_)) return false;
    client.received.erase(0, end + 1);
  }
  return true;
}

}  // namespace pinfold::cli
