// A ring page that a frontend fills with requests and its backend with responses, as the backend sees it
// (xen/io/ring.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "devices/granted_page.hpp"
#include "devices/xen_abi.hpp"

namespace pinfold::devices {

/// Where the entries of a ring are: those of DEFINE_RING_TYPES in xen/io/ring.h.
struct RingShape {
  std::size_t entry_bytes;
  std::uint32_t entries;  ///< The largest power of two that fits into the page.
};

/// The shape of a ring whose `Sring` DEFINE_RING_TYPES has defined.
template <class Sring>
constexpr RingShape ring_shape() {
  // The array is one of 1 or of 0, as the version of Xen's headers has it.
  using Entry = std::remove_reference_t<decltype(std::declval<Sring&>().ring[0])>;
  static_assert(offsetof(Sring, req_prod) == 0 && offsetof(Sring, req_event) == 4);
  static_assert(offsetof(Sring, rsp_prod) == 8 && offsetof(Sring, rsp_event) == 12);
  static_assert(offsetof(Sring, ring) == 64);
  std::uint32_t entries = 1;
  while (2 * entries * sizeof(Entry) <= page_size - offsetof(Sring, ring)) entries *= 2;
  return {sizeof(Entry), entries};
}

/// Takes requests and gives responses. Each request is copied once; of the frontend's indexes each is read
/// once at a time, and the ring's own are never read back. A frontend whose index claims more requests than
/// the ring has room for has broken the ring: nothing more is taken from it.
///
/// Not thread-safe.
class BackRing {
 public:
  /// Begins where the page says that responses end, as a frontend may have used it before. The use of `page`
  /// is for writing.
  BackRing(GrantedPage page, RingShape shape);

  /// Requests that were not taken, as the frontend's index says now.
  [[nodiscard]] std::uint32_t waiting();
  /// The next request; the rest of its entry is left out. False if there is none.
  [[nodiscard]] bool take(std::span<std::byte> request);
  /// Puts a response into the ring, for a request that was taken; publish() shows it to the frontend.
  void respond(std::span<const std::byte> response);
  /// Shows the responses. An event for them can follow later: by then the frontend may have found them
  /// itself.
  void show();
  /// Does the frontend want an event for responses that were shown, and of which no event has told it?
  [[nodiscard]] bool owes_event();
  /// Shows the responses. True: the frontend is owed an event, which the caller sends.
  [[nodiscard]] bool publish();
  /// Asks the frontend for an event when `more` requests (1: any) are there that were not taken. True: they
  /// are.
  [[nodiscard]] bool await(std::uint32_t more = 1);
  [[nodiscard]] bool is_broken() const { return broken_; }
  /// For what else a frontend can do wrong: nothing more is taken.
  void break_off() { broken_ = true; }
  /// Responses that were not shown yet.
  [[nodiscard]] std::uint32_t unpublished() const { return responded_ - published_; }
  /// Responses that were shown since the last event, or since none was owed.
  [[nodiscard]] std::uint32_t untold() const { return published_ - told_; }
  /// Requests that were taken and not responded to.
  [[nodiscard]] std::uint32_t under_way() const { return taken_ - responded_; }

 private:
  [[nodiscard]] std::size_t place(std::uint32_t index) const;

  GrantedPage page_;
  RingShape shape_;
  std::uint32_t taken_ = 0;      ///< req_cons
  std::uint32_t responded_ = 0;  ///< rsp_prod_pvt
  std::uint32_t published_ = 0;  ///< rsp_prod
  std::uint32_t told_ = 0;       ///< rsp_prod up to which no event is owed.
  bool broken_ = false;
};

}  // namespace pinfold::devices
