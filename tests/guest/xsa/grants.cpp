// A guest that maps and copies what it grants to itself. Xen answers in the same way, where nothing else is
// said.
#include <xen/event_channel.h>
#include <xen/grant_table.h>

#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr u16 plain = GTF_permit_access, in_use = plain | GTF_reading | GTF_writing;
constexpr u32 ref = 20, other_ref = 21, table_ref = 22;

grant_entry_v1* table;
domid_t self;

/// Not the guest's, nor the monitor's for its grant table.
u64 others_frame() { return foreign_frame() + 64; }

template <class Args>
long grant_op(u32 op, Args& args, u32 count = 1) {
  return hypercall(__HYPERVISOR_grant_table_op, op, &args, count);
}

/// Its own number: the one for which a port is reserved if it names itself.
domid_t own_number() {
  evtchn_alloc_unbound port{DOMID_SELF, DOMID_SELF, 0};
  CHECK_EQ(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &port), 0);
  evtchn_status status{};
  status.dom = DOMID_SELF;
  status.port = port.port;
  CHECK_EQ(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_status, &status), 0);
  CHECK_EQ(status.status, EVTCHNSTAT_unbound);
  return status.u.unbound.dom;
}

void set_up() {
  u64 frame = 0;
  gnttab_setup_table setup{};
  setup.dom = DOMID_SELF;
  setup.nr_frames = 1;
  setup.frame_list.p = &frame;
  CHECK_EQ(grant_op(GNTTABOP_setup_table, setup), 0);
  CHECK_EQ(setup.status, GNTST_okay);
  Page* window = new_page();
  CHECK_EQ(map(window, frame * page_size | data), 0);
  table = reinterpret_cast<grant_entry_v1*>(window);
}

void grant(u32 entry, u64 frame, u16 flags = plain) {
  table[entry].frame = static_cast<u32>(frame);
  table[entry].domid = self;
  __atomic_store_n(&table[entry].flags, flags, __ATOMIC_SEQ_CST);
}
u16 flags_of(u32 entry) { return __atomic_load_n(&table[entry].flags, __ATOMIC_SEQ_CST); }

gnttab_map_grant_ref map_grant(u32 entry, u64 where, u32 flags = GNTMAP_host_map) {
  gnttab_map_grant_ref args{};
  args.host_addr = where;
  args.flags = flags;
  args.ref = entry;
  args.dom = self;
  CHECK_EQ(grant_op(GNTTABOP_map_grant_ref, args), 0);
  return args;
}
long unmap_grant(u32 handle, u64 where, u64 bus = 0) {
  gnttab_unmap_grant_ref args{where, bus, handle, 99};
  CHECK_EQ(grant_op(GNTTABOP_unmap_grant_ref, args), 0);
  return args.status;
}

/// An address that nothing is mapped at yet.
u64 window(u64 n) { return unmapped_address() + n * page_size; }

void maps_and_unmaps(Page* page) {
  grant(ref, mfn_of(page));
  page->words[5] = 0x1234;
  const auto mapped = map_grant(ref, window(0));
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(mapped.dev_bus_addr, mfn_of(page) * page_size);
  CHECK_EQ(flags_of(ref), in_use);
  const u64 entry = entry_of(1, window(0));
  CHECK_EQ(entry & address_bits, mfn_of(page) * page_size);
  CHECK_EQ(entry & (present | writable | accessed | dirty), present | writable | accessed | dirty);
  CHECK_EQ(entry >> 63, 1);
  auto* seen = reinterpret_cast<volatile u64*>(window(0));
  CHECK_EQ(seen[5], 0x1234);
  seen[6] = 0x5678;
  CHECK_EQ(page->words[6], 0x5678);
  // A frame that may be written through a grant is no table.
  CHECK_EQ(make_read_only(page), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)), einval);
  CHECK_EQ(unmap_grant(mapped.handle, window(1)), GNTST_general_error);
  CHECK_EQ(flags_of(ref), in_use);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
  CHECK_EQ(flags_of(ref), plain);
  CHECK_EQ(entry_of(1, window(0)), 0);
  try_load(window(0));
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_bad_handle);
  CHECK_EQ(make_writable(page), 0);
}

void names_the_entry_itself(Page* page) {
  grant(ref, mfn_of(page), plain | GTF_readonly);
  const u64 entry = entry_address(1, window(0));
  CHECK_EQ(map_grant(ref, window(0)).status, GNTST_general_error);
  constexpr u32 flags = GNTMAP_host_map | GNTMAP_contains_pte | GNTMAP_readonly | 5U << _GNTMAP_guest_avail0;
  CHECK_EQ(map_grant(ref, entry + 4, flags).status, GNTST_general_error);
  CHECK_EQ(map_grant(ref, mfn_of(page) * page_size, flags).status, GNTST_general_error);
  const auto mapped = map_grant(ref, entry, flags);
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(flags_of(ref), plain | GTF_readonly | GTF_reading);
  CHECK_EQ(entry_of(1, window(0)) & writable, 0);
  CHECK_EQ(entry_of(1, window(0)) >> 9 & 7, 5);
  try_store(window(0), 1);
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_general_error);
  CHECK_EQ(unmap_grant(mapped.handle, entry), GNTST_okay);
}

/// XSA-224, 394: the parts of a mapping end one by one, and each holds the frame.
void has_two_parts(Page* page) {
  grant(ref, mfn_of(page));
  const auto mapped = map_grant(ref, window(0), GNTMAP_host_map | GNTMAP_device_map);
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
  CHECK_EQ(flags_of(ref), in_use);
  CHECK_EQ(make_read_only(page), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)), einval);
  CHECK_EQ(unmap_grant(mapped.handle, 0, mapped.dev_bus_addr + page_size), GNTST_bad_dev_addr);
  CHECK_EQ(unmap_grant(mapped.handle, 0, mapped.dev_bus_addr), GNTST_okay);
  CHECK_EQ(flags_of(ref), plain);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(page)), 0);
  CHECK_EQ(make_writable(page), 0);
}

/// XSA-234: the entry of a read-only mapping does not end a writable one.
void tells_mappings_apart(Page* page) {
  grant(ref, mfn_of(page));
  const auto written = map_grant(ref, window(0)),
             read = map_grant(ref, window(1), GNTMAP_host_map | GNTMAP_readonly);
  CHECK_EQ(read.status, GNTST_okay);
  CHECK_EQ(unmap_grant(written.handle, window(1)), GNTST_general_error);
  CHECK_EQ(unmap_grant(read.handle, window(0)), GNTST_general_error);
  CHECK_EQ(unmap_grant(written.handle, window(0)), GNTST_okay);
  CHECK_EQ(flags_of(ref), plain | GTF_reading);
  CHECK_EQ(unmap_grant(read.handle, window(1)), GNTST_okay);
  CHECK_EQ(flags_of(ref), plain);
}

void maps_tables_to_be_read_only(Page* page) {
  CHECK_EQ(make_read_only(page), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)), 0);
  grant(table_ref, mfn_of(page));
  CHECK_EQ(map_grant(table_ref, window(0)).status, GNTST_general_error);
  const auto mapped = map_grant(table_ref, window(0), GNTMAP_host_map | GNTMAP_readonly);
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(page)), 0);
  CHECK_EQ(make_writable(page), 0);
}

void refuses_what_is_not_granted(Page* page) {
  grant(ref, mfn_of(page));
  CHECK_EQ(map_grant(ref, window(0), GNTMAP_readonly).status, GNTST_bad_gntref);
  CHECK_EQ(map_grant(0x7fffffff, window(0)).status, GNTST_bad_gntref);
  CHECK_EQ(map_grant(ref, 0x8000000000000000).status, GNTST_general_error);
  CHECK_EQ(map_grant(ref, HYPERVISOR_VIRT_START).status, GNTST_general_error);
  for (domid_t dom : {domid_t{DOMID_SELF}, domid_t{DOMID_INVALID}, domid_t{77}}) {
    gnttab_map_grant_ref args{window(0), GNTMAP_host_map, ref, dom, 99, 0, 0};
    CHECK_EQ(grant_op(GNTTABOP_map_grant_ref, args), 0);
    CHECK_EQ(args.status, GNTST_bad_domain);
  }
  for (u16 flags : {u16{0}, u16{GTF_accept_transfer}}) {
    grant(other_ref, mfn_of(page), flags);
    CHECK_EQ(map_grant(other_ref, window(0)).status, GNTST_general_error);
    CHECK_EQ(flags_of(other_ref), flags);
  }
  grant(other_ref, others_frame());
  CHECK_EQ(map_grant(other_ref, window(0)).status, GNTST_bad_page);
  grant(other_ref, mfn_of(page));
  table[other_ref].domid = 77;
  CHECK_EQ(map_grant(other_ref, window(0)).status, GNTST_general_error);
  CHECK_EQ(entry_of(1, window(0)), 0);
}

void replaces_mappings(Page* page, Page* spare) {
  grant(ref, mfn_of(page));
  const auto mapped = map_grant(ref, window(0));
  CHECK_EQ(map(window(1), mfn_of(spare) * page_size | data), 0);
  const u64 moved = entry_of(1, window(1));
  gnttab_unmap_and_replace args{window(0), window(1), mapped.handle, 99};
  CHECK_EQ(grant_op(GNTTABOP_unmap_and_replace, args), 0);
  CHECK_EQ(args.status, GNTST_okay);
  CHECK_EQ(entry_of(1, window(0)) & address_bits, moved & address_bits);
  CHECK_EQ(entry_of(1, window(1)), 0);
  CHECK_EQ(flags_of(ref), plain);
  CHECK_EQ(map(window(0), 0), 0);
}

long copy(u16 flags, u64 source, u64 dest, u16 length = 8, u16 from = 40, u16 to = 48,
          domid_t dom = DOMID_SELF) {
  gnttab_copy args{};
  args.source.domid = args.dest.domid = dom;
  args.source.u.gmfn = source;
  args.dest.u.gmfn = dest;
  if ((flags & GNTCOPY_source_gref) != 0) args.source.u.ref = static_cast<u32>(source);
  if ((flags & GNTCOPY_dest_gref) != 0) args.dest.u.ref = static_cast<u32>(dest);
  args.source.offset = from;
  args.dest.offset = to;
  args.len = length;
  args.flags = flags;
  args.status = 99;
  CHECK_EQ(grant_op(GNTTABOP_copy, args), 0);
  return args.status;
}

void copies(Page* page, Page* spare) {
  constexpr u16 both = GNTCOPY_source_gref | GNTCOPY_dest_gref;
  const u64 from = mfn_of(page), to = mfn_of(spare);
  grant(ref, from, plain | GTF_readonly);
  grant(other_ref, to);
  page->words[5] = 0x4321;
  CHECK_EQ(copy(0, from, to), GNTST_okay);
  CHECK_EQ(spare->words[6], 0x4321);
  spare->words[6] = 0;
  CHECK_EQ(copy(both, ref, other_ref), GNTST_okay);
  CHECK_EQ(spare->words[6], 0x4321);
  CHECK_EQ(copy(both, ref, other_ref, 8, 40, 48, self), GNTST_okay);
  CHECK_EQ(copy(both, other_ref, ref), GNTST_general_error);
  CHECK_EQ(copy(0, from, to, 8, 40, 48, self), GNTST_permission_denied);
  CHECK_EQ(copy(both, ref, other_ref, 8, 40, 48, 77), GNTST_bad_domain);
  CHECK_EQ(copy(0, from, to, 8, 4089, 0), GNTST_bad_copy_arg);
  CHECK_EQ(copy(0, from, to, 8, 0, 4089), GNTST_bad_copy_arg);
  CHECK_EQ(copy(0, from, to, 4096, 0, 0), GNTST_okay);
  CHECK_EQ(copy(0, others_frame(), to), GNTST_bad_page);
  CHECK_EQ(copy(0, from, others_frame()), GNTST_bad_page);
  CHECK_EQ(copy(both, 0x7fffffff, other_ref), GNTST_bad_gntref);
  const u64 l1 = mfn_of(table_of(1, word(page)));
  CHECK_EQ(copy(0, l1, to), GNTST_okay);
  CHECK_EQ(copy(0, from, l1), GNTST_general_error);
  CHECK_EQ(flags_of(ref), plain | GTF_readonly);
  CHECK_EQ(flags_of(other_ref), plain);
}

/// A mapping whose entry the guest clears itself can't be unmapped any more, and its grant stays in use.
void loses_a_mapping(Page* page) {
  grant(ref, mfn_of(page));
  const auto mapped = map_grant(ref, window(0));
  CHECK_EQ(map(window(0), 0), 0);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_general_error);
  CHECK_EQ(flags_of(ref), in_use);
  gnttab_swap_grant_ref swap{ref, other_ref, 99};
  CHECK_EQ(grant_op(GNTTABOP_swap_grant_ref, swap), 0);
  CHECK_EQ(swap.status, GNTST_eagain);
}

}  // namespace

void test() {
  install_traps();
  self = own_number();
  set_up();
  Page *page = new_page(), *spare = new_page();
  maps_and_unmaps(page);
  names_the_entry_itself(page);
  has_two_parts(page);
  tells_mappings_apart(page);
  maps_tables_to_be_read_only(new_page());
  refuses_what_is_not_granted(page);
  replaces_mappings(page, spare);
  copies(page, spare);
  loses_a_mapping(page);
}
