// A guest that attacks the receive ring of an interface, and its nodes: nothing is written but what it
// granted for writing, and an interface works again for the next frontend, whatever the last one did.
#include "net/frontend.hpp"
#include "refused/errors.hpp"

using namespace kit;
using namespace kit::net;

namespace {

/// b gets a frame in the page that it posts under `ref`. Its status.
int status_with(u32 ref) {
  write_frame(1);
  b.post(ref, 0xabcd);
  b.push_rx();
  CHECK_EQ(a.ask(request(frame_size)), okay);
  const auto response = b.take_rx();
  CHECK_EQ(response.id, 0xabcd);
  return response.status;
}

void grants_that_are_none() {
  Page* other = new_page();
  const u64 frame = mfn_of(other);
  const auto fails = [] {
    CHECK_EQ(status_with(other_ref), error);
    CHECK_EQ(flags_of(other_ref) & (GTF_reading | GTF_writing), 0);
  };
  grant(other_ref, frame, 0);
  fails();
  grant(other_ref, frame, GTF_permit_access | GTF_readonly);
  fails();
  grant(other_ref, frame, GTF_permit_access, 5);
  fails();
  grant(other_ref, frame, GTF_accept_transfer);
  fails();
  for (const u64 bad : {foreign_frame() + 1, u64{0xffffffff}}) {
    grant(other_ref, bad);
    fails();
  }
  for (const u32 ref : {600U, 32768U, 0xffffffffU}) CHECK_EQ(status_with(ref), error);
  for (const u64 word : other->words) CHECK_EQ(word, 0);
  CHECK(works());
}

/// No frame gets into a page table or a descriptor page.
void tables() {
  Page* table = new_page();
  grant(other_ref, mfn_of(table));
  CHECK_EQ(make_read_only(table), 0);
  for (const u32 pin : {MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE}) {
    CHECK_EQ(extended(pin, mfn_of(table)), 0);
    CHECK_EQ(status_with(other_ref), error);
    CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(table)), 0);
  }
  const u64 frame = mfn_of(table);
  CHECK_EQ(hypercall(__HYPERVISOR_set_gdt, &frame, 512), 0);
  CHECK_EQ(status_with(other_ref), error);
  CHECK_EQ(hypercall(__HYPERVISOR_set_gdt, nullptr, 0), 0);
  for (int level = 1; level <= 4; ++level) {
    grant(other_ref, mfn_of(table_of(level, word(table))));
    CHECK_EQ(status_with(other_ref), error);
  }
  for (const u64 entry : table->words) CHECK_EQ(entry, 0);
  CHECK_EQ(make_writable(table), 0);
  CHECK(works());
}

/// A page that becomes a table while a frame is on its way to it is either data or a table, and never both.
void races() {
  Page* page = new_page();
  grant(other_ref, mfn_of(page));
  u32 pinned = 0, refused = 0;
  for (int round = 0; round < 200; ++round) {
    *page = {};
    CHECK_EQ(make_read_only(page), 0);
    write_frame(1);
    b.post(other_ref);
    b.push_rx();
    a.put(request(frame_size));
    a.push_tx();
    for (int spin = 0; spin < round * 10; ++spin) asm volatile("pause");
    const bool is_table = extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)) == 0;
    const int status = b.take_rx().status;
    if (is_table) {
      for (const u64 entry : page->words) CHECK_EQ(entry, 0);
      CHECK_EQ(status, error);
      CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(page)), 0);
    } else {
      CHECK_EQ(status, int{frame_size});
    }
    ++(is_table ? pinned : refused);
    CHECK_EQ(a.take_tx(), okay);
    CHECK_EQ(make_writable(page), 0);
  }
  say("races: ", long{pinned}, " became tables, ", long{refused}, " stayed data");
  CHECK(works());
}

void shared_pages_and_ids() {
  Page* other = new_page();
  grant(other_ref, mfn_of(other));
  for (int n = 0; n < 3; ++n) b.post(other_ref, 7);
  b.push_rx();
  write_frame(1);
  for (int n = 0; n < 3; ++n) CHECK_EQ(a.ask(request(frame_size)), okay);
  for (int n = 0; n < 3; ++n) {
    const auto response = b.take_rx();
    CHECK_EQ(response.id, 7);
    CHECK_EQ(response.status, int{frame_size});
  }
  for (u32 at = frame_size / 8 + 1; at < 512; ++at) CHECK_EQ(other->words[at], 0);
  CHECK(works());
}

/// A frontend that can't receive more than a page gets no more.
void large_frames() {
  a.put(request(5000, 0, NETTXF_more_data));
  a.put(request(4000));
  a.push_tx();
  CHECK_EQ(a.take_tx(), okay);
  CHECK_EQ(a.take_tx(), okay);
  CHECK(works());
}

void reconnect(Interface& interface) {
  interface.begin_again();
  interface.connect();
  CHECK(works());
}

void broken_rings() {
  for (const u32 jump : {entries + 1, 0x80000000U, ~0U}) {
    b.rx_produced += jump;
    b.push_rx();
    CHECK_EQ(a.ask(request(frame_size)), okay);  // The ring is looked at when there is something to receive.
    CHECK(b.nodes.reaches('5'));
    CHECK_EQ(a.nodes.backend_state(), '4');
    reconnect(b);
  }
  // Its own rings are data like any other: the frame's first bytes become an index.
  for (const u32 ring : {b.tx_ref, b.rx_ref}) {
    write_frame(1);
    b.post(ring);
    b.push_rx();
    for (int n = 0; n < 2; ++n) CHECK_EQ(a.ask(request(frame_size)), okay);
    CHECK(b.nodes.reaches('5'));
    reconnect(b);
  }
  // A ring stays data as long as the device is connected.
  for (void* const ring : {static_cast<void*>(b.tx), static_cast<void*>(b.rx)}) {
    CHECK_EQ(make_read_only(ring), 0);
    CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(ring)), einval);
    CHECK_EQ(make_writable(ring), 0);
  }
  CHECK(works());
}

struct BadNode {
  const char* name;
  const char* value;
};
constexpr BadNode bad_nodes[] = {
    {"tx-ring-ref", ""},
    {"tx-ring-ref", "x"},
    {"tx-ring-ref", "-1"},
    {"tx-ring-ref", "600"},
    {"tx-ring-ref", "4294967296"},
    {"rx-ring-ref", "99999999999999999999"},
    {"rx-ring-ref", "500"},
    {"event-channel", "0"},
    {"event-channel", ""},
    {"event-channel", "4000000000"},
    {"event-channel-tx", "0"},
    {"event-channel-tx", "1"},
    {"multi-queue-num-queues", "0"},
    {"multi-queue-num-queues", "2"},
    {"multi-queue-num-queues", "3"},
    {"multi-queue-num-queues", "4294967295"},
    {"multi-queue-num-queues", "-1"},
    {"multi-queue-num-queues", "x"},
    {"request-rx-copy", "0"},
    {"request-rx-copy", "yes"},
    {"feature-rx-notify", "0"},
    {"feature-sg", "many"},
};

void nodes() {
  a.begin_again();
  for (const auto& [name, value] : bad_nodes) {
    a.prepare();
    a.nodes.write(name, Text().add(value));
    a.nodes.write("state", XenbusStateConnected);
    CHECK(a.nodes.reaches('5'));
    a.begin_again();
    a.nodes.remove(name);
  }
  // One port for two directions that want one each, and then two ports.
  a.prepare();
  a.nodes.write("event-channel-tx", a.port);
  a.nodes.write("event-channel-rx", a.port);
  a.nodes.write("state", XenbusStateConnected);
  CHECK(a.nodes.reaches('5'));
  a.begin_again();
  a.prepare();
  const u32 second = new_port();
  a.nodes.write("event-channel-tx", a.port);
  a.nodes.write("event-channel-rx", second);
  a.nodes.write("state", XenbusStateConnected);
  CHECK(a.nodes.reaches('4'));
  CHECK(works());
  a.begin_again();
  CHECK_EQ(close(second), 0);
  a.nodes.remove("event-channel-tx");
  a.nodes.remove("event-channel-rx");
  a.connect();
  CHECK(works());
}

/// In any state, also with frames on their way, a frontend may be gone; the next one finds an interface that
/// works.
void frontends_that_die() {
  // As in xen/io/xenbus.h, and some that are no states.
  for (const u64 state : {0UL, 2UL, 3UL, 4UL, 5UL, 6UL, 7UL, 9UL, 100UL})
    for (Interface* interface : {&a, &b}) {
      a.put(request(frame_size));
      a.push_tx();
      interface->nodes.write("state", state);
      if (interface == &b) CHECK_EQ(a.take_tx(), okay);
      reconnect(*interface);
    }
  // Back and forth, without waiting for the backend.
  for (u64 n = 0; n < 300; ++n) a.nodes.write("state", n * 7 % 11);
  reconnect(a);
  b.nodes.remove("state");
  CHECK(b.nodes.reaches('6'));
  b.nodes.write("state", XenbusStateInitialising);
  CHECK(b.nodes.reaches('2'));
  CHECK_EQ(close(b.port), 0);
  b.connect();
  CHECK(works());
}

}  // namespace

void test() {
  begin();
  grants_that_are_none();
  tables();
  races();
  shared_pages_and_ids();
  large_frames();
  broken_rings();
  nodes();
  frontends_that_die();
}
