// The passwords that people choose most, of those that became known when sites were broken into.
#pragma once

#include <span>
#include <string_view>

namespace shop::auth {

// In lower case, those of eight and more characters; in the sequence of their bytes. The build makes them of a Debian package (docs/decisions/0037-other-passwords.md).
extern const std::span<const std::string_view> kCommonPasswords;

}  // namespace shop::auth
