// A network frontend that drives its rings by hand (xen/io/netif.h), for test guests. The guest has two
// interfaces, and what it transmits on `a` arrives at `b`.
#pragma once

#include <xen/io/netif.h>

#include "kit/frontend.hpp"

namespace kit::net {

inline constexpr int error = NETIF_RSP_ERROR, okay = NETIF_RSP_OKAY, null = NETIF_RSP_NULL;
/// The backend did not answer.
inline constexpr int silence = 99;
inline constexpr u32 entries = 256;

struct Interface {
  DeviceNodes nodes;
  u32 tx_ref, rx_ref;
  netif_tx_sring* tx = nullptr;
  netif_rx_sring* rx = nullptr;
  u32 port = 0, tx_produced = 0, tx_consumed = 0, rx_produced = 0, rx_consumed = 0;

  // -- the connection
  /// Empty rings and a port, and their nodes.
  void prepare() {
    if (tx == nullptr) {
      tx = reinterpret_cast<netif_tx_sring*>(new_page());
      rx = reinterpret_cast<netif_rx_sring*>(new_page());
    }
    *reinterpret_cast<Page*>(tx) = *reinterpret_cast<Page*>(rx) = {};
    tx->req_event = tx->rsp_event = rx->req_event = rx->rsp_event = 1;
    tx_produced = tx_consumed = rx_produced = rx_consumed = 0;
    grant(tx_ref, mfn_of(tx));
    grant(rx_ref, mfn_of(rx));
    port = new_port();
    nodes.write("tx-ring-ref", tx_ref);
    nodes.write("rx-ring-ref", rx_ref);
    nodes.write("event-channel", port);
    nodes.write("request-rx-copy", 1);
    nodes.write("feature-rx-notify", 1);
  }
  void connect() {
    prepare();
    nodes.write("state", XenbusStateConnected);
    CHECK(nodes.reaches('4'));
  }
  void begin_again() {
    nodes.write("state", XenbusStateClosed);
    CHECK(nodes.reaches('6'));
    CHECK_EQ(flags_of(tx_ref), GTF_permit_access);
    CHECK_EQ(flags_of(rx_ref), GTF_permit_access);
    nodes.write("state", XenbusStateInitialising);
    CHECK(nodes.reaches('2'));
    CHECK_EQ(close(port), 0);
  }

  // -- to transmit
  void put(const netif_tx_request& request) { tx->ring[tx_produced++ % entries].req = request; }
  void put(const netif_extra_info& extra) {
    // An extra info takes the place of a request, of which it is the first part.
    __builtin_memcpy(&tx->ring[tx_produced++ % entries].req, &extra, sizeof extra);
  }
  void push_tx() {
    __atomic_store_n(&tx->req_prod, tx_produced, __ATOMIC_SEQ_CST);
    CHECK_EQ(send(port), 0);
  }
  /// The status of the next response.
  int take_tx(u16* id = nullptr) {
    for (const u64 end = now_ns() + 10 * second_ns; now_ns() < end; nap()) {
      if (__atomic_load_n(&tx->rsp_prod, __ATOMIC_SEQ_CST) == tx_consumed) continue;
      const auto response = tx->ring[tx_consumed++ % entries].rsp;
      if (id != nullptr) *id = response.id;
      return response.status;
    }
    return silence;
  }
  int ask(const netif_tx_request& request) {
    u16 id = 0;
    put(request);
    push_tx();
    const int status = take_tx(&id);
    CHECK_EQ(id, request.id);
    return status;
  }

  // -- to receive
  void post(u32 ref, u16 id = 0) { rx->ring[rx_produced++ % entries].req = {id, 0, ref}; }
  void push_rx() {
    __atomic_store_n(&rx->req_prod, rx_produced, __ATOMIC_SEQ_CST);
    CHECK_EQ(send(port), 0);
  }
  [[nodiscard]] bool has_received() const {
    return __atomic_load_n(&rx->rsp_prod, __ATOMIC_SEQ_CST) != rx_consumed;
  }
  netif_rx_response take_rx(u64 most_ns = 10 * second_ns) {
    for (const u64 end = now_ns() + most_ns; now_ns() < end; nap())
      if (has_received()) return rx->ring[rx_consumed++ % entries].rsp;
    return {0, 0, 0, silence};
  }
};

inline Interface a{{"vif", 0}, 8, 9}, b{{"vif", 1}, 10, 11};
inline constexpr u32 out_ref = 12, in_ref = 13, other_ref = 14;
inline Page *out, *in;

inline netif_tx_request request(u32 size, u32 offset = 0, u32 flags = 0, u32 ref = out_ref) {
  static u16 id = 0xfff0;
  return {ref, static_cast<u16>(offset), static_cast<u16>(flags), id++, static_cast<u16>(size)};
}

/// A frame with a number, to everybody, of an experimental type (IEEE 802): an index read from it would be
/// nonsense.
inline constexpr u32 frame_size = 60;
inline void write_frame(u64 number) {
  *out = {};
  out->words[0] = ~0UL;
  out->words[1] = 0xb588'0000'0000'ffff;
  out->words[2] = number;
}

/// Is this frame received, whatever was on its way before it?
inline bool receives(u64 number) {
  for (u32 tries = 0; tries < 100; ++tries) {
    b.post(in_ref);
    b.push_rx();
    const auto response = b.take_rx(2 * second_ns);
    if (response.status == silence) return false;
    if (response.status == frame_size && in->words[2] == number) return true;
  }
  return false;
}
/// Frames go from a to b.
inline bool works() {
  static u64 number = 0x1000;
  // What a transmits before b's end of the wire is there gets lost.
  for (u32 tries = 0; tries < 3; ++tries) {
    write_frame(++number);
    grant(out_ref, mfn_of(out));
    grant(in_ref, mfn_of(in));
    if (a.ask(request(frame_size)) != okay) return false;
    if (receives(number)) return true;
    b.begin_again();
    b.connect();
  }
  return false;
}
inline void begin() {
  two_level::mask_all();
  out = new_page();
  in = new_page();
  CHECK(a.nodes.reaches('2'));
  CHECK(b.nodes.reaches('2'));
  a.connect();
  b.connect();
  CHECK(works());
}

}  // namespace kit::net
