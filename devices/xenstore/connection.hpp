// A guest's line to the store: the ring page that start_info names (xen/io/xs_wire.h,
// xenstore_domain_interface).
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "devices/byte_ring.hpp"
#include "devices/served.hpp"
#include "devices/xenstore/protocol.hpp"
#include "devices/xenstore/store.hpp"
#include "pvmmu/budget.hpp"

namespace pinfold::devices::xenstore {

/// Serves one ring page. A guest that breaks the protocol (contradictory indices, a message longer than
/// XENSTORE_PAYLOAD_MAX) is told so in the page's error field and not served any more.
///
/// Bounded: one reply or event waits for room at a time, and the next request is not read before it has gone;
/// so a guest that doesn't read its replies stops only itself. Concurrency: any thread may call anything.
/// `notify` raises the guest's port and is called without a lock.
class Connection final : public EventListener, public std::enable_shared_from_this<Connection> {
 public:
  [[nodiscard]] static std::shared_ptr<Connection> create(std::shared_ptr<Store> store, DomId domain,
                                                          vmm::SharedPage ring, std::function<void()> notify);
  ~Connection() override { close(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// The guest sent an event on the store's port: it wrote requests, or made room for replies. What that
  /// takes is spent from `budget`; when it is used up, what is left in the ring waits for another call. Null:
  /// without a bound.
  Served on_guest_event(pvmmu::Budget* budget = nullptr);
  void events_ready() override;
  /// The guest is over: removes the client, releases the domain, and lets go of the ring. Returns when
  /// `notify` is not called any more. Whoever delivers events of another guest may still have this object.
  void close();
  [[nodiscard]] bool is_closed();
  /// Did the guest break the protocol?
  [[nodiscard]] bool broken();

 private:
  Connection(std::shared_ptr<Store> store, DomId domain, vmm::SharedPage ring, std::function<void()> notify);

  /// The page, and both directions of it.
  struct Ring {
    explicit Ring(vmm::SharedPage of);
    vmm::SharedPage page;
    RingReader requests;
    RingWriter replies;
  };

  void tell_guest();

  // These need the lock.
  [[nodiscard]] Served serve(pvmmu::Budget& budget);
  [[nodiscard]] Served send_events(pvmmu::Budget& budget);
  bool flush();
  bool receive(std::size_t& budget);
  void give_up(std::uint32_t error, const char* why);

  std::shared_ptr<Store> store_;
  DomId domain_;
  ClientId client_;
  std::function<void()> notify_;

  std::mutex mutex_;
  std::condition_variable told_;
  std::size_t telling_ = 0;   ///< Threads that call notify_.
  std::optional<Ring> ring_;  ///< Until close().
  MessageReader incoming_;
  std::string outgoing_;  ///< what has not fitted into the ring yet
  bool progress_ = false;
  bool broken_ = false;
};

}  // namespace pinfold::devices::xenstore
