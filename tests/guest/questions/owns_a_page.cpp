// The first of two guests of docs/questions.md: a page of its own has a secret in it. It grants the page to
// its neighbour (tries_next_door.cpp) when the user sends the SysRq key `g`, and no more when they send `r`.
#include "machine/grants.hpp"

using namespace kit;

namespace {

void await_key(char key) {
  while (!store::same(store::read("control/sysrq"), "") || store::reply.payload[0] != key) nap();
}

}  // namespace

void test() {
  Page* page = new_page();
  page->words[5] = secret;
  say("a secret of mine is in the page at ", hex(word(page)));
  meeting::tell("frame", mfn_of(page));

  await_key('g');
  grant(secret_ref, mfn_of(page));
  meeting::tell("granted", 1);
  meeting::hear("mapped");

  await_key('r');
  say("the grant is in use: ", (flags_of(secret_ref) & GTF_writing) != 0 ? "yes" : "no",
      "; I ask for my page");
  meeting::tell("wanted", 1);
  meeting::hear("unmapped");
  grant(secret_ref, 0, 0);
  meeting::tell("revoked", 1);
  for (;;) nap();
}
