// A program of the host's that is connected to the store's socket.
#pragma once

#include <memory>

#include "devices/xenstore/session.hpp"
#include "devices/xenstore/store.hpp"
#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// Speaks xenstore's protocol with it, as with domain 0. Never waits. Descriptors that it sends (SCM_RIGHTS)
/// are not taken: the kernel closes them.
///
/// Concurrency: used by one thread at a time. The caller calls Store::deliver() after serve().
class StoreClient {
 public:
  /// `socket` does not block. `listener` is told when advance() is to be called.
  StoreClient(vmm::Fd socket, const std::shared_ptr<devices::xenstore::Store>& store,
              const std::weak_ptr<devices::xenstore::EventListener>& listener);

  [[nodiscard]] int fd() const { return socket_.get(); }
  /// What to wait for, as for poll(2).
  [[nodiscard]] short wanted() const;
  /// Takes events of the store.
  void advance() { session_->advance(); }
  /// Takes what the program sent, and sends what it can take. `ready` is the answer of poll(2). False: it is
  /// gone, or has to go.
  [[nodiscard]] bool serve(short ready);

 private:
  /// False: it is gone.
  [[nodiscard]] bool receive();
  [[nodiscard]] bool send();

  vmm::Fd socket_;
  std::unique_ptr<devices::xenstore::Session> session_;
};

}  // namespace pinfold::cli
