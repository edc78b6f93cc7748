// The provider's API, without the network.
#pragma once

#include <string>
#include <string_view>

#include "provider/ledger.h"

namespace shop::provider {

struct ApiRequest {
  std::string method;
  std::string target;  // path and query
  std::string authorization;
  std::string idempotency_key;
  std::string body;
};

// Thread-safe.
class Api {
 public:
  Api(Ledger& ledger, std::string api_key) : ledger_(ledger), api_key_(std::move(api_key)) {}

  // Does not throw for anything that a client sends; 503 while the database is away.
  Answer Handle(const ApiRequest& request);

 private:
  Answer Dispatch(const ApiRequest& request);
  Answer Post(std::string_view path, const ApiRequest& request);
  Answer List(std::string_view query);

  Ledger& ledger_;
  const std::string api_key_;
};

}  // namespace shop::provider
