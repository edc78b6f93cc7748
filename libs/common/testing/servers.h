// The servers a test runs against, and waiting for what they do.
#pragma once

#include <chrono>
#include <functional>
#include <string>

namespace shop::testing {

// A value of the file that TEST_SERVERS_ENV names: POSTGRES_HOST, POSTGRES_PORT, POSTGRES_USER,
// POSTGRES_PASSWORD, KAFKA_BOOTSTRAP_SERVERS, REDIS_URL, MONGODB_URI, SMTP_URL, MAILDIR. A variable
// of the process with that name goes first. Throws std::runtime_error when there is none.
std::string Server(const std::string& name);

// Lower-case letters and digits that no other test uses: "t" and 12 of them.
std::string UniqueName();

// Asks until the condition holds; false once the limit has passed.
//   ASSERT_TRUE(Eventually([&] { return Mails() == 1; }));
[[nodiscard]] bool Eventually(const std::function<bool()>& condition,
                              std::chrono::milliseconds limit = std::chrono::seconds(20));

}  // namespace shop::testing
