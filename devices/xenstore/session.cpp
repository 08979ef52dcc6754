#include "devices/xenstore/session.hpp"

#include <algorithm>
#include <utility>

#include "devices/xenstore/protocol.hpp"

namespace pinfold::devices::xenstore {

Session::Session(std::shared_ptr<Store> store, DomId domain, const std::weak_ptr<EventListener>& listener)
    : store_(std::move(store)), domain_(domain), client_(store_->add_client(domain, listener)) {}

Session::~Session() { store_->remove_client(client_); }

void Session::received(std::span<const std::byte> bytes) {
  for (const std::byte b : bytes) input_.push_back(static_cast<char>(b));
  advance();
}

void Session::sent(std::size_t bytes) {
  output_.erase(0, bytes);
  advance();
}

void Session::advance() {
  serve_input();
  while (output_.size() < most_output) {
    const auto event = store_->next_event(client_);
    if (!event) break;
    if (const auto message = Protocol::tell(*event)) output_ += message->wire();
  }
  if (store_->lost_events(client_)) objection_ = "it does not read its watch events";
}

void Session::serve_input() {
  std::size_t used = 0;
  while (objection_.empty() && output_.size() < most_output) {
    const std::size_t size = std::min(reader_.missing(), input_.size() - used);
    reader_.add(std::as_bytes(std::span(input_).subspan(used, size)));
    used += size;
    if (reader_.too_long()) {
      objection_ = "it sent a message longer than the protocol allows";
    } else if (const auto request = reader_.take()) {
      output_ += Protocol(*store_, client_, domain_).answer(*request).wire();
    } else if (used == input_.size()) {
      break;
    }
  }
  input_.erase(0, used);
}

}  // namespace pinfold::devices::xenstore
