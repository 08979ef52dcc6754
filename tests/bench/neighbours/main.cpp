// usage: bench_neighbours ROW OPERATIONS
// What the monitor does in a hypercall by which domains share memory and notify each other: from the
// handler's call to its return, with a validator, guest memory and a grant table like a running domain's. A
// grant is of the domain to itself, as in the figures of Xen (tests/guest/grants/costs.cpp), or, in the rows
// that say so, of another domain of the machine. scripts/bench counts the instructions.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <exception>
#include <string_view>

#include "sharing.hpp"

using namespace pinfold;
using namespace pinfold::bench;

namespace {

constexpr std::uint32_t list_length = 32;

void copy(Sharing& world, std::uint64_t operations, DomId owner, std::uint16_t bytes, std::uint32_t count) {
  gnttab_copy one{};
  one.source.domid = one.dest.domid = owner.raw();
  one.source.u.ref = Sharing::source_ref;
  one.dest.u.ref = Sharing::dest_ref;
  one.len = bytes;
  one.flags = GNTCOPY_source_gref | GNTCOPY_dest_gref;
  const std::vector<gnttab_copy> list(count, one);
  for (std::uint64_t i = 0; i < operations; i += count) {
    world.put(std::span(list));
    world.grant_op(GNTTABOP_copy, count);
  }
  world.check(world.get<gnttab_copy>(count - 1).status);
}

void map_and_unmap(Sharing& world, std::uint64_t operations, DomId owner) {
  gnttab_map_grant_ref map{world.window().raw(), GNTMAP_host_map, Sharing::dest_ref, owner.raw(), 0, 0, 0};
  for (std::uint64_t i = 0; i < operations; ++i) {
    world.put(std::span(&map, 1));
    world.grant_op(GNTTABOP_map_grant_ref, 1);
    const auto mapped = world.get<gnttab_map_grant_ref>(0);
    world.check(mapped.status);
    const gnttab_unmap_grant_ref unmap{map.host_addr, 0, mapped.handle, 0};
    world.put(std::span(&unmap, 1));
    world.grant_op(GNTTABOP_unmap_grant_ref, 1);
    world.check(world.get<gnttab_unmap_grant_ref>(0).status);
  }
}

/// The domain's own: to the vCPU that sends, or to another one.
void send(Sharing& world, std::uint64_t operations, std::uint32_t port) {
  const evtchn_send args{port};
  for (std::uint64_t i = 0; i < operations; ++i) {
    world.put(std::span(&args, 1));
    world.event_op(EVTCHNOP_send);
    world.take_events(port);
  }
}

struct Row {
  std::string_view name;
  void (*run)(Sharing&, std::uint64_t);
};
constexpr Row rows[] = {
    {"copy-page", [](Sharing& w, std::uint64_t n) { copy(w, n, w.self(), 4096, 1); }},
    {"copy-page-in-list", [](Sharing& w, std::uint64_t n) { copy(w, n, w.self(), 4096, list_length); }},
    {"copy-8-bytes", [](Sharing& w, std::uint64_t n) { copy(w, n, w.self(), 8, 1); }},
    {"copy-8-bytes-in-list", [](Sharing& w, std::uint64_t n) { copy(w, n, w.self(), 8, list_length); }},
    {"map-unmap", [](Sharing& w, std::uint64_t n) { map_and_unmap(w, n, w.self()); }},
    {"copy-neighbours-page", [](Sharing& w, std::uint64_t n) { copy(w, n, w.neighbour(), 4096, 1); }},
    {"map-unmap-neighbours", [](Sharing& w, std::uint64_t n) { map_and_unmap(w, n, w.neighbour()); }},
    {"event", [](Sharing& w, std::uint64_t n) { send(w, n, w.port_to_itself()); }},
};

}  // namespace

int main(int count, char** words) {
  std::uint64_t operations = 0;
  const std::string_view number(count == 3 ? words[2] : "");
  const auto row = std::ranges::find(rows, std::string_view(count == 3 ? words[1] : ""), &Row::name);
  if (row == std::end(rows) ||
      std::from_chars(number.data(), number.data() + number.size(), operations).ec != std::errc()) {
    std::fputs("usage: bench_neighbours ROW OPERATIONS\nrows:", stderr);
    for (const Row& known : rows) std::fprintf(stderr, " %s", known.name.data());
    std::fputs("\n", stderr);
    return 2;
  }
  try {
    Sharing world;
    row->run(world, operations);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "bench_neighbours: %s\n", failure.what());
    return 1;
  }
  return 0;
}
