// A network frontend that writes anything into its rings, its grant table and its pages, at any time.
#include <array>
#include <optional>

#include "devices/net/net_queue.hpp"
#include "fakes.hpp"
#include "input.hpp"
#include "net_fakes.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::devices;
using namespace pinfold::devices::net;
using pinfold::fuzz::Input;
using pinfold::fuzz::promise;

constexpr std::uint32_t tx_ref = 8, rx_ref = 9, tx_frame = 1, rx_frame = 2, refs = 32;

/// A port that the guest has opened for the monitor.
Port open_port(EventChannels& channels) {
  FakeMemory memory;
  evtchn_alloc_unbound args{DOMID_SELF, 0, 0};
  (void)memory.store(GuestVaddr(FakeMemory::base), args);
  vmm::Hypercall call{
      VcpuId(0), __HYPERVISOR_event_channel_op, {EVTCHNOP_alloc_unbound, FakeMemory::base}, memory};
  promise(channels.event_channel_op(call) == 0, "a port can be opened");
  return Port(memory.fetch<evtchn_alloc_unbound>(GuestVaddr(FakeMemory::base))->port);
}

class World {
 public:
  explicit World(Input input) : input_(input), access_(guest_.access()) {
    for (std::uint32_t n = 0; n < refs; ++n) guest_.grant(n, n);
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
    rings.tx_end = std::move(
        *channels_.bind_monitor_channel(open_port(channels_), [](vmm::Hypercall&) { return Served::all; }));
    rings.features = {(options & 4) != 0, (options & 8) != 0, (options & 16) != 0, (options & 32) != 0,
                      (options & 64) != 0};
    queue_.emplace(wiring_, access_, counts_, std::move(rings), 0, 1);
  }

  void run() {
    while (!input_.empty()) step(input_.take<std::uint8_t>());
    serve();
    queue_.reset();
    promise(guest_.target.frames_held() == 0, "no frame is held");
    for (std::uint32_t ref = 0; ref < refs; ++ref) {
      const auto flags = guest_.flags(ref);
      const bool granted = (flags & GTF_type_mask) == GTF_permit_access;
      promise(!granted || marks_[ref] || (flags & (GTF_reading | GTF_writing)) == 0, "no grant is marked");
    }
  }

 private:
  void step(std::uint8_t what) {
    switch (what % 8) {
      case 0: return serve();
      case 1: return put(tx_frame, 64 + input_.take<std::uint8_t>() * std::size_t{12}, 12);
      case 2: return put(rx_frame, 64 + input_.take<std::uint8_t>() * std::size_t{8}, 8);
      case 3: return guest_.frame(tx_frame).store(0, tx_ += input_.take<std::uint8_t>());
      case 4: return guest_.frame(rx_frame).store(0, rx_ += input_.take<std::uint8_t>());
      case 5: {
        const std::uint32_t ref = input_.take<std::uint8_t>() % refs;
        const auto flags = input_.take<std::uint16_t>();
        if (ref == tx_ref || ref == rx_ref) return;
        marks_[ref] = marks_[ref] || (flags & (GTF_reading | GTF_writing)) != 0;
        return guest_.grant(ref, input_.take<std::uint8_t>(), flags, input_.take<std::uint8_t>() % 2);
      }
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
  EventChannels channels_{DomId(1), target_};
  GrantingGuest guest_;
  GrantAccess access_;
  Wiring wiring_;
  QueueCounts counts_;
  FakeLane* lane_ = nullptr;
  std::optional<NetQueue> queue_;
  std::uint32_t tx_ = 0, rx_ = 0;
  std::array<bool, refs> marks_{};  ///< Grants that the guest itself marked.
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World(Input(data, size)).run();
  return 0;
}
