#include "devices/xenstore/domain_requests.hpp"

#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "devices/xenstore/domain_nodes.hpp"

namespace pinfold::devices::xenstore {
namespace {

constexpr TransactionId no_tx{};

/// A guest of 256 of 512 MiB and 1 of 2 vCPUs, and what it does through its connection.
class DomainRequestsTest : public testing::Test {
 protected:
  DomainRequestsTest() {
    const DomainNodes nodes{.domain = dom,
                            .name = "guest",
                            .uuid = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
                            .memory_kib = 262144,
                            .max_memory_kib = 524288,
                            .vcpus = 1,
                            .max_vcpus = 2};
    EXPECT_TRUE(populate(store, nodes));
  }
  [[nodiscard]] static Path path(std::string_view relative) { return *Path::parse(relative, dom); }
  [[nodiscard]] std::string seen(std::string_view relative) {
    return store.read(guest, no_tx, path(relative)).value_or("(refused)");
  }
  [[nodiscard]] int events() {
    int count = 0;
    while (store.next_event(guest)) ++count;
    return count;
  }

  static constexpr DomId dom{7};
  Store store;
  ClientId guest = store.add_client(dom, {});
};

TEST_F(DomainRequestsTest, each_way_to_stop_has_libxls_word) {
  const std::vector<std::pair<ShutdownRequest, const char*>> words = {{ShutdownRequest::poweroff, "poweroff"},
                                                                      {ShutdownRequest::reboot, "reboot"},
                                                                      {ShutdownRequest::suspend, "suspend"},
                                                                      {ShutdownRequest::halt, "halt"}};
  for (const auto& [request, word] : words) {
    ASSERT_TRUE(ask_shutdown(store, dom, request));
    EXPECT_EQ(seen("control/shutdown"), word);
  }
}

TEST_F(DomainRequestsTest, a_request_is_pending_until_the_guest_takes_it_up_or_the_host_takes_it_back) {
  EXPECT_FALSE(is_shutdown_pending(store, dom));
  ASSERT_TRUE(ask_shutdown(store, dom, ShutdownRequest::poweroff));
  EXPECT_TRUE(is_shutdown_pending(store, dom));
  ASSERT_TRUE(store.write(guest, no_tx, path("control/shutdown"), ""));
  EXPECT_FALSE(is_shutdown_pending(store, dom));
  ASSERT_TRUE(ask_shutdown(store, dom, ShutdownRequest::reboot));
  ASSERT_TRUE(withdraw_shutdown(store, dom));
  EXPECT_FALSE(is_shutdown_pending(store, dom));
  EXPECT_EQ(seen("control/shutdown"), "");
}

TEST_F(DomainRequestsTest, a_guest_can_answer_in_a_node_that_it_had_removed) {
  for (const char* node : {"control/shutdown", "control/sysrq"})
    ASSERT_TRUE(store.remove(guest, no_tx, path(node)));
  EXPECT_FALSE(is_shutdown_pending(store, dom));
  ASSERT_TRUE(ask_shutdown(store, dom, ShutdownRequest::poweroff));
  ASSERT_TRUE(send_sysrq(store, dom, 'l'));
  for (const char* node : {"control/shutdown", "control/sysrq"})
    EXPECT_TRUE(store.write(guest, no_tx, path(node), "")) << node;
}

TEST_F(DomainRequestsTest, a_sysrq_key_is_one_letter_or_digit) {
  for (const char key : {'l', '9', 'Z'}) {
    ASSERT_TRUE(send_sysrq(store, dom, key));
    EXPECT_EQ(seen("control/sysrq"), std::string(1, key));
  }
  for (const char key : {'\0', '\n', ' ', '/', '\x80'}) EXPECT_FALSE(send_sysrq(store, dom, key)) << int{key};
  EXPECT_EQ(seen("control/sysrq"), "Z");
}

TEST_F(DomainRequestsTest, the_balloons_target_is_in_kib_and_the_guest_only_reads_it) {
  EXPECT_EQ(seen("memory/static-max"), "524288");
  EXPECT_EQ(seen("memory/target"), "262144");
  ASSERT_TRUE(store.watch(guest, "memory/target", "t"));
  EXPECT_EQ(events(), 1);
  ASSERT_TRUE(set_memory_target(store, dom, 131072));
  EXPECT_EQ(events(), 1);
  EXPECT_EQ(seen("memory/target"), "131072");
  EXPECT_FALSE(store.write(guest, no_tx, path("memory/target"), "999999"));
  EXPECT_FALSE(store.write(guest, no_tx, path("memory/static-max"), "999999"));
}

TEST_F(DomainRequestsTest, vcpus_beyond_the_first_ones_are_offline_until_asked_for) {
  EXPECT_EQ(seen("cpu/0/availability"), "online");
  EXPECT_EQ(seen("cpu/1/availability"), "offline");
  ASSERT_TRUE(store.watch(guest, "cpu", "c"));
  EXPECT_EQ(events(), 1);
  ASSERT_TRUE(set_vcpu_online(store, dom, 1, true));
  EXPECT_EQ(seen("cpu/1/availability"), "online");
  EXPECT_EQ(events(), 1);
  ASSERT_TRUE(set_vcpu_online(store, dom, 1, false));
  EXPECT_EQ(seen("cpu/1/availability"), "offline");
  EXPECT_FALSE(store.write(guest, no_tx, path("cpu/1/availability"), "online"));
}

TEST_F(DomainRequestsTest, a_vcpu_that_the_guest_does_not_have_can_not_be_asked_for) {
  const Status done = set_vcpu_online(store, dom, 2, true);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error(), Errno::enoent);
  EXPECT_EQ(seen("cpu/2/availability"), "(refused)");
}

}  // namespace
}  // namespace pinfold::devices::xenstore
