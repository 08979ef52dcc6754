// Transfers by a connection to an NBD server.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "devices/block/image.hpp"
#include "devices/block/image_results.hpp"
#include "devices/block/nbd_connection.hpp"
#include "devices/wake_reserve.hpp"

namespace pinfold::devices::block {

/// Connections that no queue has, and on which nothing is on its way.
///
/// Concurrency: any thread.
class IdleConnections {
 public:
  void put(NbdConnection connection) {
    const std::lock_guard lock(mutex_);
    connections_.push_back(std::move(connection));
  }
  /// nullopt: there is none.
  [[nodiscard]] std::optional<NbdConnection> take();
  ~IdleConnections();

 private:
  std::mutex mutex_;
  std::vector<NbdConnection> connections_;
};

/// What the queues of an NBD image share.
struct NbdShared {
  NbdShared(std::string name, const Geometry& is, std::chrono::nanoseconds most, bool told)
      : results(std::move(name)), geometry(is), patience(most), end_is_told(told) {}
  ImageResults results;
  const Geometry geometry;
  const std::chrono::nanoseconds patience;  ///< For an answer, while something is on its way.
  const bool end_is_told;                   ///< The supervisor says it when the server has ended.
  IdleConnections idle;
  std::atomic<bool> said_lost = false;
  std::atomic<bool> kept_waiting = false;  ///< A queue that ended has waited in vain.
};

/// The server gets and fills buffers of this process, never the guest's memory. When the connection ends, all
/// that is on its way fails, and all that comes later. A queue that ends leaves its connection to a later
/// one: a guest that starts again in its machine has new queues.
class NbdQueue final : public TransferQueue {
 public:
  /// `shared` outlives the queue.
  NbdQueue(NbdShared& shared, NbdConnection connection, std::size_t depth, LentWake wake);
  ~NbdQueue() override;
  NbdQueue(const NbdQueue&) = delete;
  NbdQueue& operator=(const NbdQueue&) = delete;

  [[nodiscard]] bool submit(const Transfer& transfer) override;
  void start() override {}
  void collect(const std::function<void(const Completion&)>& take) override;
  [[nodiscard]] int descriptor() const override { return wake_.get(); }
  void add_descriptors(std::vector<pollfd>& all) const override;
  [[nodiscard]] std::optional<std::chrono::nanoseconds> patience() const override;
  [[nodiscard]] std::size_t on_the_way() const override {
    return slots_.size() - free_.size() + done_.size();
  }

 private:
  using Clock = NbdConnection::Clock;
  /// A transfer that the server has, or a part of it.
  struct Slot {
    NbdQueue* queue = nullptr;
    std::size_t number = 0;
    bool used = false;
    Transfer transfer;
    std::unique_ptr<std::byte[]> buffer;
    std::size_t room = 0;
    std::uint64_t asked = 0;  ///< Bytes from the transfer's start that the server was asked for, in all.
  };

  static int on_answer(void* slot, int* error);
  /// Asks the server for the transfer, or for its next part. False: it does not take it.
  [[nodiscard]] bool ask(Slot& slot);
  void finish(Slot& slot, int error);
  void give_up(Slot& slot, int error);
  void wait_for_the_last();
  void on_lost(bool is_silent);
  void raise();

  NbdShared& shared_;
  std::vector<Slot> slots_;
  std::vector<std::size_t> free_;
  std::vector<Completion> done_;   ///< Not collected.
  std::vector<std::size_t> rest_;  ///< Slots whose next part is to be asked for.
  Clock::time_point last_answer_;
  bool ending_ = false;  ///< Nobody takes a result any more.
  bool lost_ = false;    ///< The connection has ended, and all is failed that was on its way.
  bool raised_ = false;
  WakeFd wake_;
  std::function<void(WakeFd)> give_back_;  ///< LentWake::give_back.
  NbdConnection connection_;               ///< Ends before the buffers that it uses.
};

}  // namespace pinfold::devices::block
