// What the gateway shows clients that come with TLS.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <chrono>
#include <filesystem>
#include <memory>

#include "common/core/tls_files.h"

namespace shop::gateway {

// TLS 1.2 and 1.3, and of 1.2 what RFC 9325 recommends. For one thread at a time.
class Https {
 public:
  // Throws std::runtime_error when the files are of no use.
  explicit Https(TlsFiles files, std::chrono::milliseconds look_every = std::chrono::seconds(1));

  // For the next connection. When the files have changed, with the certificate of now; what cannot be
  // used is logged, and the one before stays. Looks at the files at most every `look_every`.
  boost::asio::ssl::context& Context();

 private:
  using FileTimes = std::pair<std::filesystem::file_time_type, std::filesystem::file_time_type>;

  FileTimes TimesOfFiles() const;
  std::unique_ptr<boost::asio::ssl::context> Load() const;

  const TlsFiles files_;
  const std::chrono::milliseconds look_every_;
  std::unique_ptr<boost::asio::ssl::context> context_;
  FileTimes loaded_;
  std::chrono::steady_clock::time_point looked_;
};

}  // namespace shop::gateway
