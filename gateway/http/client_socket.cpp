#include "gateway/http/client_socket.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace shop::gateway {

namespace asio = boost::asio;
using boost::system::error_code;

asio::awaitable<bool> ClientSocket::Accept() {
  if (!tls_) co_return true;
  error_code error;
  co_await tls_->async_handshake(Tls::server, asio::redirect_error(asio::use_awaitable, error));
  co_return !error;
}

asio::awaitable<void> ClientSocket::End() {
  if (!tls_) co_return;
  error_code ignored;
  co_await tls_->async_shutdown(asio::redirect_error(asio::use_awaitable, ignored));
}

}  // namespace shop::gateway
