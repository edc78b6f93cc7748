#include "cart/config.h"

#include "common/core/addresses.h"

namespace shop::cart {
namespace {

std::string Currency(Env& env) {
  const std::string code = env.Text("CURRENCY", "USD");
  if (code.size() != 3 ||
      code.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ") != std::string::npos) {
    env.Wrong("CURRENCY", "is not an ISO 4217 code such as USD");
  }
  return code;
}

}  // namespace

Config Config::Read(Env& env) {
  Config config;
  config.server = rpc::ServerSettings::Read(env, "cart");
  config.identity = rpc::Identity::Settings::Read(env, "cart");
  config.mongo = MongoSettings::Read(env);
  config.products_address = ServiceAddress(env, "products");
  config.currency = Currency(env);
  return config;
}

}  // namespace shop::cart
