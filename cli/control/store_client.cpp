#include "cli/control/store_client.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <span>
#include <utility>

namespace pinfold::cli {

using devices::xenstore::Session;

namespace {

bool may_be_repeated(int error) { return error == EAGAIN || error == EINTR; }

}  // namespace

StoreClient::StoreClient(vmm::Fd socket, const std::shared_ptr<devices::xenstore::Store>& store,
                         const std::weak_ptr<devices::xenstore::EventListener>& listener)
    : socket_(std::move(socket)), session_(std::make_unique<Session>(store, DomId(0), listener)) {}

short StoreClient::wanted() const {
  const int input = session_->wants_input() ? POLLIN : 0;
  const int output = session_->output().empty() ? 0 : POLLOUT;
  return static_cast<short>(input | output);
}

bool StoreClient::serve(short ready) {
  if ((ready & POLLIN) != 0) {
    if (!receive()) return false;
  } else if ((ready & (POLLHUP | POLLERR)) != 0) {
    return false;
  }
  if (!session_->objection().empty()) {
    spdlog::warn("xenstore: a client on the host is disconnected: {}", session_->objection());
    return false;
  }
  return session_->output().empty() || send();
}

bool StoreClient::receive() {
  std::array<std::byte, Session::most_input> bytes;
  const ssize_t n = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
  if (n > 0) session_->received(std::span(bytes).first(static_cast<std::size_t>(n)));
  return n > 0 || (n < 0 && may_be_repeated(errno));
}

bool StoreClient::send() {
  const auto output = session_->output();
  const ssize_t n = ::send(socket_.get(), output.data(), output.size(), MSG_NOSIGNAL);
  if (n > 0) session_->sent(static_cast<std::size_t>(n));
  return n >= 0 || may_be_repeated(errno);
}

}  // namespace pinfold::cli
