// Who a client is: what counts as one, and whose request it is that came through a proxy.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gateway/http/message.h"

namespace shop::gateway {

// What counts as one client: an IPv4 address, also as an IPv6 socket shows it, or the first 64 bits of an
// IPv6 one, as whoever has one address of such a network has them all.
struct ClientNetwork {
  bool is_v6 = false;
  uint64_t bits = 0;

  auto operator<=>(const ClientNetwork&) const = default;
};
ClientNetwork NetworkOf(const boost::asio::ip::address& address);

// Proxies whose X-Forwarded-For is believed.
class TrustedProxies {
 public:
  // Of a comma-separated list of addresses and networks (10.0.0.0/8), which may be empty; nothing where
  // a part is neither.
  static std::optional<TrustedProxies> Parse(const std::string& list);

  bool Include(const boost::asio::ip::address& address) const;

 private:
  std::vector<boost::asio::ip::network_v4> v4_;
  std::vector<boost::asio::ip::network_v6> v6_;
};

// The address that the request came from: its connection's, unless that is a trusted proxy's. Then it is
// the last one in X-Forwarded-For that is not: each proxy appends the address that it was called from, and
// what stands before the last untrusted one may be made up.
boost::asio::ip::address ClientAddress(const HttpRequest& request, const TrustedProxies& proxies);

}  // namespace shop::gateway
