#include "gateway/http/hosts.h"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <cctype>

#include "gateway/http/message.h"

namespace shop::gateway {
namespace {

bool IsName(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  });
}

bool IsAddress(std::string_view host) {
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(std::string(host), error);
  return !error && address.is_v6() == brackets;
}

}  // namespace

std::optional<Hosts> ParseHosts(const std::string& list) {
  Hosts hosts;
  for (const std::string_view part : Split(list, ',')) {
    std::string host(Trim(part));
    if (host == "*") return Hosts{host};
    if (!IsName(host)) return std::nullopt;
    std::ranges::transform(host, host.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    hosts.push_back(std::move(host));
  }
  return hosts;
}

bool IsServed(std::string_view host, const Hosts& hosts) {
  if (host.empty() || hosts.front() == "*") return true;
  const size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos) {
    host = host.substr(0, colon);
  }
  if (std::ranges::any_of(
          hosts, [&](const std::string& name) { return EqualsIgnoringCase(name, host); })) {
    return true;
  }
  return IsAddress(host);
}

}  // namespace shop::gateway
