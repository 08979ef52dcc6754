// The store's socket on the host: programs of the user act as domain 0 there.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

#include "cli/control/store_client.hpp"
#include "devices/xenstore/store.hpp"
#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// Serves clients that speak xenstore's protocol, on a thread of its own, until destroyed. No client makes
/// another one or a guest wait: what it does not read waits in bounded buffers (session.hpp), and a client
/// that breaks the protocol or lets too many watch events wait is dropped, with a line in the log. Clients
/// beyond most_clients wait until another one leaves.
class StoreServer {
 public:
  static constexpr std::size_t most_clients = 128;

  /// `listener`, a listening UNIX socket that does not block, outlives this. Who can connect to it may do all
  /// that domain 0 may.
  StoreServer(std::shared_ptr<devices::xenstore::Store> store, const vmm::Fd& listener);
  ~StoreServer();
  StoreServer(const StoreServer&) = delete;
  StoreServer& operator=(const StoreServer&) = delete;

 private:
  struct Wake;
  void loop();
  void accept_client();

  std::shared_ptr<devices::xenstore::Store> store_;
  const vmm::Fd& listener_;
  std::shared_ptr<Wake> wake_;
  std::vector<StoreClient> clients_;
  std::atomic<bool> closing_ = false;
  std::thread thread_;
};

}  // namespace pinfold::cli
