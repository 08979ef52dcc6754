// The store between two guests of one machine: what each may read, write, watch and fill of the other's. The
// one that leads owns the nodes, the other one tries. In the end the leader goes, and its nodes with it.
#include "machine/meeting.hpp"

using namespace kit;
using meeting::meet;
using meeting::other;
using meeting::self;
using store::ask;
using store::same;
using store::Text;

namespace {

#define ANSWERS(request, wanted)                                         \
  do {                                                                   \
    const char* const answer_ = (request);                               \
    if (!same(answer_, wanted)) say("the store says \"", answer_, "\""); \
    CHECK(same(answer_, wanted));                                        \
  } while (false)

constexpr const char* fine = "";

/// Has an event about `path` come, or does one come within half a second?
bool hears_of(const char* path) {
  const u64 limit = now_ns() + 500'000'000;
  while (!store::has_heard_of(path)) {
    if (now_ns() > limit) return false;
    store::take_event();
  }
  return true;
}

void own(const char* name, const char* rights) {
  const Text path("data/", name);
  ANSWERS(store::write(path, name), fine);
  ANSWERS(store::set_permissions(path, Text("n", self()), Text(rights, other())), fine);
}
Text theirs(const char* name) { return Text("/local/domain/", other(), "/", name); }

/// Nothing of a neighbour's can be seen or changed that it does not give, nor what there is.
void what_is_not_given() {
  for (const char* name : {"data", "data/secret", "data/missing", "name", "vm", "memory/target",
                           "console/ring-ref", "control/shutdown", "device", "attr/x", "error/x"}) {
    const Text path = theirs(name);
    ANSWERS(store::read(path), "EACCES");
    ANSWERS(ask(XS_DIRECTORY, {path}), "EACCES");
    ANSWERS(ask(XS_GET_PERMS, {path}), "EACCES");
    ANSWERS(store::write(path, "x"), "EACCES");
    ANSWERS(ask(XS_MKDIR, {path}), "EACCES");
    ANSWERS(store::remove(path), "EACCES");
    ANSWERS(store::set_permissions(path, Text("n", self()), Text("b", self())), "EACCES");
  }
  for (const char* path : {"/", "/local", "/local/domain", "/vm"})
    ANSWERS(ask(XS_DIRECTORY, {path}), "EACCES");
  ANSWERS(ask(XS_IS_DOMAIN_INTRODUCED, {Text(other())}), "EACCES");
  ANSWERS(ask(XS_SET_PERMS, {"@releaseDomain", Text("n", self())}), "EACCES");
  ANSWERS(ask(XS_GET_DOMAIN_PATH, {Text(other())}), fine);
}

void what_is_given() {
  ANSWERS(store::read(theirs("data/readable")), fine);
  ANSWERS(store::write(theirs("data/readable"), "x"), "EACCES");
  ANSWERS(store::read(theirs("data/writable")), "EACCES");
  ANSWERS(store::write(theirs("data/writable"), "written"), fine);
  ANSWERS(store::read(theirs("data/both")), fine);
  ANSWERS(store::write(theirs("data/both"), "by the other"), fine);
  // Rights to use a node are none to pass them on.
  ANSWERS(store::set_permissions(theirs("data/both"), Text("n", other()), Text("b", self())), "EACCES");
  ANSWERS(store::set_permissions(theirs("data/both"), Text("n", self()), Text("b", self())), "EACCES");
  // What this guest makes in the other's folder is its own.
  ANSWERS(store::write(theirs("data/both/mine"), "mine"), fine);
  ANSWERS(store::set_permissions(theirs("data/both/mine"), Text("n", self()), Text("n", other())), fine);
  ANSWERS(store::set_permissions(theirs("data/both/mine"), Text("n", other()), Text("n", self())), "EPERM");
}

/// Each hears of changes of what it may read, and of nothing else.
void watches_lead() {
  meet("watching");
  ANSWERS(store::write("data/secret", "again"), fine);
  ANSWERS(store::write("data/readable", "again"), fine);
  meet("changed");
}
void watches_follow() {
  for (const char* name : {"data/secret", "data/readable"}) {
    ANSWERS(ask(XS_WATCH, {theirs(name), name}), fine);
    CHECK(hears_of(theirs(name)));  // of the watch itself
  }
  meet("watching");
  CHECK(hears_of(theirs("data/readable")));
  meet("changed");
  CHECK(!hears_of(theirs("data/secret")));
}

/// A transaction sees the store as it was, and does not end well if a neighbour changed what it looked at.
void transactions_follow() {
  for (const bool changed : {false, true}) {
    ANSWERS(ask(XS_TRANSACTION_START, {""}), fine);
    const auto number = static_cast<u32>(store::number_in(store::reply.payload));
    ANSWERS(store::read(theirs("data/readable"), number), fine);
    ANSWERS(store::write("data/sum", "1", number), fine);
    if (changed) meet("in-transaction");
    if (changed) meet("changed-meanwhile");
    ANSWERS(ask(XS_TRANSACTION_END, {"T"}, number), changed ? "EAGAIN" : fine);
  }
}
void transactions_lead() {
  meet("in-transaction");
  ANSWERS(store::write("data/readable", "meanwhile"), fine);
  meet("changed-meanwhile");
}

/// One guest fills its quota, in the other's folder: the other one still makes nodes of its own.
void quotas() {
  if (meeting::leads()) {
    meet("full");
    for (u64 i = 0; i < 20; ++i) ANSWERS(store::write(Text("data/own/", i), "x"), fine);
    return meet("relieved");
  }
  u64 count = 0;
  const char* answer = fine;
  while (count < 2000 &&
         same(answer = store::write(Text("/local/domain/", other(), "/data/both/", count), "x"), fine))
    ++count;
  CHECK(same(answer, "ENOSPC"));
  CHECK(count > 900 && count < 1000);
  ANSWERS(store::write("data/one-more", "x"), "ENOSPC");
  // Room for what follows.
  for (u64 i = 0; i < 10; ++i)
    ANSWERS(store::remove(Text("/local/domain/", other(), "/data/both/", i)), fine);
  meet("full");
  meet("relieved");
}

}  // namespace

void test() {
  install_traps();
  if (meeting::leads()) {
    ANSWERS(store::write("data/secret", "secret"), fine);
    own("readable", "r");
    own("writable", "w");
    own("both", "b");
    meet("owned");
    what_is_not_given();
    meet("tried");
    ANSWERS(store::read("data/writable"), fine);
    CHECK(same(store::reply.payload, "written"));
    ANSWERS(store::read("data/both/mine"), "EACCES");
    watches_lead();
    transactions_lead();
    quotas();
    // A node in the other's folder is this guest's, and goes with it.
    meeting::hear("folder");
    ANSWERS(store::write(theirs("data/folder/left"), "left"), fine);
    ANSWERS(store::set_permissions(theirs("data/folder/left"), Text("n", self()), Text("r", other())), fine);
    return meeting::leave();
  }
  meet("owned");
  what_is_not_given();
  what_is_given();
  meet("tried");
  watches_follow();
  transactions_follow();
  quotas();
  ANSWERS(ask(XS_WATCH, {"@releaseDomain", "release"}), fine);
  CHECK(hears_of("@releaseDomain"));  // of the watch itself
  ANSWERS(store::write("data/folder", "1"), fine);
  ANSWERS(store::set_permissions("data/folder", Text("n", self()), Text("b", other())), fine);
  say("ready for the right to hear");
  const u64 limit = now_ns() + 90'000'000'000;
  while (!same(store::read("data/may-hear"), fine) && now_ns() < limit) {
  }
  meeting::stay();
  bool heard = false, gone = false;
  while (!(heard && gone) && now_ns() < limit) {
    heard = heard || hears_of("@releaseDomain");
    gone = same(store::read("data/folder/left"), "ENOENT");
  }
  CHECK(heard);
  CHECK(gone);
  ANSWERS(store::read(theirs("data/readable")), "EACCES");
  // What was in the leader's folder counts no more.
  for (u64 i = 0; i < 100; ++i) ANSWERS(store::write(Text("data/more/", i), "x"), fine);
}
