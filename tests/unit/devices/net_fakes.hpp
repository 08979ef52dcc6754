// A network frontend that drives its rings by hand, and lanes without a host.
#pragma once

#include <cstring>
#include <deque>
#include <optional>
#include <vector>

#include "devices/net/wire.hpp"
#include "devices/xen_abi.hpp"
#include "granting_guest.hpp"

namespace pinfold::devices::net {

using Bytes = std::vector<std::byte>;

inline Bytes bytes_of(const std::string& text) {
  Bytes bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

/// The guest's side of a transmit or receive ring.
template <class Request, class Response>
class FakeRing {
 public:
  FakeRing(vmm::SharedPage page, std::size_t entry_bytes) : page_(std::move(page)), entry_(entry_bytes) {
    page_.store<std::uint32_t>(4, 1);   // req_event
    page_.store<std::uint32_t>(12, 1);  // rsp_event
  }
  template <class T>
  void put(const T& request) {
    page_.copy_in(64 + produced_ % 256 * entry_, std::as_bytes(std::span(&request, 1)));
    ++produced_;
  }
  void push() { page_.store(0, produced_); }
  template <class T = Response>
  std::optional<T> take() {
    if (page_.load<std::uint32_t>(8) == consumed_) return std::nullopt;
    T response;
    page_.copy_out(64 + consumed_ % 256 * entry_, std::as_writable_bytes(std::span(&response, 1)));
    ++consumed_;
    return response;
  }
  [[nodiscard]] std::uint32_t event() { return page_.load<std::uint32_t>(4); }
  void set_producer(std::uint32_t index) { page_.store(0, produced_ = index); }

 private:
  vmm::SharedPage page_;
  std::size_t entry_;
  std::uint32_t produced_ = 0, consumed_ = 0;
};
using FakeTx = FakeRing<netif_tx_request, netif_tx_response>;
using FakeRx = FakeRing<netif_rx_request, netif_rx_response>;

/// Keeps what was sent, and gives out what is to be received.
class FakeLane final : public Lane {
 public:
  [[nodiscard]] bool can_send() override { return !full; }
  void send(const Frame& frame) override {
    sent.emplace_back(frame.bytes.begin(), frame.bytes.end());
    offloads.push_back(frame.offload);
  }
  void flush() override { ++flushes; }
  [[nodiscard]] bool waits_to_send() override { return full; }
  [[nodiscard]] std::optional<Frame> receive() override {
    if (to_receive.empty()) return std::nullopt;
    current = std::move(to_receive.front());
    to_receive.pop_front();
    return Frame{current.first, current.second};
  }
  [[nodiscard]] int descriptor() override { return -1; }
  [[nodiscard]] PeerState peer() override { return {}; }

  bool full = false;
  int flushes = 0;
  std::vector<Bytes> sent;
  std::vector<Offload> offloads;
  std::deque<std::pair<Bytes, Offload>> to_receive;
  std::pair<Bytes, Offload> current;
};

/// A TCP or UDP packet in an Ethernet frame, with a payload of `payload` bytes that count up and no checksum.
struct PacketShape {
  bool ipv6 = false, tcp = true;
  std::size_t payload = 100, tcp_options = 0, vlan_tags = 0;
};
Bytes make_packet(const PacketShape& shape);

}  // namespace pinfold::devices::net
