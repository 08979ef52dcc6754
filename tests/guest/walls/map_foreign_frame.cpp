// The validator approves everything. The guest maps the frame behind its last one, which is not its own, and
// reads, writes or executes it, as the command line says. The view must stop it.
#include <xen/version.h>

#include "kit/kit.hpp"

using namespace kit;

void test() {
  install_traps();
  auto* window = static_cast<volatile Page*>(new_page());
  if (map(word(window), foreign_frame() * page_size | data) != 0) {
    say("the validator stands");
    return;
  }
  say("mapped a frame that is not its own");
  if (asked_for("by-hypercall")) {
    CHECK(hypercall(__HYPERVISOR_xen_version, XENVER_capabilities, word(window)) < 0);
    CHECK(hypercall(__HYPERVISOR_multicall, word(window), 1) < 0);
    say("the monitor did not touch it either");
  }
  if (asked_for("write")) {
    window->words[1] = 0x1234567;
    say("WROTE a foreign frame");
  } else if (asked_for("execute")) {
    asm volatile("call *%0" : : "r"(window) : "memory");
    say("RAN a foreign frame");
  } else {
    say("READ a foreign frame: ", hex(window->words[1]));
  }
}
