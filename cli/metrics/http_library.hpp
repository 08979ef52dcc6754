// GNU libmicrohttpd, loaded when it is needed.
#pragma once

#include <microhttpd.h>

#include <string>
#include <tl/expected.hpp>

namespace pinfold::cli::metrics {

/// The functions of the library that are used. Linked in the usual way, it and the TLS library that it needs
/// would be loaded at every start of the program, into monitors, too.
struct HttpLibrary {
  decltype(&::MHD_start_daemon) start_daemon = nullptr;
  decltype(&::MHD_stop_daemon) stop_daemon = nullptr;
  decltype(&::MHD_get_daemon_info) get_daemon_info = nullptr;
  decltype(&::MHD_get_timeout) get_timeout = nullptr;
  decltype(&::MHD_run) run = nullptr;
  decltype(&::MHD_create_response_from_buffer) create_response = nullptr;
  decltype(&::MHD_destroy_response) destroy_response = nullptr;
  decltype(&::MHD_add_response_header) add_header = nullptr;
  decltype(&::MHD_queue_response) queue_response = nullptr;

  /// It stays loaded. An error is one line, with the package that has the library.
  [[nodiscard]] static tl::expected<HttpLibrary, std::string> load();
};

}  // namespace pinfold::cli::metrics
