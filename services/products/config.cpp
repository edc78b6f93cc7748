#include "products/config.h"

#include <algorithm>

namespace shop::products {

Config Config::Read(Env& env) {
  Config config;
  config.postgres = postgres::Settings::Read(env, "products");
  config.cache = ProductCache::Settings::Read(env);
  config.identity = rpc::Identity::Settings::Read(env, "products");
  config.server = rpc::ServerSettings::Read(env, "products");
  config.currency = env.Text("CURRENCY", "USD");
  const auto is_upper = [](char c) { return c >= 'A' && c <= 'Z'; };
  if (config.currency.size() != 3 || !std::ranges::all_of(config.currency, is_upper)) {
    env.Wrong("CURRENCY", "is not a code such as USD");
  }
  return config;
}

}  // namespace shop::products
