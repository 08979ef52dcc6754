// A network frontend that writes anything into its rings, its grant table and its pages, at any time.
#include <optional>

#include "devices/net/net_queue.hpp"
#include "fakes.hpp"
#include "granted_entries.hpp"
#include "input.hpp"
#include "monitor_port.hpp"
#include "net_fakes.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::devices;
using namespace pinfold::devices::net;
using pinfold::fuzz::GrantedEntries;
using pinfold::fuzz::Input;
using pinfold::fuzz::promise;

constexpr std::uint32_t tx_ref = 8, rx_ref = 9, tx_frame = 1, rx_frame = 2;

class World {
 public:
  explicit World(Input input) : input_(input), access_(guest_.access()) {
    guest_.grant(tx_ref, tx_frame);
    guest_.grant(rx_ref, rx_frame);
    auto lane = std::make_unique<FakeLane>();
    lane_ = lane.get();
    wiring_.wire.lanes.push_back(std::move(lane));
    const auto options = input_.take<std::uint8_t>();
    wiring_.wire.takes = {(options & 1) != 0, (options & 2) != 0};
    RingPair rings;
    rings.tx = std::move(*access_.use(GrantRef(tx_ref), GrantUse::write));
    rings.rx = std::move(*access_.use(GrantRef(rx_ref), GrantUse::write));
    rings.tx_end = fuzz::monitor_port(channels_);
    rings.features = {(options & 4) != 0, (options & 8) != 0, (options & 16) != 0, (options & 32) != 0,
                      (options & 64) != 0};
    queue_.emplace(wiring_, access_, counts_, std::move(rings), 0, 1);
  }

  void run() {
    while (!input_.empty()) step(input_.take<std::uint8_t>());
    serve();
    queue_.reset();
    grants_.expect_nothing_left();
  }

 private:
  void step(std::uint8_t what) {
    switch (what % 8) {
      case 0: return serve();
      case 1: return put(tx_frame, 64 + input_.take<std::uint8_t>() * std::size_t{12}, 12);
      case 2: return put(rx_frame, 64 + input_.take<std::uint8_t>() * std::size_t{8}, 8);
      case 3: return guest_.frame(tx_frame).store(0, tx_ += input_.take<std::uint8_t>());
      case 4: return guest_.frame(rx_frame).store(0, rx_ += input_.take<std::uint8_t>());
      case 5: return grants_.write(input_, [](std::uint32_t ref) { return ref == tx_ref || ref == rx_ref; });
      case 6: {  // the start of a page, as headers are there
        const std::uint64_t frame = 3 + input_.take<std::uint8_t>() % 3;
        return put(frame, 0, input_.take<std::uint8_t>());
      }
      default: return from_host();
    }
  }
  void put(std::uint64_t frame, std::size_t offset, std::size_t size) {
    guest_.frame(frame).copy_in(offset, std::as_bytes(input_.take_bytes(size)));
  }
  /// A frame of the host's: consistent, as lanes give no others.
  void from_host() {
    const auto shape = input_.take<std::uint8_t>();
    auto frame =
        make_packet({(shape & 1) != 0, (shape & 2) != 0, input_.take<std::uint16_t>() % std::size_t{60'000}});
    Offload offload;
    offload.checksum_blank = (shape & 4) != 0;
    if (offload.checksum_blank && (shape & 2) != 0 && (shape & 8) != 0) {
      offload.segmentation = (shape & 1) != 0 ? Segmentation::tcpv6 : Segmentation::tcpv4;
      offload.segment_bytes = static_cast<std::uint16_t>(48 + input_.take<std::uint16_t>() % 9000);
    }
    if (lane_->to_receive.size() < 4) lane_->to_receive.emplace_back(std::move(frame), offload);
    lane_->full = (shape & 16) != 0;
  }
  void serve() {
    (void)queue_->serve(false);
    for (std::size_t n = 0; n < lane_->sent.size(); ++n) {
      const Offload& offload = lane_->offloads[n];
      promise(lane_->sent[n].size() >= least_frame_bytes && lane_->sent[n].size() <= most_frame_bytes,
              "a frame has a frame's size");
      promise(!offload.checksum_blank || wiring_.wire.takes.blank_checksums ||
                  offload.segmentation != Segmentation::none,
              "a checksum is filled in for a peer that wants it");
      promise(offload.segmentation == Segmentation::none || wiring_.wire.takes.large_frames,
              "a large frame is cut for a peer that wants it");
      promise(is_consistent(offload, find_headers(lane_->sent[n])), "a frame is what it says");
    }
    lane_->sent.clear();
    lane_->offloads.clear();
  }

  Input input_;
  FakeTarget target_{1};
  EventChannels channels_{DomId(1), target_, nullptr, 64};
  GrantingGuest guest_;
  GrantedEntries grants_{guest_};
  GrantAccess access_;
  Wiring wiring_;
  QueueCounts counts_;
  FakeLane* lane_ = nullptr;
  std::optional<NetQueue> queue_;
  std::uint32_t tx_ = 0, rx_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World(Input(data, size)).run();
  return 0;
}
