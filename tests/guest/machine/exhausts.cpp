// Uses up one thing that the machine has for it, again and again, as its command line says, until it is
// destroyed. It never has to do with what is its neighbour's (faults.cpp), except that it tries: its
// neighbour grants and accepts nothing, but for the two ways that use a page that it lends.
#include "events/ports.hpp"
#include "machine/attacks.hpp"

using namespace kit;

namespace {

/// Frames that nothing maps: the last ones of the guest's memory.
u64* spare_frames() { return reinterpret_cast<u64*>(info->mfn_list) + info->nr_pages - 1024; }

void nothing() { hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr); }

void ports() {
  static u32 taken[4096];
  u32 count = 0;
  for (evtchn_alloc_unbound args{DOMID_SELF, other(), 0};
       count < 4096 && channel_op(EVTCHNOP_alloc_unbound, args) == 0;)
    taken[count++] = args.port;
  CHECK(count > 4000);
  for (evtchn_bind_interdomain args{other(), 1, 0}; args.remote_port < 4096; ++args.remote_port)
    (void)channel_op(EVTCHNOP_bind_interdomain, args);
  while (count != 0) CHECK_EQ(close(taken[--count]), 0);
}

/// All frames of its table, and its neighbour's references.
void grants() {
  static u64 frames[64];
  gnttab_setup_table setup{};
  setup.dom = DOMID_SELF;
  setup.nr_frames = 64;
  setup.frame_list.p = frames;
  CHECK_EQ(grant_op(GNTTABOP_setup_table, setup), 0);
  static gnttab_map_grant_ref maps[512];
  for (u32 i = 0; i < 512; ++i) {
    maps[i] = {};
    maps[i].host_addr = window(0);
    maps[i].flags = GNTMAP_host_map;
    maps[i].ref = i;
    maps[i].dom = other();
  }
  CHECK_EQ(grant_op(GNTTABOP_map_grant_ref, maps[0], 512), 0);
}

/// As many mappings as it may have, of a frame of its own.
void maptrack() {
  static Page* const page = new_page();
  static u32 handles[8192];
  grant(secret_ref, mfn_of(page), granted, self());
  u32 count = 0;
  for (; count < 8192; ++count) {
    const auto mapped = try_map(secret_ref, 0, GNTMAP_device_map, self());
    if (mapped.status != GNTST_okay) break;
    handles[count] = mapped.handle;
  }
  CHECK(count > 200);
  const u64 bus = mfn_of(page) * page_size;
  while (count != 0) CHECK_EQ(unmap_grant(handles[--count], 0, bus), GNTST_okay);
}

void nodes() {
  using namespace store;
  for (u64 i = 0; i < 2000; ++i) (void)write(Text("data/", i), Text(i));
}

/// Tables: each has a mirror, and is read-only in the view.
void mirrors() {
  const u64* const frames = spare_frames();
  u64 pinned = 0;
  for (u64 i = 0; i < 512; ++i)
    if (extended(MMUEXT_PIN_L1_TABLE, frames[i]) == 0) ++pinned;
  CHECK(pinned > 0);
  for (u64 i = 0; i < 512; ++i) (void)extended(MMUEXT_UNPIN_TABLE, frames[i]);
}

long change(u32 command, u64* list, u64 count) {
  xen_memory_reservation request{};
  request.extent_start.p = list;
  request.nr_extents = count;
  request.domid = DOMID_SELF;
  return memory_op(command, request);
}
/// All that it may have, and more.
void memory() {
  static u64 more[64];
  u64* const list = spare_frames();
  (void)change(XENMEM_decrease_reservation, list, 512);
  for (u64 i = 0; i < 512; ++i) list[i] = 0;
  (void)change(XENMEM_populate_physmap, list, 512);
  for (u64& pfn : more) pfn = 0;
  CHECK_EQ(change(XENMEM_populate_physmap, more, 64), 0);
}

/// Frames that its neighbour does not accept. They are lost, and it gets others.
void transfers() {
  u64* const list = spare_frames();
  for (u64 i = 0; i < 64; ++i) {
    gnttab_transfer args{list[i], other(), static_cast<u32>(i), 99};
    CHECK_EQ(grant_op(GNTTABOP_transfer, args), 0);
    CHECK(args.status == GNTST_general_error ||
          args.status == GNTST_bad_domain);  // its neighbour may have ended
    list[i] = 0;
  }
  CHECK_EQ(change(XENMEM_populate_physmap, list, 64), 64);
}

/// Holds its lock as long as one hypercall lasts, with lists that take the budget of one exit.
void lock() {
  static mmu_update_t list[4096];
  static Page* const page = new_page();
  for (u64 i = 0; i < 4096; ++i)
    list[i] = {entry_address(1, word(page)), mfn_of(page) * page_size | data | (i % 2 == 0 ? 1UL << 9 : 0)};
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, list, 4096, nullptr, DOMID_SELF), 0);
}

constexpr u32 uses_a_call = 64;

/// Its neighbour's page, with an unmap for each map. The neighbour may have ended.
void maps_lent() {
  static gnttab_map_grant_ref maps[uses_a_call];
  static gnttab_unmap_grant_ref unmaps[uses_a_call];
  for (auto& args : maps) {
    args = {};
    args.flags = GNTMAP_device_map;
    args.ref = secret_ref;
    args.dom = other();
  }
  CHECK_EQ(grant_op(GNTTABOP_map_grant_ref, maps[0], uses_a_call), 0);
  u32 count = 0;
  for (const auto& args : maps)
    if (args.status == GNTST_okay) unmaps[count++] = {0, args.dev_bus_addr, args.handle, 99};
  CHECK(count == uses_a_call || maps[uses_a_call - 1].status == GNTST_bad_domain);
  if (count != 0) CHECK_EQ(grant_op(GNTTABOP_unmap_grant_ref, unmaps[0], count), 0);
}

/// From and to its neighbour's page in turn: so each copy begins a use of the grant.
void copies_lent() {
  static gnttab_copy copies[uses_a_call];
  static Page* const page = new_page();
  for (u32 i = 0; i < uses_a_call; ++i) {
    gnttab_copy& args = copies[i];
    args = {};
    const bool is_read = i % 2 == 0;
    auto &lent = is_read ? args.source : args.dest, &own = is_read ? args.dest : args.source;
    lent.u.ref = secret_ref;
    lent.domid = other();
    own.u.gmfn = mfn_of(page);
    own.domid = DOMID_SELF;
    args.flags = is_read ? GNTCOPY_source_gref : GNTCOPY_dest_gref;
    args.len = 8;
  }
  CHECK_EQ(grant_op(GNTTABOP_copy, copies[0], uses_a_call), 0);
  const auto status = copies[uses_a_call - 1].status;
  CHECK(status == GNTST_okay || status == GNTST_bad_domain);
}

struct Way {
  const char* name;
  void (*use_up)();
};
constexpr Way ways[] = {{"nothing", nothing},   {"ports", ports},         {"grants", grants},
                        {"maptrack", maptrack}, {"nodes", nodes},         {"mirrors", mirrors},
                        {"memory", memory},     {"transfers", transfers}, {"holds-lock", lock},
                        {"maps", maps_lent},    {"copies", copies_lent}};

}  // namespace

void test() {
  install_traps();
  for (const Way& way : ways) {
    if (!asked_for(way.name)) continue;
    if (asked_for("lent")) meeting::hear("lends");
    meeting::tell("begins", 1);
    way.use_up();
    say("busy");
    for (;;) way.use_up();
  }
  say("FAILED: no such way");
}
