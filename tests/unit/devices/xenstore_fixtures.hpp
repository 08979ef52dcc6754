// What the tests of the store share: paths, messages of a stream, and a store with two domains.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <string_view>

#include "devices/xen_abi.hpp"
#include "devices/xenstore/message.hpp"
#include "devices/xenstore/store.hpp"

namespace pinfold::devices::xenstore {

inline constexpr TransactionId no_tx{0};

inline Path path(std::string_view text, DomId domain = DomId(1)) { return *Path::parse(text, domain); }

/// Takes the first message from the bytes that a client received; an invalid one if it is not there whole.
inline Message take_message(std::string& received) {
  xsd_sockmsg header{};
  if (received.size() < sizeof(header)) return {};
  std::memcpy(&header, received.data(), sizeof(header));
  Message message{header.type, header.req_id, TransactionId(header.tx_id),
                  received.substr(sizeof(header), header.len)};
  received.erase(0, sizeof(header) + header.len);
  return message;
}

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    EXPECT_TRUE(store.write(path("/local/domain/1"), "", Permissions(DomId(1))));
    EXPECT_TRUE(store.write(path("/local/domain/2"), "", Permissions(DomId(2))));
    EXPECT_TRUE(store.write(path("/secret/x"), "s"));
  }
  Quotas quotas{
      .nodes = 20, .value_bytes = 64, .watches = 4, .transactions = 2, .transaction_nodes = 30, .events = 8};
  Store store{quotas};
  ClientId one = store.add_client(DomId(1), {});
  ClientId two = store.add_client(DomId(2), {});
};

}  // namespace pinfold::devices::xenstore
