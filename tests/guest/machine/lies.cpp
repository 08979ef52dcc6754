// One of two guests with devices between them: a driver domain, which leads, and the guest that it serves.
// Each does what the other one would never expect: states in any order, nodes without number, grants that are
// forged or change, wrong references, ports that come and go. It never reaches what the other one keeps for
// itself. "rounds=" says when it ends.
#include "events/ports.hpp"
#include "machine/grants.hpp"

using namespace kit;
using store::ask;
using store::same;
using store::Text;

namespace {

constexpr u32 disk = 51712, interface = 0, pool_size = 4, refs = 48, first_ref = 16;
Page *kept = nullptr, *pool[pool_size];
u64 kept_by_the_other = 0;
u64 random_state = 0;

u32 any(u32 below) {
  random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
  return static_cast<u32>(random_state >> 20) % below;
}
template <class T, u64 count>
T any_of(const T (&list)[count]) {
  return list[any(count)];
}
u32 any_ref() { return any(10) == 0 ? any_of<u32>({0, 511, 512, 0x7fffffff, ~0U}) : first_ref + any(refs); }

/// The folder of one of the two devices, of this guest or of the other one.
Text folder_of(bool own, bool is_disk) {
  const char* const home = own ? "" : "/local/domain/";
  const char* const kind = is_disk ? "/vbd/" : "/vif/";
  const u32 number = is_disk ? disk : interface;
  const Text start = own ? Text(home) : Text(home, u32{other()}, "/");
  if (own == meeting::leads()) return Text(start, "backend", kind, u32{own ? other() : self()}, "/", number);
  return Text(start, "device", kind, number);
}
Text any_folder(bool own) { return folder_of(own, any(2) == 0); }

// -- the store
void writes_any_state() {
  const char* const states[] = {"0", "1", "2",  "3",  "4",    "5",          "6",
                                "7", "8", "44", "-1", "nine", "4294967300", ""};
  (void)store::write(Text(any_folder(true), "/state"), any_of(states));
}
void writes_any_node() {
  const char* const nodes[] = {"/frontend",        "/backend",       "/frontend-id", "/backend-id", "/online",
                               "/ring-ref",        "/event-channel", "/mac",         "/dev",        "/mode",
                               "/physical-device", "/sectors",       "/state/state"};
  const char* const values[] = {
      "/local/domain/0", "/local/domain/1/device/vbd/51712", "0", "4294967296", "%n", "../../.."};
  (void)store::write(Text(any_folder(true), any_of(nodes)), any_of(values));
}
void removes_nodes() {
  const char* const nodes[] = {"/state", "/state", "/online", "/flood", ""};
  (void)store::remove(Text(any_folder(true), any(8) == 0 ? "" : any_of(nodes)));
}
void floods() {
  const Text folder = any_folder(true);
  for (u32 i = 0; i < 32; ++i)
    if (!same(store::write(Text(folder, "/flood/", any(2000)), "x"), "")) {
      (void)store::remove(Text(folder, "/flood"));
      return;
    }
}
void changes_rights() {
  const char* const rights[] = {"n", "r"};
  (void)store::set_permissions(Text(any_folder(true), "/state"), Text("n", u32{self()}),
                               Text(any_of(rights), any(4)));
}
/// Nothing of the other's, and no device more.
void meddles() {
  for (const bool is_disk : {true, false}) {
    const Text folder = folder_of(false, is_disk);
    CHECK(!same(store::write(Text(folder, "/state"), "4"), ""));
    CHECK(!same(store::remove(folder), ""));
    CHECK(!same(store::remove(Text(folder, "/state")), ""));
    CHECK(!same(store::set_permissions(folder, Text("n", u32{self()}), Text("b", u32{self()})), ""));
    CHECK(!same(ask(XS_MKDIR, {Text(folder, "/more")}), ""));
  }
  CHECK(!same(store::write(meeting::leads() ? "backend/vbd/0/7" : "device/vbd/7", "x"), ""));
}
void watches() {
  const Text path(any_folder(false), "/state"), token("t", any(4));
  (void)ask(any(2) == 0 ? XS_WATCH : XS_UNWATCH, {path, token});
}
void transacts() {
  if (!same(ask(XS_TRANSACTION_START, {""}), "")) return;
  const auto number = static_cast<u32>(store::number_in(store::reply.payload));
  (void)store::read(Text(any_folder(false), "/state"), number);
  (void)store::write(Text(any_folder(true), "/state"), "4", number);
  (void)ask(XS_TRANSACTION_END, {any(2) == 0 ? "T" : "F"}, any(4) == 0 ? number + 1 : number);
}

// -- grants
u64 any_frame() {
  const u64 frames[] = {mfn_of(pool[any(pool_size)]),
                        mfn_of(pool[any(pool_size)]),
                        kept_by_the_other,
                        mfn_of(table_of(1, word(kept))),
                        mfn_of(reinterpret_cast<void*>(info->pt_base)),
                        info->shared_info / page_size,
                        0,
                        0xffffffff};
  return any_of(frames);
}
void grants_anything() {
  const u16 flags[] = {0, granted, granted, granted_for_reading, GTF_accept_transfer, GTF_transitive};
  grant(first_ref + any(refs), any_frame(), any_of(flags), static_cast<domid_t>(any(4)));
}
void maps_anything() {
  static u32 handles[16];
  const u32 flags[] = {GNTMAP_host_map, GNTMAP_host_map, GNTMAP_host_map | GNTMAP_readonly, GNTMAP_device_map,
                       GNTMAP_host_map | GNTMAP_contains_pte};
  const u64 where = any(10) == 0 ? any_frame() * page_size : window(any(7));
  const auto mapped = try_map(any_ref(), where, any_of(flags), any(8) == 0 ? self() : other());
  if (mapped.status == GNTST_okay) {
    CHECK(mapped.dev_bus_addr / page_size != kept_by_the_other);
    handles[any(16)] = mapped.handle;
  }
  for (u32 i = 0; i < 2; ++i)
    (void)unmap_grant(any(10) == 0 ? any_of<u32>({~0U, 1U << 31, 77}) : handles[any(16)],
                      any(10) == 0 ? 0 : window(any(7)));
}
gnttab_copy::gnttab_copy_ptr any_end(bool by_grant) {
  gnttab_copy::gnttab_copy_ptr end{};
  end.domid = by_grant ? other() : DOMID_SELF;
  end.offset = static_cast<u16>(any_of<u32>({0, 8, 4088, 4096, 0xffff}));
  if (by_grant)
    end.u.ref = any_ref();
  else
    end.u.gmfn = any_frame();
  return end;
}
void copies_anything() {
  gnttab_copy batch[4];
  for (gnttab_copy& one : batch) {
    const u32 flags = any(8);
    one = {any_end((flags & GNTCOPY_source_gref) != 0), any_end((flags & GNTCOPY_dest_gref) != 0),
           static_cast<u16>(any_of<u32>({0, 8, 4096, 0xffff})), static_cast<u16>(flags), 0};
  }
  CHECK_EQ(grant_op(GNTTABOP_copy, batch[0], 4), 0);
}
void gives_away_what_is_in_use() {
  gnttab_transfer args{mfn_of(pool[any(pool_size)]), other(), any_ref(), 99};
  CHECK_EQ(grant_op(GNTTABOP_transfer, args), 0);
  CHECK_EQ(args.status, GNTST_bad_page);
}

// -- ports
void plays_with_ports() {
  const u32 port = any(40);
  evtchn_alloc_unbound listen{DOMID_SELF, other(), 0};
  evtchn_bind_interdomain bind{other(), port, 0};
  switch (any(4)) {
    case 0: (void)channel_op(EVTCHNOP_alloc_unbound, listen); return;
    case 1: (void)channel_op(EVTCHNOP_bind_interdomain, bind); return;
    case 2: (void)send(port); return;
    default:
      // It goes on to use the store.
      if (port != info->store_evtchn && port != info->console.domU.evtchn) (void)close(port);
  }
}

constexpr void (*lies[])() = {
    writes_any_state, writes_any_state, writes_any_state, writes_any_node, removes_nodes,
    floods,           changes_rights,   meddles,          watches,         transacts,
    grants_anything,  grants_anything,  maps_anything,    copies_anything, gives_away_what_is_in_use,
    plays_with_ports};

u64 kept_word(u64 i) { return secret + (i << 32); }

}  // namespace

void test() {
  install_traps();
  two_level::mask_all();
  random_state = 88172645463325252UL + meeting::self();
  kept = new_page();
  for (u64 i = 0; i < 512; ++i) kept->words[i] = kept_word(i);
  for (Page*& page : pool) page = new_page();
  meeting::tell("kept", mfn_of(kept));
  kept_by_the_other = meeting::hear("kept");
  const u64 rounds = number_behind("rounds=", ~0UL);
  for (u64 round = 0; round < rounds; ++round) {
    any_of(lies)();
    if (round % 1000 != 999) continue;
    for (u64 i = 0; i < 512; ++i) CHECK_EQ(kept->words[i], kept_word(i));
    say("lied");
  }
}
