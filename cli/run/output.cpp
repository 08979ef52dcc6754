#include "cli/run/output.hpp"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "pvmmu/service_thread.hpp"
#include "vmm/cpu/guest_cpu.hpp"

namespace pinfold::cli {
namespace {

/// The signal that interrupts a write; its handler does nothing in this thread.
constexpr int interruption = SIGUSR1;

/// A terminal in raw mode goes to the beginning of a line only if it is told to.
const char* line_break(int fd) { return ::isatty(fd) == 1 ? "\r\n" : "\n"; }

}  // namespace

OutputWriter::OutputWriter(int fd, std::vector<std::string> names)
    : fd_(fd), waiting_(names, names.front().empty() ? "" : line_break(fd)), guests_(names.size()) {
  vmm::install_kick_handler();
  thread_ = service_thread(ThreadKind::log, [this] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, interruption);
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    loop();
  });
}

OutputWriter::~OutputWriter() {
  hurry();
  finish();
  thread_.join();
}

std::size_t OutputWriter::offer(std::span<const std::byte> bytes, std::size_t guest) {
  const std::lock_guard lock(mutex_);
  if (given_up_) return bytes.size();
  Guest& of = guests_[guest];
  const std::size_t room = of.unlimited ? bytes.size() : limit - std::min(limit, waiting_.waiting(guest));
  const auto taken = bytes.first(std::min(room, bytes.size()));
  waiting_.add(guest, taken, Clock::now());
  of.refused = of.refused || taken.size() < bytes.size();
  changed_.notify_all();
  return taken.size();
}

void OutputWriter::on_room(std::function<void()> tell, std::size_t guest) {
  const std::lock_guard lock(mutex_);
  guests_[guest].tell = std::move(tell);
  guests_[guest].unlimited = false;
}

void OutputWriter::take_everything(std::size_t guest) {
  std::unique_lock lock(mutex_);
  guests_[guest].unlimited = true;
  guests_[guest].tell = {};
  changed_.wait(lock, [this] { return !telling_; });
}

void OutputWriter::hurry() {
  const std::lock_guard lock(mutex_);
  if (!hurried_) hurried_at_ = progress_ = Clock::now();
  hurried_ = true;
  changed_.notify_all();
}

void OutputWriter::finish() {
  std::unique_lock lock(mutex_);
  closing_ = true;
  for (std::size_t guest = 0; guest < guests_.size(); ++guest) waiting_.end(guest);
  changed_.notify_all();
  while (!done_) {
    const auto deadline = std::min(progress_ + patience, hurried_at_ + most_patience);
    if (!hurried_) {
      changed_.wait(lock);
    } else if (Clock::now() < deadline) {
      changed_.wait_until(lock, deadline);
    } else {
      // Repeated, because a signal that arrives just before the write interrupts nothing.
      given_up_ = true;
      ::pthread_kill(thread_.native_handle(), interruption);
      changed_.wait_for(lock, std::chrono::milliseconds(5));
    }
  }
}

void OutputWriter::loop() {
  std::unique_lock lock(mutex_);
  while (!given_up_ && await_output(lock)) {
    write_some(lock);
    for (std::size_t guest = 0; guest < guests_.size(); ++guest) tell_of_room(lock, guest);
  }
  done_ = true;
  changed_.notify_all();
}

bool OutputWriter::await_output(std::unique_lock<std::mutex>& lock) {
  while (next_.empty() && (next_ = waiting_.next(Clock::now())).empty()) {
    if (given_up_ || closing_) return false;
    if (const auto due = waiting_.due())
      changed_.wait_until(lock, *due);
    else
      changed_.wait(lock);
  }
  return true;
}

void OutputWriter::write_some(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  const ssize_t n = ::write(fd_, next_.data(), next_.size());
  const int error = n < 0 ? errno : 0;
  if (error == EAGAIN) {
    pollfd fd{fd_, POLLOUT, 0};
    (void)::poll(&fd, 1, 100);
  }
  lock.lock();
  if (n > 0) {
    next_.erase(0, static_cast<std::size_t>(n));
    progress_ = Clock::now();
  } else if (error != EINTR && error != EAGAIN) {
    given_up_ = true;  // the reader is gone
  }
}

void OutputWriter::tell_of_room(std::unique_lock<std::mutex>& lock, std::size_t guest) {
  Guest& of = guests_[guest];
  if (!of.refused || !of.tell || (waiting_.waiting(guest) > limit / 2 && !given_up_)) return;
  of.refused = false;
  telling_ = true;
  const auto tell = of.tell;
  lock.unlock();
  tell();
  lock.lock();
  telling_ = false;
  changed_.notify_all();
}

}  // namespace pinfold::cli
