// Serves one page over HTTP.
#pragma once

#include <functional>
#include <string>
#include <tl/expected.hpp>

#include "cli/metrics/address.hpp"
#include "cli/metrics/http_library.hpp"

namespace pinfold::cli::metrics {

/// Answers GET and HEAD of /metrics with the page that `make` returns then, or with 503 and the error, and
/// everything else with 404 or 405. Returns when SIGTERM, SIGINT or SIGHUP comes: 0, or the exit code of an
/// error, which it prints.
///
/// It has one thread, on which `make` is called, for one request after the other. Bounds: most_clients
/// connections, clients_of_an_address of them from one address, request_bytes for what one of them sends
/// before it is understood, client_patience_s seconds without a byte.
[[nodiscard]] int serve(const HttpLibrary& http, const Listening& listening,
                        const std::function<tl::expected<std::string, std::string>()>& make);

inline constexpr unsigned most_clients = 32, clients_of_an_address = 8, client_patience_s = 10;
inline constexpr std::size_t request_bytes = 16384;

}  // namespace pinfold::cli::metrics
