// One of two guests with a disk between them. The driver domain, which leads, takes the disk and never lets
// go of it; the guest that it serves lets go when it is asked to.
#include "machine/grants.hpp"

using namespace kit;
using store::same;
using store::Text;

namespace {

void await_state(const char* node, const char* state) {
  constexpr u64 patience = 150'000'000'000;
  const auto is_there = [&] { return same(store::read(node), "") && same(store::reply.payload, state); };
  for (const u64 end = now_ns() + patience; !is_there() && now_ns() < end; nap()) {
  }
  CHECK(is_there());
}

}  // namespace

void test() {
  const u32 back = meeting::leads() ? self() : other(), front = meeting::leads() ? other() : self();
  static char of_back[128], of_front[128];
  store::copy(of_back, Text("/local/domain/", back, "/backend/vbd/", front, "/51712/state"));
  store::copy(of_front, Text("/local/domain/", front, "/device/vbd/51712/state"));
  if (meeting::leads()) {
    await_state(of_back, "1");
    for (const char* state : {"2", "4"}) CHECK(same(store::write(of_back, state), ""));
    say("serves");
  } else {
    await_state(of_back, "4");
    CHECK(same(store::write(of_front, "4"), ""));
    say("is served");
    await_state(of_back, "5");
    CHECK(same(store::write(of_front, "6"), ""));
    say("has let go");
  }
  for (;;) nap();
}
