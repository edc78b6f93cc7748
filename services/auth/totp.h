// Codes that change with the time (TOTP, RFC 6238): SHA-1, steps of 30 seconds, six digits, as every
// authenticator app has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace shop::auth {

// The code of a step, the number of 30 seconds since 1970; `digits` of it, 6 to 8.
std::string TotpCode(std::string_view secret, int64_t step, int digits = 6);

// Which step a code is of, at a time in seconds since 1970: that of now, or one before or after it, as clocks
// differ. Only one after `last`, the step of the last code that was taken, so that each is good once. Nothing if
// it is of none.
std::optional<int64_t> TotpStep(std::string_view secret, std::string_view code, int64_t now,
                                int64_t last);

// Base32 (RFC 4648) without padding: how people and apps are told a secret.
std::string EncodeBase32(std::string_view bytes);

// What an app reads, from a QR code for example, to know the secret (the Key URI Format of Google Authenticator).
std::string TotpUri(std::string_view secret, std::string_view email);

}  // namespace shop::auth
