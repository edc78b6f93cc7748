// Certificates for tests.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "common/core/tls_files.h"

namespace shop::testing {

// A certificate authority, which keeps what it issues in a temporary folder of its own.
class Authority {
 public:
  Authority();
  ~Authority();
  Authority(const Authority&) = delete;

  // A certificate of `name`, which ends that long from now, and its key; in files of the same names each
  // time.
  TlsFiles Issue(const std::string& name, std::chrono::seconds lifetime = std::chrono::hours(1));
  std::string certificate() const { return folder_ / "ca.crt"; }

 private:
  struct Keys;

  std::filesystem::path folder_;
  std::unique_ptr<Keys> keys_;
  long issued_ = 0;
};

}  // namespace shop::testing
