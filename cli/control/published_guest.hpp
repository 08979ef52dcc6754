// A running guest under its name, for other commands of the user.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cli/control/requests.hpp"
#include "cli/control/server.hpp"

namespace pinfold::cli {

/// Answers on the guest's control socket, until destroyed (GuestControl).
class PublishedGuest {
 public:
  /// `domain`, `hot_plug`, `grants` and `listener`, a listening socket, outlive this.
  PublishedGuest(std::string name, vmm::Domain& domain, HotPlug& hot_plug, devices::GrantTable& grants,
                 const std::shared_ptr<devices::xenstore::Store>& store, const vmm::Fd& listener,
                 std::function<void()> on_destroy, GuestControl::Join join)
      : answers_(std::move(name), domain, hot_plug, grants, store, std::move(on_destroy), std::move(join)),
        server_(listener, [this](std::string_view line, Descriptors descriptors) {
          return answers_.answer(line, std::move(descriptors));
        }) {}

  void set_preserved() { answers_.set_preserved(); }

 private:
  GuestControl answers_;
  ControlServer server_;
};

}  // namespace pinfold::cli
