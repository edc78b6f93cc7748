// The yardstick for HTTP alone: Beast on one thread, as in the gateway, that answers every request
// with the same JSON body of a given size.
//
//   bare_beast PORT BYTES
#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cstdlib>
#include <iostream>
#include <string>
#include <utility>

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

asio::awaitable<void> Serve(tcp::socket socket, const std::string& body) {
  try {
    beast::flat_buffer buffer;
    for (;;) {
      http::request<http::string_body> request;
      co_await http::async_read(socket, buffer, request, asio::use_awaitable);
      http::response<http::span_body<const char>> response{http::status::ok, request.version()};
      response.set(http::field::content_type, "application/json");
      response.body() = {body.data(), body.size()};
      response.keep_alive(request.keep_alive());
      response.prepare_payload();
      co_await http::async_write(socket, response, asio::use_awaitable);
      if (!response.keep_alive()) co_return;
    }
  } catch (const boost::system::system_error&) {
    // The client left.
  }
}

asio::awaitable<void> Accept(tcp::acceptor acceptor, const std::string& body) {
  for (;;) {
    tcp::socket socket = co_await acceptor.async_accept(asio::use_awaitable);
    socket.set_option(tcp::no_delay(true));
    asio::co_spawn(acceptor.get_executor(), Serve(std::move(socket), body), asio::detached);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: bare_beast PORT BYTES\n";
    return 2;
  }
  const std::string body(std::strtoul(argv[2], nullptr, 10), ' ');
  const auto port = static_cast<uint16_t>(std::strtoul(argv[1], nullptr, 10));
  asio::io_context io{1};
  tcp::acceptor acceptor(io, {asio::ip::make_address("127.0.0.1"), port});
  asio::co_spawn(io, Accept(std::move(acceptor), body), asio::detached);
  io.run();
}
