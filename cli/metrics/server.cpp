#include "cli/metrics/server.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>

#include "cli/exit_codes.hpp"

namespace pinfold::cli::metrics {
namespace {

constexpr const char* page_type = "text/plain; version=0.0.4; charset=utf-8";
constexpr const char* plain_type = "text/plain; charset=utf-8";

struct Site {
  const HttpLibrary& http;
  const std::function<tl::expected<std::string, std::string>()>& make;
};

struct Reply {
  unsigned code;
  const char* type;
  std::string text;
};

Reply reply_to(const Site& site, std::string_view path, std::string_view method) {
  if (path != "/metrics") return {MHD_HTTP_NOT_FOUND, plain_type, "The metrics are at /metrics.\n"};
  if (method != "GET" && method != "HEAD")
    return {MHD_HTTP_METHOD_NOT_ALLOWED, plain_type, "Only GET and HEAD are known.\n"};
  auto page = site.make();
  if (!page) return {MHD_HTTP_SERVICE_UNAVAILABLE, plain_type, page.error() + "\n"};
  return {MHD_HTTP_OK, page_type, std::move(*page)};
}

/// The library calls it when it has a request's headers, and would again for each part of a body. A reply to
/// the first call makes it close the connection of a request that has a body.
MHD_Result on_request(void* of_site, MHD_Connection* connection, const char* path, const char* method,
                      const char*, const char*, size_t*, void**) {
  const Site& site = *static_cast<const Site*>(of_site);
  Reply reply = reply_to(site, path, method);
  MHD_Response* const response =
      site.http.create_response(reply.text.size(), reply.text.data(), MHD_RESPMEM_MUST_COPY);
  if (response == nullptr) return MHD_NO;
  MHD_Result done = site.http.add_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply.type);
  if (reply.code == MHD_HTTP_METHOD_NOT_ALLOWED && done == MHD_YES)
    done = site.http.add_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
  if (done == MHD_YES) done = site.http.queue_response(connection, reply.code, response);
  site.http.destroy_response(response);
  return done;
}

/// The library writes what it does not like about a request to stderr: nobody needs to know.
void ignore_message(void*, const char*, va_list) {}

/// Readable when the process is to end.
vmm::Fd ending_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&signals, signal);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  return vmm::Fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

int complain(const char* what) {
  fmt::print(stderr, "pinfold: --listen: {}\n", what);
  return exit_bad_image;
}

}  // namespace

int serve(const HttpLibrary& http, const Listening& listening,
          const std::function<tl::expected<std::string, std::string>()>& make) {
  const vmm::Fd signals = ending_signals();
  // The library closes the socket that it gets.
  const int socket = ::fcntl(listening.socket.get(), F_DUPFD_CLOEXEC, 0);
  if (!signals.open() || socket < 0) return complain(std::strerror(errno));
  Site site{http, make};
  const auto stop = [&http](MHD_Daemon* daemon) { http.stop_daemon(daemon); };
  const std::unique_ptr<MHD_Daemon, decltype(stop)> daemon(
      http.start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, nullptr, nullptr, &on_request, &site,
                        MHD_OPTION_EXTERNAL_LOGGER, &ignore_message, nullptr, MHD_OPTION_LISTEN_SOCKET,
                        socket, MHD_OPTION_CONNECTION_LIMIT, most_clients, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
                        clients_of_an_address, MHD_OPTION_CONNECTION_MEMORY_LIMIT, request_bytes,
                        MHD_OPTION_CONNECTION_TIMEOUT, client_patience_s, MHD_OPTION_END),
      stop);
  if (daemon == nullptr) return complain("libmicrohttpd does not start");
  const MHD_DaemonInfo* const info = http.get_daemon_info(daemon.get(), MHD_DAEMON_INFO_EPOLL_FD);
  if (info == nullptr) return complain("libmicrohttpd has no epoll");
  for (;;) {
    MHD_UNSIGNED_LONG_LONG left_ms = 0;
    const bool has_timeout = http.get_timeout(daemon.get(), &left_ms) == MHD_YES;
    const int wait = has_timeout ? static_cast<int>(std::min<MHD_UNSIGNED_LONG_LONG>(left_ms, INT_MAX)) : -1;
    std::array<pollfd, 2> fds{{{signals.get(), POLLIN, 0}, {info->epoll_fd, POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), wait) < 0 && errno != EINTR) return complain("poll");
    if (fds[0].revents != 0) return exit_powered_off;
    if (http.run(daemon.get()) != MHD_YES) return complain("libmicrohttpd does not go on");
  }
}

}  // namespace pinfold::cli::metrics
