#include "devices/net/stream_lane.hpp"

#include <sys/socket.h>

#include <cerrno>

namespace pinfold::devices::net {

std::unique_ptr<StreamLane> StreamLane::connected(vmm::Fd socket) {
  return std::unique_ptr<StreamLane>(new StreamLane(std::move(socket), vmm::Fd()));
}

std::unique_ptr<StreamLane> StreamLane::listening(vmm::Fd listener) {
  return std::unique_ptr<StreamLane>(new StreamLane(vmm::Fd(), std::move(listener)));
}

bool StreamLane::can_send() {
  const std::lock_guard lock(mutex_);
  return out_.size() - sent_ < most_waiting;
}

bool StreamLane::waits_to_send() {
  const std::lock_guard lock(mutex_);
  return out_.size() != sent_;
}

int StreamLane::descriptor() {
  const std::lock_guard lock(mutex_);
  return socket_.open() ? socket_.get() : listener_.get();
}

PeerState StreamLane::peer() {
  const std::lock_guard lock(mutex_);
  if (socket_.open()) return {Peer::there, arrivals_};
  return {listener_.open() ? Peer::awaited : Peer::gone, arrivals_};
}

void StreamLane::send(const Frame& frame) {
  const auto length = frame_length(frame.bytes.size());
  const std::lock_guard lock(mutex_);
  if (!socket_.open()) return;
  out_.insert(out_.end(), length.begin(), length.end());
  out_.insert(out_.end(), frame.bytes.begin(), frame.bytes.end());
}

void StreamLane::flush() {
  const std::lock_guard lock(mutex_);
  write_out();
}

/// With the lock.
void StreamLane::write_out() {
  while (socket_.open() && sent_ < out_.size()) {
    iovec rest{out_.data() + sent_, out_.size() - sent_};
    msghdr message{};
    message.msg_iov = &rest;
    message.msg_iovlen = 1;
    const ssize_t n = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)) return;
    if (n <= 0) return hang_up();
    sent_ += static_cast<std::size_t>(n);
  }
  out_.clear();
  sent_ = 0;
}

/// With the lock. Frames for this peer are dropped.
void StreamLane::hang_up() {
  socket_ = vmm::Fd();
  out_.clear();
  sent_ = 0;
}

void StreamLane::accept() {
  const std::lock_guard lock(mutex_);
  if (socket_.open() || !listener_.open()) return;
  socket_ = vmm::Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket_.open()) ++arrivals_;
  in_.clear();
}

bool StreamLane::read_more() {
  const auto space = in_.space();
  iovec room{space.data(), space.size()};
  msghdr message{};
  message.msg_iov = &room;
  message.msg_iovlen = 1;
  const std::lock_guard lock(mutex_);
  if (!socket_.open()) return false;
  const ssize_t n = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n > 0) {
    in_.add(static_cast<std::size_t>(n));
    return true;
  }
  if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) hang_up();
  return false;
}

std::optional<Frame> StreamLane::receive() {
  accept();
  for (;;) {
    if (const auto bytes = in_.next()) return Frame{*bytes, {}};
    if (in_.is_broken()) {
      const std::lock_guard lock(mutex_);
      hang_up();
      return std::nullopt;
    }
    if (!read_more()) return std::nullopt;
  }
}

}  // namespace pinfold::devices::net
