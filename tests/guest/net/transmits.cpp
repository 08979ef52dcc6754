// A guest that attacks the transmit ring of an interface. What is wrong about one frame fails, and the next
// one goes on; what leaves unclear where the next frame begins closes this interface, and no other.
#include "net/frontend.hpp"
#include "refused/errors.hpp"

using namespace kit;
using namespace kit::net;

namespace {

constexpr u32 more = NETTXF_more_data, has_extra = NETTXF_extra_info, blank = NETTXF_csum_blank;

netif_extra_info gso(u32 size, u32 type = XEN_NETIF_GSO_TYPE_TCPV4, u32 flags = 0) {
  netif_extra_info extra{};
  extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
  extra.flags = static_cast<u8>(flags);
  extra.u.gso.size = static_cast<u16>(size);
  extra.u.gso.type = static_cast<u8>(type);
  return extra;
}
netif_extra_info extra_of_type(u32 type) {
  netif_extra_info extra{};
  extra.type = static_cast<u8>(type);
  return extra;
}

void sizes_and_flags() {
  for (const u32 size : {0U, 1U, 13U, 4097U, 32768U, 65535U}) CHECK_EQ(a.ask(request(size)), error);
  for (const u32 offset : {4037U, 4095U, 4096U, 65535U}) CHECK_EQ(a.ask(request(frame_size, offset)), error);
  CHECK_EQ(a.ask(request(14)), okay);
  CHECK_EQ(a.ask(request(frame_size, 4036)), okay);
  CHECK_EQ(a.ask(request(4096)), okay);
  // Flags without a meaning, and a blank checksum of a frame that has none: it is dropped.
  CHECK_EQ(a.ask(request(frame_size, 0, 0xfff0)), okay);
  CHECK_EQ(a.ask(request(frame_size, 0, blank)), okay);
  CHECK(works());
}

void grants_that_are_none() {
  Page* other = new_page();
  const auto fails = [] {
    CHECK_EQ(a.ask(request(frame_size, 0, 0, other_ref)), error);
    CHECK_EQ(flags_of(other_ref) & (GTF_reading | GTF_writing), 0);
  };
  grant(other_ref, mfn_of(other), 0);
  fails();
  grant(other_ref, mfn_of(other), GTF_permit_access, 5);
  fails();
  grant(other_ref, mfn_of(other), GTF_accept_transfer);
  fails();
  for (const u64 bad : {foreign_frame() + 1, u64{0xffffffff}}) {
    grant(other_ref, bad);
    fails();
  }
  for (const u32 ref : {600U, 32768U, 0xffffffffU}) CHECK_EQ(a.ask(request(frame_size, 0, 0, ref)), error);
  // Its page tables are its own: as on Xen, it may let others read them.
  for (int level = 1; level <= 4; ++level) {
    grant(other_ref, mfn_of(table_of(level, word(other))));
    CHECK_EQ(a.ask(request(frame_size, 0, 0, other_ref)), okay);
    CHECK_EQ(flags_of(other_ref) & (GTF_reading | GTF_writing), 0);
  }
  grant(other_ref, mfn_of(other), GTF_permit_access | GTF_readonly);
  CHECK_EQ(a.ask(request(frame_size, 0, 0, other_ref)), okay);
  CHECK(works());
}

/// The requests of a frame: the first one's size is the whole frame's.
void chains() {
  for (const u32 count : {2U, u32{XEN_NETIF_NR_SLOTS_MIN}, 20U}) {
    a.put(request(frame_size * count, 0, more));
    for (u32 n = 1; n < count; ++n) a.put(request(frame_size, 0, n + 1 < count ? more : 0));
    a.push_tx();
    for (u32 n = 0; n < count; ++n) CHECK_EQ(a.take_tx(), okay);
  }
  const auto pair = [](const netif_tx_request& first, const netif_tx_request& second, int status) {
    a.put(first);
    a.put(second);
    a.push_tx();
    CHECK_EQ(a.take_tx(), status);
    CHECK_EQ(a.take_tx(), status);
  };
  pair(request(100, 0, more), request(101), error);
  pair(request(100, 0, more), request(100), okay);
  pair(request(4197, 0, more), request(100), error);
  pair(request(100, 4090, more), request(frame_size), error);
  pair(request(100, 0, more), request(frame_size, 4090), error);
  pair(request(100, 0, more), request(frame_size, 0, 0, 600), error);
  CHECK(works());
}

void extra_infos() {
  const auto fails = [](const netif_extra_info& extra) {
    a.put(request(frame_size, 0, has_extra | blank));
    a.put(extra);
    a.push_tx();
    CHECK_EQ(a.take_tx(), error);
    CHECK_EQ(a.take_tx(), null);
  };
  for (const u32 size : {0U, 1U, 47U}) fails(gso(size));
  for (const u32 type : {0U, 3U, 255U}) fails(gso(1448, type));
  for (const u32 type :
       {XEN_NETIF_EXTRA_TYPE_MCAST_ADD, XEN_NETIF_EXTRA_TYPE_MCAST_DEL, XEN_NETIF_EXTRA_TYPE_HASH})
    fails(extra_of_type(type));
  // Segments of what is no TCP packet.
  a.put(request(frame_size, 0, has_extra | blank));
  a.put(gso(1448));
  a.push_tx();
  CHECK_EQ(a.take_tx(), okay);
  CHECK_EQ(a.take_tx(), null);
  CHECK(works());
}

/// Puts the headers of a TCP packet into `out`: Ethernet, IPv4 and TCP, without options.
constexpr u32 header_size = 54;
void write_tcp(u32 size) {
  const u8 headers[header_size] = {0xff,
                                   0xff,
                                   0xff,
                                   0xff,
                                   0xff,
                                   0xff,
                                   0,
                                   0,
                                   0,
                                   0,
                                   0,
                                   0,
                                   8,
                                   0,  // to, from, IPv4
                                   0x45,
                                   0,
                                   static_cast<u8>((size - 14) >> 8U),
                                   static_cast<u8>(size - 14),
                                   0,
                                   0,
                                   0,
                                   0,
                                   64,
                                   6,
                                   0,
                                   0,
                                   10,
                                   0,
                                   0,
                                   1,
                                   10,
                                   0,
                                   0,
                                   2,  // from 10.0.0.1 to 10.0.0.2
                                   0,
                                   80,
                                   0,
                                   80,
                                   0,
                                   0,
                                   0,
                                   0,
                                   0,
                                   0,
                                   0,
                                   0,
                                   0x50,
                                   0x10,
                                   0,
                                   0,
                                   0,
                                   0,
                                   0,
                                   0};
  *out = {};
  __builtin_memcpy(out, headers, sizeof headers);
}

/// A packet of many segments, cut for b, which knows no large ones: each of its bytes comes once.
void segments(u32 size, u32 of) {
  write_tcp(size);
  const u32 parts = (size - 1) / 4096;
  a.put(request(size, 0, has_extra | blank | (parts != 0 ? more : 0)));
  a.put(gso(of));
  for (u32 n = 1; n <= parts; ++n) {
    const u32 left = size - parts * 4096;
    a.put(request(n < parts ? 4096 : left, 0, n < parts ? more : 0));
  }
  a.push_tx();
  for (u32 n = 0; n < parts + 2; ++n) CHECK_EQ(a.take_tx(), n == 1 ? null : okay);
  const u32 payload = size - header_size;
  u32 got = 0, count = 0;
  while (got < payload) {
    b.post(in_ref);
    b.push_rx();
    const auto response = b.take_rx();
    if (response.status == silence) break;
    const auto* type = reinterpret_cast<const u8*>(in) + 12;
    if (type[0] != 8) continue;  // an older frame
    CHECK(response.status <= static_cast<int>(header_size + of));
    got += static_cast<u32>(response.status) - header_size;
    ++count;
  }
  CHECK_EQ(got, payload);
  CHECK_EQ(count, (payload + of - 1) / of);
}

template <class Put>
void closes(Put put) {
  put();
  a.push_tx();
  CHECK(a.nodes.reaches('5'));
  CHECK_EQ(b.nodes.backend_state(), '4');
  a.begin_again();
  a.connect();
  CHECK(works());
}

void broken_rings() {
  closes([] {
    for (u32 n = 0; n < 21; ++n) a.put(request(frame_size, 0, more));
  });
  closes([] {
    for (u32 n = 0; n < entries; ++n) a.put(request(frame_size, 0, more));
  });
  closes([] { a.put(request(frame_size, 0, more)); });
  closes([] { a.put(request(frame_size, 0, has_extra)); });
  for (const u32 type : {u32{XEN_NETIF_EXTRA_TYPE_NONE}, u32{XEN_NETIF_EXTRA_TYPE_MAX}, 255U})
    closes([type] {
      a.put(request(frame_size, 0, has_extra));
      a.put(extra_of_type(type));
    });
  closes([] {
    a.put(request(frame_size, 0, has_extra));
    for (u32 n = 0; n < 200; ++n) a.put(gso(1448, XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_EXTRA_FLAG_MORE));
  });
  for (const u32 jump : {entries + 1, 0x80000000U, ~0U}) closes([jump] { a.tx_produced += jump; });
}

/// A full ring of frames that are wrong, again and again, and events without reason.
void floods() {
  for (u32 round = 0; round < 20; ++round) {
    for (u32 n = 0; n < entries; ++n) a.put(request(n % 2 == 0 ? 0 : 65535));
    a.push_tx();
    for (u32 n = 0; n < entries; ++n) CHECK_EQ(a.take_tx(), error);
  }
  for (u32 n = 0; n < 1000; ++n) CHECK_EQ(send(n % 2 == 0 ? a.port : b.port), 0);
  CHECK(works());
}

}  // namespace

void test() {
  begin();
  sizes_and_flags();
  grants_that_are_none();
  chains();
  extra_infos();
  segments(20000, 1448);
  segments(65535, 48);
  CHECK(works());
  broken_rings();
  floods();
}
