// Which names the gateway answers to (RFC 9110, section 7.4).
//
// A web page may have its own name resolve to the gateway's address and then ask it for everything as
// its own origin (DNS rebinding). Such a request has the page's name in its Host header, so names that
// are not listed are refused. An address is not a name that anybody could redirect.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shop::gateway {

// In lower case and without ports, or "*" alone for every name.
using Hosts = std::vector<std::string>;

// Of a comma-separated list, in which "*" stands for every name; nothing where a part is no name.
std::optional<Hosts> ParseHosts(const std::string& list);

// Whether requests for `host`, as the Host header has it, are answered: a listed name, whatever its
// case and port, and every IP address. "", which only HTTP/1.0 may send, is.
bool IsServed(std::string_view host, const Hosts& hosts);

}  // namespace shop::gateway
