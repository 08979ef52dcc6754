// Two test guests of one machine that wait for each other. Each has the other's domain ID from its command
// line
// ("self=1 other=2"), and tells it numbers through nodes of the store that the other may read.
#pragma once

#include "kit/store_client.hpp"

namespace kit::meeting {

inline u32 self() {
  static const u32 id = static_cast<u32>(number_behind("self=", 0));
  return id;
}
inline u32 other() {
  static const u32 id = static_cast<u32>(number_behind("other=", 0));
  return id;
}
/// The first of the two to be named on pinfold's command line.
inline bool leads() { return self() < other(); }

inline void tell(const char* name, u64 number) {
  using namespace store;
  const Text path("data/", name);
  CHECK(same(write(path, Text(number)), ""));
  CHECK(same(set_permissions(path, Text("n", self()), Text("r", other())), ""));
}
/// Waits until the other guest has told it.
inline u64 hear(const char* name) {
  using namespace store;
  const u64 limit = now_ns() + 60'000'000'000;
  const Text path("/local/domain/", other(), "/data/", name);
  while (!same(read(path), "")) {
    if (now_ns() > limit) {
      say("FAILED: heard nothing of ", name);
      finish();
    }
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
  }
  return number_in(reply.payload);
}
/// Both come to the same place. A guest's nodes end with it, so neither may end before the other one has
/// certainly left the place: the last of these is leave() or stay().
inline void meet(const char* where) {
  tell(where, 1);
  hear(where);
}
/// The last meeting of the guest that may end at once then. The other one calls stay().
inline void leave() {
  meet("end");
  hear("seen-off");
}
/// The last meeting of the guest that ends later: not before it has seen that the other one is gone.
inline void stay() {
  meet("end");
  tell("seen-off", 1);
}

}  // namespace kit::meeting
