#include "cli/run/output.hpp"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "pvmmu/service_thread.hpp"
#include "vmm/cpu/guest_cpu.hpp"

namespace pinfold::cli {
namespace {

/// What a pipe that has room takes at once.
constexpr std::size_t piece = 4096;

/// The signal that interrupts a write; its handler does nothing in this thread.
constexpr int interruption = SIGUSR1;

}  // namespace

OutputWriter::OutputWriter(int fd) : fd_(fd) {
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

std::size_t OutputWriter::offer(std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  if (given_up_) return bytes.size();
  const std::size_t room = unlimited_ ? bytes.size() : limit - std::min(limit, waiting_.size());
  const auto taken = bytes.first(std::min(room, bytes.size()));
  waiting_.insert(waiting_.end(), taken.begin(), taken.end());
  refused_ = refused_ || taken.size() < bytes.size();
  changed_.notify_all();
  return taken.size();
}

void OutputWriter::on_room(std::function<void()> tell) {
  const std::lock_guard lock(mutex_);
  tell_ = std::move(tell);
}

void OutputWriter::take_everything() {
  std::unique_lock lock(mutex_);
  unlimited_ = true;
  tell_ = {};
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
  while (!given_up_) {
    changed_.wait(lock, [this] { return !waiting_.empty() || closing_; });
    if (waiting_.empty()) break;
    write_some(lock);
    tell_of_room(lock);
  }
  done_ = true;
  changed_.notify_all();
}

void OutputWriter::write_some(std::unique_lock<std::mutex>& lock) {
  std::array<std::byte, piece> bytes;
  const std::size_t size = std::min(bytes.size(), waiting_.size());
  std::copy_n(waiting_.begin(), size, bytes.begin());
  lock.unlock();
  const ssize_t n = ::write(fd_, bytes.data(), size);
  const int error = n < 0 ? errno : 0;
  if (error == EAGAIN) {
    pollfd fd{fd_, POLLOUT, 0};
    (void)::poll(&fd, 1, 100);
  }
  lock.lock();
  if (n > 0) {
    waiting_.erase(waiting_.begin(), waiting_.begin() + n);
    progress_ = Clock::now();
  } else if (error != EINTR && error != EAGAIN) {
    given_up_ = true;  // the reader is gone
  }
}

void OutputWriter::tell_of_room(std::unique_lock<std::mutex>& lock) {
  if (!refused_ || !tell_ || (waiting_.size() > limit / 2 && !given_up_)) return;
  refused_ = false;
  telling_ = true;
  const auto tell = tell_;
  lock.unlock();
  tell();
  lock.lock();
  telling_ = false;
  changed_.notify_all();
}

}  // namespace pinfold::cli
