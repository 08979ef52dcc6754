// A guest that attacks the backend of its disk: by requests, grants, frames that become page tables, and its
// ring. Each bad request fails, and good ones go on. Its disk is its own kernel file, read-only.
#include "disk/frontend.hpp"
#include "refused/errors.hpp"

using namespace kit;
using namespace kit::disk;

namespace {

constexpr u32 buffer_ref = 9, other_ref = 10, list_ref = 11;
constexpr u64 magic = 0x010102464c457f;  // the first bytes of an ELF file

Ring ring;
Page* buffer;

bool works() {
  *buffer = {};
  grant(buffer_ref, mfn_of(buffer));
  return ring.ask(request(BLKIF_OP_READ, 0, buffer_ref)) == okay &&
         (buffer->words[0] & 0xffffffffffffff) == magic;
}

void requests() {
  CHECK(works());
  CHECK_EQ(ring.ask(request(BLKIF_OP_READ, 0, buffer_ref, 5, 4)), error);
  CHECK_EQ(ring.ask(request(BLKIF_OP_READ, 0, buffer_ref, 0, 8)), error);
  CHECK_EQ(ring.ask(request(BLKIF_OP_READ, 0, buffer_ref, 255, 255)), error);
  for (const u64 sector : {1UL << 30, 1UL << 55, 1UL << 63, ~0UL, ~0UL - 7})
    CHECK_EQ(ring.ask(request(BLKIF_OP_READ, sector, buffer_ref)), error);
  CHECK_EQ(ring.ask(request(BLKIF_OP_WRITE, 0, buffer_ref)), error);
  for (const int operation : {BLKIF_OP_WRITE_BARRIER, 4, 7, 255})
    CHECK_EQ(ring.ask(request(operation, 0, buffer_ref)), unsupported);
  for (const int count : {0, 12, 255}) {
    auto r = request(BLKIF_OP_READ, 0, buffer_ref);
    r.nr_segments = static_cast<u8>(count);
    CHECK_EQ(ring.ask(r), error);
  }
  // One page, several times in a request: the last segment that names a part of it decides.
  auto r = request(BLKIF_OP_READ, 0, buffer_ref);
  r.nr_segments = 2;
  r.seg[1] = {buffer_ref, 0, 0};
  CHECK_EQ(ring.ask(r), okay);
  CHECK_EQ(flags_of(buffer_ref), GTF_permit_access);
  CHECK(works());
}

void grants_that_are_none() {
  Page* other = new_page();
  const u64 frame = mfn_of(other);
  const auto fails = [] {
    CHECK_EQ(ring.ask(request(BLKIF_OP_READ, 0, other_ref)), error);
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
  // The frame behind the last one is the grant table's by now.
  for (const u64 bad : {foreign_frame() + 1, u64{0xffffffff}}) {
    grant(other_ref, bad);
    fails();
  }
  for (const u32 ref : {600U, 32768U, 0xffffffffU}) CHECK_EQ(ring.ask(request(BLKIF_OP_READ, 0, ref)), error);
  for (const u64 word : other->words) CHECK_EQ(word, 0);
  CHECK(works());
}

/// The disk must not write into a page table or a descriptor page.
void tables() {
  Page* table = new_page();
  grant(other_ref, mfn_of(table));
  CHECK_EQ(make_read_only(table), 0);
  for (const u32 pin : {MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE}) {
    CHECK_EQ(extended(pin, mfn_of(table)), 0);
    CHECK_EQ(ring.ask(request(BLKIF_OP_READ, 0, other_ref)), error);
    CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(table)), 0);
  }
  const u64 frame = mfn_of(table);
  CHECK_EQ(hypercall(__HYPERVISOR_set_gdt, &frame, 512), 0);
  CHECK_EQ(ring.ask(request(BLKIF_OP_READ, 0, other_ref)), error);
  CHECK_EQ(hypercall(__HYPERVISOR_set_gdt, nullptr, 0), 0);
  for (int level = 1; level <= 4; ++level) {
    grant(other_ref, mfn_of(table_of(level, word(table))));
    CHECK_EQ(ring.ask(request(BLKIF_OP_READ, 0, other_ref)), error);
  }
  for (const u64 entry : table->words) CHECK_EQ(entry, 0);
  CHECK_EQ(make_writable(table), 0);
  CHECK(works());
}

/// A frame that the guest makes into a table while the request is on its way is either data or a table, and
/// never both.
void races() {
  Page* page = new_page();
  grant(other_ref, mfn_of(page));
  u32 pinned = 0, refused = 0;
  for (int round = 0; round < 300; ++round) {
    *page = {};
    CHECK_EQ(make_read_only(page), 0);
    ring.next() = request(BLKIF_OP_READ, 0, other_ref);
    ring.push();
    for (int spin = 0; spin < round * 10; ++spin) asm volatile("pause");
    const bool is_table = extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)) == 0;
    const int status = ring.take();
    if (is_table) {
      for (const u64 entry : page->words) CHECK_EQ(entry, 0);
      CHECK_EQ(status, error);
      CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(page)), 0);
    } else {
      CHECK_EQ(status, okay);
    }
    ++(is_table ? pinned : refused);
    CHECK_EQ(flags_of(other_ref), GTF_permit_access);
    CHECK_EQ(make_writable(page), 0);
  }
  say("races: ", long{pinned}, " became tables, ", long{refused}, " stayed data");
  CHECK(works());
}

void indirect() {
  auto* list = reinterpret_cast<blkif_request_segment*>(new_page());
  grant(list_ref, mfn_of(list));
  const auto ask = [](u16 count, u32 ref) {
    auto& raw = reinterpret_cast<blkif_request_indirect&>(ring.next());
    raw = {};
    raw.operation = BLKIF_OP_INDIRECT;
    raw.indirect_op = BLKIF_OP_READ;
    raw.nr_segments = count;
    for (u32& page : raw.indirect_grefs) page = ref;
    ring.push();
    return ring.take();
  };
  for (int i = 0; i < 512; ++i) list[i] = {buffer_ref, 0, 0};
  CHECK_EQ(ask(16, list_ref), okay);
  for (const u32 count : {0U, 257U, 512U, 65535U}) CHECK_EQ(ask(static_cast<u16>(count), list_ref), error);
  list[15].last_sect = 8;
  CHECK_EQ(ask(16, list_ref), error);
  list[15] = {list_ref, 0, 0};  // the list itself is written
  CHECK_EQ(ask(16, list_ref), okay);
  CHECK_EQ(ask(16, 77), error);
  CHECK(works());
}

void rings() {
  for (const u32 index : {33U, 0x80000000U, ~0U}) {
    __atomic_store_n(&ring.shared->req_prod, ring.produced + index, __ATOMIC_SEQ_CST);
    CHECK_EQ(send(ring.port), 0);
    CHECK(nodes.reaches('5'));
    ring.begin_again();
    ring.connect();
    CHECK(works());
  }
  // The ring stays data as long as the device is connected.
  CHECK_EQ(make_read_only(reinterpret_cast<Page*>(ring.shared)), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(ring.shared)), einval);
  CHECK_EQ(make_writable(reinterpret_cast<Page*>(ring.shared)), 0);
  CHECK(works());
}

/// In any state, also in the middle of requests, a frontend may be gone; the next one finds a device that
/// works.
void frontends_that_die() {
  // As in xen/io/xenbus.h, and some that are no states.
  for (const int state : {0, 2, 3, 4, 5, 6, 7, 9, 100}) {
    ring.next() = request(BLKIF_OP_READ, 0, buffer_ref);
    ring.push();
    nodes.write("state", static_cast<u64>(state));
    ring.begin_again();
    ring.connect();
    CHECK(works());
  }
}

}  // namespace

void test() {
  two_level::mask_all();
  buffer = new_page();
  CHECK(nodes.reaches('2'));
  ring.connect();
  requests();
  grants_that_are_none();
  tables();
  races();
  indirect();
  rings();
  frontends_that_die();
}
