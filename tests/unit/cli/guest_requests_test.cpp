// Requests to a guest that exists but does not run: what is written, what is refused.
#include "cli/control/guest_requests.hpp"

#include <gtest/gtest.h>

#include "cli/run/host.hpp"
#include "devices/xenstore/domain_nodes.hpp"

namespace pinfold::cli::test {
namespace {

using devices::xenstore::Path;

/// 4 of 8 MiB, 1 of 2 vCPUs.
class GuestRequestsTest : public testing::Test {
 protected:
  void SetUp() override {
    GuestConfig config;
    config.memory_bytes = 4ULL << 20;
    config.max_memory_bytes = 8ULL << 20;
    config.max_vcpus = 2;
    config = completed(config).value();
    auto opened = ProbedKvm::open({}).and_then(Host::create);
    if (!opened) GTEST_SKIP() << opened.error();
    host = std::move(*opened);
    guest = host->make_guest(config, {}).value();
    devices::xenstore::DomainNodes nodes{
        .domain = domain().id(), .name = "guest", .uuid = config.uuid.value()};
    nodes.max_vcpus = 2;
    ASSERT_TRUE(populate(*host->store(), nodes));
    requests.emplace(domain(), host->store());
  }
  void TearDown() override {
    if (guest) (void)guest->tear_down(false);
  }
  [[nodiscard]] vmm::Domain& domain() { return guest->domain(); }
  [[nodiscard]] std::string node(const char* path) {
    return host->store()->read(*Path::parse(path, domain().id())).value_or("(none)");
  }

  std::unique_ptr<Host> host;
  std::unique_ptr<Guest> guest;
  std::optional<GuestRequests> requests;
};

TEST_F(GuestRequestsTest, a_memory_target_moves_the_limit_and_then_the_node) {
  EXPECT_EQ(domain().memory_limit().frames(), 1024U);
  ASSERT_TRUE(requests->set_memory_target(8192));
  EXPECT_EQ(domain().memory_limit().frames(), 2048U);
  EXPECT_EQ(node("memory/target"), "8192");
  ASSERT_TRUE(requests->set_memory_target(2048));
  EXPECT_EQ(domain().memory_limit().frames(), 512U);
  EXPECT_EQ(node("memory/target"), "2048");
}

TEST_F(GuestRequestsTest, a_memory_target_beyond_maxmem_or_too_small_changes_nothing) {
  ASSERT_TRUE(requests->set_memory_target(8192));
  for (const std::uint64_t kib :
       {std::uint64_t{8196}, ~std::uint64_t{0}, std::uint64_t{1023}, std::uint64_t{0}})
    EXPECT_FALSE(requests->set_memory_target(kib)) << kib;
  EXPECT_NE(requests->set_memory_target(8196).error().find("8192"), std::string::npos);
  EXPECT_EQ(domain().memory_limit().frames(), 2048U);
  EXPECT_EQ(node("memory/target"), "8192");
}

TEST_F(GuestRequestsTest, vcpus_that_the_guest_does_not_have_are_refused) {
  EXPECT_TRUE(requests->set_vcpu_online(1, true));
  EXPECT_EQ(node("cpu/1/availability"), "online");
  EXPECT_FALSE(requests->set_vcpu_online(2, true));
  EXPECT_FALSE(requests->trigger_nmi(2));
  ASSERT_TRUE(requests->trigger_nmi(1));
  EXPECT_TRUE(domain().cpu(VcpuId(1)).state().nmi.is_due());
  EXPECT_FALSE(domain().cpu(VcpuId(0)).state().nmi.is_due());
}

TEST_F(GuestRequestsTest, shutdown_and_sysrq_are_nodes) {
  using devices::xenstore::ShutdownRequest;
  ASSERT_TRUE(requests->ask_shutdown(ShutdownRequest::halt));
  EXPECT_EQ(node("control/shutdown"), "halt");
  EXPECT_TRUE(requests->is_shutdown_pending());
  ASSERT_TRUE(requests->withdraw_shutdown());
  EXPECT_FALSE(requests->is_shutdown_pending());
  ASSERT_TRUE(requests->send_sysrq('w'));
  EXPECT_EQ(node("control/sysrq"), "w");
  EXPECT_FALSE(requests->send_sysrq('?'));
}

}  // namespace
}  // namespace pinfold::cli::test
