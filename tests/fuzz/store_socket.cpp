// Programs on the store's host socket that send any bytes, in any pieces, also with descriptors, that read
// when they like and leave at any time.
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>

#include "cli/control/store_client.hpp"
#include "devices/xen_abi.hpp"
#include "input.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::cli;
using namespace pinfold::devices::xenstore;
using pinfold::fuzz::Input;
using pinfold::fuzz::promise;

constexpr TransactionId no_tx{0};
constexpr int most_descriptors = 3;

/// The next number that a descriptor would get: it tells whether one was left open.
int next_descriptor() {
  const int fd = ::dup(STDERR_FILENO);
  ::close(fd);
  return fd;
}

/// A program, and the monitor's end of its connection.
class Program {
 public:
  Program(const std::shared_ptr<Store>& store, const std::shared_ptr<EventListener>& listener) {
    std::array<int, 2> ends{};
    promise(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0,
            "there are descriptors");
    ours_ = vmm::Fd(ends[0]);
    client_.emplace(vmm::Fd(ends[1]), store, listener);
  }
  void send(std::span<const std::uint8_t> bytes, unsigned descriptors) const {
    iovec data{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * most_descriptors)> control{};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    if (descriptors != 0) {
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors);
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int) * descriptors);
      for (unsigned n = 0; n < descriptors; ++n)
        std::memcpy(CMSG_DATA(header) + n * sizeof(int), &some_descriptor, sizeof(int));
    }
    (void)::sendmsg(ours_.get(), &message, MSG_NOSIGNAL);
  }
  /// As the server does after poll(2). The program is gone if the server drops it.
  void serve() {
    if (!client_) return;
    pollfd fd{client_->fd(), client_->wanted(), 0};
    (void)::poll(&fd, 1, 0);
    client_->advance();
    if (!client_->serve(fd.revents)) client_.reset();
  }
  void read(std::size_t most) {
    std::string bytes(most, 0);
    const ssize_t n = ::recv(ours_.get(), bytes.data(), bytes.size(), 0);
    if (n > 0) received_.append(bytes, 0, static_cast<std::size_t>(n));
    while (received_.size() >= sizeof(xsd_sockmsg)) {
      xsd_sockmsg header{};
      std::memcpy(&header, received_.data(), sizeof header);
      promise(header.len <= XENSTORE_PAYLOAD_MAX, "an answer is no longer than the protocol allows");
      promise(header.type < XS_TYPE_COUNT, "an answer has a type");
      if (received_.size() < sizeof header + header.len) return;
      received_.erase(0, sizeof header + header.len);
    }
  }

 private:
  static constexpr int some_descriptor = STDERR_FILENO;
  vmm::Fd ours_;
  std::optional<StoreClient> client_;
  std::string received_;
};

class World {
 public:
  explicit World(Input input) : input_(input) {
    store_->introduce(DomId(1));
    promise(store_->write(home_, "", Permissions(DomId(1))).has_value(), "the monitor writes a node");
    guest_ = store_->add_client(DomId(1), {});
  }
  void run() {
    const int descriptor = next_descriptor();
    for (auto& program : programs_) program = fresh();
    while (!input_.empty()) step(input_.take<std::uint8_t>());
    for (auto& program : programs_) program.reset();
    promise(next_descriptor() == descriptor, "no descriptor of a program stays open");
    promise(store_->check(), "each domain has as many nodes as were counted");
    promise(store_->read(home_).has_value() || home_is_removed(), "the guest's folder is where it was");
  }

 private:
  [[nodiscard]] std::unique_ptr<Program> fresh() { return std::make_unique<Program>(store_, listener_); }
  /// Domain 0 may remove it; then it can be made anew.
  [[nodiscard]] bool home_is_removed() { return store_->write(home_, "").has_value(); }

  void step(std::uint8_t what) {
    auto& program = programs_[what / 8 % programs_.size()];
    switch (what % 8) {
      case 0:
      case 1: return program->send(input_.take_bytes(input_.take<std::uint8_t>()), what / 16 % 4);
      case 2:
      case 3: return send_message(*program);
      case 4:
      case 5: return serve();
      case 6: return program->read(std::size_t{input_.take<std::uint8_t>()} * 32 + 1);
      default: break;
    }
    if (what / 16 % 2 == 0) program = fresh();
    const auto value = input_.take_bytes(what / 32U);
    (void)store_->write(guest_, no_tx, *Path::parse("a", DomId(1)), std::string(value.begin(), value.end()));
    while (store_->next_event(guest_)) {
    }
  }
  void send_message(Program& program) {
    const auto payload = input_.take_bytes(input_.take<std::uint8_t>());
    const xsd_sockmsg header{input_.take<std::uint8_t>() % (XS_TYPE_COUNT + 1U), 7,
                             input_.take<std::uint8_t>() % 8U, static_cast<std::uint32_t>(payload.size())};
    std::array<std::uint8_t, sizeof header> bytes;
    std::memcpy(bytes.data(), &header, sizeof header);
    program.send(bytes, 0);
    program.send(payload, 0);
  }
  void serve() {
    for (auto& program : programs_) program->serve();
    store_->deliver();
  }

  struct Nobody final : EventListener {
    void events_ready() override {}
  };
  Input input_;
  const Path home_ = *Path::parse("/local/domain/1", DomId(0));
  std::shared_ptr<Store> store_ =
      std::make_shared<Store>(Quotas{}, Quotas{.watches = 8, .transactions = 4, .events = 16});
  std::shared_ptr<EventListener> listener_ = std::make_shared<Nobody>();
  ClientId guest_;
  std::array<std::unique_ptr<Program>, 2> programs_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  spdlog::set_level(spdlog::level::off);
  World(Input(data, size)).run();
  return 0;
}
