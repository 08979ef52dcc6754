#include "devices/block/nbd_connection.hpp"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

namespace pinfold::devices::block {
namespace {

/// What the library says of the last failure, without the name of its function.
std::string last_error(const NbdLibrary& library) {
  const char* said = library.get_error();
  std::string text = said != nullptr ? said : "unknown error";
  if (const auto colon = text.find(": "); text.starts_with("nbd_") && colon != std::string::npos)
    text.erase(0, colon + 2);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' '; }, '?');
  return text;
}

std::uint64_t known(std::int64_t number) { return number > 0 ? static_cast<std::uint64_t>(number) : 0; }

}  // namespace

tl::expected<NbdConnection, std::string> NbdConnection::make(vmm::Fd socket, const std::string& export_name,
                                                             std::chrono::milliseconds patience,
                                                             const std::atomic<bool>* given_up) {
  const auto library = NbdLibrary::load();
  if (!library) return tl::unexpected(library.error());
  nbd_handle* const handle = (*library)->create();
  if (handle == nullptr) return tl::unexpected(last_error(**library));
  NbdConnection connection(**library, handle);
  // It reads and writes until that would wait.
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0)
    return tl::unexpected(std::string("no socket"));
  if ((*library)->set_export_name(handle, export_name.c_str()) != 0)
    return tl::unexpected(last_error(**library));
  // The handle closes its copy, whatever comes.
  connection.descriptor_ = ::fcntl(socket.get(), F_DUPFD_CLOEXEC, 3);
  if (connection.descriptor_ < 0) return tl::unexpected(std::string("too many open files"));
  if ((*library)->aio_connect_socket(handle, connection.descriptor_) != 0)
    return tl::unexpected(last_error(**library));
  if (auto done = connection.negotiate(Clock::now() + patience, given_up); !done)
    return tl::unexpected(done.error());
  return connection;
}

tl::expected<void, std::string> NbdConnection::negotiate(Clock::time_point deadline,
                                                         const std::atomic<bool>* given_up) {
  while (library_->aio_is_ready(handle_.get()) != 1) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return tl::unexpected(std::string("the server does not answer"));
    if (given_up != nullptr && *given_up) return tl::unexpected(std::string("it is not waited for any more"));
    constexpr decltype(left) between_looks = 50;
    pollfd wait{descriptor_, wanted_events(), 0};
    if (::poll(&wait, 1, static_cast<int>(std::min(left, between_looks))) > 0 && !work())
      return tl::unexpected(why_);
  }
  return {};
}

NbdExport NbdConnection::what_is_served() const {
  nbd_handle* const h = handle_.get();
  NbdExport served;
  served.bytes = known(library_->get_size(h));
  served.read_only = library_->is_read_only(h) != 0;
  served.can_flush = library_->can_flush(h) == 1;
  served.can_trim = library_->can_trim(h) == 1;
  served.multi_conn = library_->can_multi_conn(h) == 1;
  served.least_block = known(library_->get_block_size(h, LIBNBD_SIZE_MINIMUM));
  served.most_block = known(library_->get_block_size(h, LIBNBD_SIZE_MAXIMUM));
  return served;
}

short NbdConnection::wanted_events() const {
  const unsigned direction = library_->aio_get_direction(handle_.get());
  return static_cast<short>(((direction & LIBNBD_AIO_DIRECTION_READ) != 0 ? POLLIN : 0) |
                            ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 ? POLLOUT : 0));
}

bool NbdConnection::work() {
  if (!handle_) return false;
  pollfd now{descriptor_, wanted_events(), 0};
  // The library wants to hear only of what it asked for, and then as often as there is something.
  constexpr int most_turns = 256;  // so that nobody keeps the thread here
  for (int n = 0; n<most_turns&& ::poll(&now, 1, 0)> 0; ++n) {
    const bool reads = (now.events & POLLIN) != 0 && (now.revents & (POLLIN | POLLHUP | POLLERR)) != 0;
    const int result =
        reads ? library_->aio_notify_read(handle_.get()) : library_->aio_notify_write(handle_.get());
    const bool over =
        library_->aio_is_dead(handle_.get()) == 1 || library_->aio_is_closed(handle_.get()) == 1;
    if (result != 0 || over) {
      end(result != 0 ? last_error(*library_) : "the server has closed the connection");
      return false;
    }
    now.events = wanted_events();
  }
  return true;
}

void NbdConnection::say_goodbye() {
  if (handle_ && library_->aio_is_ready(handle_.get()) == 1) (void)library_->aio_disconnect(handle_.get(), 0);
}

void NbdConnection::end(std::string why) {
  why_ = std::move(why);
  handle_.reset();
}

}  // namespace pinfold::devices::block
