// Network interfaces: their texts, and addresses that nobody chose.
#include "cli/config/vif_config.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "cli/config/guest_config.hpp"
#include "cli/config/mac.hpp"
#include "cli/config/vif_rate.hpp"
#include "cli/networks/passt.hpp"

namespace pinfold::cli::test {
namespace {

using Words = std::vector<std::string>;

TEST(VifConfig, words_are_split_at_commas_without_spaces) {
  const auto vif =
      parse_vif(" mac=00:16:3E:1:2:3 ,, bridge = br 0,ip= 10.0.0.1  fd00::1/64 ,model=,rate=1Mb/s").value();
  EXPECT_EQ(vif.config.mac, "00:16:3e:01:02:03");
  EXPECT_EQ(vif.config.bridge, "br 0");
  EXPECT_EQ(vif.config.addresses, (Words{"10.0.0.1", "fd00::1/64"}));
  EXPECT_EQ(vif.config.model, "");
  EXPECT_EQ(vif.config.rate, "1Mb/s");
  EXPECT_TRUE(vif.unknown.empty());
}

TEST(VifConfig, nothing_is_an_interface) {
  for (const char* nothing : {"", " ", ",", " , ,"}) EXPECT_TRUE(parse_vif(nothing)) << nothing;
}

TEST(VifConfig, unknown_words_are_told) {
  const auto vif = parse_vif("colour=red,mac,untrusted,devid=3,=x,bridge=b,bridge=c").value();
  EXPECT_EQ(vif.unknown, (Words{"colour", "mac", ""}));
  EXPECT_EQ(vif.unused, (Words{"untrusted", "devid"}));
  EXPECT_EQ(vif.config.bridge, "c") << "the last one counts";
}

TEST(VifConfig, wrong_values_are_told) {
  for (const char* wrong : {"mac=", "mac=00:16:3e:00:00", "mac=00:16:3e:00:00:00:00",
                            "mac=00:16:3e:00:00:100", "mac=00:16:3e:00:00:0g", "mac=ff:ff:ff:ff:ff:ff",
                            "mac=00-16-3e-00-00-00", "mac=00:16:3e:00:00:", "ip=10.0.0", "ip=host",
                            "ip=10.0.0.1,ip=x", "type=emu", "mtu=", "mtu=67", "mtu=65536", "mtu=1k"})
    EXPECT_FALSE(parse_vif(wrong)) << wrong;
}

TEST(VifConfig, says_what_it_is_connected_to) {
  EXPECT_EQ(parse_vif("")->config.net, VifNet::bridge);
  const auto passt = parse_vif("net=passt,tcp=18022:22 127.0.0.2/80,udp=53,pcap=/x.pcap").value().config;
  EXPECT_EQ(passt.net, VifNet::passt);
  EXPECT_EQ(passt.tcp_ports, (Words{"18022:22", "127.0.0.2/80"}));
  EXPECT_EQ(passt.udp_ports, Words{"53"});
  EXPECT_EQ(passt.capture, "/x.pcap");
  EXPECT_EQ(parse_vif("net=tap:tap0").value().config.place, "tap0");
  EXPECT_EQ(parse_vif("net=listen:unix:/a:b").value().config.place, "unix:/a:b");
  EXPECT_EQ(parse_vif("net=connect:tcp:[::1]:5000").value().config.place, "tcp:[::1]:5000");
  for (const char* wrong :
       {"net=", "net=slirp", "net=passt:x", "net=bridge:br0", "net=tap", "net=tap:", "net=listen",
        "net=listen:x", "net=connect:unix:relative", "tcp=80", "net=tap:t,udp=80", "net=passt,tcp=--help",
        "net=passt,tcp=all", "net=passt,bridge=br0", "net=tap:t,script=x"})
    EXPECT_FALSE(parse_vif(wrong)) << wrong;
}

TEST(VifConfig, passt_gives_a_guest_one_address_of_each_kind) {
  const auto vif = parse_vif("ip=10.0.2.15 fd00::15,net=passt").value().config;
  EXPECT_EQ(vif.addresses, (Words{"10.0.2.15", "fd00::15"}));
  const auto words = passt_words(vif, 7, true);
  for (const char* address : {"10.0.2.15", "fd00::15"}) {
    const auto found = std::find(words.begin(), words.end(), address);
    ASSERT_NE(found, words.end()) << address;
    EXPECT_EQ(*(found - 1), "--address");
  }
  for (const char* wrong :
       {"net=passt,ip=10.0.2.15/24", "net=passt,ip=10.0.2.15 10.0.2.16", "ip=fd00::1 fd00::2,net=passt"})
    EXPECT_FALSE(parse_vif(wrong)) << wrong;
}

TEST(VifRate, is_bytes_in_an_interval) {
  const auto is = [](const char* text, std::uint64_t bytes, int microseconds) {
    const auto rate = parse_rate(text);
    return rate && rate->bytes == bytes && rate->interval.count() == microseconds;
  };
  EXPECT_TRUE(is("10Mb/s", 62'500, 50'000));
  EXPECT_TRUE(is("250KB/s", 12'500, 50'000));
  EXPECT_TRUE(is("1MB/s@20ms", 20'000, 20'000));
  EXPECT_TRUE(is("1GB/s@1s", 1'000'000'000, 1'000'000));
  for (const char* wrong : {"", "10", "10Mb", "Mb/s", "10mb/s", "10Mb/s@", "10Mb/s@5", "10Mb/s@5h", "10Mb/s ",
                            "-1Mb/s", "99999999999999999999b/s", "1MB/s@0ms", "8b/s@1us"})
    EXPECT_FALSE(parse_rate(wrong)) << wrong;
}

TEST(Mac, is_the_same_for_a_uuid_and_an_index_forever) {
  const auto uuid = vmm::Uuid::parse("7ab3e9a6-5b0c-4d1a-9f5e-2c1d0e8f7a61").value();
  EXPECT_EQ(mac_of(uuid, 0), "00:16:3e:1b:ba:70") << "guests know their interfaces by this";
  EXPECT_EQ(mac_of(uuid, 1), "00:16:3e:1b:75:c1");
}

TEST(Mac, differs_by_uuid_index_and_attempt) {
  std::set<std::string> seen;
  auto uuid = vmm::Uuid::parse("7ab3e9a6-5b0c-4d1a-9f5e-2c1d0e8f7a61").value();
  for (unsigned byte = 0; byte < 32; ++byte) {
    uuid.bytes[15] = static_cast<std::uint8_t>(byte);
    for (std::size_t index = 0; index < 8; ++index) {
      const std::string mac = mac_of(uuid, index);
      EXPECT_EQ(canonical_mac(mac), mac);
      EXPECT_EQ(mac.substr(0, 9), "00:16:3e:");
      EXPECT_LT(mac[9], '8') << "the half that nobody chooses from";
      seen.insert(mac);
      EXPECT_NE(mac_of(uuid, index, 1), mac);
    }
  }
  EXPECT_GE(seen.size(), 255U);
}

TEST(Mac, no_two_interfaces_of_a_guest_get_the_same) {
  GuestConfig config;
  config.uuid = "7ab3e9a6-5b0c-4d1a-9f5e-2c1d0e8f7a61";
  config.vifs.resize(3);
  config.vifs[2].mac = "00:16:3e:1b:ba:70";  // What the first one would get.
  give_addresses(config);
  EXPECT_EQ(config.vifs[2].mac, "00:16:3e:1b:ba:70");
  EXPECT_NE(config.vifs[0].mac, config.vifs[2].mac);
  EXPECT_EQ(config.vifs[1].mac, "00:16:3e:1b:75:c1");
  EXPECT_FALSE(error_in(config));
  config.vifs[1].mac = config.vifs[0].mac;
  EXPECT_EQ(error_in(config)->field, ConfigField::vifs);
}

TEST(Mac, without_a_uuid_there_is_none_yet) {
  GuestConfig config;
  config.vifs.resize(1);
  give_addresses(config);
  EXPECT_EQ(config.vifs[0].mac, "");
  EXPECT_NE(completed(config)->vifs[0].mac, "");
}

}  // namespace
}  // namespace pinfold::cli::test
