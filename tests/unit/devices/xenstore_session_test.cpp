// A client of domain 0 on a stream of bytes, beside a guest.
#include "devices/xenstore/session.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "fakes.hpp"
#include "xenstore_fixtures.hpp"

namespace pinfold::devices::xenstore {
namespace {

using namespace std::string_literals;

class SessionTest : public testing::Test {
 protected:
  SessionTest() {
    store->introduce(DomId(1));
    EXPECT_TRUE(store->write(path("/local/domain/1"), "", Permissions(DomId(1))));
  }
  /// Takes all that the session has to send.
  void take(Session& session) {
    while (!session.output().empty()) {
      received += session.output();
      session.sent(session.output().size());
    }
  }
  Message next(Session& session) {
    take(session);
    return take_message(received);
  }
  std::string ask(std::uint32_t type, const std::string& payload, TransactionId tx = no_tx) {
    host.received(as_bytes(Message{type, 7, tx, payload}.wire()));
    return next(host).payload;
  }

  std::shared_ptr<Store> store =
      std::make_shared<Store>(Quotas{}, Quotas{.watches = 4, .transactions = 2, .events = 8});
  ClientId guest = store->add_client(DomId(1), {});
  Session host{store, DomId(0), {}};
  std::string received;
};

TEST_F(SessionTest, domain_0_may_do_everything_to_nodes) {
  ASSERT_TRUE(store->write(guest, no_tx, path("secret"), "v"));
  EXPECT_EQ(ask(XS_READ, "/local/domain/1/secret\0"s), "v");
  EXPECT_EQ(ask(XS_WRITE, "/local/domain/1/secret\0w"s), "OK\0"s);
  EXPECT_EQ(ask(XS_SET_PERMS, "/local/domain/1/secret\0n0\0r1\0"s), "OK\0"s);
  EXPECT_EQ(ask(XS_GET_PERMS, "/local/domain/1/secret\0"s), "n0\0r1\0"s);
  EXPECT_EQ(ask(XS_WRITE, "/tool/new/a\0x"s), "OK\0"s);
  EXPECT_EQ(ask(XS_RM, "/tool\0"s), "OK\0"s);
  EXPECT_EQ(ask(XS_RM, "/no/such\0"s), "ENOENT\0"s);
  EXPECT_EQ(ask(XS_WRITE, "name\0host"s), "OK\0"s);
  EXPECT_EQ(*store->read(path("/local/domain/0/name")), "host") << "relative paths are domain 0's";
}

TEST_F(SessionTest, a_nodes_owner_must_be_a_domain_that_is_there) {
  EXPECT_EQ(ask(XS_SET_PERMS, "/local/domain/1\0n9\0"s), "ENOENT\0"s);
  EXPECT_EQ(ask(XS_SET_PERMS, "/local/domain/1\0n1\0r9\0"s), "OK\0"s);
}

TEST_F(SessionTest, the_toolstacks_requests_are_answered_as_the_monitor_can) {
  EXPECT_EQ(ask(XS_IS_DOMAIN_INTRODUCED, "1\0"s), "T\0"s);
  EXPECT_EQ(ask(XS_IS_DOMAIN_INTRODUCED, "0\0"s), "T\0"s);
  EXPECT_EQ(ask(XS_IS_DOMAIN_INTRODUCED, "9\0"s), "F\0"s);
  EXPECT_EQ(ask(XS_IS_DOMAIN_INTRODUCED, "32752\0"s), "T\0"s);
  EXPECT_EQ(ask(XS_INTRODUCE, "1\0001\0005\0"s), "EBUSY\0"s);
  EXPECT_EQ(ask(XS_INTRODUCE, "9\0001\0005\0"s), "ENOENT\0"s);
  EXPECT_EQ(ask(XS_INTRODUCE, "9\0001\0000\0"s), "EINVAL\0"s);
  EXPECT_EQ(ask(XS_INTRODUCE, "9\0"s), "EINVAL\0"s);
  EXPECT_EQ(ask(XS_RELEASE, "1\0"s), "EBUSY\0"s);
  EXPECT_EQ(ask(XS_RELEASE, "9\0"s), "ENOENT\0"s);
  EXPECT_EQ(ask(XS_RELEASE, "0\0"s), "EINVAL\0"s);
  EXPECT_EQ(ask(XS_RESUME, "1\0"s), "OK\0"s);
  EXPECT_EQ(ask(XS_RESUME, "9\0"s), "ENOENT\0"s);
  EXPECT_EQ(ask(XS_SET_TARGET, "1\0002\0"s), "ENOSYS\0"s);
}

TEST_F(SessionTest, control_checks_and_tells_but_opens_nothing) {
  EXPECT_EQ(ask(XS_CONTROL, "check\0"s), "OK\0"s);
  EXPECT_NE(ask(XS_CONTROL, "help\0"s).find("check"), std::string::npos);
  EXPECT_NE(ask(XS_CONTROL, "quota\0"s).find("nodes: 1000"), std::string::npos);
  EXPECT_EQ(ask(XS_CONTROL, "print\0a\nb\0"s), "OK\0"s);
  for (const auto& refused : {"logfile\0/tmp/x\0"s, "memreport\0/tmp/x\0"s, "live-update\0-s\0"s,
                              "quota\0set\0nodes\0001\0"s, "\0"s, "x"s, ""s})
    EXPECT_EQ(ask(XS_CONTROL, refused), "EINVAL\0"s) << refused;
}

TEST_F(SessionTest, watches_have_a_depth_and_ignore_the_transaction) {
  EXPECT_EQ(ask(XS_WATCH, "/local/domain/1\0t\0001\0"s, TransactionId(99)), "OK\0"s);
  EXPECT_EQ(next(host).payload, "/local/domain/1\0t\0"s);
  ASSERT_TRUE(store->write(guest, no_tx, path("a/b"), ""));
  host.advance();
  EXPECT_EQ(next(host).type, unsigned{XS_INVALID}) << "two levels below";
  ASSERT_TRUE(store->write(guest, no_tx, path("a"), ""));
  host.advance();
  EXPECT_EQ(next(host).payload, "/local/domain/1/a\0t\0"s);
  EXPECT_EQ(ask(XS_WATCH, "/x\0t\0-1\0"s), "EINVAL\0"s);
  EXPECT_EQ(ask(XS_WATCH, "/x\0t\0001\0002\0"s), "EINVAL\0"s);
}

TEST_F(SessionTest, a_relative_watch_and_the_absolute_one_are_the_same) {
  EXPECT_EQ(ask(XS_WATCH, "a\0t\0"s), "OK\0"s);
  EXPECT_EQ(next(host).payload, "a\0t\0"s);
  EXPECT_EQ(ask(XS_WATCH, "/local/domain/0/a\0t\0"s), "EEXIST\0"s);
  EXPECT_EQ(ask(XS_UNWATCH, "/local/domain/0/a\0t\0"s), "OK\0"s);
  EXPECT_EQ(ask(XS_UNWATCH, "a\0t\0"s), "ENOENT\0"s);
}

TEST_F(SessionTest, domains_that_come_and_go_are_told_to_domain_0_and_to_those_it_allows) {
  ASSERT_TRUE(store->watch(guest, "@releaseDomain", "g"));
  (void)store->next_event(guest);
  for (const auto& watch :
       {"@introduceDomain\0i\0"s, "@releaseDomain\0r\0001\0"s, "@releaseDomain/8\0only\0"s}) {
    EXPECT_EQ(ask(XS_WATCH, watch), "OK\0"s);
    (void)next(host);
  }
  EXPECT_EQ(ask(XS_WATCH, "@releaseDomain\0x\0002\0"s), "EINVAL\0"s);
  store->introduce(DomId(7));
  host.advance();
  EXPECT_EQ(next(host).payload, "@introduceDomain\0i\0"s);
  store->release(DomId(7));
  host.advance();
  EXPECT_EQ(next(host).payload, "@releaseDomain/7\0r\0"s);
  EXPECT_EQ(store->next_event(guest), std::nullopt);
  EXPECT_EQ(store->set_special_permissions(guest, "@releaseDomain", Permissions(DomId(1))).error(),
            Errno::eacces);
  EXPECT_EQ(ask(XS_SET_PERMS, "@releaseDomain\0n0\0r1\0"s), "OK\0"s);
  EXPECT_EQ(ask(XS_SET_PERMS, "@other\0n0\0r1\0"s), "EINVAL\0"s);
  store->introduce(DomId(8));
  store->release(DomId(8));
  EXPECT_EQ(store->next_event(guest), (WatchEvent{"@releaseDomain", "g"}));
  host.advance();
  (void)next(host);
  EXPECT_EQ(next(host).payload, "@releaseDomain/8\0r\0"s);
  EXPECT_EQ(next(host).payload, "@releaseDomain/8\0only\0"s);
}

TEST_F(SessionTest, a_domains_nodes_go_with_it_wherever_they_are) {
  ASSERT_TRUE(store->write(path("/shared"), "", *Permissions::parse({"b0"})));
  ASSERT_TRUE(store->write(guest, no_tx, path("/shared/theirs/deep"), "v"));
  ASSERT_TRUE(store->write(path("/shared/ours"), "v"));
  store->release(DomId(1));
  EXPECT_FALSE(store->read(path("/shared/theirs")));
  EXPECT_FALSE(store->read(path("/local/domain/1")));
  EXPECT_TRUE(store->read(path("/shared/ours")));
  EXPECT_TRUE(store->check());
}

TEST_F(SessionTest, messages_come_in_any_pieces_and_one_that_is_too_long_ends_the_session) {
  const std::string request = Message{XS_READ, 7, no_tx, "/local/domain/1\0"s}.wire();
  for (const char c : request + request) host.received(as_bytes(std::string(1, c)));
  EXPECT_EQ(next(host).type, unsigned{XS_READ});
  EXPECT_EQ(next(host).type, unsigned{XS_READ});
  const xsd_sockmsg header{XS_WRITE, 1, 0, XENSTORE_PAYLOAD_MAX + 1};
  host.received(std::as_bytes(std::span(&header, 1)));
  EXPECT_FALSE(host.objection().empty());
  EXPECT_TRUE(host.output().empty());
}

TEST_F(SessionTest, requests_wait_while_their_answers_are_not_taken) {
  ASSERT_TRUE(store->write(path("/big"), std::string(2000, 'x')));
  const std::string request = Message{XS_READ, 7, no_tx, "/big\0"s}.wire();
  std::size_t sent = 0;
  while (host.wants_input() && sent < 1000) {
    host.received(as_bytes(request));
    ++sent;
  }
  EXPECT_LT(sent, 40u);
  EXPECT_LE(host.output().size(), Session::most_output + 2100);
  for (std::size_t answers = 0; answers < sent; ++answers) EXPECT_EQ(next(host).payload.size(), 2000u);
  EXPECT_TRUE(host.wants_input());
}

TEST_F(SessionTest, a_client_that_reads_no_events_is_dropped_and_disturbs_nobody) {
  EXPECT_EQ(ask(XS_WATCH, "/local/domain/1\0t\0"s), "OK\0"s);
  (void)next(host);
  ASSERT_TRUE(store->write(path("/big"), std::string(2000, 'x')));
  while (host.wants_input()) host.received(as_bytes(Message{XS_READ, 7, no_tx, "/big\0"s}.wire()));
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(host.objection().empty() || i >= 8) << i;
    ASSERT_TRUE(store->write(guest, no_tx, path(std::to_string(i)), ""));
    host.advance();
  }
  EXPECT_FALSE(host.objection().empty());
}

TEST_F(SessionTest, what_a_host_client_may_have_is_bounded) {
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(ask(XS_WATCH, "/w\0"s + std::to_string(i) + "\0"s), "OK\0"s);
    (void)next(host);
  }
  EXPECT_EQ(ask(XS_WATCH, "/w\0more\0"s), "E2BIG\0"s);
  EXPECT_EQ(ask(XS_TRANSACTION_START, "\0"s), "1\0"s);
  EXPECT_EQ(ask(XS_TRANSACTION_START, "\0"s), "2\0"s);
  EXPECT_EQ(ask(XS_TRANSACTION_START, "\0"s), "ENOSPC\0"s);
  EXPECT_EQ(ask(XS_RESET_WATCHES, "\0"s), "OK\0"s);
  EXPECT_EQ(ask(XS_TRANSACTION_START, "\0"s), "3\0"s);
}

TEST_F(SessionTest, paths_of_every_illegal_form_are_refused) {
  for (const auto& bad : {""s, "//"s, "/a//b"s, "/a/"s, "a/"s, "/a b"s, "/a.b"s, "/\xc3\xa4"s, "/a\n"s, "@x"s,
                          "/"s + std::string(2048, 'a'), std::string(2049, 'a')})
    for (const auto type : {XS_READ, XS_DIRECTORY, XS_GET_PERMS, XS_MKDIR, XS_RM})
      EXPECT_EQ(ask(type, bad + '\0'), "EINVAL\0"s) << bad << " " << type;
  EXPECT_EQ(ask(XS_RM, "/\0"s), "EINVAL\0"s);
}

}  // namespace
}  // namespace pinfold::devices::xenstore
