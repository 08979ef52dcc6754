// The host's end of an interface sends anything, as passt or as a tap device, while a guest receives and
// transmits.
#include <sys/socket.h>

#include <algorithm>
#include <optional>

#include "devices/net/net_queue.hpp"
#include "devices/net/stream_lane.hpp"
#include "devices/net/tap_lane.hpp"
#include "fakes.hpp"
#include "input.hpp"
#include "monitor_port.hpp"
#include "net_fakes.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::devices;
using namespace pinfold::devices::net;
using pinfold::fuzz::Input;
using pinfold::fuzz::promise;

constexpr std::uint32_t tx_ref = 8, rx_ref = 9, tx_frame = 1, rx_frame = 2, page_ref = 20, page_frame = 3;

class World {
 public:
  explicit World(Input input) : input_(input), access_(guest_.access()) {
    held_by_guest_ = guest_.target.frames_held();
    guest_.grant(tx_ref, tx_frame);
    guest_.grant(rx_ref, rx_frame);
    guest_.grant(page_ref, page_frame);
    const auto options = input_.take<std::uint8_t>();
    const bool is_tap = (options & 1) != 0;
    std::array<int, 2> ends{-1, -1};
    promise(
        ::socketpair(AF_UNIX, (is_tap ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_NONBLOCK, 0, ends.data()) == 0,
        "there are sockets");
    peer_ = vmm::Fd(ends[1]);
    if (is_tap)
      wiring_.wire.lanes.push_back(std::make_unique<TapLane>(vmm::Fd(ends[0])));
    else
      wiring_.wire.lanes.push_back(StreamLane::connected(vmm::Fd(ends[0])));
    wiring_.wire.takes = {is_tap, is_tap};
    features_ = {(options & 4) != 0, (options & 8) != 0, (options & 16) != 0, (options & 32) != 0,
                 (options & 64) != 0};
    RingPair rings;
    rings.tx = std::move(*access_.use(GrantRef(tx_ref), GrantUse::write));
    rings.rx = std::move(*access_.use(GrantRef(rx_ref), GrantUse::write));
    rings.tx_end = fuzz::monitor_port(channels_);
    rings.features = features_;
    queue_.emplace(wiring_, access_, counts_, std::move(rings), 0, 1);
  }

  void run() {
    while (!input_.empty()) step(input_.take<std::uint8_t>());
    post(255);
    serve();
    promise(queue_->fault() == nullptr, "a peer breaks no ring of the guest's");
    queue_.reset();
    promise(guest_.target.frames_held() == held_by_guest_, "no frame is held");
  }

 private:
  void step(std::uint8_t what) {
    switch (what % 8) {
      case 0: return serve();
      case 1: return post(input_.take<std::uint8_t>());
      case 2: {
        const auto bytes = input_.take_bytes(input_.take<std::uint8_t>());
        return send(std::as_bytes(bytes));
      }
      case 3: return send_frame();
      case 4: {
        std::array<std::byte, 70'000> read{};
        while (::recv(peer_.get(), read.data(), read.size(), 0) > 0) {
        }
        return;
      }
      case 5: peer_ = vmm::Fd(); return;
      default: return transmit(14 + what * 8U);
    }
  }
  void transmit(std::uint32_t bytes) {
    if (transmitted_ - answered_ > 200) return;
    ++transmitted_;
    tx_.put(netif_tx_request{page_ref, 0, 0, 1, static_cast<std::uint16_t>(bytes)});
    tx_.push();
  }
  void send(std::span<const std::byte> bytes) {
    if (peer_.open()) (void)::send(peer_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  /// A packet of any shape, damaged at one place, as its lane frames it.
  void send_frame() {
    const auto shape = input_.take<std::uint8_t>();
    auto frame =
        make_packet({(shape & 1) != 0, (shape & 2) != 0, input_.take<std::uint16_t>() % std::size_t{60'000}});
    frame[input_.take<std::uint8_t>() % frame.size()] = std::byte(input_.take<std::uint8_t>());
    Bytes all;
    if (wiring_.wire.takes.large_frames) {
      const auto header = input_.take_bytes(10);  // a virtio_net_hdr
      all.resize(10);
      std::copy_n(std::as_bytes(header).begin(), header.size(), all.begin());
    } else {
      const auto length = frame_length(frame.size());
      all.assign(length.begin(), length.end());
    }
    all.insert(all.end(), frame.begin(), frame.end());
    send(all);
  }
  void post(std::uint32_t count) {
    for (; count != 0 && posted_ - received_ < 255; --count, ++posted_)
      rx_.put(netif_rx_request{static_cast<std::uint16_t>(posted_), 0, page_ref});
    rx_.push();
  }

  void serve() {
    (void)queue_->serve(false);
    while (tx_.take()) ++answered_;
    while (const auto response = rx_.take()) {
      ++received_;
      take(*response);
    }
  }
  /// The parts of a frame, one after the other; behind the first may be an extra info.
  void take(const netif_rx_response& response) {
    if (extra_is_next_) {
      extra_is_next_ = false;
      return;
    }
    promise(response.status > 0 && response.status <= 4096, "a part fits into a page");
    promise((response.flags & NETRXF_more_data) == 0 || features_.scatter_gather,
            "only a guest that says so gets parts");
    promise((response.flags & NETRXF_extra_info) == 0 || features_.segments_tcpv4 || features_.segments_tcpv6,
            "only a guest that says so gets large frames");
    promise((response.flags & NETRXF_csum_blank) == 0 || features_.blank_checksum_ipv4 ||
                features_.blank_checksum_ipv6 || features_.segments_tcpv4 || features_.segments_tcpv6,
            "only a guest that says so gets blank checksums");
    extra_is_next_ = (response.flags & NETRXF_extra_info) != 0;
    size_ += static_cast<std::size_t>(response.status);
    if ((response.flags & NETRXF_more_data) != 0) return;
    promise(size_ >= least_frame_bytes && size_ <= most_frame_bytes, "a frame has a frame's size");
    size_ = 0;
  }

  Input input_;
  FakeTarget target_{1};
  EventChannels channels_{DomId(1), target_, nullptr, 64};
  GrantingGuest guest_;
  GrantAccess access_;
  Wiring wiring_;
  QueueCounts counts_;
  RxFeatures features_;
  vmm::Fd peer_;
  std::optional<NetQueue> queue_;
  FakeTx tx_{guest_.frame(tx_frame), sizeof(netif_tx_request)};
  FakeRx rx_{guest_.frame(rx_frame), sizeof(netif_rx_request)};
  std::uint32_t posted_ = 0, received_ = 0, transmitted_ = 0, answered_ = 0;
  std::size_t size_ = 0;  ///< Of the frame that is being received.
  bool extra_is_next_ = false;
  std::size_t held_by_guest_ = 0;  ///< Its own ring pages.
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World(Input(data, size)).run();
  return 0;
}
