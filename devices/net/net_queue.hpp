// One queue of a network interface: a pair of rings of the guest's, and lanes of the host's.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "devices/event_channels.hpp"
#include "devices/net/capture.hpp"
#include "devices/net/event_gathering.hpp"
#include "devices/net/meter.hpp"
#include "devices/net/rx_side.hpp"
#include "devices/net/segmenter.hpp"
#include "devices/net/tx_side.hpp"
#include "devices/net/wire.hpp"
#include "devices/queue_thread.hpp"

namespace pinfold::devices::net {

/// What a queue did, in all its connections. Any thread may read it while the queue's thread counts.
struct QueueCounts {
  using Count = std::atomic<std::uint64_t>;

  Count tx_frames = 0, tx_bytes = 0;
  Count tx_refused = 0;  ///< Frames that the guest transmitted, and that were not as they must be.
  Count rx_frames = 0, rx_bytes = 0;
  Count rx_dropped = 0;   ///< Frames for the guest that it could not receive.
  Count events_sent = 0;  ///< Those that the frontend wanted.
  Count events_received = 0;

  static void add(Count& to, std::uint64_t amount = 1) { to.fetch_add(amount, std::memory_order_relaxed); }
};

/// What queues share, of one interface. All of it outlives them.
struct Wiring {
  vmm::Fd tie = {};  ///< Closed when all else is: whoever has the other end of it cleans up then.
  Wire wire;
  std::unique_ptr<Capture> capture;  ///< Null: none.
  std::unique_ptr<Meter> meter;      ///< Null: no limit.
};

/// The guest's side of a queue.
struct RingPair {
  GrantedPage tx, rx;
  std::unique_ptr<MonitorEnd> tx_end, rx_end;  ///< The second is null if one port is for both.
  RxFeatures features;
};

/// Transmits what the guest has put into its ring, and gives it what its lanes receive. The queue reads no
/// more from a lane while the guest has no room for a frame, and takes no more from the guest while the host
/// has none.
///
/// Concurrency: as a QueueLink's.
class NetQueue final : public QueueLink {
 public:
  /// The queue is number `queue` of `queues`: it sends on the lane of that number, and receives from all
  /// lanes that have none of their own.
  NetQueue(Wiring& wiring, GrantAccess& grants, QueueCounts& counts, RingPair rings, std::size_t queue,
           std::size_t queues);
  ~NetQueue() override;

  [[nodiscard]] Rest serve(bool ending) override;
  [[nodiscard]] bool is_idle() const override { return true; }
  [[nodiscard]] const char* fault() const override;
  [[nodiscard]] bool has_news() override;
  void add_descriptors(std::vector<pollfd>& all) const override;
  [[nodiscard]] bool hush() override;
  [[nodiscard]] bool see_off() override;

 private:
  using Clock = EventGathering::Clock;
  /// While the host takes nothing. poll(2) says when it does, but not if another queue with the same lane has
  /// found it out first.
  static constexpr std::chrono::milliseconds until_room{20};
  /// A sender waits for memory that is under way, of which less than one full Ethernet frame is no matter:
  /// acknowledgements of what it receives, say.
  static constexpr std::size_t few_bytes = 1514;
  /// Frames in one direction before the other has its turn.
  static constexpr std::uint32_t stretch = 256;

  /// Both return whether there may be more.
  [[nodiscard]] bool transmit(Clock::time_point now);
  [[nodiscard]] bool receive(Clock::time_point now);
  [[nodiscard]] bool receive_one();
  void pass_on(const Frame& frame);
  void tell(Clock::time_point now);
  [[nodiscard]] Rest rest(Clock::time_point now);
  [[nodiscard]] std::optional<Frame> next_received();
  [[nodiscard]] std::optional<Frame> for_guest(const Frame& frame);
  [[nodiscard]] bool can_receive_as_is(const Frame& frame) const;

  Wiring& wiring_;
  GrantAccess& grants_;
  QueueCounts& counts_;
  std::unique_ptr<MonitorEnd> tx_end_, rx_end_;
  RxFeatures features_;
  TxSide tx_;
  RxSide rx_;
  EventGathering tx_events_, rx_events_;
  Lane& out_;
  std::vector<Lane*> in_;
  std::size_t next_in_ = 0;
  std::vector<std::byte> tx_buffer_, tx_scratch_, rx_scratch_;
  PeerState peer_;                                   ///< When it was last asked for.
  std::optional<Segmenter> segments_;                ///< Of a frame that the guest does not receive as it is.
  std::optional<Frame> waiting_;                     ///< A frame that the guest has no room for.
  std::optional<std::chrono::nanoseconds> metered_;  ///< For how long the rate forbids to transmit.
  std::atomic<bool> hush_asked_ = false;
  std::atomic<bool> is_hushed_ = false;  ///< Its thread has seen that, and raises nothing any more.
};

}  // namespace pinfold::devices::net
