#include "gateway/limits/client_address.h"

#include <algorithm>
#include <string_view>

namespace shop::gateway {
namespace {

namespace ip = boost::asio::ip;
using boost::system::error_code;

// A v4 address that a v6 socket shows is the same client.
ip::address Plain(const ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return ip::make_address_v4(ip::v4_mapped, address.to_v6());
}

}  // namespace

ClientNetwork NetworkOf(const ip::address& address) {
  const ip::address plain = Plain(address);
  if (plain.is_v4()) return {false, plain.to_v4().to_uint()};
  uint64_t network = 0;
  const auto bytes = plain.to_v6().to_bytes();
  for (size_t i = 0; i < 8; ++i) network = network << 8 | bytes[i];
  return {true, network};
}

std::optional<TrustedProxies> TrustedProxies::Parse(const std::string& list) {
  TrustedProxies proxies;
  if (list.empty()) return proxies;
  for (const std::string_view part : Split(list, ',')) {
    std::string text(Trim(part));
    const bool v6 = text.find(':') != std::string::npos;
    if (text.find('/') == std::string::npos) text += v6 ? "/128" : "/32";
    error_code error;
    if (v6) {
      proxies.v6_.push_back(ip::make_network_v6(text, error));
    } else {
      proxies.v4_.push_back(ip::make_network_v4(text, error));
    }
    if (error) return std::nullopt;
  }
  return proxies;
}

bool TrustedProxies::Include(const ip::address& address) const {
  const ip::address plain = Plain(address);
  if (plain.is_v4()) {
    return std::ranges::any_of(v4_, [&](const ip::network_v4& network) {
      return ip::network_v4(plain.to_v4(), network.prefix_length()).network() == network.network();
    });
  }
  return std::ranges::any_of(v6_, [&](const ip::network_v6& network) {
    return ip::network_v6(plain.to_v6(), network.prefix_length()).network() == network.network();
  });
}

ip::address ClientAddress(const HttpRequest& request, const TrustedProxies& proxies) {
  ip::address client = Plain(request.peer);
  if (!proxies.Include(client)) return client;
  std::vector<std::string_view> hops;
  for (const auto& [name, value] : request.headers) {
    if (!EqualsIgnoringCase(name, "x-forwarded-for")) continue;
    for (const std::string_view hop : Split(value, ',')) hops.push_back(Trim(hop));
  }
  for (auto hop = hops.rbegin(); hop != hops.rend(); ++hop) {
    error_code error;
    const ip::address address = ip::make_address(std::string(*hop), error);
    if (error) break;
    client = Plain(address);
    if (!proxies.Include(client)) break;
  }
  return client;
}

}  // namespace shop::gateway
