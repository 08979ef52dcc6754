// A neighbour grants a frame for a time. Afterwards the guest tries to reach it by what it had: the mapping
// that it unmapped, and the frame's number. With "ends" the neighbour has ended meanwhile, and the guest
// keeps its mapping until then; it also tries a frame of the dead one's that was never granted.
#include "kit/neighbour.hpp"
#include "machine/grants.hpp"

using namespace kit;

namespace {

void wait_for_the_end() {
  constexpr u64 patience = 90'000'000'000;
  const u64 end = now_ns() + patience;
  const auto is_there = [] {
    return try_map(secret_ref, window(1), GNTMAP_device_map | GNTMAP_readonly).status != GNTST_bad_domain;
  };
  while (is_there() && now_ns() < end) nap();
  CHECK(!is_there());
}

/// By a page-table entry, which the validator refuses, or else the view stops its use.
void reach(u64 frame) {
  auto* page = static_cast<volatile Page*>(new_page());
  if (map(word(page), frame * page_size | data) != 0) return;
  say("mapped a frame that is not its own");
  say("READ it: ", hex(page->words[1]));
}

}  // namespace

void test() {
  install_traps();
  const u64 frame = foreign_frame();
  const auto mapped = try_map(secret_ref, window(0));
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(mapped.dev_bus_addr, mailbox->frames[neighbours_loan] * page_size);
  // The processor may keep this translation from now on.
  *reinterpret_cast<volatile u64*>(window(0)) = reply;
  if (asked_for("ends")) {
    tell(mailbox->of_user, 2);
    wait_for_the_end();
    CHECK_EQ(*reinterpret_cast<volatile u64*>(window(0)), reply);
  }
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
  if (!asked_for("ends")) {
    tell(mailbox->of_user, 2);
    await(mailbox->of_owner, 2);  // its secret is there now
  }
  try_load(window(0));
  CHECK_EQ(caught.vector, 14);
  try_store(window(0), 1);
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_bad_handle);
  reach(frame);
  say("the validator stands");
}
