#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace shop {

// Encrypts `text` so that whoever has the secret, and nobody else, can read it and tell whether it was
// changed: AES-256-GCM under a key derived from the secret, with a random nonce; in base64url. `about` says
// what it is and is not in the result: it has to be the same to unseal. Throws std::runtime_error when
// OpenSSL fails.
std::string Seal(std::string_view secret, std::string_view about, std::string_view text);
// Nothing if it was sealed with another secret or about something else, or was changed.
std::optional<std::string> Unseal(std::string_view secret, std::string_view about,
                                  std::string_view sealed);

}  // namespace shop
