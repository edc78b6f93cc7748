// A client's connection: TCP, or TLS on it where the gateway speaks HTTPS.
//
// An AsyncStream, as Asio and Beast know it. For one thread at a time.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <memory>
#include <utility>

namespace shop::gateway {

class ClientSocket {
 public:
  using Tcp = boost::asio::ip::tcp::socket;
  using Tls = boost::asio::ssl::stream<Tcp&>;
  using executor_type = boost::asio::any_io_executor;
  using next_layer_type = Tcp;

  // Without `context` the connection is plain.
  ClientSocket(Tcp tcp, boost::asio::ssl::context* context)
      : tcp_(std::move(tcp)), tls_(context ? std::make_unique<Tls>(tcp_, *context) : nullptr) {}

  executor_type get_executor() { return tcp_.get_executor(); }
  Tcp& next_layer() { return tcp_; }
  const Tcp& next_layer() const { return tcp_; }
  Tls* tls() { return tls_.get(); }  // null where it is plain

  // The first thing to be done. False when the client does not speak TLS as it should.
  boost::asio::awaitable<bool> Accept();
  // Tells the client that this was all (RFC 8446, section 6.1), so that it can tell an end from a
  // connection that somebody cut, and waits for it to say the same.
  boost::asio::awaitable<void> End();

  template <typename Buffers, typename Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_read_some(buffers, std::forward<Token>(token));
    return tcp_.async_read_some(buffers, std::forward<Token>(token));
  }
  template <typename Buffers, typename Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_write_some(buffers, std::forward<Token>(token));
    return tcp_.async_write_some(buffers, std::forward<Token>(token));
  }

 private:
  Tcp tcp_;
  std::unique_ptr<Tls> tls_;
};

}  // namespace shop::gateway
